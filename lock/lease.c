/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease.h"

/* How long ago the lease was renewed. A clock that stands before the renewal (it was read just
 * before another thread renewed) counts as "just now". Unsigned, so that no pair of values can
 * overflow. */
static guint64 elapsed_ns(const LeaseFacts *facts)
{
    if (facts->now_ns <= facts->renewed_ns)
        return 0;
    return (guint64)facts->now_ns - (guint64)facts->renewed_ns;
}

static guint64 usable_ttl_ns(const LeaseFacts *facts)
{
    return facts->ttl_ns > 0 ? (guint64)facts->ttl_ns : 0;
}

LeaseState lease_state(const LeaseFacts *facts)
{
    if (!facts->held)
        return LEASE_FREE;
    /* Before everything else: a change that was admitted may still land, whoever died meanwhile. */
    if (facts->in_flight)
        return LEASE_FRESH;
    if (facts->holder_ended)
        return LEASE_ORPHANED;
    if (elapsed_ns(facts) <= usable_ttl_ns(facts))
        return LEASE_FRESH;
    return facts->unflushed ? LEASE_EXPIRING : LEASE_STALE;
}

LeaseVerdict lease_judge(const LeaseFacts *facts, gboolean same_session)
{
    LeaseState state = lease_state(facts);

    if (state == LEASE_FREE)
        return LEASE_GRANT_FREE;
    if (same_session)
        return LEASE_GRANT_SAME;
    if (state == LEASE_ORPHANED)
        return LEASE_GRANT_ORPHANED;
    if (state == LEASE_STALE)
        return LEASE_GRANT_STALE;
    return LEASE_REFUSE_HELD;
}

gint64 lease_remaining_ns(const LeaseFacts *facts)
{
    guint64 remaining = usable_ttl_ns(facts);

    if (lease_state(facts) != LEASE_FRESH)
        return 0;
    /* A change in flight renews the lease when it returns: no less than a whole TTL is left. */
    if (!facts->in_flight)
        remaining -= elapsed_ns(facts);
    /* At exactly one TTL a lease is still fresh: it ends one nanosecond later. */
    return (gint64)MIN(remaining + 1, (guint64)G_MAXINT64);
}

const char *lease_state_name(LeaseState state)
{
    switch (state) {
    case LEASE_FREE:
        return "free";
    case LEASE_FRESH:
        return "fresh";
    case LEASE_EXPIRING:
        return "expiring";
    case LEASE_STALE:
        return "stale";
    case LEASE_ORPHANED:
        return "orphaned";
    }
    return "unknown";
}

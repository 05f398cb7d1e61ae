/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The lease's state machine: in which state a lease is and whether a session may have it. Pure.
 * Thread safety: values; no shared state.
 */
#include <glib.h>

typedef enum LeaseState {
    LEASE_FREE,
    LEASE_FRESH,    /* renewed at most one TTL ago, or with a change in flight */
    LEASE_EXPIRING, /* past its TTL, but what its mappings dirtied is not written back yet */
    LEASE_STALE,    /* past its TTL, nothing of the holder's left in memory */
    LEASE_ORPHANED, /* every known process of the holder is dead */
} LeaseState;

typedef enum LeaseVerdict {
    LEASE_GRANT_FREE,
    LEASE_GRANT_SAME,
    LEASE_GRANT_STALE,
    LEASE_GRANT_ORPHANED,
    LEASE_REFUSE_HELD,
} LeaseVerdict;

/* All that the judgement rests on. */
typedef struct LeaseFacts {
    gboolean held;
    gint64 renewed_ns; /* monotonic time of the last renewal */
    gint64 ttl_ns;
    gint64 now_ns;
    gboolean holder_ended; /* every known process of the holder is dead */
    gboolean in_flight;    /* a change of the holder is between the guard's yes and its return */
    gboolean unflushed;    /* mappings of the holder may have dirtied pages since the last flush */
} LeaseFacts;

LeaseState lease_state(const LeaseFacts *facts);
LeaseVerdict lease_judge(const LeaseFacts *facts, gboolean same_session);
static inline gboolean lease_verdict_grants(LeaseVerdict verdict)
{
    return verdict != LEASE_REFUSE_HELD;
}
/* Nanoseconds until a fresh lease is no longer fresh; 0 where it is not. */
gint64 lease_remaining_ns(const LeaseFacts *facts);
const char *lease_state_name(LeaseState state); /* as in user.leasefs.state */

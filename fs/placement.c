/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "placement.h"
#include <errno.h>
#include <unistd.h>

#define NS_PER_MS         G_GINT64_CONSTANT(1000000)
#define BESIDE_AFTER      16 /* requests of one caller in a row */
#define SLOW              8  /* requests from one look of the lookout to the next: not worth it */
#define LOOKING           3  /* at most: the lookout itself, the thread beside, and its caller */
#define AFTER_CALLED_NS   (20 * NS_PER_MS)
#define AFTER_STARVED_NS  (20 * NS_PER_MS)
#define AFTER_STARVED_MAX (3200 * NS_PER_MS)
#define STARVED_FACTOR    4    /* by which that grows where it comes again and again */
#define PROVEN            4096 /* requests in a row without any harm */
#define MAX_PATIENCE      64   /* wake-ups from one look for the caller to the next */
#define STREAM            4    /* requests ahead in a row */

static _Thread_local Placement *current;

void placement_init(Placement *placement, PlacementHost *host)
{
    placement->host = host;
    placement->refused = FALSE;
    placement->tid = gettid();
    placement->in_a_row = 0;
    placement->slept = FALSE;
    placement->n_ahead = 0;
    placement->caller = 0;
    placement->not_before_ns = 0;
    placement->ban_ns = AFTER_STARVED_NS;
    /* the lookout may look already */
    atomic_store(&placement->seek, FALSE);
    atomic_store(&placement->state, PLACEMENT_AWAY);
    atomic_store(&placement->called, PLACEMENT_NOT_CALLED);
    current = placement;
    if (host)
        host->prepare(host);
}

gboolean placement_is_beside(const Placement *placement)
{
    return atomic_load(&placement->state) != PLACEMENT_AWAY;
}

/* Whether those who run beside the `own` ones would lack a processor. The thread and its caller
 * take turns on one; a look may find both of them willing to run, or one. */
static gboolean is_crowded(PlacementHost *host, int own)
{
    int n = host->count_runnable(host);

    return n < 0 || n - own + 1 > (int)host->n_cpus;
}

/* Where the caller runs, or ran last; negative where that is not known. */
static int find_caller(Placement *placement)
{
    return placement->host->cpu_of(placement->host, (pid_t)placement->caller);
}

/* -EINVAL where that is no place for us. */
static int settle(Placement *placement, int cpu)
{
    PlacementHost *host = placement->host;
    int r = cpu >= 0 ? host->settle(host, placement->tid, cpu) : -EINVAL;

    if (r == 0)
        placement->cpu = cpu;
    return r;
}

static void leave(Placement *placement)
{
    PlacementHost *host = placement->host;
    int called = atomic_load(&placement->called);

    atomic_store(&placement->state, PLACEMENT_LEAVING);
    /* somebody has taken the right from us meanwhile: the next request tries again */
    if (host->release(host, placement->tid) != 0)
        return;
    atomic_store(&placement->state, PLACEMENT_AWAY);
    if (placement->in_a_row >= PROVEN)
        placement->ban_ns = AFTER_STARVED_NS;
    if (called == PLACEMENT_CALLED_STARVED) {
        placement->not_before_ns = host->now_ns(host) + placement->ban_ns;
        placement->ban_ns = MIN(STARVED_FACTOR * placement->ban_ns, AFTER_STARVED_MAX);
    } else if (called == PLACEMENT_CALLED) {
        placement->not_before_ns = host->now_ns(host) + AFTER_CALLED_NS;
    }
    placement->in_a_row = 0;
}

static void come_beside(Placement *placement)
{
    PlacementHost *host = placement->host;
    gint64 now_ns = host->now_ns(host);
    int r;

    if (placement->refused || now_ns < placement->not_before_ns)
        return;
    if (is_crowded(host, 1)) {
        placement->not_before_ns = now_ns + AFTER_CALLED_NS;
        return;
    }
    atomic_store(&placement->called, PLACEMENT_NOT_CALLED);
    atomic_store(&placement->state, PLACEMENT_BESIDE);
    atomic_store(&placement->seek, FALSE);
    placement->n_slept = 0;
    placement->patience = 1;
    r = settle(placement, find_caller(placement));
    placement->in_a_row = 0; /* from here on, beside him */
    if (r == 0)
        return;
    placement->refused = r == -EPERM || r == -EACCES || r == -ENOSYS;
    placement->not_before_ns = now_ns + AFTER_CALLED_NS;
    leave(placement);
}

/* It was woken on its own processor, where the caller still ran, or he is elsewhere by now; or the
 * lookout, which may have released it for a time that was over, wants to be sure. */
static void follow_caller(Placement *placement)
{
    gboolean asked = atomic_exchange(&placement->seek, FALSE);
    gboolean moved;
    int cpu;

    placement->n_slept += placement->slept;
    if (!asked && placement->n_slept < placement->patience)
        return;
    placement->n_slept = 0;
    cpu = find_caller(placement);
    moved = cpu != placement->cpu;
    if (moved)
        placement->patience = 1;
    else if (!asked)
        placement->patience = MIN(2 * placement->patience, MAX_PATIENCE);
    if ((moved || asked) && settle(placement, cpu) != 0) {
        placement->not_before_ns = placement->host->now_ns(placement->host) + AFTER_CALLED_NS;
        leave(placement);
    }
}

void placement_leave(void)
{
    if (current && placement_is_beside(current))
        leave(current);
}

static gboolean is_settled(const Placement *placement)
{
    return atomic_load(&placement->state) == PLACEMENT_BESIDE &&
           atomic_load(&placement->called) == PLACEMENT_NOT_CALLED;
}

/* Somebody who does not wait may exit: he is not looked at. */
static void follow(Placement *placement, guint32 caller, gboolean waits)
{
    guint32 before = placement->caller;

    if (placement_is_beside(placement) && (caller != before || !is_settled(placement)))
        leave(placement);
    placement->in_a_row = caller == before ? placement->in_a_row + 1 : 1;
    placement->caller = caller;
    if (!waits)
        return;
    if (is_settled(placement)) {
        if (placement->slept || atomic_load(&placement->seek))
            follow_caller(placement);
    } else if (placement->in_a_row >= BESIDE_AFTER && !placement_is_beside(placement)) {
        come_beside(placement);
    }
    placement->slept = FALSE;
}

void placement_follow(Placement *placement, guint32 caller, gboolean slept)
{
    atomic_fetch_add_explicit(&placement->taken, 1, memory_order_relaxed);
    placement->slept |= slept;
    if (!placement->host || caller == 0)
        return;
    placement->n_ahead = 0;
    follow(placement, caller, TRUE);
}

void placement_follow_ahead(Placement *placement, guint32 caller, gboolean slept)
{
    atomic_fetch_add_explicit(&placement->taken, 1, memory_order_relaxed);
    placement->slept |= slept;
    if (!placement->host || caller == 0)
        return;
    follow(placement, caller, FALSE);
    if (++placement->n_ahead < STREAM)
        return;
    if (placement_is_beside(placement))
        leave(placement);
    placement->in_a_row = 0;
}

static int judge(Placement *placement, guint n_taken, gboolean waiting)
{
    if (n_taken < SLOW)
        return waiting ? PLACEMENT_CALLED_STARVED : PLACEMENT_CALLED;
    return is_crowded(placement->host, LOOKING) ? PLACEMENT_CALLED : PLACEMENT_NOT_CALLED;
}

void placement_look_after(Placement *placement, gboolean waiting)
{
    guint taken = atomic_load_explicit(&placement->taken, memory_order_relaxed);
    guint n_taken = taken - placement->taken_before;
    int called;

    placement->taken_before = taken;
    if (!placement_is_beside(placement))
        return;
    called = judge(placement, n_taken, waiting);
    if (called != PLACEMENT_NOT_CALLED)
        atomic_store(&placement->called, called);
    if (is_settled(placement))
        atomic_store(&placement->seek, TRUE);
    else
        placement->host->release(placement->host, placement->tid);
}

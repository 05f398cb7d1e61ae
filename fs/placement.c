/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "placement.h"
#include <unistd.h>

#define NS_PER_MS         G_GINT64_CONSTANT(1000000)
#define BESIDE_AFTER      16 /* requests of one caller in a row */
#define SLOW              8  /* requests from one look of the lookout to the next: not worth it */
#define LOOKING           3  /* the lookout itself, the thread that is beside, and its caller */
#define AFTER_CALLED_NS   (20 * NS_PER_MS)
#define AFTER_STARVED_NS  (100 * NS_PER_MS)
#define AFTER_STARVED_MAX (3200 * NS_PER_MS)
#define PROVEN            4096 /* requests in a row without any harm */

static _Thread_local Placement *current;

void placement_init(Placement *placement, PlacementHost *host)
{
    placement->host = host;
    placement->refused = FALSE;
    placement->tid = gettid();
    placement->caller = 0;
    placement->in_a_row = 0;
    placement->slept = FALSE;
    placement->not_before_ns = 0;
    placement->ban_ns = AFTER_STARVED_NS;
    /* the lookout may look already */
    atomic_store(&placement->beside, FALSE);
    atomic_store(&placement->called, PLACEMENT_NOT_CALLED);
    current = placement;
    if (host)
        host->prepare(host);
}

gboolean placement_is_beside(const Placement *placement)
{
    return atomic_load(&placement->beside);
}

/* Whether there would be no processor for those who run beside the `own` ones. */
static gboolean is_crowded(PlacementHost *host, int own)
{
    int n = host->count_runnable(host);

    return n < 0 || n - own + 2 > (int)host->n_cpus;
}

static void move_to_caller(Placement *placement)
{
    PlacementHost *host = placement->host;
    int cpu = host->cpu_of(host, (pid_t)placement->caller);

    if (cpu >= 0)
        host->move(host, cpu);
}

/* `beside` is set while the policy may be the other one, so that the lookout misses no such time.
 */
static void come_beside(Placement *placement)
{
    PlacementHost *host = placement->host;
    gint64 now_ns = host->now_ns(host);

    if (now_ns < placement->not_before_ns)
        return;
    if (is_crowded(host, 1)) {
        placement->not_before_ns = now_ns + AFTER_CALLED_NS;
        return;
    }
    atomic_store(&placement->called, PLACEMENT_NOT_CALLED);
    atomic_store(&placement->beside, TRUE);
    if (host->set_yielding(host, placement->tid, TRUE) == 0) {
        move_to_caller(placement);
    } else {
        atomic_store(&placement->beside, FALSE);
        placement->refused = TRUE;
    }
}

static void leave(Placement *placement)
{
    PlacementHost *host = placement->host;
    int called = atomic_load(&placement->called);

    /* somebody has taken the right from us meanwhile: the next request tries again */
    if (host->set_yielding(host, placement->tid, FALSE) != 0)
        return;
    atomic_store(&placement->beside, FALSE);
    if (called == PLACEMENT_CALLED_STARVED) {
        placement->not_before_ns = host->now_ns(host) + placement->ban_ns;
        placement->ban_ns = MIN(2 * placement->ban_ns, AFTER_STARVED_MAX);
    } else if (called == PLACEMENT_CALLED) {
        placement->not_before_ns = host->now_ns(host) + AFTER_CALLED_NS;
    }
    if (called != PLACEMENT_CALLED_STARVED && placement->in_a_row >= PROVEN)
        placement->ban_ns = AFTER_STARVED_NS;
    placement->in_a_row = 0;
}

void placement_leave(void)
{
    if (current && placement_is_beside(current))
        leave(current);
}

void placement_follow(Placement *placement, guint32 caller, gboolean slept)
{
    atomic_fetch_add_explicit(&placement->taken, 1, memory_order_relaxed);
    placement->slept |= slept;
    if (!placement->host || placement->refused || caller == 0)
        return;
    if (placement_is_beside(placement) &&
        (caller != placement->caller || atomic_load(&placement->called) != PLACEMENT_NOT_CALLED))
        leave(placement);
    placement->in_a_row = caller == placement->caller ? placement->in_a_row + 1 : 1;
    placement->caller = caller;
    if (!placement_is_beside(placement)) {
        if (placement->in_a_row % BESIDE_AFTER == 0)
            come_beside(placement);
    } else if (placement->slept) {
        move_to_caller(placement);
    }
    placement->slept = FALSE;
}

void placement_look_after(Placement *placement, gboolean waiting)
{
    guint taken = atomic_load_explicit(&placement->taken, memory_order_relaxed);
    guint n_taken = taken - placement->taken_before;
    PlacementHost *host = placement->host;

    placement->taken_before = taken;
    if (!placement_is_beside(placement))
        return;
    if (n_taken < SLOW)
        atomic_store(&placement->called, waiting ? PLACEMENT_CALLED_STARVED : PLACEMENT_CALLED);
    else if (is_crowded(host, LOOKING))
        atomic_store(&placement->called, PLACEMENT_CALLED);
    else
        return;
    host->set_yielding(host, placement->tid, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-private.h"

#define NS_PER_MS        G_GINT64_CONSTANT(1000000)
#define RETRY_MS         2    /* a change was in flight: they last microseconds */
#define QUEUE_RECHECK_MS 1000 /* another tool's record ends without telling anybody */

void waiter_free(Waiter *waiter)
{
    if (!waiter)
        return;
    session_unref(waiter->session);
    g_free(waiter);
}

static gboolean waiter_is_lost(Keeper *keeper, const Waiter *waiter)
{
    return waiter->deadline_ns < keeper_now(keeper) || session_has_ended(waiter->session) ||
           !process_is_alive(keeper->processes, &waiter->process);
}

static void leave_queue(Keeper *keeper, const ProcessId *process)
{
    MUTEX_GUARD(&keeper->lock);

    for (GList *l = keeper->queue.head, *next; l; l = next) {
        Waiter *place = l->data;

        next = l->next;
        if (process_id_equal(&place->process, process)) {
            g_queue_delete_link(&keeper->queue, l);
            waiter_free(place);
        }
    }
}

/* A copy of the queue's head, where the lease is to be had; else NULL. */
static Waiter *next_in_turn(Keeper *keeper)
{
    MUTEX_GUARD(&keeper->lock);
    const Waiter *head = g_queue_peek_head(&keeper->queue);
    LeaseState state = keeper_state_locked(keeper, keeper_now(keeper));
    Waiter *copy;

    if (!head || state == LEASE_FRESH || state == LEASE_EXPIRING)
        return NULL;
    copy = g_memdup2(head, sizeof *head);
    session_ref(copy->session);
    return copy;
}

/* A waiter keeps its place until it has the lease, so that nobody slips in before it. */
void keeper_serve_queue(Keeper *keeper)
{
    Waiter *head;
    gboolean lost;

    do {
        head = next_in_turn(keeper);
        if (!head)
            return;
        lost = waiter_is_lost(keeper, head);
        if (lost ||
            lease_verdict_grants(keeper_acquire_in_turn(keeper, head->session, head->ttl_ms)))
            leave_queue(keeper, &head->process);
        waiter_free(head);
    } while (lost);
}

gboolean keeper_enqueue(Keeper *keeper, Session *session, pid_t waiter, gint64 ttl_ms,
                        gint64 for_ms)
{
    Waiter *place;
    ProcessInfo info;

    if (lease_verdict_grants(keeper_acquire(keeper, session, ttl_ms)))
        return FALSE;
    if (keeper->processes->ops->read(keeper->processes, waiter, &info) != 0)
        return TRUE; /* it died: nobody is left to wait */
    keeper_dequeue(keeper, waiter);
    place = g_new0(Waiter, 1);
    place->session = session_ref(session);
    place->process = info.id;
    place->ttl_ms = ttl_ms;
    place->deadline_ns = for_ms >= 0 && for_ms < G_MAXINT64 / NS_PER_MS / 2
                             ? keeper_now(keeper) + for_ms * NS_PER_MS
                             : G_MAXINT64;
    mutex_lock(&keeper->lock);
    g_queue_push_tail(&keeper->queue, place);
    mutex_unlock(&keeper->lock);
    keeper_wake(keeper);
    return TRUE;
}

void keeper_dequeue(Keeper *keeper, pid_t waiter)
{
    MUTEX_GUARD(&keeper->lock);

    for (GList *l = keeper->queue.head, *next; l; l = next) {
        Waiter *place = l->data;

        next = l->next;
        if (place->process.pid == waiter) {
            g_queue_delete_link(&keeper->queue, l);
            waiter_free(place);
        }
    }
}

/* A lease that its holder gave back, or whose holder ended: free as soon as nothing is in flight
 * and nothing waits to be written back. FALSE where it has to be tried again. */
static gboolean finish_release_locked(Keeper *keeper, const LeaseFacts *facts)
{
    KeeperEventKind kind = facts->holder_ended ? KEEPER_EVENT_ENDED : KEEPER_EVENT_RELEASED;
    g_autofree char *id = session_dup_id(keeper->holder);

    if (!keeper_drain_locked(keeper))
        return FALSE;
    keeper_end_tenure_locked(keeper);
    keeper_tell_locked(keeper, kind, id, NULL, NULL);
    return TRUE;
}

/* What the holder dirties after it gave the lease back is not waited for. */
static gboolean release_needs_flush_locked(Keeper *keeper, const LeaseFacts *facts)
{
    return facts->unflushed && !facts->holder_ended &&
           !(keeper->flushed_epoch == keeper->epoch && keeper->flushed_ns >= keeper->releasing_ns);
}

static void ask_for_flush_locked(Keeper *keeper, KeeperDue *due_out)
{
    due_out->flush = session_ref(keeper->holder);
    due_out->flush_epoch = keeper->epoch;
}

static void tell_expiry_locked(Keeper *keeper)
{
    g_autofree char *id = NULL;

    if (keeper->expired_told)
        return;
    keeper->expired_told = TRUE;
    id = session_dup_id(keeper->holder);
    keeper_tell_locked(keeper, KEEPER_EVENT_EXPIRED, id, NULL, NULL);
}

/* What the lease itself needs; returns after how many milliseconds to look again, -1 for never. */
static gint64 tick_lease_locked(Keeper *keeper, gint64 now_ns, KeeperDue *due_out)
{
    LeaseFacts facts;

    if (keeper->heir && session_has_ended(keeper->heir))
        keeper_forget_heir_locked(keeper);
    if (keeper->heir) {
        if (keeper_drain_locked(keeper))
            keeper_complete_hand_on_locked(keeper);
        return RETRY_MS;
    }
    keeper_facts_locked(keeper, now_ns, &facts);
    if (!facts.held)
        return -1;
    if (keeper->releasing || facts.holder_ended) {
        if (release_needs_flush_locked(keeper, &facts))
            ask_for_flush_locked(keeper, due_out);
        else if (finish_release_locked(keeper, &facts))
            return -1;
        return RETRY_MS;
    }
    switch (lease_state(&facts)) {
    case LEASE_FRESH:
        return lease_remaining_ns(&facts) / NS_PER_MS + 1;
    case LEASE_EXPIRING:
        ask_for_flush_locked(keeper, due_out);
        return RETRY_MS;
    case LEASE_STALE:
        tell_expiry_locked(keeper);
        return -1;
    default:
        return -1;
    }
}

/* -1 means never. */
static gint64 sooner(gint64 a_ms, gint64 b_ms)
{
    if (a_ms < 0 || b_ms < 0)
        return MAX(a_ms, b_ms);
    return MIN(a_ms, b_ms);
}

void keeper_tick(Keeper *keeper, KeeperDue *due_out)
{
    guint64 epoch;
    gboolean new_tenure;

    *due_out = (KeeperDue){.next_ms = -1};
    mutex_lock(&keeper->lock);
    epoch = keeper->epoch;
    due_out->next_ms = tick_lease_locked(keeper, keeper_now(keeper), due_out);
    new_tenure = keeper->epoch != epoch;
    mutex_unlock(&keeper->lock);

    if (new_tenure)
        keeper_note_epoch(keeper);
    keeper_serve_queue(keeper);
    mutex_lock(&keeper->lock);
    if (!g_queue_is_empty(&keeper->queue))
        due_out->next_ms = sooner(due_out->next_ms, QUEUE_RECHECK_MS);
    mutex_unlock(&keeper->lock);
}

void keeper_flushed(Keeper *keeper, guint64 epoch, gint64 started_ns)
{
    MUTEX_GUARD(&keeper->lock);

    keeper->flushed_epoch = epoch;
    keeper->flushed_ns = started_ns;
    keeper_wake(keeper);
}

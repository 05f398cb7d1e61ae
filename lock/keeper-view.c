/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-private.h"

#define NS_PER_MS       G_GINT64_CONSTANT(1000000)
#define MAX_EVENTS_KEPT 1000 /* nobody takes them: the oldest go */

static void waiter_view_free(gpointer data)
{
    KeeperWaiter *waiter = data;

    g_free(waiter->session);
    g_free(waiter);
}

const char *keeper_event_name(KeeperEventKind kind)
{
    static const char *const names[] = {
        [KEEPER_EVENT_ACQUIRED] = "acquired",
        [KEEPER_EVENT_TAKEN_OVER] = "taken-over",
        [KEEPER_EVENT_RELEASED] = "released",
        [KEEPER_EVENT_ENDED] = "ended",
        [KEEPER_EVENT_HANDED_ON] = "handed-on",
        [KEEPER_EVENT_EXPIRED] = "expired",
        [KEEPER_EVENT_BLOCKED] = "blocked",
        [KEEPER_EVENT_FOREIGN_OVERWRITTEN] = "foreign-overwritten",
        [KEEPER_EVENT_UNREADABLE] = "record-unreadable",
        [KEEPER_EVENT_DEGRADED] = "degraded",
        [KEEPER_EVENT_RECOVERED] = "recovered",
        [KEEPER_EVENT_FENCED] = "fenced",
        [KEEPER_EVENT_STORE_LOST] = "store-lost",
        [KEEPER_EVENT_OPEN_ELSEWHERE] = "open-elsewhere",
    };

    return names[kind];
}

void keeper_event_free(KeeperEvent *event)
{
    if (!event)
        return;
    g_free(event->session);
    g_free(event->other);
    g_free(event->detail);
    g_free(event);
}

void keeper_wake(Keeper *keeper)
{
    keeper->hooks.wake(keeper->hooks.data);
}

void keeper_tell_locked(Keeper *keeper, KeeperEventKind kind, const char *session,
                        const char *other, const char *detail)
{
    KeeperEvent *event = g_new0(KeeperEvent, 1);

    event->kind = kind;
    event->sequence = keeper->next_sequence++;
    event->wall_ms = keeper->clock->wall_ms(keeper->clock);
    event->epoch = keeper->epoch;
    event->session = g_strdup(session);
    event->other = g_strdup(other);
    event->detail = g_strdup(detail);
    g_queue_push_tail(&keeper->events, event);
    if (g_queue_get_length(&keeper->events) > MAX_EVENTS_KEPT)
        keeper_event_free(g_queue_pop_head(&keeper->events));
    keeper_wake(keeper);
}

void keeper_report(Keeper *keeper, KeeperEventKind kind, const char *session, const char *other,
                   const char *detail)
{
    MUTEX_GUARD(&keeper->lock);

    keeper_tell_locked(keeper, kind, session, other, detail);
}

GPtrArray *keeper_take_events(Keeper *keeper)
{
    GPtrArray *taken = g_ptr_array_new_with_free_func((GDestroyNotify)keeper_event_free);
    MUTEX_GUARD(&keeper->lock);

    while (!g_queue_is_empty(&keeper->events))
        g_ptr_array_add(taken, g_queue_pop_head(&keeper->events));
    return taken;
}

static void view_foreign(const ForeignLease *foreign, gint64 now_ns, KeeperView *view_out)
{
    view_out->state = LEASE_FRESH;
    view_out->foreign = TRUE;
    view_out->holder = g_strdup(foreign->session_id);
    view_out->holder_pid = foreign->pid;
    g_free(view_out->holder_comm);
    view_out->holder_comm = g_strdup("");
    view_out->ttl_ms = foreign->ttl_ms;
    view_out->since_ms = foreign->acquired_at_ms;
    view_out->remaining_ms = (foreign->until_ns - now_ns) / NS_PER_MS;
}

static void view_holder_locked(Keeper *keeper, const LeaseFacts *facts, KeeperView *view_out)
{
    ProcessId root;

    if (!keeper->holder)
        return;
    session_get_root(keeper->holder, &root);
    view_out->holder = session_dup_id(keeper->holder);
    view_out->holder_pid = root.pid;
    view_out->holder_comm = g_strdup(session_comm(keeper->holder));
    view_out->since_ms = keeper->since_ms;
    view_out->remaining_ms = lease_remaining_ns(facts) / NS_PER_MS;
}

static GPtrArray *view_queue_locked(Keeper *keeper)
{
    GPtrArray *waiters = g_ptr_array_new_with_free_func(waiter_view_free);

    for (GList *l = keeper->queue.head; l; l = l->next) {
        Waiter *waiter = l->data;
        KeeperWaiter *copy = g_new0(KeeperWaiter, 1);

        copy->session = session_dup_id(waiter->session);
        copy->pid = waiter->process.pid;
        g_ptr_array_add(waiters, copy);
    }
    return waiters;
}

void keeper_view(Keeper *keeper, KeeperView *view_out)
{
    gint64 wall_ms = keeper->clock->wall_ms(keeper->clock);
    gint64 now_ns = keeper_now(keeper);
    g_auto(ForeignLease) foreign = {0};
    LeaseFacts facts;

    keeper_look_at_foreign(keeper, &foreign);
    *view_out = (KeeperView){0};

    MUTEX_GUARD(&keeper->lock);

    keeper_facts_locked(keeper, now_ns, &facts);
    view_out->state = lease_state(&facts);
    view_out->epoch = keeper->epoch;
    view_out->ttl_ms = atomic_load(&keeper->ttl_ns) / NS_PER_MS;
    view_out->degraded = g_strdup(keeper->degraded);
    view_out->waiters = view_queue_locked(keeper);
    if (foreign.held && view_out->state != LEASE_FRESH && view_out->state != LEASE_EXPIRING)
        view_foreign(&foreign, now_ns, view_out);
    else
        view_holder_locked(keeper, &facts, view_out);
    if (view_out->holder)
        view_out->expires_ms =
            view_out->foreign ? wall_ms + view_out->remaining_ms
                              : wall_ms + (facts.renewed_ns + facts.ttl_ns - now_ns) / NS_PER_MS;
}

void keeper_view_clear(KeeperView *view)
{
    g_clear_pointer(&view->holder, g_free);
    g_clear_pointer(&view->holder_comm, g_free);
    g_clear_pointer(&view->degraded, g_free);
    g_clear_pointer(&view->waiters, g_ptr_array_unref);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-private.h"
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS G_GINT64_CONSTANT(1000000)

gboolean keeper_in_flight_locked(Keeper *keeper)
{
    for (guint i = 0; i < keeper->slots->len; i++) {
        KeeperSlot *slot = g_ptr_array_index(keeper->slots, i);

        if (atomic_load(&slot->epoch) != 0)
            return TRUE;
    }
    return FALSE;
}

void keeper_facts_locked(Keeper *keeper, gint64 now_ns, LeaseFacts *facts_out)
{
    gint64 renewed_ns = atomic_load(&keeper->renewed_ns);
    gboolean flushed = keeper->flushed_epoch == keeper->epoch && keeper->flushed_ns >= renewed_ns;

    *facts_out = (LeaseFacts){
        .held = keeper->holder != NULL,
        .renewed_ns = renewed_ns,
        .ttl_ns = atomic_load(&keeper->ttl_ns),
        .now_ns = now_ns,
    };
    if (!keeper->holder)
        return;
    facts_out->holder_ended = session_has_ended(keeper->holder);
    facts_out->in_flight = keeper_in_flight_locked(keeper);
    facts_out->unflushed =
        !flushed && keeper->hooks.may_be_dirty(keeper->hooks.data, keeper->holder);
}

LeaseState keeper_state_locked(Keeper *keeper, gint64 now_ns)
{
    LeaseFacts facts;

    keeper_facts_locked(keeper, now_ns, &facts);
    return lease_state(&facts);
}

gboolean keeper_close_locked(Keeper *keeper)
{
    atomic_store(&keeper->open_epoch, 0);
    if (!keeper_in_flight_locked(keeper))
        return TRUE;
    if (keeper->holder && !keeper->draining)
        atomic_store(&keeper->open_epoch, keeper->epoch);
    return FALSE;
}

gboolean keeper_drain_locked(Keeper *keeper)
{
    keeper->draining = TRUE;
    return keeper_close_locked(keeper);
}

static void forget_endings_locked(Keeper *keeper)
{
    keeper->releasing = FALSE;
    keeper->draining = FALSE;
    g_clear_pointer(&keeper->heir, session_unref);
}

void keeper_begin_tenure_locked(Keeper *keeper, Session *session, gint64 ttl_ms, gint64 now_ns)
{
    g_clear_pointer(&keeper->holder, session_unref);
    keeper->holder = session_ref(session);
    keeper->epoch = MAX(keeper->epoch, keeper->least_epoch) + 1;
    keeper->since_ms = keeper->clock->wall_ms(keeper->clock);
    forget_endings_locked(keeper);
    keeper->expired_told = FALSE;
    keeper->unknown_until_ns = 0;
    g_hash_table_remove_all(keeper->blocked);
    atomic_store(&keeper->ttl_ns, (ttl_ms > 0 ? ttl_ms : keeper->default_ttl_ms) * NS_PER_MS);
    atomic_store(&keeper->renewed_ns, now_ns);
    atomic_store(&keeper->holder_serial, session_serial(session));
    atomic_store(&keeper->open_epoch, keeper->epoch);
    keeper->dirty = TRUE;
    pthread_cond_signal(&keeper->writer_cond);
    /* its expiry is now due at another time */
    keeper_wake(keeper);
}

void keeper_end_tenure_locked(Keeper *keeper)
{
    atomic_store(&keeper->open_epoch, 0);
    atomic_store(&keeper->holder_serial, 0);
    g_clear_pointer(&keeper->holder, session_unref);
    forget_endings_locked(keeper);
    g_hash_table_remove_all(keeper->blocked);
    keeper->dirty = TRUE;
    pthread_cond_signal(&keeper->writer_cond);
    keeper_wake(keeper);
}

void keeper_note_epoch(Keeper *keeper)
{
    MUTEX_GUARD(&keeper->epoch_lock);
    g_autoptr(GError) error = NULL;
    guint64 epoch;

    mutex_lock(&keeper->lock);
    epoch = keeper->epoch;
    mutex_unlock(&keeper->lock);
    if (epoch <= keeper->noted_epoch)
        return;
    /* A failure is told by the writer thread, which tries again with the record. */
    if (keeper->store->ops->note_epoch(keeper->store, epoch, &error))
        keeper->noted_epoch = epoch;
}

/* Owns every slot to the end of the process: a worker that nobody joins may give its own back after
 * the keeper is gone. */
static GPtrArray *all_slots;
static Mutex all_slots_lock = PTHREAD_MUTEX_INITIALIZER;

static KeeperSlot *new_slot(void)
{
    KeeperSlot *slot = g_aligned_alloc0(1, sizeof *slot, KEEPER_CACHE_LINE);
    MUTEX_GUARD(&all_slots_lock);

    if (!all_slots)
        all_slots = g_ptr_array_new();
    g_ptr_array_add(all_slots, slot);
    return slot;
}

/* The slots of a thread that ended are given to the next one. */
static void slot_thread_ended(gpointer data)
{
    KeeperSlot *slot = data;

    atomic_store(&slot->epoch, 0);
    atomic_store(&slot->free, TRUE);
}

static KeeperSlot *this_threads_slot(Keeper *keeper)
{
    KeeperSlot *slot = pthread_getspecific(keeper->slot_key);

    if (G_LIKELY(slot))
        return slot;
    mutex_lock(&keeper->lock);
    for (guint i = 0; i < keeper->slots->len && !slot; i++) {
        KeeperSlot *candidate = g_ptr_array_index(keeper->slots, i);

        if (atomic_exchange(&candidate->free, FALSE))
            slot = candidate;
    }
    if (!slot) {
        slot = new_slot();
        g_ptr_array_add(keeper->slots, slot);
    }
    mutex_unlock(&keeper->lock);
    pthread_setspecific(keeper->slot_key, slot);
    return slot;
}

static gboolean begin_fast(Keeper *keeper, KeeperSlot *slot, Session *session, gint64 now_ns)
{
    guint64 epoch = atomic_load(&keeper->open_epoch);

    if (epoch == 0 || atomic_load(&keeper->holder_serial) != session_serial(session))
        return FALSE;
    if (now_ns - atomic_load(&keeper->renewed_ns) > atomic_load(&keeper->ttl_ns))
        return FALSE;
    atomic_store(&slot->epoch, epoch);
    if (G_UNLIKELY(atomic_load(&keeper->open_epoch) != epoch)) {
        atomic_store(&slot->epoch, 0);
        return FALSE;
    }
    atomic_store_explicit(&keeper->renewed_ns, now_ns, memory_order_relaxed);
    return TRUE;
}

/* Whether another tool's record, or one that nobody understands, keeps this session out. */
static gboolean foreign_refuses(Keeper *keeper, const ForeignLease *foreign, Session *session,
                                gint64 now_ns)
{
    if (!foreign->held || now_ns > foreign->until_ns)
        return FALSE;
    if (foreign->unknown || !session || foreign->pid <= 0)
        return TRUE;
    return !session_table_covers(keeper->sessions, session, foreign->pid);
}

static void tell_blocked_locked(Keeper *keeper, Session *session, const char *holder_id)
{
    gpointer serial = GSIZE_TO_POINTER(session_serial(session));
    g_autofree char *id = NULL;

    if (!g_hash_table_add(keeper->blocked, serial))
        return;
    id = session_dup_id(session);
    keeper_tell_locked(keeper, KEEPER_EVENT_BLOCKED, id, holder_id, NULL);
}

static void tell_tenure_locked(Keeper *keeper, LeaseVerdict verdict, const char *previous)
{
    g_autofree char *id = session_dup_id(keeper->holder);

    if (verdict == LEASE_GRANT_FREE)
        keeper_tell_locked(keeper, KEEPER_EVENT_ACQUIRED, id, NULL, NULL);
    else
        keeper_tell_locked(keeper, KEEPER_EVENT_TAKEN_OVER, id, previous,
                           verdict == LEASE_GRANT_STALE ? "stale" : "orphaned");
}

static void tell_ending_locked(Keeper *keeper, KeeperEventKind kind)
{
    g_autofree char *id = session_dup_id(keeper->holder);

    keeper_tell_locked(keeper, kind, id, NULL, NULL);
}

static void renew_locked(Keeper *keeper, gint64 ttl_ms, gint64 now_ns)
{
    if (ttl_ms > 0)
        atomic_store(&keeper->ttl_ns, ttl_ms * NS_PER_MS);
    atomic_store(&keeper->renewed_ns, now_ns);
    atomic_store(&keeper->open_epoch, keeper->epoch);
    keeper->expired_told = FALSE;
    pthread_cond_signal(&keeper->writer_cond);
    keeper_wake(keeper);
}

/* A lease that is being given away has somebody to go to. */
static gboolean is_promised_locked(Keeper *keeper)
{
    if (keeper->heir && !session_has_ended(keeper->heir))
        return TRUE;
    return keeper->releasing && !g_queue_is_empty(&keeper->queue);
}

/*
 * The holder goes on to write while what it gave away drains. If somebody is to have it, the holder
 * is a stranger by now. If nobody is, the release is complete as soon as the holder acquires again:
 * what is still in flight is its own.
 */
static LeaseVerdict judge_drained_holder_locked(Keeper *keeper, Session *session, gint64 ttl_ms,
                                                gint64 now_ns)
{
    if (is_promised_locked(keeper))
        return LEASE_REFUSE_HELD;
    if (!keeper->releasing) {
        keeper_forget_heir_locked(keeper);
        return LEASE_GRANT_SAME;
    }
    tell_ending_locked(keeper, KEEPER_EVENT_RELEASED);
    keeper_begin_tenure_locked(keeper, session, ttl_ms, now_ns);
    tell_tenure_locked(keeper, LEASE_GRANT_FREE, NULL);
    return LEASE_GRANT_FREE;
}

/* Whoever waits is served before whoever comes. */
static gboolean another_is_first_locked(Keeper *keeper, Session *session)
{
    const Waiter *head = g_queue_peek_head(&keeper->queue);

    return head && head->session != session;
}

/* Gives the lease to the session where the verdict allows it and the door could be closed. */
static LeaseVerdict judge_locked(Keeper *keeper, Session *session, const ForeignLease *foreign,
                                 gint64 ttl_ms, gint64 now_ns)
{
    gboolean same = keeper->holder == session;
    g_autofree char *previous = NULL;
    LeaseFacts facts;
    LeaseVerdict verdict;

    keeper_facts_locked(keeper, now_ns, &facts);
    verdict = lease_judge(&facts, same);
    if (verdict == LEASE_REFUSE_HELD) {
        previous = session_dup_id(keeper->holder);
        tell_blocked_locked(keeper, session, previous);
        return verdict;
    }
    if (lease_state(&facts) != LEASE_FRESH && lease_state(&facts) != LEASE_EXPIRING &&
        foreign_refuses(keeper, foreign, session, now_ns)) {
        tell_blocked_locked(keeper, session, foreign->session_id);
        return LEASE_REFUSE_HELD;
    }
    if (verdict == LEASE_GRANT_SAME && keeper->draining) {
        verdict = judge_drained_holder_locked(keeper, session, ttl_ms, now_ns);
        if (verdict != LEASE_GRANT_SAME)
            return verdict;
    }
    if (verdict == LEASE_GRANT_SAME) {
        renew_locked(keeper, ttl_ms, now_ns);
        return verdict;
    }
    if (another_is_first_locked(keeper, session) || !keeper_close_locked(keeper))
        return LEASE_REFUSE_HELD;
    if (keeper->holder)
        previous = session_dup_id(keeper->holder);
    keeper_begin_tenure_locked(keeper, session, ttl_ms, now_ns);
    tell_tenure_locked(keeper, verdict, previous);
    return verdict;
}

/* Whether the record on disk has a say: memory holds no lease that is fresh. */
static gboolean record_matters_locked(Keeper *keeper, gint64 now_ns)
{
    LeaseState state = keeper_state_locked(keeper, now_ns);

    return state != LEASE_FRESH && state != LEASE_EXPIRING;
}

static gboolean record_matters(Keeper *keeper)
{
    MUTEX_GUARD(&keeper->lock);

    return record_matters_locked(keeper, keeper_now(keeper));
}

/* One pass of the slow path; with `slot`, the change counts as in flight from the same critical
 * section in which it was granted. FALSE where the record would have to be looked at first. */
static gboolean decide(Keeper *keeper, Session *session, KeeperSlot *slot, gint64 ttl_ms,
                       const ForeignLease *foreign, LeaseVerdict *verdict_out)
{
    MUTEX_GUARD(&keeper->lock);
    gint64 now_ns = keeper_now(keeper);

    if (!foreign && record_matters_locked(keeper, now_ns))
        return FALSE;
    *verdict_out =
        judge_locked(keeper, session, foreign ? foreign : &(ForeignLease){0}, ttl_ms, now_ns);
    if (slot && lease_verdict_grants(*verdict_out))
        atomic_store(&slot->epoch, keeper->epoch);
    return TRUE;
}

static LeaseVerdict acquire(Keeper *keeper, Session *session, KeeperSlot *slot, gint64 ttl_ms,
                            gboolean in_turn)
{
    LeaseVerdict verdict;

    if (!decide(keeper, session, slot, ttl_ms, NULL, &verdict)) {
        g_auto(ForeignLease) foreign = {0};

        if (!in_turn)
            keeper_serve_queue(keeper);
        keeper_look_at_foreign(keeper, &foreign);
        decide(keeper, session, slot, ttl_ms, &foreign, &verdict);
    }
    if (lease_verdict_grants(verdict) && verdict != LEASE_GRANT_SAME)
        keeper_note_epoch(keeper);
    return verdict;
}

KeeperSlot *keeper_begin(Keeper *keeper, Session *session)
{
    KeeperSlot *slot = this_threads_slot(keeper);

    if (G_LIKELY(begin_fast(keeper, slot, session, keeper_now(keeper))))
        return slot;
    if (!lease_verdict_grants(acquire(keeper, session, slot, -1, FALSE)))
        return NULL;
    return slot;
}

void keeper_end(Keeper *keeper, KeeperSlot *slot)
{
    atomic_store_explicit(&keeper->renewed_ns, keeper_now(keeper), memory_order_relaxed);
    atomic_store(&slot->epoch, 0);
}

guint64 keeper_slot_epoch(const KeeperSlot *slot)
{
    return atomic_load_explicit(&slot->epoch, memory_order_relaxed);
}

LeaseVerdict keeper_acquire(Keeper *keeper, Session *session, gint64 ttl_ms)
{
    return acquire(keeper, session, NULL, ttl_ms, FALSE);
}

LeaseVerdict keeper_acquire_in_turn(Keeper *keeper, Session *session, gint64 ttl_ms)
{
    return acquire(keeper, session, NULL, ttl_ms, TRUE);
}

gboolean keeper_permits(Keeper *keeper, Session *session)
{
    g_auto(ForeignLease) foreign = {0};

    if (session && atomic_load(&keeper->open_epoch) != 0 &&
        atomic_load(&keeper->holder_serial) == session_serial(session) &&
        keeper_now(keeper) - atomic_load(&keeper->renewed_ns) <= atomic_load(&keeper->ttl_ns))
        return TRUE;
    if (record_matters(keeper))
        keeper_look_at_foreign(keeper, &foreign);

    MUTEX_GUARD(&keeper->lock);
    gint64 now_ns = keeper_now(keeper);
    LeaseFacts facts;

    keeper_facts_locked(keeper, now_ns, &facts);
    if (!lease_verdict_grants(lease_judge(&facts, session && keeper->holder == session)))
        return FALSE;
    if (session && keeper->holder == session && keeper->draining && is_promised_locked(keeper))
        return FALSE;
    return !record_matters_locked(keeper, now_ns) ||
           !foreign_refuses(keeper, &foreign, session, now_ns);
}

Session *keeper_holder(Keeper *keeper)
{
    MUTEX_GUARD(&keeper->lock);

    return keeper->holder ? session_ref(keeper->holder) : NULL;
}

gboolean keeper_refresh(Keeper *keeper, Session *session)
{
    gboolean holds;

    mutex_lock(&keeper->lock);
    holds = keeper->holder == session && !keeper->draining;
    mutex_unlock(&keeper->lock);
    return holds && keeper_acquire(keeper, session, -1) == LEASE_GRANT_SAME;
}

KeeperRelease keeper_release(Keeper *keeper, Session *session)
{
    g_auto(ForeignLease) foreign = {0};

    if (record_matters(keeper))
        keeper_look_at_foreign(keeper, &foreign);

    MUTEX_GUARD(&keeper->lock);

    if (!keeper->holder)
        return foreign_refuses(keeper, &foreign, session, keeper_now(keeper))
                   ? KEEPER_RELEASE_NOT_HOLDER
                   : KEEPER_RELEASE_DONE;
    if (keeper->holder != session)
        return KEEPER_RELEASE_NOT_HOLDER;
    /* The door stays open for what is to be written back. */
    if (keeper->hooks.may_be_dirty(keeper->hooks.data, session) || !keeper_drain_locked(keeper)) {
        keeper->releasing = TRUE;
        keeper->releasing_ns = keeper_now(keeper);
        keeper_wake(keeper);
        return KEEPER_RELEASE_PENDING;
    }
    tell_ending_locked(keeper, KEEPER_EVENT_RELEASED);
    keeper_end_tenure_locked(keeper);
    return KEEPER_RELEASE_DONE;
}

void keeper_complete_hand_on_locked(Keeper *keeper)
{
    g_autoptr(Session) heir = g_steal_pointer(&keeper->heir);
    g_autofree char *from_id = session_dup_id(keeper->holder);
    g_autofree char *heir_id = session_dup_id(heir);

    keeper_begin_tenure_locked(keeper, heir, atomic_load(&keeper->ttl_ns) / NS_PER_MS,
                               keeper_now(keeper));
    keeper_tell_locked(keeper, KEEPER_EVENT_HANDED_ON, heir_id, from_id, NULL);
}

void keeper_forget_heir_locked(Keeper *keeper)
{
    g_clear_pointer(&keeper->heir, session_unref);
    if (keeper->releasing)
        return;
    keeper->draining = FALSE;
    atomic_store(&keeper->open_epoch, keeper->epoch);
}

static KeeperRelease hand_on_locked(Keeper *keeper, Session *from, Session *to)
{
    if (!keeper->holder || keeper->holder != from || from == to)
        return KEEPER_RELEASE_NOT_HOLDER;
    g_clear_pointer(&keeper->heir, session_unref);
    keeper->heir = session_ref(to);
    if (!keeper_drain_locked(keeper)) {
        keeper_wake(keeper);
        return KEEPER_RELEASE_PENDING;
    }
    keeper_complete_hand_on_locked(keeper);
    return KEEPER_RELEASE_DONE;
}

KeeperRelease keeper_hand_on(Keeper *keeper, Session *from, Session *to)
{
    KeeperRelease result;

    mutex_lock(&keeper->lock);
    result = hand_on_locked(keeper, from, to);
    mutex_unlock(&keeper->lock);
    if (result == KEEPER_RELEASE_DONE)
        keeper_note_epoch(keeper);
    return result;
}

Keeper *keeper_new(const KeeperOptions *options, Store *store, Clock *clock, SessionTable *sessions,
                   ProcessTable *processes, const HostIdentity *host, const KeeperHooks *hooks)
{
    Keeper *keeper = g_aligned_alloc0(1, sizeof *keeper, KEEPER_CACHE_LINE);
    pthread_condattr_t monotonic;

    keeper->workspace = g_strdup(options->workspace);
    keeper->default_ttl_ms = options->ttl_ms;
    keeper->ttl_ns = options->ttl_ms * NS_PER_MS;
    keeper->store = store;
    keeper->clock = clock;
    keeper->sessions = sessions;
    keeper->processes = processes;
    keeper->host = host;
    keeper->hooks = *hooks;
    keeper->slots = g_ptr_array_new();
    keeper->blocked = g_hash_table_new(NULL, NULL);
    keeper->next_sequence = 1;
    g_queue_init(&keeper->queue);
    g_queue_init(&keeper->events);
    mutex_init(&keeper->lock);
    mutex_init(&keeper->epoch_lock);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->writer_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_key_create(&keeper->slot_key, slot_thread_ended) != 0)
        g_error("no thread-specific key left"); /* PTHREAD_KEYS_MAX: a keeper is made once */
    return keeper;
}

void keeper_free(Keeper *keeper)
{
    if (!keeper)
        return;
    g_assert(!keeper->writer);
    pthread_key_delete(keeper->slot_key);
    g_clear_pointer(&keeper->holder, session_unref);
    g_clear_pointer(&keeper->heir, session_unref);
    g_queue_clear_full(&keeper->queue, (GDestroyNotify)waiter_free);
    g_queue_clear_full(&keeper->events, (GDestroyNotify)keeper_event_free);
    g_hash_table_unref(keeper->blocked);
    g_ptr_array_unref(keeper->slots);
    store_free(keeper->store);
    g_free(keeper->saved_text);
    g_free(keeper->first_seen_text);
    g_free(keeper->degraded);
    g_free(keeper->workspace);
    mutex_clear(&keeper->lock);
    mutex_clear(&keeper->epoch_lock);
    pthread_cond_destroy(&keeper->writer_cond);
    g_aligned_free(keeper);
}

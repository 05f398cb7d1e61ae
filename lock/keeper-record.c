/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-private.h"
#include <gio/gio.h>
#include <string.h>

#define NS_PER_MS          G_GINT64_CONSTANT(1000000)
#define PERSIST_MAX_LAG_MS 1000
#define RETRY_MS           1000
#define STALE_LOOK_MS      5000
#define LOOK_TRIES         3

void foreign_lease_clear(ForeignLease *foreign)
{
    g_clear_pointer(&foreign->session_id, g_free);
}

/* From wall-clock time left to a monotonic moment; nothing counts longer than its TTL. */
static gint64 fresh_until_ns(gint64 now_ns, gint64 age_ms, gint64 ttl_ms)
{
    gint64 left_ms = CLAMP(ttl_ms - age_ms, -1, ttl_ms);

    return now_ns + left_ms * NS_PER_MS;
}

/* A record acquired in the future counts from when it was first seen, also once the clock has come
 * up to it: a clock that was set back must not keep the workspace for years. */
static gint64 foreign_until_ns(Keeper *keeper, const char *text, gint64 age_ms, gint64 ttl_ms,
                               gint64 now_ns)
{
    MUTEX_GUARD(&keeper->lock);
    gint64 until_ns = age_ms < 0 ? G_MAXINT64 : fresh_until_ns(now_ns, age_ms, ttl_ms);
    gboolean known = g_strcmp0(keeper->first_seen_text, text) == 0;

    if (age_ms < 0 && !known) {
        g_free(keeper->first_seen_text);
        keeper->first_seen_text = g_strdup(text);
        keeper->first_seen_ns = now_ns;
    }
    if (age_ms < 0 || known)
        until_ns = MIN(until_ns, keeper->first_seen_ns + ttl_ms * NS_PER_MS);
    return until_ns;
}

static void judge_foreign(Keeper *keeper, const char *text, LeaseRecord *record,
                          ForeignLease *foreign_out)
{
    gint64 now_ns = keeper_now(keeper);
    gint64 age_ms = keeper->clock->wall_ms(keeper->clock) - record->acquired_at_ms;
    gint64 ttl_ms = record->ttl_ms >= 0 ? record->ttl_ms : keeper->default_ttl_ms;

    *foreign_out = (ForeignLease){
        .held = TRUE,
        .session_id = g_steal_pointer(&record->session_id),
        .pid = record->pid,
        .ttl_ms = ttl_ms,
        .acquired_at_ms = record->acquired_at_ms,
        .until_ns = foreign_until_ns(keeper, text, age_ms, ttl_ms, now_ns),
    };
    foreign_out->held = foreign_out->until_ns >= now_ns;
}

static void hold_for_unknown(Keeper *keeper, gint64 until_ns, ForeignLease *foreign_out)
{
    *foreign_out = (ForeignLease){
        .held = until_ns >= keeper_now(keeper),
        .unknown = TRUE,
        .until_ns = until_ns,
        .session_id = g_strdup("unknown"),
        .ttl_ms = keeper->default_ttl_ms,
    };
}

/* FALSE where another record stands there by now: that one is to be looked at. */
static gboolean move_aside(Keeper *keeper, const char *why)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *moved_to = NULL;
    g_autofree char *detail = NULL;

    if (keeper->store->ops->set_aside(keeper->store, &moved_to, &error))
        detail = g_strdup_printf("%s; moved to %s", why, moved_to);
    else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_BUSY) ||
             g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        return FALSE;
    else
        detail = g_strdup_printf("%s; cannot move it aside: %s", why, error->message);
    keeper_report(keeper, KEEPER_EVENT_UNREADABLE, NULL, NULL, detail);
    return TRUE;
}

/* Moves the record aside and lets it count until one TTL after its mtime. FALSE as above. */
static gboolean set_unreadable_aside(Keeper *keeper, gint64 mtime_ms, const char *why,
                                     ForeignLease *foreign_out)
{
    gint64 now_ns = keeper_now(keeper);
    gint64 age_ms = MAX(keeper->clock->wall_ms(keeper->clock) - mtime_ms, 0);
    gint64 until_ns = fresh_until_ns(now_ns, age_ms, keeper->default_ttl_ms);

    if (!move_aside(keeper, why))
        return FALSE;
    mutex_lock(&keeper->lock);
    keeper->unknown_until_ns = MAX(keeper->unknown_until_ns, until_ns);
    mutex_unlock(&keeper->lock);
    hold_for_unknown(keeper, until_ns, foreign_out);
    return TRUE;
}

/* What memory wrote itself says nothing new. */
static gboolean is_ours(Keeper *keeper, const char *text)
{
    MUTEX_GUARD(&keeper->lock);

    return g_strcmp0(keeper->saved_text, text) == 0;
}

/* A record of leasefs's own form is this daemon's, perhaps one that the writer thread has just put
 * in place and not yet noted; or that of an earlier one, which was taken in at the start. Only one
 * of another pid namespace is another's: there only the TTL counts. */
static gboolean is_anothers(Keeper *keeper, const LeaseRecord *record)
{
    return !record->is_own || (strcmp(record->boot_id, keeper->host->boot_id) == 0 &&
                               record->pid_ns != keeper->host->pid_ns);
}

/* FALSE where the record changed under the look. */
static gboolean look_once(Keeper *keeper, ForeignLease *foreign_out)
{
    g_auto(LeaseRecord) record = {0};
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gint64 mtime_ms;
    gsize size;

    /* A store that cannot be read never locks anyone out: memory decides alone. */
    if (!keeper->store->ops->load(keeper->store, &text, &size, &mtime_ms, &error) || !text)
        return TRUE;
    if (is_ours(keeper, text))
        return TRUE;
    if (!lease_record_parse(text, size, &record, &error))
        return set_unreadable_aside(keeper, mtime_ms, error->message, foreign_out);
    if (is_anothers(keeper, &record) && !lease_record_is_free(&record))
        judge_foreign(keeper, text, &record, foreign_out);
    return TRUE;
}

/* What could not be read at the start is asked for again before a tenure begins: epochs never go
 * back. */
static void learn_epoch(Keeper *keeper)
{
    gboolean unknown;
    guint64 noted;

    mutex_lock(&keeper->lock);
    unknown = keeper->epoch_unknown;
    mutex_unlock(&keeper->lock);
    if (!unknown || !keeper->store->ops->load_epoch(keeper->store, &noted, NULL))
        return;
    mutex_lock(&keeper->lock);
    keeper->epoch_unknown = FALSE;
    keeper->least_epoch = noted;
    mutex_unlock(&keeper->lock);
}

void keeper_look_at_foreign(Keeper *keeper, ForeignLease *foreign_out)
{
    gint64 unknown_until_ns;

    *foreign_out = (ForeignLease){0};
    learn_epoch(keeper);
    mutex_lock(&keeper->lock);
    unknown_until_ns = keeper->unknown_until_ns;
    mutex_unlock(&keeper->lock);
    if (unknown_until_ns >= keeper_now(keeper) && unknown_until_ns != 0) {
        hold_for_unknown(keeper, unknown_until_ns, foreign_out);
        return;
    }
    for (int tries = 0; tries < LOOK_TRIES && !look_once(keeper, foreign_out); tries++)
        ;
}

static void degrade(Keeper *keeper, const char *why)
{
    MUTEX_GUARD(&keeper->lock);

    if (!keeper->degraded)
        keeper_tell_locked(keeper, KEEPER_EVENT_DEGRADED, NULL, NULL, why);
    g_free(keeper->degraded);
    keeper->degraded = g_strdup(why);
}

/* A record of ours, of this boot and pid namespace: the tenure goes on where it stood. */
static void resume_tenure(Keeper *keeper, const LeaseRecord *record, gboolean same_boot)
{
    /* A pid of another boot names nobody who lives. */
    ProcessId root = {.pid = same_boot ? record->pid : 0,
                      .start_time = same_boot ? record->pid_start : 0};
    g_autoptr(Session) holder =
        session_table_adopt(keeper->sessions, record->session_id, &root, record->comm);
    gint64 now_ns = keeper_now(keeper);
    gint64 ttl_ms = record->ttl_ms > 0 ? record->ttl_ms : keeper->default_ttl_ms;

    mutex_lock(&keeper->lock);
    keeper->holder = g_steal_pointer(&holder);
    keeper->since_ms = record->since_ms;
    atomic_store(&keeper->ttl_ns, ttl_ms * NS_PER_MS);
    atomic_store(&keeper->renewed_ns, same_boot ? MIN(record->mono_ns, now_ns) : 0);
    atomic_store(&keeper->holder_serial, session_serial(keeper->holder));
    if (!session_has_ended(keeper->holder))
        atomic_store(&keeper->open_epoch, keeper->epoch);
    mutex_unlock(&keeper->lock);
}

static void load_record(Keeper *keeper, guint64 noted_epoch)
{
    g_auto(LeaseRecord) record = {0};
    g_auto(ForeignLease) foreign = {0};
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gint64 mtime_ms;
    gsize size;

    keeper->epoch = noted_epoch;
    if (!keeper->store->ops->load(keeper->store, &text, &size, &mtime_ms, &error)) {
        degrade(keeper, error->message);
        return;
    }
    if (!text)
        return;
    if (!lease_record_parse(text, size, &record, &error)) {
        set_unreadable_aside(keeper, mtime_ms, error->message, &foreign);
        return;
    }
    if (!record.is_own) /* looked at again whenever it matters */
        return;
    keeper->epoch = MAX(record.epoch, noted_epoch);
    if (lease_record_is_free(&record)) {
        keeper->saved_text = g_steal_pointer(&text);
        return;
    }
    /* A tenure began after this record was written, and nobody knows whose: its handles died with
     * the daemon, so the lease is free. */
    if (record.epoch < noted_epoch) {
        keeper->saved_text = g_steal_pointer(&text);
        return;
    }
    if (strcmp(record.boot_id, keeper->host->boot_id) != 0)
        resume_tenure(keeper, &record, FALSE);
    else if (record.pid_ns == keeper->host->pid_ns)
        resume_tenure(keeper, &record, TRUE);
    else
        return; /* another pid namespace: like another tool's, only its TTL counts */
    keeper->saved_text = g_steal_pointer(&text);
}

void keeper_load(Keeper *keeper)
{
    g_autoptr(GError) error = NULL;
    guint64 noted = 0;

    if (!keeper->store->ops->load_epoch(keeper->store, &noted, &error)) {
        keeper->epoch_unknown = TRUE;
        degrade(keeper, error->message);
    }
    keeper->noted_epoch = noted;
    load_record(keeper, noted);
}

/* What the record has to say now. */
static char *format_record_locked(Keeper *keeper)
{
    gint64 now_ns = keeper_now(keeper);
    gint64 wall_ms = keeper->clock->wall_ms(keeper->clock);
    gint64 renewed_ns = atomic_load(&keeper->renewed_ns);
    ProcessId root = {0};
    g_auto(LeaseRecord) record = {
        .session_id = keeper->holder ? session_dup_id(keeper->holder) : g_strdup(""),
        .is_own = TRUE,
        .acquired_at_ms = wall_ms,
        .epoch = keeper->epoch,
        .since_ms = keeper->since_ms,
        .pid_ns = keeper->host->pid_ns,
        .boot_id = g_strdup(keeper->host->boot_id),
        .host = g_strdup(keeper->host->host),
        .comm = g_strdup(keeper->holder ? session_comm(keeper->holder) : ""),
        .workspace = g_strdup(keeper->workspace),
        .mono_ns = renewed_ns,
    };

    if (keeper->holder) {
        session_get_root(keeper->holder, &root);
        record.pid = root.pid;
        record.pid_start = root.start_time;
        record.acquired_at_ms -= (now_ns - renewed_ns) / NS_PER_MS;
        record.ttl_ms = atomic_load(&keeper->ttl_ns) / NS_PER_MS;
    }
    return lease_record_format(&record);
}

/* The record says already what it would be told: a renewal is the only thing that moves without
 * `dirty`. A free lease is written once. */
static gboolean record_is_due_locked(Keeper *keeper, gint64 written_renewal_ns)
{
    return keeper->dirty ||
           (keeper->holder && atomic_load(&keeper->renewed_ns) != written_renewal_ns);
}

static void note_failure(Keeper *keeper, const char *why)
{
    degrade(keeper, why);
    mutex_lock(&keeper->lock);
    keeper->dirty = TRUE;
    mutex_unlock(&keeper->lock);
}

static void note_save(Keeper *keeper, const char *text)
{
    MUTEX_GUARD(&keeper->lock);

    g_free(keeper->saved_text);
    keeper->saved_text = g_strdup(text);
    if (keeper->degraded)
        keeper_tell_locked(keeper, KEEPER_EVENT_RECOVERED, NULL, NULL, NULL);
    g_clear_pointer(&keeper->degraded, g_free);
}

/* Told once in a tenure, and only of a record that is fresh: what stood there before is no rival.
 */
static void tell_overwritten(Keeper *keeper, LeaseRecord *record, const char *text)
{
    g_auto(ForeignLease) foreign = {0};
    g_autofree char *detail = g_strdup_printf("pid %d", (int)record->pid);

    judge_foreign(keeper, text, record, &foreign);
    mutex_lock(&keeper->lock);
    if (foreign.held && keeper->overwritten_epoch != keeper->epoch) {
        keeper->overwritten_epoch = keeper->epoch;
        keeper_tell_locked(keeper, KEEPER_EVENT_FOREIGN_OVERWRITTEN, NULL, foreign.session_id,
                           detail);
    }
    mutex_unlock(&keeper->lock);
}

/* Another tool wrote over the record of a lease that memory holds: it is told, and loses, and what
 * nobody understands is kept aside. While memory holds nothing that is fresh, its record stands and
 * is not written over. */
static gboolean yields_to_foreign(Keeper *keeper, gboolean held)
{
    g_auto(LeaseRecord) record = {0};
    g_auto(ForeignLease) foreign = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gint64 mtime_ms;
    gsize size;

    if (!keeper->store->ops->load(keeper->store, &text, &size, &mtime_ms, NULL) || !text ||
        is_ours(keeper, text))
        return FALSE;
    if (!lease_record_parse(text, size, &record, &error)) {
        if (!held)
            return !set_unreadable_aside(keeper, mtime_ms, error->message, &foreign);
        move_aside(keeper, error->message);
        return FALSE;
    }
    if (record.is_own || lease_record_is_free(&record))
        return FALSE;
    if (held)
        tell_overwritten(keeper, &record, text);
    return !held;
}

static gboolean persist_if_due(Keeper *keeper, gint64 *written_renewal_ns)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gboolean held, saved;
    LeaseState state;

    mutex_lock(&keeper->lock);
    if (!record_is_due_locked(keeper, *written_renewal_ns)) {
        mutex_unlock(&keeper->lock);
        return FALSE;
    }
    keeper->dirty = FALSE;
    *written_renewal_ns = atomic_load(&keeper->renewed_ns);
    state = keeper_state_locked(keeper, keeper_now(keeper));
    held = state == LEASE_FRESH || state == LEASE_EXPIRING;
    text = format_record_locked(keeper);
    mutex_unlock(&keeper->lock);

    if (yields_to_foreign(keeper, held))
        return FALSE;
    saved = keeper->store->ops->save(keeper->store, text, &error);
    if (saved)
        note_save(keeper, text);
    else
        note_failure(keeper, error->message);
    return saved;
}

gboolean keeper_persist(Keeper *keeper)
{
    gint64 written_ns = -1;

    return persist_if_due(keeper, &written_ns);
}

static void wait_for_ms_locked(Keeper *keeper, gint64 ms)
{
    gint64 end_us = g_get_monotonic_time() + ms * 1000;
    struct timespec end = {.tv_sec = end_us / G_USEC_PER_SEC,
                           .tv_nsec = end_us % G_USEC_PER_SEC * 1000};

    pthread_cond_timedwait(&keeper->writer_cond, &keeper->lock, &end);
}

/* Waits until the record may be due again. A renewal signals nobody, which would cost each change
 * a system call: while the lease is held the thread looks itself. While it is stale the slow path
 * signals; the time limit heals a renewal that slipped in beside the look. */
static void wait_until_due_locked(Keeper *keeper)
{
    gint64 lag_ms = MIN(PERSIST_MAX_LAG_MS, atomic_load(&keeper->ttl_ns) / NS_PER_MS / 10);
    LeaseState state = keeper_state_locked(keeper, keeper_now(keeper));

    if (keeper->stopping)
        return;
    if (keeper->degraded) {
        gint64 end_us = g_get_monotonic_time() + RETRY_MS * 1000;

        /* a signal for each change of tenure must not become a retry for each */
        while (!keeper->stopping && g_get_monotonic_time() < end_us)
            wait_for_ms_locked(keeper, MAX((end_us - g_get_monotonic_time()) / 1000, 1));
        return;
    }
    if (keeper->dirty)
        return;
    if (state == LEASE_FREE)
        pthread_cond_wait(&keeper->writer_cond, &keeper->lock);
    else
        wait_for_ms_locked(keeper, state == LEASE_FRESH ? MAX(lag_ms, 1) : STALE_LOOK_MS);
}

static void *writer_main(void *data)
{
    Keeper *keeper = data;
    gint64 written_ns = atomic_load(&keeper->renewed_ns);
    gboolean stopping = FALSE;

    while (!stopping) {
        persist_if_due(keeper, &written_ns);
        mutex_lock(&keeper->lock);
        wait_until_due_locked(keeper);
        stopping = keeper->stopping;
        mutex_unlock(&keeper->lock);
    }
    return NULL;
}

void keeper_start(Keeper *keeper)
{
    g_assert(!keeper->writer);
    keeper->writer = g_thread_new("leasefs-record", writer_main, keeper);
}

void keeper_stop(Keeper *keeper, gboolean release)
{
    if (keeper->writer) {
        mutex_lock(&keeper->lock);
        keeper->stopping = TRUE;
        pthread_cond_signal(&keeper->writer_cond);
        mutex_unlock(&keeper->lock);
        g_thread_join(g_steal_pointer(&keeper->writer));
    }
    mutex_lock(&keeper->lock);
    if (release && keeper->holder) {
        g_autofree char *id = session_dup_id(keeper->holder);

        keeper_end_tenure_locked(keeper);
        keeper_tell_locked(keeper, KEEPER_EVENT_RELEASED, id, NULL, "unmounted");
    }
    mutex_unlock(&keeper->lock);
    keeper_persist(keeper);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "status-text.h"
#include "options.h"
#include "print.h"
#include "session.h"

#include <string.h>

#define DAY_MS (24 * 60 * 60 * G_GINT64_CONSTANT(1000))

/* A long list hides what matters. */
#define ROWS_SHOWN 8u

const char *status_text_rule(const char *rule)
{
    static const struct {
        const char *word;
        SessionRule rule;
    } rules[] = {
        {"registered", SESSION_RULE_REGISTERED},
        {"terminal", SESSION_RULE_TERMINAL},
        {"outermost", SESSION_RULE_OUTERMOST},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (g_strcmp0(rule, rules[i].word) == 0)
            return session_rule_describe(rules[i].rule);
    }
    return "by an unknown rule";
}

/* `SESSION (pid 12, bash)`, without what is not known. */
static char *name_session(const char *session, gint64 pid, const char *comm)
{
    g_autofree char *clean_session = print_clean(session != NULL ? session : "unknown");
    g_autofree char *clean_comm = print_clean(comm);

    if (pid <= 0)
        return g_steal_pointer(&clean_session);
    if (clean_comm[0] == '\0')
        return g_strdup_printf("%s (pid %" G_GINT64_FORMAT ")", clean_session, pid);
    return g_strdup_printf("%s (pid %" G_GINT64_FORMAT ", %s)", clean_session, pid, clean_comm);
}

char *status_text_lease(const MountStatus *status)
{
    g_autofree char *holder = NULL;
    g_autofree char *left = NULL;
    const char *by = status->foreign ? "held through another tool's record by" : "held by";

    if (status->holder == NULL || strcmp(status->state, "free") == 0)
        return g_strdup("free, the next session that writes gets it");
    holder = mount_status_is_mine(status)
                 ? g_strdup_printf("you (%s)", status->session)
                 : name_session(status->holder, status->holder_pid, status->holder_comm);
    if (strcmp(status->state, "fresh") == 0) {
        left = duration_format(status->remaining_ms);
        return g_strdup_printf("%s %s, fresh for %s more", by, holder, left);
    }
    if (strcmp(status->state, "expiring") == 0)
        return g_strdup_printf("%s %s, past its time; its last changes are being written back", by,
                               holder);
    if (strcmp(status->state, "stale") == 0)
        return g_strdup_printf("%s %s, but stale: the next session that writes takes it over", by,
                               holder);
    if (strcmp(status->state, "orphaned") == 0)
        return g_strdup_printf("%s %s, which has ended: the next session that writes takes it over",
                               by, holder);
    return g_strdup_printf("%s %s (%s)", by, holder, status->state);
}

char *status_text_left(const MountStatus *status)
{
    return duration_format((status->remaining_ms + 999) / 1000 * 1000);
}

char *status_text_reason(const MountStatus *status)
{
    g_autofree char *lease = NULL;

    if (status->reason != NULL)
        return print_clean(status->reason);
    if (status->session == NULL && status->writable)
        return g_strdup("this process cannot be identified (it is in a pid namespace that the "
                        "daemon cannot see into); it may write, but hold no lease");
    if (status->session == NULL)
        return g_strdup("this process cannot be identified (it is in a pid namespace that the "
                        "daemon cannot see into); it can read, not write");
    if (mount_status_is_held_fast(status) && !mount_status_is_mine(status)) {
        lease = status_text_lease(status);
        return g_strdup_printf("%s; wait, or work read-only", lease);
    }
    return g_strdup("the mount does not say why; the files may be read-only");
}

static void append_asker(GString *text, const MountStatus *status)
{
    g_autofree char *session = print_clean(status->session);
    g_autofree char *reason = NULL;
    g_autofree char *quoted = NULL;

    if (status->session == NULL)
        g_string_append(text, "you are not identified: ");
    else
        g_string_append_printf(text, "you are %s (%s): ", session, status_text_rule(status->rule));
    if (status->writable) {
        g_string_append(text, "may write\n");
        return;
    }
    g_string_append(text, "may read, not write\n");
    reason = status_text_reason(status);
    g_string_append_printf(text, "  why:  %s\n", reason);
    if (status->session == NULL || status->holder == NULL)
        return;
    quoted = print_quote_path(status->mountpoint);
    g_string_append_printf(text,
                           "  next: leasefs acquire --wait %s   waits for its turn and takes the "
                           "lease;\n        or go on reading, which is never blocked\n",
                           quoted);
}

/* `14:02:11` today, else with the date. */
static char *format_time(gint64 time_ms, gint64 now_ms, GTimeZone *zone)
{
    g_autoptr(GDateTime) utc = g_date_time_new_from_unix_utc(time_ms / 1000);
    g_autoptr(GDateTime) local = utc != NULL ? g_date_time_to_timezone(utc, zone) : NULL;
    gboolean recent = now_ms - time_ms < DAY_MS && time_ms <= now_ms;
    char *text = NULL;

    if (local != NULL)
        text = g_date_time_format(local, recent ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S");
    return text != NULL ? text : g_strdup("unknown");
}

static void append_tenure(GString *text, const MountStatus *status, gint64 now_ms, GTimeZone *zone)
{
    g_autofree char *ttl = duration_format(status->ttl_ms);

    g_string_append(text, "lease: ");
    if (status->holder != NULL && status->since_ms > 0) {
        g_autofree char *since = format_time(status->since_ms, now_ms, zone);

        g_string_append_printf(text, "since %s, ", since);
    }
    g_string_append_printf(text, "epoch %" G_GINT64_FORMAT, status->epoch);
    if (status->ttl_ms > 0)
        g_string_append_printf(text, ", stale after %s without a change", ttl);
    g_string_append_c(text, '\n');
}

static void append_mount(GString *text, const MountStatus *status)
{
    g_autofree char *workspace = print_clean(status->workspace);
    g_autofree char *mountpoint = print_clean(status->mountpoint);

    if (status->in_place)
        g_string_append_printf(text, "mount: %s, in place", workspace);
    else
        g_string_append_printf(text, "mount: %s at %s", workspace, mountpoint);
    if (status->daemon_pid > 0)
        g_string_append_printf(text, ", daemon pid %" G_GINT64_FORMAT, status->daemon_pid);
    g_string_append_c(text, '\n');
    if (status->observe)
        g_string_append(text, "mode:  observe, nothing is refused, only logged\n");
}

static void append_more(GString *text, guint n)
{
    if (n > ROWS_SHOWN)
        g_string_append_printf(text, "  and %u more; all of them: leasefs status --json\n",
                               n - ROWS_SHOWN);
}

static void append_queue(GString *text, const MountStatus *status)
{
    if (status->queue->len == 0)
        return;
    g_string_append(text, "waiting:\n");
    for (guint i = 0; i < MIN(status->queue->len, ROWS_SHOWN); i++) {
        const StatusRow *row = &g_array_index(status->queue, StatusRow, i);
        g_autofree char *session = name_session(row->session, row->pid, NULL);

        g_string_append_printf(text, "  %u. %s\n", i + 1, session);
    }
    append_more(text, status->queue->len);
}

static void append_refused(GString *text, const MountStatus *status)
{
    guint n = 0;

    for (guint i = 0; i < status->sessions->len; i++) {
        const StatusRow *row = &g_array_index(status->sessions, StatusRow, i);
        g_autofree char *session = NULL;

        if (row->count == 0)
            continue;
        if (n++ == 0)
            g_string_append(text, "refused:\n");
        if (n > ROWS_SHOWN)
            continue;
        session = name_session(row->session, row->pid, row->comm);
        g_string_append_printf(text, "  %s, %" G_GINT64_FORMAT " %s\n", session, row->count,
                               row->count == 1 ? "change" : "changes");
    }
    append_more(text, n);
}

static void append_open_elsewhere(GString *text, const MountStatus *status)
{
    if (status->open_elsewhere->len == 0)
        return;
    g_string_append(text, "open for writing by others (late stores of theirs are refused):\n");
    for (guint i = 0; i < MIN(status->open_elsewhere->len, ROWS_SHOWN); i++) {
        const StatusRow *row = &g_array_index(status->open_elsewhere, StatusRow, i);
        g_autofree char *session = print_clean(row->session);

        g_string_append_printf(text, "  %s, %" G_GINT64_FORMAT " %s\n", session, row->count,
                               row->count == 1 ? "file" : "files");
    }
    append_more(text, status->open_elsewhere->len);
}

char *status_text_past(const char *comm, gint64 pid, const char *how)
{
    g_autofree char *clean_comm = print_clean(comm);
    g_autofree char *clean_how = print_clean(how);
    const char *why = clean_how;
    const char *mend = "end it, or start it again";

    if (strcmp(clean_how, "working directory") == 0) {
        why = "its working directory is from before";
        mend = "type there: cd \"$PWD\"";
    } else if (strcmp(clean_how, "other mount namespace") == 0) {
        why = "it is in another mount namespace";
        mend = "start it again from where the mount is seen";
    }
    return g_strdup_printf("%s (pid %" G_GINT64_FORMAT ") reaches the files past the mount: %s; %s",
                           clean_comm[0] != '\0' ? clean_comm : "a process", pid, why, mend);
}

static void append_past(GString *text, const MountStatus *status)
{
    for (guint i = 0; i < MIN(status->past->len, ROWS_SHOWN); i++) {
        const StatusRow *row = &g_array_index(status->past, StatusRow, i);
        g_autofree char *line = status_text_past(row->comm, row->pid, row->how);

        g_string_append_printf(text, "warning: %s\n", line);
    }
    append_more(text, status->past->len);
}

char *status_text_format(const MountStatus *status, gint64 now_ms, GTimeZone *zone)
{
    GString *text = g_string_new(NULL);
    g_autofree char *mountpoint = print_clean(status->mountpoint);
    g_autofree char *lease = status_text_lease(status);

    g_string_append_printf(text, "%s: %s\n", mountpoint, lease);
    append_asker(text, status);
    append_tenure(text, status, now_ms, zone);
    append_mount(text, status);
    append_queue(text, status);
    append_refused(text, status);
    append_open_elsewhere(text, status);
    append_past(text, status);
    if (status->degraded != NULL) {
        g_autofree char *degraded = print_clean(status->degraded);

        g_string_append_printf(text, "warning: degraded, the lease is kept in memory only: %s\n",
                               degraded);
    }
    return g_string_free(text, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inspect.h"
#include "warden.h"
#include "workers.h"
#include <errno.h>
#include <json-glib/json-glib.h>
#include <string.h>

/* An attribute holds 64 KiB (XATTR_SIZE_MAX): of each list as many, the newest, as surely fit. */
#define MAX_LISTED 100u

static char *to_text(JsonBuilder *builder)
{
    g_autoptr(JsonNode) root = json_builder_get_root(builder);

    return json_to_string(root, FALSE);
}

/* A path may hold any bytes, a JSON text only UTF-8. */
static void add_string(JsonBuilder *builder, const char *name, const char *value)
{
    g_autofree char *valid = value ? g_utf8_make_valid(value, -1) : NULL;

    json_builder_set_member_name(builder, name);
    if (valid)
        json_builder_add_string_value(builder, valid);
    else
        json_builder_add_null_value(builder);
}

static void add_int(JsonBuilder *builder, const char *name, gint64 value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, value);
}

static void add_int_or_null(JsonBuilder *builder, const char *name, gint64 value, gboolean given)
{
    json_builder_set_member_name(builder, name);
    if (given)
        json_builder_add_int_value(builder, value);
    else
        json_builder_add_null_value(builder);
}

static void add_bool(JsonBuilder *builder, const char *name, gboolean value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_boolean_value(builder, value);
}

/* The sentence for whoever is refused: who, for how long, and what to do. */
static char *describe_reason(Fs *fs, const KeeperView *view, Session *session)
{
    g_autofree char *left = duration_format(MAX(view->remaining_ms, 0));
    g_autofree char *who = NULL;

    /* Waiting is no use to it, whoever holds the lease. */
    if (!view->holder || (!session && !fs->options->unknown_allowed))
        return g_strdup("this process cannot be identified; work read-only");
    if (view->holder_pid > 0 && view->holder_comm && view->holder_comm[0])
        who = g_strdup_printf("%s (pid %d, %s)", view->holder, (int)view->holder_pid,
                              view->holder_comm);
    else if (view->holder_pid > 0)
        who = g_strdup_printf("%s (pid %d)", view->holder, (int)view->holder_pid);
    else
        who = g_strdup_printf("%s session", view->holder);
    return g_strdup_printf("held by %s for %s more; wait, or work read-only", who, left);
}

static const char *rule_name(Session *session)
{
    switch (session_rule(session)) {
    case SESSION_RULE_REGISTERED:
        return "registered";
    case SESSION_RULE_TERMINAL:
        return "terminal";
    default:
        return "outermost";
    }
}

static const char *cache_name(Fs *fs)
{
    if (fs->options->cache == CACHE_NEVER)
        return "none";
    return atomic_load(&fs->cache_long) ? "long" : "short";
}

static void add_mount(JsonBuilder *builder, Fs *fs)
{
    add_string(builder, "version", LEASEFS_VERSION);
    add_string(builder, "workspace", fs->workspace);
    add_string(builder, "mountpoint", fs->mountpoint);
    add_bool(builder, "in_place", fs->in_place);
    add_int(builder, "daemon_pid", getpid());
    add_int(builder, "daemon_pid_ns", (gint64)fs->pid_ns);
    add_int(builder, "daemon_uid", fs->uid);
    add_string(builder, "mode", fs->options->mode == GUARD_OBSERVE ? "observe" : "enforce");
    add_string(builder, "cache", cache_name(fs));
    add_string(builder, "state_dir", fs->state_dir);
}

static void add_lease(JsonBuilder *builder, const KeeperView *view)
{
    gboolean held = view->holder != NULL;

    add_string(builder, "state", lease_state_name(view->state));
    add_string(builder, "holder", view->holder);
    add_int_or_null(builder, "holder_pid", view->holder_pid, held && view->holder_pid > 0);
    add_string(builder, "holder_comm", held ? view->holder_comm : NULL);
    add_bool(builder, "foreign", view->foreign);
    add_int(builder, "epoch", (gint64)view->epoch);
    add_int(builder, "ttl_ms", view->ttl_ms);
    add_int_or_null(builder, "since_ms", view->since_ms, held);
    add_int_or_null(builder, "expires_ms", view->expires_ms, held);
    add_int_or_null(builder, "remaining_ms", view->remaining_ms, held);
    add_string(builder, "degraded", view->degraded);
}

static void add_asker(JsonBuilder *builder, Session *session, gboolean writable, const char *reason)
{
    g_autofree char *id = session ? session_dup_id(session) : NULL;
    ProcessId root = {0};

    if (session)
        session_get_root(session, &root);
    add_string(builder, "session", id);
    add_string(builder, "session_rule", session ? rule_name(session) : NULL);
    add_int_or_null(builder, "session_root_pid", root.pid, session != NULL);
    add_string(builder, "session_root_comm", session ? session_comm(session) : NULL);
    add_bool(builder, "writable", writable);
    add_string(builder, "reason", writable ? NULL : reason);
}

static void add_past(JsonBuilder *builder, Fs *fs)
{
    g_autoptr(GPtrArray) past = warden_list_past(fs->warden);

    json_builder_set_member_name(builder, "bypass");
    json_builder_begin_array(builder);
    for (guint i = 0; i < MIN(past->len, MAX_LISTED); i++) {
        const BypassProcess *process = g_ptr_array_index(past, i);

        json_builder_begin_object(builder);
        add_int(builder, "pid", process->id.pid);
        add_string(builder, "comm", process->comm);
        add_string(builder, "how", process->how);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

static void add_queue(JsonBuilder *builder, const KeeperView *view)
{
    json_builder_set_member_name(builder, "queue");
    json_builder_begin_array(builder);
    for (guint i = 0; i < MIN(view->waiters->len, MAX_LISTED); i++) {
        const KeeperWaiter *waiter = g_ptr_array_index(view->waiters, i);

        json_builder_begin_object(builder);
        add_string(builder, "session", waiter->session);
        add_int(builder, "pid", waiter->pid);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

static void add_sessions(JsonBuilder *builder, Fs *fs)
{
    g_autoptr(GPtrArray) sessions = session_table_list(fs->sessions);
    g_autoptr(Session) holder = keeper_holder(fs->keeper);

    json_builder_set_member_name(builder, "sessions");
    json_builder_begin_array(builder);
    for (guint i = sessions->len - MIN(sessions->len, MAX_LISTED); i < sessions->len; i++) {
        Session *session = g_ptr_array_index(sessions, i);
        g_autofree char *id = session_dup_id(session);
        ProcessId root;

        session_get_root(session, &root);
        json_builder_begin_object(builder);
        add_string(builder, "id", id);
        add_int(builder, "pid", root.pid);
        add_string(builder, "comm", session_comm(session));
        add_string(builder, "rule", rule_name(session));
        add_bool(builder, "holder", session == holder);
        add_int(builder, "refused", guard_refusals_of(fs->guard, session));
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

/* Sessions other than the holder with files open for reading and writing: their mappings' late
 * stores are what will be refused. */
static void add_open_elsewhere(JsonBuilder *builder, Fs *fs)
{
    g_autoptr(GArray) all = open_files_by_session(fs->open_files);
    g_autoptr(Session) holder = keeper_holder(fs->keeper);

    json_builder_set_member_name(builder, "open_elsewhere");
    json_builder_begin_array(builder);
    for (guint i = 0; holder && i < MIN(all->len, MAX_LISTED); i++) {
        const OpenFilesOf *of = &g_array_index(all, OpenFilesOf, i);
        g_autofree char *id = session_dup_id(of->session);

        if (of->session == holder)
            continue;
        json_builder_begin_object(builder);
        add_string(builder, "session", id);
        add_int(builder, "files", of->handles);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
}

static void add_counters(JsonBuilder *builder, Fs *fs)
{
    g_autoptr(GPtrArray) sessions = session_table_list(fs->sessions);
    GuardCounters counters;

    guard_read_counters(fs->guard, &counters);
    json_builder_set_member_name(builder, "counters");
    json_builder_begin_object(builder);
    add_int(builder, "requests", (gint64)workers_count_requests(fs->workers));
    add_int(builder, "changes", (gint64)counters.changes);
    add_int(builder, "refused", (gint64)counters.refused);
    add_int(builder, "fenced", (gint64)counters.fenced);
    add_int(builder, "lost_pages", (gint64)counters.stores_lost);
    add_int(builder, "passive", (gint64)counters.passive);
    add_int(builder, "shared", (gint64)counters.shared);
    add_int(builder, "nodes", node_table_count(fs->nodes));
    add_int(builder, "descriptors", node_table_fd_count(fs->nodes));
    add_int(builder, "sessions", sessions->len);
    add_int(builder, "processes", session_table_process_count(fs->sessions));
    json_builder_end_object(builder);
}

static char *build_status(Fs *fs, const KeeperView *view, Session *session, gboolean writable)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autofree char *reason = describe_reason(fs, view, session);

    json_builder_begin_object(builder);
    add_mount(builder, fs);
    add_lease(builder, view);
    add_asker(builder, session, writable, reason);
    add_past(builder, fs);
    add_queue(builder, view);
    add_sessions(builder, fs);
    add_open_elsewhere(builder, fs);
    add_counters(builder, fs);
    json_builder_end_object(builder);
    return to_text(builder);
}

static char *build_writer(Node *node)
{
    FileState *file = file_state_peek(node);
    g_autoptr(JsonBuilder) builder = NULL;
    FileWriter writer = {0};

    if (file)
        file_state_get_writer(file, &writer);
    if (!writer.session)
        return NULL;
    builder = json_builder_new();
    json_builder_begin_object(builder);
    add_string(builder, "session", writer.session);
    add_int(builder, "at_ms", writer.wall_ms);
    add_int_or_null(builder, "epoch", (gint64)writer.epoch, writer.epoch > 0);
    json_builder_end_object(builder);
    g_free(writer.session);
    return to_text(builder);
}

/* What is told of the lease alone. */
static char *lease_attribute(const KeeperView *view, const char *name)
{
    if (strcmp(name, "state") == 0)
        return g_strdup(lease_state_name(view->state));
    if (strcmp(name, "epoch") == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT, view->epoch);
    if (strcmp(name, "ttl_ms") == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT, view->ttl_ms);
    if (!view->holder)
        return NULL;
    if (strcmp(name, "holder") == 0)
        return g_strdup(view->holder);
    if (strcmp(name, "holder_pid") == 0 && view->holder_pid > 0)
        return g_strdup_printf("%d", (int)view->holder_pid);
    if (strcmp(name, "expires_ms") == 0)
        return g_strdup_printf("%" G_GINT64_FORMAT, view->expires_ms);
    return NULL;
}

char *inspect_attribute(Fs *fs, const Caller *caller, Node *node, const char *name, int *error_out)
{
    g_autoptr(Session) session = NULL;
    g_auto(KeeperView) view = {0};
    char *value = NULL;

    *error_out = ENODATA;
    if (strcmp(name, "writer") == 0)
        return build_writer(node);
    if (strcmp(name, "writable") == 0)
        return g_strdup(guard_permits_on(fs->guard, caller, node) ? "yes" : "no");
    session_table_resolve(fs->sessions, caller->tid, &session);
    if (strcmp(name, "session") == 0)
        return session ? session_dup_id(session) : NULL;
    keeper_view(fs->keeper, &view);
    if (strcmp(name, "status") == 0)
        value = build_status(fs, &view, session, guard_permits_on(fs->guard, caller, NULL));
    else if (strcmp(name, "reason") == 0)
        value =
            guard_permits_on(fs->guard, caller, NULL) ? NULL : describe_reason(fs, &view, session);
    else
        value = lease_attribute(&view, name);
    return value;
}

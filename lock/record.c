/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"

#include "json-text.h"

#include <string.h>

/* Largest ttl_ms that still fits when it is counted in nanoseconds: 146 years. */
#define TTL_MAX_MS ((G_GINT64_CONSTANT(1) << 62) / G_GINT64_CONSTANT(1000000))

#define WORKSPACE_HASH_LENGTH 12

G_DEFINE_QUARK(lease - record - error - quark, lease_record_error)

static gboolean fail_field(const char *name, const char *expected, GError **error)
{
    g_set_error(error, LEASE_RECORD_ERROR, LEASE_RECORD_ERROR_FIELD,
                "member %s of the lease record is not %s", name, expected);
    return FALSE;
}

static gboolean check_schema(JsonObject *object, GError **error)
{
    gint64 version;

    if (!json_text_get_integer(object, "schema_version", G_MININT64, G_MAXINT64, &version))
        return fail_field("schema_version", "an integer", error);
    if (version != LEASE_RECORD_SCHEMA) {
        g_set_error(error, LEASE_RECORD_ERROR, LEASE_RECORD_ERROR_SCHEMA,
                    "schema_version %" G_GINT64_FORMAT " of the lease record is not %d", version,
                    LEASE_RECORD_SCHEMA);
        return FALSE;
    }
    return TRUE;
}

/* What hook-based tools write. */
static gboolean read_shared(JsonObject *object, LeaseRecord *record, GError **error)
{
    const char *session_id = json_text_get_string(object, "session_id");
    gint64 pid = 0;

    if (session_id == NULL)
        return fail_field("session_id", "a string", error);
    if (json_text_has(object, "pid") && !json_text_get_integer(object, "pid", 0, G_MAXINT32, &pid))
        return fail_field("pid", "a process id", error);
    if (!json_text_get_integer(object, "acquired_at", 0, G_MAXINT64, &record->acquired_at_ms))
        return fail_field("acquired_at", "a time in Unix milliseconds", error);
    record->ttl_ms = -1;
    if (json_text_has(object, "ttl_ms") &&
        !json_text_get_integer(object, "ttl_ms", 0, TTL_MAX_MS, &record->ttl_ms))
        return fail_field("ttl_ms", "a usable duration in milliseconds", error);
    record->session_id = g_strdup(session_id);
    record->pid = (pid_t)pid;
    return TRUE;
}

static gboolean read_count(JsonObject *object, const char *name, guint64 *value_out)
{
    gint64 value;

    if (!json_text_get_integer(object, name, 0, G_MAXINT64, &value))
        return FALSE;
    *value_out = (guint64)value;
    return TRUE;
}

/* What leasefs adds. Only the whole of it proves anything: with one member missing or mistyped the
 * record was written, or written over, by another tool. */
static void read_own(JsonObject *object, LeaseRecord *record)
{
    LeaseRecord own = {0};
    const char *boot_id = json_text_get_string(object, "boot_id");
    const char *host = json_text_get_string(object, "host");
    const char *comm = json_text_get_string(object, "comm");
    const char *workspace = json_text_get_string(object, "workspace");

    if (boot_id == NULL || host == NULL || comm == NULL || workspace == NULL)
        return;
    if (!read_count(object, "epoch", &own.epoch) ||
        !json_text_get_integer(object, "since", 0, G_MAXINT64, &own.since_ms) ||
        !read_count(object, "pid_start", &own.pid_start) ||
        !read_count(object, "pid_ns", &own.pid_ns) ||
        !json_text_get_integer(object, "mono_ns", 0, G_MAXINT64, &own.mono_ns))
        return;
    record->is_own = TRUE;
    record->epoch = own.epoch;
    record->since_ms = own.since_ms;
    record->pid_start = own.pid_start;
    record->pid_ns = own.pid_ns;
    record->mono_ns = own.mono_ns;
    record->boot_id = g_strdup(boot_id);
    record->host = g_strdup(host);
    record->comm = g_strdup(comm);
    record->workspace = g_strdup(workspace);
}

gboolean lease_record_parse(const char *text, gsize size_bytes, LeaseRecord *record_out,
                            GError **error)
{
    g_autoptr(JsonObject) object = NULL;
    g_autoptr(GError) reason = NULL;
    LeaseRecord record = {0};

    object = json_text_parse(text, size_bytes, &reason);
    if (object == NULL) {
        g_set_error(error, LEASE_RECORD_ERROR, LEASE_RECORD_ERROR_SYNTAX,
                    "the lease record cannot be read: %s", reason->message);
        return FALSE;
    }
    if (!check_schema(object, error) || !read_shared(object, &record, error))
        return FALSE;
    read_own(object, &record);
    *record_out = record;
    return TRUE;
}

/* JSON is UTF-8, but paths need not be, and the kernel cuts a comm after 15 bytes, in the middle
 * of a character if it comes to that. */
static void add_string(JsonObject *object, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value != NULL ? value : "", -1);

    json_object_set_string_member(object, name, valid);
}

static void add_count(JsonObject *object, const char *name, guint64 value)
{
    json_object_set_int_member(object, name, (gint64)MIN(value, (guint64)G_MAXINT64));
}

char *lease_record_format(const LeaseRecord *record)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_object_set_int_member(object, "schema_version", LEASE_RECORD_SCHEMA);
    add_string(object, "session_id", record->session_id);
    json_object_set_int_member(object, "pid", record->pid);
    json_object_set_int_member(object, "acquired_at", record->acquired_at_ms);
    if (record->ttl_ms >= 0)
        json_object_set_int_member(object, "ttl_ms", record->ttl_ms);
    if (record->is_own) {
        add_count(object, "epoch", record->epoch);
        json_object_set_int_member(object, "since", record->since_ms);
        add_count(object, "pid_start", record->pid_start);
        add_count(object, "pid_ns", record->pid_ns);
        add_string(object, "boot_id", record->boot_id);
        add_string(object, "host", record->host);
        add_string(object, "comm", record->comm);
        add_string(object, "workspace", record->workspace);
        json_object_set_int_member(object, "mono_ns", record->mono_ns);
    }
    json_node_set_object(root, object);
    text = json_to_string(root, FALSE);
    return g_strconcat(text, "\n", NULL);
}

gboolean lease_record_is_free(const LeaseRecord *record)
{
    return record->session_id == NULL || record->session_id[0] == '\0';
}

void lease_record_clear(LeaseRecord *record)
{
    if (record == NULL)
        return;
    g_free(record->session_id);
    g_free(record->boot_id);
    g_free(record->host);
    g_free(record->comm);
    g_free(record->workspace);
    memset(record, 0, sizeof(*record));
}

char *lease_record_workspace_hash(const char *resolved_path)
{
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_MD5, resolved_path, -1);

    return g_strndup(digest, WORKSPACE_HASH_LENGTH);
}

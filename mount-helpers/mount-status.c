/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount-status.h"
#include "json-text.h"

#include <gio/gio.h>
#include <string.h>

static gboolean get_boolean(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == G_TYPE_BOOLEAN && json_node_get_boolean(node);
}

static gint64 get_integer(JsonObject *object, const char *name, gint64 otherwise)
{
    gint64 value = otherwise;

    json_text_get_integer(object, name, 0, G_MAXINT64, &value);
    return value;
}

static GArray *get_rows(JsonObject *object, const char *name)
{
    GArray *rows = g_array_new(FALSE, TRUE, sizeof(StatusRow));
    JsonNode *node = json_object_get_member(object, name);
    JsonArray *array;

    if (node == NULL || !JSON_NODE_HOLDS_ARRAY(node))
        return rows;
    array = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        StatusRow row = {0};
        JsonObject *entry;

        if (!JSON_NODE_HOLDS_OBJECT(element))
            continue;
        entry = json_node_get_object(element);
        row.session = json_text_get_string(entry, "session");
        if (row.session == NULL)
            row.session = json_text_get_string(entry, "id");
        row.comm = json_text_get_string(entry, "comm");
        row.how = json_text_get_string(entry, "how");
        row.pid = get_integer(entry, "pid", 0);
        row.count = get_integer(entry, "refused", get_integer(entry, "files", 0));
        row.holder = get_boolean(entry, "holder");
        g_array_append_val(rows, row);
    }
    return rows;
}

static void read_lease(JsonObject *object, MountStatus *status)
{
    status->state = json_text_get_string(object, "state");
    status->holder = json_text_get_string(object, "holder");
    status->holder_pid = get_integer(object, "holder_pid", 0);
    status->holder_comm = json_text_get_string(object, "holder_comm");
    status->foreign = get_boolean(object, "foreign");
    status->epoch = get_integer(object, "epoch", 0);
    status->ttl_ms = get_integer(object, "ttl_ms", 0);
    status->since_ms = get_integer(object, "since_ms", 0);
    status->expires_ms = get_integer(object, "expires_ms", 0);
    status->remaining_ms = get_integer(object, "remaining_ms", 0);
}

static void read_asker(JsonObject *object, MountStatus *status)
{
    status->session = json_text_get_string(object, "session");
    status->rule = json_text_get_string(object, "session_rule");
    status->root_pid = get_integer(object, "session_root_pid", 0);
    status->root_comm = json_text_get_string(object, "session_root_comm");
    status->writable = get_boolean(object, "writable");
    status->reason = json_text_get_string(object, "reason");
}

static void read_mount(JsonObject *object, MountStatus *status)
{
    status->workspace = json_text_get_string(object, "workspace");
    status->mountpoint = json_text_get_string(object, "mountpoint");
    status->in_place = get_boolean(object, "in_place");
    status->daemon_pid = get_integer(object, "daemon_pid", 0);
    status->daemon_pid_ns = get_integer(object, "daemon_pid_ns", 0);
    status->daemon_uid = get_integer(object, "daemon_uid", -1);
    status->observe = g_strcmp0(json_text_get_string(object, "mode"), "observe") == 0;
    status->degraded = json_text_get_string(object, "degraded");
    status->cache = json_text_get_string(object, "cache");
}

MountStatus *mount_status_parse(const char *text, gsize size_bytes, GError **error)
{
    static const char *const needed[] = {"workspace", "mountpoint", "state"};
    g_autoptr(MountStatus) status = g_new0(MountStatus, 1);

    status->document = json_text_parse(text, size_bytes, error);
    if (status->document == NULL)
        return NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (json_text_get_string(status->document, needed[i]) == NULL) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "`%s` is no text", needed[i]);
            return NULL;
        }
    }
    read_mount(status->document, status);
    read_lease(status->document, status);
    read_asker(status->document, status);
    status->past = get_rows(status->document, "bypass");
    status->queue = get_rows(status->document, "queue");
    status->sessions = get_rows(status->document, "sessions");
    status->open_elsewhere = get_rows(status->document, "open_elsewhere");
    return g_steal_pointer(&status);
}

void mount_status_free(MountStatus *status)
{
    if (status == NULL)
        return;
    g_clear_pointer(&status->past, g_array_unref);
    g_clear_pointer(&status->queue, g_array_unref);
    g_clear_pointer(&status->sessions, g_array_unref);
    g_clear_pointer(&status->open_elsewhere, g_array_unref);
    g_clear_pointer(&status->document, json_object_unref);
    g_free(status);
}

gboolean mount_status_is_mine(const MountStatus *status)
{
    return status->holder != NULL && g_strcmp0(status->holder, status->session) == 0;
}

gboolean mount_status_is_held_fast(const MountStatus *status)
{
    return strcmp(status->state, "fresh") == 0 || strcmp(status->state, "expiring") == 0;
}

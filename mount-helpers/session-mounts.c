/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-mounts.h"
#include "bounded.h"
#include "lease-wait.h"

#include <errno.h>
#include <gio/gio.h>
#include <unistd.h>

#define ANSWER_LIMIT_MS 2000
#define RETRY_MS        10
#define INHERIT_TRIES   50

/* In a process of its own: 0 where the mount is one to speak with. */
static int probe(gpointer data)
{
    const Client *client = data;
    g_autoptr(MountStatus) status = client_status(client, NULL, NULL);

    if (status == NULL)
        return 1;
    return status->daemon_uid == (gint64)geteuid() || status->daemon_uid == 0 ? 0 : 1;
}

GPtrArray *session_mounts_find(void)
{
    GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)client_free);
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);

    for (guint i = 0; mounts != NULL && i < mounts->len; i++) {
        g_autoptr(Client) client = client_new_for_mount(mounts->pdata[i]);

        if (bounded_call(probe, client, ANSWER_LIMIT_MS) == 0)
            g_ptr_array_add(found, g_steal_pointer(&client));
    }
    return found;
}

gboolean session_mount_tell(const Client *mount, const char *sessions_path, GError **error)
{
    g_autofree char *why = NULL;
    int code = client_control(mount, "sessions dir=%s", sessions_path);

    if (code == 0)
        return TRUE;
    why = lease_explain_errno(mount, code);
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(code),
                "registrations in %s are not taken: %s", sessions_path, why);
    return FALSE;
}

void session_mount_inherit(const Client *mount)
{
    /* EBUSY: a change of the other session is just on its way. */
    for (guint i = 0; i < INHERIT_TRIES && client_control(mount, "inherit") == EBUSY; i++)
        g_usleep(RETRY_MS * 1000);
}

void session_mount_release(const Client *mount, const char *name, int limit_ms)
{
    gint64 deadline_us = g_get_monotonic_time() + (gint64)limit_ms * 1000;

    if (client_control(mount, "release") != 0)
        return;
    while (g_get_monotonic_time() < deadline_us) {
        g_autofree char *holder = NULL;
        int code;

        holder = client_read(mount, "holder", &code);
        if (g_strcmp0(holder, name) != 0)
            return;
        g_usleep(RETRY_MS * 1000);
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease-wait.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define POLL_MS         50
#define LOOKS_PER_CHECK 20 /* a whole status is asked for once a second */

char *lease_explain_errno(const Client *client, int code)
{
    struct statvfs vfs;

    if (code == EROFS && statvfs(client->path, &vfs) == 0 && (vfs.f_flag & ST_RDONLY) != 0)
        return g_strdup_printf("the mount at %s is read-only; mount it again without -o ro",
                               client->mountpoint);
    if (code == EINVAL)
        return g_strdup_printf("the mount at %s does not understand the request; are the command "
                               "and the daemon of the same version?",
                               client->mountpoint);
    if (code == EPERM || code == EACCES)
        return g_strdup_printf("the mount at %s does not allow it to this process (%s)",
                               client->mountpoint, g_strerror(code));
    return g_strdup_printf("the mount at %s: %s", client->mountpoint, g_strerror(code));
}

static GString *format_claim(const char *verb, const LeaseClaim *claim)
{
    GString *message = g_string_new(verb);

    if (claim->ttl_ms >= 0)
        g_string_append_printf(message, " ttl_ms=%" G_GINT64_FORMAT, claim->ttl_ms);
    if (claim->pid != 0)
        g_string_append_printf(message, " pid=%d", (int)claim->pid);
    return message;
}

int lease_acquire(const Client *client, const LeaseClaim *claim)
{
    g_autoptr(GString) message = format_claim("acquire", claim);

    return client_control(client, "%s", message->str);
}

static int enqueue(const Client *client, const LeaseClaim *claim, gint64 deadline_us)
{
    g_autoptr(GString) message = format_claim("wait", claim);
    gint64 left_ms;

    if (deadline_us != G_MAXINT64) {
        left_ms = MAX((deadline_us - g_get_monotonic_time()) / 1000, 1);
        g_string_append_printf(message, " for_ms=%" G_GINT64_FORMAT, left_ms);
    }
    return client_control(client, "%s", message->str);
}

/* In another pid namespace than the daemon's this process does not know its pid there: then any
 * command of the session counts. */
static gboolean is_queued(const MountStatus *status, const LeaseClaim *claim)
{
    const char *session = claim->session != NULL ? claim->session : status->session;
    gboolean knows_pid = status->daemon_pid != 0;

    for (guint i = 0; i < status->queue->len; i++) {
        const StatusRow *row = &g_array_index(status->queue, StatusRow, i);

        if (knows_pid ? row->pid == getpid() : g_strcmp0(row->session, session) == 0)
            return TRUE;
    }
    return FALSE;
}

/* Until something has to be done: the lease came (TRUE in *mine_out), the place in the queue is
 * lost (a daemon that was started again knows no queue), time is over, or a signal. */
static gboolean watch_queue(const Client *client, const LeaseClaim *claim, gint64 deadline_us,
                            Signals *signals, int *signal_out, gboolean *mine_out, GError **error)
{
    g_autofree char *session = g_strdup(claim->session);

    for (guint look = 0;; look++) {
        gint64 left_ms = (deadline_us - g_get_monotonic_time()) / 1000;
        g_autofree char *holder = NULL;
        int code;

        *signal_out = signals_wait_end(signals, (int)CLAMP(left_ms, 1, POLL_MS));
        if (*signal_out != 0)
            return TRUE;
        holder = client_read(client, "holder", &code);
        if (look % LOOKS_PER_CHECK == 0 || g_get_monotonic_time() >= deadline_us ||
            (session != NULL && g_strcmp0(holder, session) == 0)) {
            g_autoptr(MountStatus) status = client_status(client, NULL, error);

            if (status == NULL)
                return FALSE;
            if (claim->session == NULL) {
                g_free(session);
                session = g_strdup(status->session);
            }
            *mine_out = session != NULL && g_strcmp0(status->holder, session) == 0;
            if (*mine_out || !is_queued(status, claim))
                return TRUE;
        }
        if (g_get_monotonic_time() >= deadline_us)
            return TRUE;
    }
}

LeaseWait lease_wait(const Client *client, const LeaseClaim *claim, gint64 for_ms, Signals *signals,
                     int *signal_out, GError **error)
{
    gint64 now_us = g_get_monotonic_time();
    gint64 deadline_us = G_MAXINT64;
    gboolean mine = FALSE;

    if (for_ms >= 0 && for_ms < (G_MAXINT64 - now_us) / 1000)
        deadline_us = now_us + for_ms * 1000;
    do {
        int code = enqueue(client, claim, deadline_us);

        if (code == 0)
            return LEASE_WAIT_GRANTED;
        if (code != EINPROGRESS) {
            g_autofree char *why = lease_explain_errno(client, code);

            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot wait for the lease: %s", why);
            return LEASE_WAIT_FAILED;
        }
        if (!watch_queue(client, claim, deadline_us, signals, signal_out, &mine, error))
            return LEASE_WAIT_FAILED;
        if (mine)
            return LEASE_WAIT_GRANTED;
        if (*signal_out != 0) {
            client_control(client, "unwait");
            return LEASE_WAIT_INTERRUPTED;
        }
    } while (g_get_monotonic_time() < deadline_us);
    client_control(client, "unwait");
    return LEASE_WAIT_OVER;
}

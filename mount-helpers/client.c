/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "control.h"
#include "print.h"

#include <errno.h>
#include <gio/gio.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static void fail_dead(const char *mountpoint, GError **error)
{
    g_autofree char *quoted = print_quote_path(mountpoint);

    g_set_error(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_CLOSED,
                "the leasefs mount at %s is dead, its daemon has ended; mount it again, or remove "
                "it with: leasefs umount %s",
                mountpoint, quoted);
}

/* Attributes in `user.` are only for files and directories (xattr(7)): of anything else, its
 * directory is asked. is_directory_out tells which. */
static char *find_asked(const char *resolved, gboolean *is_directory_out)
{
    struct stat st;

    /* A mount of another user, who did not open it, says nothing: that is told by who asks on. */
    *is_directory_out = TRUE;
    if (stat(resolved, &st) != 0)
        return g_strdup(resolved);
    *is_directory_out = S_ISDIR(st.st_mode);
    if (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))
        return g_strdup(resolved);
    return g_path_get_dirname(resolved);
}

static void fail_not_mounted(const char *resolved, gboolean is_directory, GError **error)
{
    g_autofree char *directory = is_directory ? g_strdup(resolved) : g_path_get_dirname(resolved);
    g_autofree char *quoted = print_quote_path(directory);

    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_MOUNTED,
                "%s is not in a leasefs mount; mount it with: leasefs mount %s", resolved, quoted);
}

/* A path that cannot be resolved because its mount is dead: which mount that is, the text of the
 * path has to say. */
static void fail_unresolved(const char *path, int code, GError **error)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);

    for (guint i = 0; code == ENOTCONN && mounts != NULL && i < mounts->len; i++) {
        const LeasefsMount *mount = mounts->pdata[i];

        if (leasefs_path_is_within(absolute, mount->mountpoint)) {
            fail_dead(mount->mountpoint, error);
            return;
        }
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s: %s", path, g_strerror(code));
}

Client *client_new(const char *path, GError **error)
{
    g_autoptr(GPtrArray) mounts = NULL;
    g_autoptr(Client) client = NULL;
    g_autofree char *asked = NULL;
    const LeasefsMount *mount;
    gboolean is_directory;
    char resolved[PATH_MAX];

    if (realpath(path, resolved) == NULL) {
        fail_unresolved(path, errno, error);
        return NULL;
    }
    mounts = leasefs_mounts_read(error);
    if (mounts == NULL)
        return NULL;
    mount = leasefs_mounts_containing(mounts, resolved);
    if (mount != NULL && leasefs_mount_is_dead(mount->mountpoint)) {
        fail_dead(mount->mountpoint, error);
        return NULL;
    }
    asked = find_asked(resolved, &is_directory);
    if (mount == NULL) {
        fail_not_mounted(resolved, is_directory, error);
        return NULL;
    }
    client = client_new_for_mount(mount);
    g_free(client->path);
    client->path = g_steal_pointer(&asked);
    return g_steal_pointer(&client);
}

Client *client_new_for_mount(const LeasefsMount *mount)
{
    Client *client = g_new0(Client, 1);

    client->path = g_strdup(mount->mountpoint);
    client->mountpoint = g_strdup(mount->mountpoint);
    client->workspace = g_strdup(mount->workspace);
    client->minor = mount->minor;
    return client;
}

void client_free(Client *client)
{
    if (client == NULL)
        return;
    g_free(client->path);
    g_free(client->mountpoint);
    g_free(client->workspace);
    g_free(client);
}

/* A buffer of the largest size that a value can have: the value may grow between two calls, and
 * then there is nothing to try again. */
char *client_read(const Client *client, const char *name, int *errno_out)
{
    g_autofree char *attribute = g_strconcat(LEASEFS_XATTR_PREFIX, name, NULL);
    g_autofree char *value = g_malloc(XATTR_SIZE_MAX + 1);
    ssize_t size;
    int code;

    do {
        size = getxattr(client->path, attribute, value, XATTR_SIZE_MAX);
        code = errno;
    } while (size < 0 && code == EINTR);
    if (size < 0) {
        *errno_out = code == ENODATA ? 0 : code;
        return NULL;
    }
    value[size] = '\0';
    *errno_out = 0;
    return g_steal_pointer(&value);
}

int client_control(const Client *client, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    if (setxattr(client->path, LEASEFS_XATTR_CONTROL, message, strlen(message), 0) == 0)
        return 0;
    return errno;
}

/* The inode of /proc/self/ns/pid, 0 where it cannot be told. */
static gint64 own_pid_ns(void)
{
    struct stat st;

    return stat("/proc/self/ns/pid", &st) == 0 ? (gint64)st.st_ino : 0;
}

MountStatus *client_status(const Client *client, char **text_out, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) reason = NULL;
    MountStatus *status;
    int code;

    text = client_read(client, "status", &code);
    if (text == NULL) {
        if (code == ENOTCONN || code == ECONNABORTED)
            fail_dead(client->mountpoint, error);
        else if (code == EACCES)
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                        "the mount at %s is closed to this user; its owner can open it: leasefs "
                        "mount -o allow_other",
                        client->mountpoint);
        else
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "the mount at %s does not tell its status (%s)", client->mountpoint,
                        code == 0 ? "no such attribute" : g_strerror(code));
        return NULL;
    }
    status = mount_status_parse(text, strlen(text), &reason);
    if (status == NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "the status of the mount at %s cannot be understood (%s); are the command and "
                    "the daemon of the same version?",
                    client->mountpoint, reason->message);
        return NULL;
    }
    /* In another pid namespace the daemon's pid is some other process's. */
    if (status->daemon_pid_ns != own_pid_ns())
        status->daemon_pid = 0;
    if (text_out != NULL)
        *text_out = g_steal_pointer(&text);
    return status;
}

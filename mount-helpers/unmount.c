/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unmount.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static void set_error(const char *mountpoint, int code, GError **error)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(code), "cannot unmount %s: %s", mountpoint,
                g_strerror(code));
}

/* fusermount3 says why only in words: in those of the C locale, `Device or resource busy`. */
static gboolean run_fusermount(const char *mountpoint, gboolean lazy, GError **error)
{
    const char *argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", mountpoint, NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
    g_auto(GStrv) words = g_strdupv((char **)(void *)argv);
    g_autoptr(GError) reason = NULL;
    g_autofree char *said = NULL;
    int status;

    if (!g_spawn_sync(NULL, words, environment, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
                      NULL, NULL, NULL, &said, &status, &reason)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot unmount %s: %s", mountpoint,
                    reason->message);
        return FALSE;
    }
    if (g_spawn_check_wait_status(status, NULL))
        return TRUE;
    if (strstr(said, "busy") != NULL) {
        set_error(mountpoint, EBUSY, error);
        return FALSE;
    }
    g_strdelimit(g_strstrip(said), "\n", ' ');
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot unmount %s: %s", mountpoint,
                said[0] != '\0' ? said : "fusermount3 failed without a word");
    return FALSE;
}

gboolean unmount_path(const char *mountpoint, gboolean lazy, GError **error)
{
    if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return TRUE;
    if (errno != EPERM) {
        set_error(mountpoint, errno, error);
        return FALSE;
    }
    return run_fusermount(mountpoint, lazy, error);
}

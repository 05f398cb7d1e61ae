/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remount.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/mount.h>

/* mount(8), FILESYSTEM-INDEPENDENT MOUNT OPTIONS: each sets a flag or clears it. mount(8) hands
 * the whole set over, with what the mount had. */
static const struct {
    const char *name;
    unsigned long set, clear;
} flags_by_name[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, MS_RELATIME},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, MS_NOATIME},
    {"nosymfollow", MS_NOSYMFOLLOW, 0},
    {"symfollow", 0, MS_NOSYMFOLLOW},
};

static unsigned long apply_option(unsigned long flags, const char *option)
{
    for (gsize i = 0; i < G_N_ELEMENTS(flags_by_name); i++) {
        if (strcmp(option, flags_by_name[i].name) == 0)
            return (flags & ~flags_by_name[i].clear) | flags_by_name[i].set;
    }
    return flags;
}

gboolean remount_is_asked(char **texts)
{
    for (guint i = 0; texts != NULL && texts[i] != NULL; i++) {
        g_auto(GStrv) options = g_strsplit(texts[i], ",", -1);

        if (g_strv_contains((const char *const *)options, "remount"))
            return TRUE;
    }
    return FALSE;
}

gboolean remount(const char *mountpoint, char **texts, GError **error)
{
    unsigned long flags = MS_REMOUNT;

    for (guint i = 0; texts[i] != NULL; i++) {
        g_auto(GStrv) options = g_strsplit(texts[i], ",", -1);

        for (guint n = 0; options[n] != NULL; n++)
            flags = apply_option(flags, options[n]);
    }
    if (mount(NULL, mountpoint, NULL, flags, NULL) == 0)
        return TRUE;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot remount %s: %s",
                mountpoint, g_strerror(errno));
    return FALSE;
}

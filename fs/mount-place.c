/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount-place.h"
#include "mount.h"
#include "mounts.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define FUSE_DEVICE     "/dev/fuse"
#define ENDING_LIMIT_MS 3000
#define ENDING_LOOK_MS  10

static gboolean fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static gboolean fail(GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, MOUNT_ERROR, MOUNT_ERROR_FAILED, text);
    return FALSE;
}

/* realpath(3) of a path whose last component may be a dead mount, which cannot be looked at. */
static char *resolve(const char *path)
{
    g_autofree char *parent = NULL;
    g_autofree char *base = NULL;
    char *found = realpath(path, NULL);
    char *resolved;

    if (found) {
        resolved = g_strdup(found);
        free(found);
        return resolved;
    }
    if (errno != ENOTCONN)
        return NULL;
    parent = g_path_get_dirname(path);
    base = g_path_get_basename(path);
    found = realpath(parent, NULL);
    if (!found)
        return NULL;
    resolved = g_build_filename(found, base, NULL);
    free(found);
    return resolved;
}

static const LeasefsMount *mount_at(GPtrArray *mounts, const char *mountpoint)
{
    for (guint i = mounts->len; i > 0; i--) {
        const LeasefsMount *mount = g_ptr_array_index(mounts, i - 1);

        if (strcmp(mount->mountpoint, mountpoint) == 0)
            return mount;
    }
    return NULL;
}

static gboolean detach(const char *mountpoint, GError **error)
{
    const char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", mountpoint, NULL};
    g_autoptr(GError) spawn_error = NULL;
    gint status;

    if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
        return TRUE;
    if (g_spawn_sync("/", (gchar **)(guintptr)argv, NULL,
                     G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                     NULL, NULL, NULL, NULL, &status, &spawn_error) &&
        g_spawn_check_wait_status(status, NULL))
        return TRUE;
    return fail(error,
                "cannot remove the dead mount on %s that an ended daemon left; remove it with: "
                "fusermount3 -u -z %s",
                mountpoint, mountpoint);
}

/* What a killed daemon left is replaced, if it is ours by its type. */
static gboolean clear_dead_mounts(const char *path, GError **error)
{
    for (int tries = 0; leasefs_mount_is_dead(path); tries++) {
        g_autoptr(GPtrArray) mounts = leasefs_mounts_read(error);

        if (!mounts)
            return FALSE;
        if (!mount_at(mounts, path) || tries > 8)
            return fail(error, "%s is a dead mount of another filesystem; unmount it first", path);
        if (!detach(path, error))
            return FALSE;
    }
    return TRUE;
}

/* The same for what one left of this workspace at another mountpoint. Nothing is asked of a mount
 * while a daemon holds the workspace: it may hang. */
static gboolean clear_dead_elsewhere(const char *workspace, GError **error)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(error);
    autofd fd = open(workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (!mounts)
        return FALSE;
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
        return TRUE;
    for (guint i = 0; i < mounts->len; i++) {
        const LeasefsMount *mount = g_ptr_array_index(mounts, i);

        if (strcmp(mount->workspace, workspace) == 0 &&
            !clear_dead_mounts(mount->mountpoint, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean resolve_directory(const char *what, const char *path, char **resolved_out,
                                  GError **error)
{
    g_autofree char *resolved = resolve(path);
    struct stat st;

    if (!resolved)
        return fail(error, "cannot find the %s %s: %s; name an existing directory", what, path,
                    g_strerror(errno));
    if (!clear_dead_mounts(resolved, error))
        return FALSE;
    if (stat(resolved, &st) != 0)
        return fail(error, "cannot look at the %s %s: %s", what, resolved, g_strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return fail(error, "the %s %s is not a directory; name the directory to be protected", what,
                    resolved);
    *resolved_out = g_steal_pointer(&resolved);
    return TRUE;
}

/* fusermount3 asks for it too, but only after the state directory was written to. */
static gboolean check_write_access(const char *mountpoint, GError **error)
{
    if (geteuid() == 0 || access(mountpoint, W_OK) == 0)
        return TRUE;
    return fail(error, "cannot mount on %s: %s; only who may write to a directory can mount on it",
                mountpoint, g_strerror(errno));
}

static gboolean check_device(GError **error)
{
    autofd fd = -1;
    g_autofree char *helper = NULL;

    if (access(FUSE_DEVICE, F_OK) != 0)
        return fail(error, "%s: %s; load the kernel's module with: modprobe fuse", FUSE_DEVICE,
                    g_strerror(errno));
    fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(
            error, "cannot open %s: %s; it has to be readable and writable for you (0666 is usual)",
            FUSE_DEVICE, g_strerror(errno));
    helper = g_find_program_in_path("fusermount3");
    if (geteuid() != 0 && !helper)
        return fail(error, "cannot find fusermount3; install the package fuse3");
    return TRUE;
}

/* Where the workspace is mounted already; NULL where nothing can be seen of it. Owned. */
static char *find_mountpoint(const char *workspace)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);

    for (guint i = 0; mounts && i < mounts->len; i++) {
        const LeasefsMount *mount = g_ptr_array_index(mounts, i);

        if (strcmp(mount->workspace, workspace) == 0)
            return g_strdup(mount->mountpoint);
    }
    return NULL;
}

static gboolean busy(GError **error, const char *workspace)
{
    g_autofree char *mountpoint = find_mountpoint(workspace);

    if (mountpoint) {
        g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_BUSY,
                    "%s is mounted already on %s; use that, or end it with: leasefs umount %s",
                    workspace, mountpoint, mountpoint);
        return FALSE;
    }
    g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_BUSY,
                "%s is held by another leasefs daemon whose mount is not visible here; end that "
                "one first",
                workspace);
    return FALSE;
}

/* umount(8) returns before the daemon has ended: one that holds a workspace without a mount is
 * given time to. 0 or -1, as flock(2). */
static int lock_root(const MountPlace *place)
{
    gint64 limit_us = g_get_monotonic_time() + ENDING_LIMIT_MS * 1000;

    while (flock(place->root_fd, LOCK_EX | LOCK_NB) != 0) {
        g_autofree char *mountpoint = NULL;

        if (errno != EWOULDBLOCK)
            return -1;
        mountpoint = find_mountpoint(place->workspace);
        if (mountpoint || g_get_monotonic_time() > limit_us) {
            errno = EWOULDBLOCK;
            return -1;
        }
        g_usleep(ENDING_LOOK_MS * 1000);
    }
    return 0;
}

static gboolean open_root(MountPlace *place, GError **error)
{
    struct stat st;

    place->root_fd = open(place->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->root_fd < 0 || fstat(place->root_fd, &st) != 0)
        return fail(error, "cannot open the workspace %s: %s", place->workspace, g_strerror(errno));
    if (lock_root(place) != 0)
        return errno == EWOULDBLOCK ? busy(error, place->workspace)
                                    : fail(error, "cannot lock the workspace %s: %s",
                                           place->workspace, g_strerror(errno));
    place->dev = st.st_dev;
    place->ino = st.st_ino;
    return TRUE;
}

gboolean mount_place_find(MountPlace *place, const char *workspace, const char *mountpoint,
                          GError **error)
{
    g_autoptr(GPtrArray) mounts = NULL;
    g_autoptr(GError) why = NULL;

    if (!resolve_directory("workspace", workspace, &place->workspace, error))
        return FALSE;
    if (!mountpoint)
        place->mountpoint = g_strdup(place->workspace);
    else if (!resolve_directory("mountpoint", mountpoint, &place->mountpoint, error))
        return FALSE;
    place->in_place = strcmp(place->workspace, place->mountpoint) == 0;
    if (!clear_dead_elsewhere(place->workspace, error))
        return FALSE;
    mounts = leasefs_mounts_read(error);
    if (!mounts)
        return FALSE;
    if (!leasefs_mounts_check(mounts, place->workspace, place->mountpoint, &why)) {
        g_set_error_literal(error, MOUNT_ERROR, MOUNT_ERROR_BUSY, why->message);
        return FALSE;
    }
    return check_device(error) && check_write_access(place->mountpoint, error) &&
           open_root(place, error);
}

void mount_place_clear(MountPlace *place)
{
    autofd_clear(&place->root_fd);
    g_clear_pointer(&place->workspace, g_free);
    g_clear_pointer(&place->mountpoint, g_free);
}

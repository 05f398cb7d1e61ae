/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process holds of the workspace is told by two things that need no permission of the files:
 * the path under which /proc shows it, and the device it is on. In place, a path below the
 * workspace on any other device than the mount's own was opened past the mount. Without the mount
 * (it is still to come), every path below it is.
 *
 * Nothing here may ask the mount: it may be served by the very process that scans. So paths are
 * read as links first, and what may be a file of the mount is looked at with AT_STATX_DONT_SYNC,
 * which the kernel answers alone.
 */
#include "bypass.h"
#include "mounts.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

typedef struct Target {
    const char *workspace;
    dev_t dev; /* of the backing directory */
    ino_t ino;
    gboolean mounted;
    dev_t mount_dev;
    dev_t own_namespace_dev;
    ino_t own_namespace_ino;
} Target;

static void closedir_clear(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}
#define autodir __attribute__((cleanup(closedir_clear))) DIR

static void fclose_clear(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}
#define autofile __attribute__((cleanup(fclose_clear))) FILE

void bypass_process_free(BypassProcess *process)
{
    if (process == NULL)
        return;
    g_free(process->how);
    g_free(process);
}

static gboolean statx_unasked(int dir_fd, const char *path, int flags, struct statx *stx_out)
{
    return statx(dir_fd, path, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, stx_out) ==
           0;
}

static gboolean is_backing_dir(const Target *target, const struct statx *stx)
{
    return stx->stx_ino == target->ino &&
           makedev(stx->stx_dev_major, stx->stx_dev_minor) == target->dev;
}

static void target_init(Target *target, const char *workspace, dev_t dev, ino_t ino)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);
    struct stat st;

    *target = (Target){.workspace = workspace, .dev = dev, .ino = ino};
    for (guint i = 0; mounts != NULL && i < mounts->len; i++) {
        const LeasefsMount *mount = mounts->pdata[i];

        if (strcmp(mount->mountpoint, workspace) != 0)
            continue;
        target->mounted = TRUE;
        target->mount_dev = makedev(0, mount->minor);
    }
    if (stat("/proc/self/ns/mnt", &st) == 0) {
        target->own_namespace_dev = st.st_dev;
        target->own_namespace_ino = st.st_ino;
    }
}

static gboolean is_past(const Target *target, const char *path, dev_t dev)
{
    return leasefs_path_is_within(path, target->workspace) &&
           !(target->mounted && dev == target->mount_dev);
}

/* Whether the magic link leads past the mount. *path_out: where to, as shown. With `by_inode` also
 * where it is the directory itself under another path: a bind mount, a container's root. */
static gboolean link_is_past(const Target *target, int dir_fd, const char *name, gboolean by_inode,
                             char **path_out)
{
    char path[PATH_MAX];
    struct statx stx;
    ssize_t n = readlinkat(dir_fd, name, path, sizeof path - 1);

    if (n < 0)
        return FALSE;
    path[n] = '\0';
    if (!by_inode && !leasefs_path_is_within(path, target->workspace))
        return FALSE;
    if (!statx_unasked(dir_fd, name, 0, &stx))
        return FALSE;
    if (!is_past(target, path, makedev(stx.stx_dev_major, stx.stx_dev_minor)) &&
        !(by_inode && is_backing_dir(target, &stx)))
        return FALSE;
    *path_out = g_strdup(path);
    return TRUE;
}

static char *find_open_file(const Target *target, int proc_fd)
{
    autofd dir_fd = openat(proc_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autodir *dir = dir_fd >= 0 ? fdopendir(dir_fd) : NULL;
    struct dirent *entry;

    if (dir == NULL)
        return NULL;
    (void)fd_steal(&dir_fd);
    while ((entry = readdir(dir)) != NULL) {
        g_autofree char *path = NULL;

        if (g_ascii_isdigit(entry->d_name[0]) &&
            link_is_past(target, dirfd(dir), entry->d_name, FALSE, &path))
            return g_strdup_printf("open file %s", path);
    }
    return NULL;
}

/* START-END PERMISSIONS OFFSET MAJOR:MINOR INODE PATH: proc_pid_maps(5). */
static gboolean mapping_is_past(const Target *target, char *line, const char **path_out)
{
    guint major, minor;
    int at = 0;

    if (sscanf(line, "%*s %*s %*s %x:%x %*s %n", &major, &minor, &at) != 2 || at == 0 ||
        line[at] != '/')
        return FALSE;
    line[at + strcspn(line + at, "\n")] = '\0';
    *path_out = line + at;
    return is_past(target, line + at, makedev(major, minor));
}

static char *find_mapping(const Target *target, int proc_fd)
{
    autofd fd = openat(proc_fd, "maps", O_RDONLY | O_CLOEXEC);
    autofile *file = fd >= 0 ? fdopen(fd, "re") : NULL;
    char *line = NULL;
    char *how = NULL;
    gsize size = 0;
    const char *path;

    if (file == NULL)
        return NULL;
    (void)fd_steal(&fd);
    while (how == NULL && getline(&line, &size, file) >= 0) {
        if (mapping_is_past(target, line, &path))
            how = g_strdup_printf("mapping of %s", path);
    }
    free(line);
    return how;
}

/* Whether the workspace's path leads to the directory below the mount in that process's namespace.
 * RESOLVE_IN_ROOT: its symbolic links are its own. */
static gboolean has_other_namespace(const Target *target, int proc_fd)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    autofd root_fd = -1;
    autofd fd = -1;
    struct statx stx;
    struct stat st;

    if (fstatat(proc_fd, "ns/mnt", &st, 0) < 0 ||
        (st.st_dev == target->own_namespace_dev && st.st_ino == target->own_namespace_ino))
        return FALSE;
    root_fd = openat(proc_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return FALSE;
    fd = (int)syscall(SYS_openat2, root_fd, target->workspace, &how, sizeof how);
    return fd >= 0 && statx_unasked(fd, "", AT_EMPTY_PATH, &stx) && is_backing_dir(target, &stx);
}

/* How it reaches the workspace, owned; NULL where it does not or may not be looked at. */
static char *find_how(const Target *target, pid_t pid)
{
    g_autofree char *proc_path = g_strdup_printf("/proc/%d", (int)pid);
    autofd proc_fd = open(proc_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_autofree char *path = NULL;
    char *how;

    if (proc_fd < 0)
        return NULL;
    if (link_is_past(target, proc_fd, "cwd", TRUE, &path))
        return g_strdup("working directory");
    if (link_is_past(target, proc_fd, "root", TRUE, &path))
        return g_strdup("root directory");
    how = find_open_file(target, proc_fd);
    if (how == NULL)
        how = find_mapping(target, proc_fd);
    if (how == NULL && has_other_namespace(target, proc_fd))
        how = g_strdup("other mount namespace");
    return how;
}

static BypassProcess *check_process(const Target *target, ProcessTable *processes, pid_t pid)
{
    g_autofree char *how = NULL;
    BypassProcess *process;
    ProcessInfo info;

    /* Kernel threads stay in the first mount namespace, and open nothing by a path. */
    if (processes->ops->read(processes, pid, &info) < 0 || info.dead || info.kernel)
        return NULL;
    how = find_how(target, pid);
    /* Else it may be what a later process of that pid holds. */
    if (how == NULL || !process_is_alive(processes, &info.id))
        return NULL;
    process = g_new0(BypassProcess, 1);
    process->id = info.id;
    memcpy(process->comm, info.comm, sizeof process->comm);
    process->how = g_steal_pointer(&how);
    return process;
}

static void free_process(gpointer process)
{
    bypass_process_free(process);
}

GPtrArray *bypass_scan(ProcessTable *processes, const char *workspace, dev_t workspace_dev,
                       ino_t workspace_ino, pid_t except)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(free_process);
    autodir *proc = opendir("/proc");
    struct dirent *entry;
    Target target;

    target_init(&target, workspace, workspace_dev, workspace_ino);
    while (proc != NULL && (entry = readdir(proc)) != NULL) {
        BypassProcess *process;
        guint64 pid;

        if (!g_ascii_string_to_unsigned(entry->d_name, 10, 1, G_MAXINT, &pid, NULL) ||
            (pid_t)pid == except)
            continue;
        process = check_process(&target, processes, (pid_t)pid);
        if (process != NULL)
            g_ptr_array_add(found, process);
    }
    return found;
}

gboolean bypass_recheck(GPtrArray *known, ProcessTable *processes, const char *workspace,
                        dev_t workspace_dev, ino_t workspace_ino)
{
    Target target;

    if (known->len == 0)
        return FALSE;
    target_init(&target, workspace, workspace_dev, workspace_ino);
    for (guint i = known->len; i-- > 0;) {
        BypassProcess *process = known->pdata[i];
        char *how = NULL;

        if (process_is_alive(processes, &process->id))
            how = find_how(&target, process->id.pid);
        if (how == NULL) {
            g_ptr_array_remove_index(known, i);
            continue;
        }
        g_free(process->how);
        process->how = how;
    }
    return known->len > 0;
}

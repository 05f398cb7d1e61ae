/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "busy.h"
#include "print.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FUSE_MAJOR 0 /* of every filesystem without a block device */

/* Told by the device: below an in-place mount there are files of the same path. DONT_SYNC: the
 * kernel answers by itself, a daemon that hangs is not asked. */
static gboolean lies_on(const char *proc_path, guint minor)
{
    struct statx stx;

    return statx(AT_FDCWD, proc_path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &stx) ==
               0 &&
           stx.stx_dev_major == FUSE_MAJOR && stx.stx_dev_minor == minor;
}

static gboolean has_open_file(pid_t pid, guint minor)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        if (lies_on(file, minor))
            return TRUE;
    }
    return FALSE;
}

/* proc_pid_maps(5): START-END PERMS OFFSET MAJOR:MINOR INODE PATH, the device in hexadecimal. */
static gboolean has_mapping(pid_t pid, guint minor)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)pid);
    g_autofree char *device = g_strdup_printf("%02x:%02x", FUSE_MAJOR, minor);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], " ", 5);

        /* Device 00:00 is what has no file; a mount's minor is never 0. */
        if (g_strv_length(fields) >= 4 && g_strcmp0(fields[3], device) == 0)
            return TRUE;
    }
    return FALSE;
}

/* A phrase, or NULL where the process does not use the mount. */
static const char *find_use(pid_t pid, guint minor)
{
    static const struct {
        const char *link;
        const char *phrase;
    } links[] = {{"cwd", "working directory"}, {"root", "root directory"}, {"exe", "program"}};

    for (gsize i = 0; i < G_N_ELEMENTS(links); i++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, links[i].link);

        if (lies_on(path, minor))
            return links[i].phrase;
    }
    if (has_open_file(pid, minor))
        return "open file";
    return has_mapping(pid, minor) ? "mapped file" : NULL;
}

static char *describe(pid_t pid, const char *use)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *text = NULL;
    g_autofree char *comm = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    if (text != NULL)
        g_strchomp(text);
    comm = print_clean(text);
    return g_strdup_printf("%s (pid %d, %s)", comm[0] != '\0' ? comm : "a process", (int)pid, use);
}

GPtrArray *busy_find(const LeasefsMount *mount, pid_t except, guint limit)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;

    for (guint i = 0; mount->inner[i] != NULL && found->len < limit; i++)
        g_ptr_array_add(found, g_strdup_printf("a mount at %s", mount->inner[i]));
    while (proc != NULL && found->len < limit && (name = g_dir_read_name(proc)) != NULL) {
        const char *use;
        guint64 pid;

        if (!g_ascii_string_to_unsigned(name, 10, 1, G_MAXINT32, &pid, NULL) ||
            (pid_t)pid == except)
            continue;
        use = find_use((pid_t)pid, mount->minor);
        if (use != NULL)
            g_ptr_array_add(found, describe((pid_t)pid, use));
    }
    return found;
}

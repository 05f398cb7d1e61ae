/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <gio/gio.h>

#define MOUNTINFO_PATH "/proc/self/mountinfo"

/* One line of mountinfo: proc_pid_mountinfo(5). */
typedef struct MountLine {
    guint64 id;
    guint64 parent_id;
    guint minor;
    char *device; /* MAJOR:MINOR */
    char *root;
    char *mountpoint;
    char *fstype;
    char *source;
} MountLine;

static void mount_line_free(gpointer data)
{
    MountLine *line = data;

    g_free(line->device);
    g_free(line->root);
    g_free(line->mountpoint);
    g_free(line->fstype);
    g_free(line->source);
    g_free(line);
}

static void leasefs_mount_free(gpointer data)
{
    LeasefsMount *mount = data;

    g_free(mount->mountpoint);
    g_free(mount->workspace);
    g_free(mount->root);
    g_strfreev(mount->inner);
    g_free(mount);
}

gboolean leasefs_path_is_within(const char *path, const char *dir)
{
    gsize length = strlen(dir);

    while (length > 0 && dir[length - 1] == '/')
        length--;
    return strncmp(path, dir, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static gboolean is_octal(const char *text)
{
    return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' &&
           text[2] <= '7';
}

/* mangle() of fs/seq_file.c writes blank, tab, newline, backslash and '#' as three octal digits. */
static char *dup_unescaped(const char *field)
{
    GString *text = g_string_sized_new(strlen(field));

    while (*field != '\0') {
        if (*field == '\\' && is_octal(field + 1)) {
            g_string_append_c(
                text, (char)((field[1] - '0') << 6 | (field[2] - '0') << 3 | (field[3] - '0')));
            field += 4;
        } else {
            g_string_append_c(text, *field++);
        }
    }
    return g_string_free(text, FALSE);
}

static gboolean parse_device_minor(const char *field, guint *minor_out)
{
    const char *colon = strchr(field, ':');
    guint64 minor;

    if (colon == NULL || !g_ascii_string_to_unsigned(colon + 1, 10, 0, G_MAXUINT, &minor, NULL))
        return FALSE;
    *minor_out = (guint)minor;
    return TRUE;
}

/* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [OPTIONAL...] - FSTYPE SOURCE SUPEROPTIONS */
static MountLine *parse_line(const char *text)
{
    g_auto(GStrv) fields = g_strsplit(text, " ", -1);
    guint n = g_strv_length(fields);
    guint64 id, parent_id;
    MountLine *line;
    guint dash = 6;
    guint minor;

    while (dash < n && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 2 >= n || !g_ascii_string_to_unsigned(fields[0], 10, 0, G_MAXUINT64, &id, NULL) ||
        !g_ascii_string_to_unsigned(fields[1], 10, 0, G_MAXUINT64, &parent_id, NULL) ||
        !parse_device_minor(fields[2], &minor) || fields[4][0] != '/')
        return NULL;

    line = g_new0(MountLine, 1);
    line->id = id;
    line->parent_id = parent_id;
    line->minor = minor;
    line->device = g_strdup(fields[2]);
    line->root = dup_unescaped(fields[3]);
    line->mountpoint = dup_unescaped(fields[4]);
    line->fstype = dup_unescaped(fields[dash + 1]);
    line->source = dup_unescaped(fields[dash + 2]);
    return line;
}

static gboolean has_parent(GPtrArray *lines, const MountLine *line)
{
    for (guint i = 0; i < lines->len; i++) {
        const MountLine *other = lines->pdata[i];

        if (other != line && other->id == line->parent_id)
            return TRUE;
    }
    return FALSE;
}

/* The mount that a walk along `path` enters next from `from` (NULL: from nowhere): the shortest
 * mountpoint on the way, of equal ones the last. */
static const MountLine *enter_next(GPtrArray *lines, const MountLine *from, const char *path)
{
    const MountLine *next = NULL;

    for (guint i = 0; i < lines->len; i++) {
        const MountLine *line = lines->pdata[i];

        if (!leasefs_path_is_within(path, line->mountpoint) ||
            (next != NULL && strlen(line->mountpoint) > strlen(next->mountpoint)))
            continue;
        if (from != NULL ? line != from && line->parent_id == from->id : !has_parent(lines, line))
            next = line;
    }
    return next;
}

/* Which mount a path lies in, found as the kernel finds it: the order of the lines does not say
 * which mount hides which (an initramfs mounts /proc before the root it is then moved to). */
static const MountLine *resolve(GPtrArray *lines, const char *path)
{
    const MountLine *at = NULL;

    /* Parents that name each other in a circle end it. */
    for (guint i = 0; i <= lines->len; i++) {
        const MountLine *next = enter_next(lines, at, path);

        if (next == NULL)
            break;
        at = next;
    }
    return at;
}

static GStrv dup_inner(GPtrArray *lines, const MountLine *line)
{
    g_autoptr(GPtrArray) inner = g_ptr_array_new();

    for (guint i = 0; i < lines->len; i++) {
        const MountLine *other = lines->pdata[i];

        if (other != line && other->parent_id == line->id)
            g_ptr_array_add(inner, g_strdup(other->mountpoint));
    }
    g_ptr_array_add(inner, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&inner), FALSE);
}

static GPtrArray *parse_lines(const char *mountinfo)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(mount_line_free);
    g_auto(GStrv) texts = g_strsplit(mountinfo, "\n", -1);

    for (guint i = 0; texts[i] != NULL; i++) {
        MountLine *line = parse_line(texts[i]);

        if (line != NULL)
            g_ptr_array_add(lines, line);
    }
    return lines;
}

GPtrArray *leasefs_mounts_parse(const char *mountinfo)
{
    GPtrArray *mounts = g_ptr_array_new_with_free_func(leasefs_mount_free);
    g_autoptr(GPtrArray) lines = parse_lines(mountinfo);

    for (guint i = 0; i < lines->len; i++) {
        const MountLine *line = lines->pdata[i];
        LeasefsMount *mount;

        if (strcmp(line->fstype, LEASEFS_FSTYPE) != 0 || resolve(lines, line->mountpoint) != line)
            continue;
        mount = g_new0(LeasefsMount, 1);
        mount->mountpoint = g_strdup(line->mountpoint);
        mount->workspace = g_strdup(line->source);
        mount->root = g_strdup(line->root);
        mount->minor = line->minor;
        mount->inner = dup_inner(lines, line);
        g_ptr_array_add(mounts, mount);
    }
    return mounts;
}

GPtrArray *leasefs_mounts_read(GError **error)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(MOUNTINFO_PATH, &text, NULL, NULL)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "cannot read " MOUNTINFO_PATH
                    ": /proc has to be mounted, for the pid namespace "
                    "of this process");
        return NULL;
    }
    return leasefs_mounts_parse(text);
}

/* `path`, which lies in `from`, with `to` in place of `from`. Owned. */
static char *move_path(const char *path, const char *from, const char *to)
{
    const char *rest = strcmp(from, "/") == 0 ? path + 1 : path + strlen(from);

    while (*rest == '/')
        rest++;
    return *rest == '\0' ? g_strdup(to) : g_build_filename(to, rest, NULL);
}

/* Where a mount shows a directory of its filesystem, or a part of that directory; owned. */
static char *dup_shown(const MountLine *line, const char *inner)
{
    if (leasefs_path_is_within(inner, line->root))
        return move_path(inner, line->root, line->mountpoint);
    return leasefs_path_is_within(line->root, inner) ? g_strdup(line->mountpoint) : NULL;
}

/* The mount over the directory itself, where there is one already, does not count. */
static void drop_own(GPtrArray *lines, const char *directory)
{
    for (guint i = lines->len; i-- > 0;) {
        const MountLine *line = lines->pdata[i];

        if (strcmp(line->fstype, LEASEFS_FSTYPE) == 0 && strcmp(line->mountpoint, directory) == 0)
            g_ptr_array_remove_index(lines, i);
    }
}

char *leasefs_mounts_find_other(const char *mountinfo, const char *resolved_directory)
{
    g_autoptr(GPtrArray) lines = parse_lines(mountinfo);
    g_autofree char *inner = NULL;
    const MountLine *own;

    drop_own(lines, resolved_directory);
    own = resolve(lines, resolved_directory);
    if (own == NULL)
        return NULL;
    inner = move_path(resolved_directory, own->mountpoint, own->root);
    for (guint i = 0; i < lines->len; i++) {
        const MountLine *line = lines->pdata[i];
        g_autofree char *shown = NULL;

        if (line == own || strcmp(line->device, own->device) != 0)
            continue;
        shown = dup_shown(line, inner);
        if (shown != NULL && !leasefs_path_is_within(shown, resolved_directory) &&
            resolve(lines, shown) == line)
            return g_steal_pointer(&shown);
    }
    return NULL;
}

char *leasefs_mounts_read_other(const char *resolved_directory)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(MOUNTINFO_PATH, &text, NULL, NULL))
        return NULL;
    return leasefs_mounts_find_other(text, resolved_directory);
}

gboolean leasefs_mounts_find_inside(const char *mountinfo, const char *resolved_directory)
{
    g_autoptr(GPtrArray) lines = parse_lines(mountinfo);

    for (guint i = 0; i < lines->len; i++) {
        const MountLine *line = lines->pdata[i];

        if (leasefs_path_is_within(line->mountpoint, resolved_directory) &&
            strcmp(line->mountpoint, resolved_directory) != 0)
            return TRUE;
    }
    return FALSE;
}

gboolean leasefs_mounts_read_inside(const char *resolved_directory)
{
    g_autofree char *text = NULL;

    return !g_file_get_contents(MOUNTINFO_PATH, &text, NULL, NULL) ||
           leasefs_mounts_find_inside(text, resolved_directory);
}

static gboolean mount_contains(const LeasefsMount *mount, const char *path)
{
    if (!leasefs_path_is_within(path, mount->mountpoint))
        return FALSE;
    for (guint i = 0; mount->inner[i] != NULL; i++) {
        if (leasefs_path_is_within(path, mount->inner[i]))
            return FALSE;
    }
    return TRUE;
}

const LeasefsMount *leasefs_mounts_containing(GPtrArray *mounts, const char *resolved_path)
{
    for (guint i = 0; i < mounts->len; i++) {
        const LeasefsMount *mount = mounts->pdata[i];

        if (mount_contains(mount, resolved_path))
            return mount;
    }
    return NULL;
}

static gboolean check_own(const char *workspace, const char *mountpoint, GError **error)
{
    if (strcmp(workspace, mountpoint) == 0)
        return TRUE;
    if (leasefs_path_is_within(mountpoint, workspace)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "the mountpoint %s lies inside the workspace %s: mount in place (without a "
                    "mountpoint) or outside of it",
                    mountpoint, workspace);
        return FALSE;
    }
    if (leasefs_path_is_within(workspace, mountpoint)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "the mountpoint %s would hide the workspace %s: mount in place (without a "
                    "mountpoint) or elsewhere",
                    mountpoint, workspace);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_other(const LeasefsMount *other, const char *workspace,
                            const char *mountpoint, GError **error)
{
    const char *how = NULL;

    if (strcmp(workspace, other->workspace) == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_ALREADY_MOUNTED,
                    "%s is already mounted at %s: use that mount, or end it with leasefs umount",
                    workspace, other->mountpoint);
        return FALSE;
    }
    if (leasefs_path_is_within(workspace, other->workspace))
        how = "lies inside the workspace";
    else if (leasefs_path_is_within(other->workspace, workspace))
        how = "has inside it the workspace";
    else if (mount_contains(other, workspace))
        how = "lies in the mount of the workspace";
    else if (leasefs_path_is_within(other->mountpoint, workspace))
        how = "has inside it the mount of the workspace";
    if (how != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "%s %s %s, which is mounted at %s: end that mount first", workspace, how,
                    other->workspace, other->mountpoint);
        return FALSE;
    }
    if (strcmp(mountpoint, other->mountpoint) == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                    "%s is where the workspace %s is mounted: end that mount first", mountpoint,
                    other->workspace);
        return FALSE;
    }
    return TRUE;
}

gboolean leasefs_mounts_check(GPtrArray *mounts, const char *workspace, const char *mountpoint,
                              GError **error)
{
    if (!check_own(workspace, mountpoint, error))
        return FALSE;
    for (guint i = 0; i < mounts->len; i++) {
        if (!check_other(mounts->pdata[i], workspace, mountpoint, error))
            return FALSE;
    }
    return TRUE;
}

gboolean leasefs_mount_is_dead(const char *path)
{
    struct statx stx;

    /* FORCE_SYNC: the kernel answers from attributes that it may believe for a day otherwise. */
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC,
                 STATX_BASIC_STATS, &stx) < 0 &&
           errno == ENOTCONN;
}

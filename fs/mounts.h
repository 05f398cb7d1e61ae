/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Reads which leasefs mounts there are (mountinfo), and judges whether a new one may join them.
 * No FUSE header: the command uses it too. Thread safety: values; no shared state.
 */
#include <glib.h>

#define LEASEFS_FSTYPE "fuse.leasefs"

typedef struct LeasefsMount {
    char *mountpoint;
    char *workspace; /* the mount's source: the resolved workspace path */
    char *root;      /* "/"; in a bind mount the directory of the workspace that stands there */
    guint minor;     /* device minor: names the connection in /sys/fs/fuse/connections */
    GStrv inner;     /* where other mounts begin inside it */
} LeasefsMount;

/* Parses the text of /proc/PID/mountinfo (octal escapes undone). GPtrArray of LeasefsMount, without
 * those that a later mount hides. Pure. */
GPtrArray *leasefs_mounts_parse(const char *mountinfo);
GPtrArray *leasefs_mounts_read(GError **error); /* of this process's mount namespace */
/* The mount that a resolved path lies in (the innermost leasefs mount, none where another mount
 * lies between), or NULL. Borrowed from `mounts`. */
const LeasefsMount *leasefs_mounts_containing(GPtrArray *mounts, const char *resolved_path);

/* Where another mount of the same filesystem shows a directory, or a part of it, as well (a bind
 * mount made before): that path, owned, or NULL. Pure. */
char *leasefs_mounts_find_other(const char *mountinfo, const char *resolved_directory);
/* The same of this process's mount namespace. */
char *leasefs_mounts_read_other(const char *resolved_directory);

/* Whether something is mounted inside a directory. Pure. */
gboolean leasefs_mounts_find_inside(const char *mountinfo, const char *resolved_directory);
/* The same of this process's mount namespace; TRUE where that cannot be told. */
gboolean leasefs_mounts_read_inside(const char *resolved_directory);

/* Whether workspace may be mounted at mountpoint (both resolved): refuses a second mount of the
 * same workspace, a workspace inside or around another mounted one, one that lies in another's
 * mountpoint or has it inside, a mountpoint that is another's, and a mountpoint inside or around
 * its own workspace other than the workspace itself. The message names the other's mountpoint. */
gboolean leasefs_mounts_check(GPtrArray *mounts, const char *workspace, const char *mountpoint,
                              GError **error);

/* Whether a path is the mountpoint of a FUSE mount whose daemon died (ENOTCONN). */
gboolean leasefs_mount_is_dead(const char *path);

/* Whether an absolute path is `dir` or lies below it, by their text. */
gboolean leasefs_path_is_within(const char *path, const char *dir);

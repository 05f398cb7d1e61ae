/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides by which descriptor a backing directory is read.
 *
 * The kernel has a handle of each open directory, and asks for it with OPENDIR and RELEASEDIR: as
 * many requests as it takes to read a small directory, and all that are left where the listing is
 * in its memory. Once OPENDIR was answered with ENOSYS it does without handles for good
 * (FUSE_NO_OPENDIR_SUPPORT): a part of a listing names the directory and a place in it, and each
 * listing that was read to its end stays in the kernel's memory. So that is answered
 *
 * - only where the daemon may open any directory: that one cannot be read would else be told by
 *   getdents(2), not by open(2). Whether the caller may is judged by the kernel, or nobody else
 *   than root is let in;
 * - only where a place means the same to any descriptor. To some filesystems it counts in the
 *   listing as it was when that one was opened (overlayfs), or that one ends where the directory
 *   ended then (Btrfs, and tmpfs at times): read with another one, names are lost or have no end;
 * - when the kernel may keep listings, which is so for good when it is so;
 * - when the kernel has no handle: it would not say any more that it has closed one.
 *
 * From then on a directory is opened for the first part of a listing, and kept for the next one. A
 * listing that is given up leaves one behind: the latest of them stay, each a descriptor, until the
 * directory is removed.
 *
 * Thread safety: every function may be called from any thread; a handle is used by one at a time.
 */
#include "node.h"

typedef struct DirHandle {
    int fd;
    off_t next; /* its place: a cookie of the backing filesystem, never an index */
    Node *node; /* referenced by open_file */
    NodeOpenFile open_file;
    GList link; /* while it is kept */
} DirHandle;

typedef struct DirHandles DirHandles;
/* `open_flags`: of open(2), as far as they are permitted. */
DirHandles *dir_handles_new(NodeTable *nodes, int open_flags);
void dir_handles_free(DirHandles *handles);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DirHandles, dir_handles_free)

/* 0 or -errno. */
int dir_handles_open(DirHandles *handles, Node *node, DirHandle **dir_out);
/* Takes it. */
void dir_handles_close(DirHandles *handles, DirHandle *dir);
/* The handle whose file this is. */
DirHandle *dir_handle_of_file(NodeOpenFile *file);

/* What OPENDIR is to do: TRUE where it is to be answered that there are no handles, which `can` be
 * done without. Else the kernel has one more, until dir_handles_returned. */
gboolean dir_handles_refuse(DirHandles *handles, gboolean can);
void dir_handles_returned(DirHandles *handles);

/* One for the part of a listing at `off`: to be closed or kept. 0 or -errno. */
int dir_handles_take(DirHandles *handles, Node *node, off_t off, DirHandle **dir_out);
/* Takes it, for the next part. The kernel knows the directory meanwhile. */
void dir_handles_keep(DirHandles *handles, DirHandle *dir);
/* After directories were removed: these shall go from the disk. */
void dir_handles_close_removed(DirHandles *handles);
void dir_handles_close_kept(DirHandles *handles);

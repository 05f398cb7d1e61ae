/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * An open file of the mount: its backing descriptor, and what fencing has to know of it.
 *
 * A file whose pages the kernel has is mostly opened to be read from these, and nobody asks for it.
 * Opening and closing it below for that costs as much as all else that is done for the open. So it
 * may be put off until it is needed (handle_new_deferred):
 *
 * - for who only reads, and from the cache (io-mode.h);
 * - where an inode is the same as long as it has a name, and the daemon may open it at any time:
 *   ext4 and XFS, and nothing else mounted in it;
 * - in a mount in place that has no cause to be careful of others (fs_cache_seconds), for there the
 *   table learns of each renaming, and before a name goes, the file is opened. Who replaces it past
 *   the mount nonetheless takes it from those who have it open so: what the kernel has no pages of
 *   fails with ESTALE then;
 * - for no more at the same time than there are descriptors in the reserve (descriptors.h), also
 *   when they have been opened: none fails for want of one.
 *
 * Thread safety: a handle belongs to the kernel's file; what does not change after the open needs
 * no lock. `fd` and `seen` are atomic; `open_file` and `link` are of who opens or frees it.
 */
#include "file-state.h"
#include "open-files.h"
#include "util.h"
#include <stdatomic.h>
#include <stdint.h>

typedef struct Handle {
    RefCount refs;
    _Atomic int fd; /* -1: put off; where it may be so, handle_fd is to be asked */
    NodeOpenFile open_file;
    GList link;           /* while it is put off */
    gboolean has_place;   /* in the reserve: it was put off */
    int flags;            /* of open(2), as of the mount's */
    Node *node;           /* referenced */
    FileState *file;      /* NULL for handles that cannot write */
    WriterHandle *writer; /* O_RDWR only */
    Session *session;     /* who opened it, for O_RDWR: referenced; NULL unknown */
    IoMode io_mode;
    PathClass path_class; /* as its name was at the open */
    _Atomic guint64 seen; /* change number */
} Handle;

/* What the handles of one mount share. Arguments are borrowed; open_flags: of open(2), as far as
 * they are permitted; so many may be put off at the same time. */
typedef struct Handles Handles;
Handles *handles_new(NodeTable *nodes, OpenFiles *open_files, int open_flags, guint max_deferred);
void handles_free(Handles *handles);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Handles, handles_free)

/* What a backing file is opened with where the mount's was with these flags of open(2). O_APPEND is
 * applied to each write, because F_SETFL may clear it; O_DIRECT would ask the daemon's buffers to
 * be aligned; the rest was the kernel's. */
int handle_backing_flags(int flags);
/* Opens the node's file, where the mount's was with these flags: a descriptor or -errno. */
int handle_open_file(Handles *handles, Node *node, int flags);
/* fd is taken, node is referenced. `session` is borrowed and may be NULL. */
Handle *handle_new(Handles *handles, Node *node, int fd, int flags, PathClass path_class,
                   Session *session);
/* For reading only. NULL where the file has to be opened at once: its first pages may still be
 * stored, reads go past the cache, its name is not seen to lead to it, or there are enough. */
Handle *handle_new_deferred(Handles *handles, Node *node, int flags);
void handle_free(Handles *handles, Handle *handle);
/* To be called before a name of the node goes: those that are put off are opened. 0, or -errno
 * where that cannot be now, and they would be lost. */
int handles_open_deferred(Handles *handles, Node *node);
/* Frees all that are put off, when no thread uses any. */
void handles_free_deferred(Handles *handles);

/* The descriptor, opened now where that was put off; or -errno. */
int handle_fd(Handles *handles, Handle *handle);
/* What the file says of itself: it is opened only where its name does not lead to it. 0 or -errno.
 */
struct statx;
int handle_statx(Handles *handles, Handle *handle, struct statx *stx_out);
/* The handle whose file this is. */
Handle *handle_of_file(NodeOpenFile *file);

/* Change numbers this handle's own write was given. */
void handle_saw(Handle *handle, guint64 change);

static inline Handle *handle_of(uint64_t fh)
{
    return (Handle *)(uintptr_t)fh;
}

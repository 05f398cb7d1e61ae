/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What one mounted workspace consists of: handed to every operation as the request's user data.
 * Thread safety: the fields are set before the first request and then only read, except the atomic.
 */
#define FUSE_USE_VERSION 317
#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include "dir-advice.h"
#include "dir-handle.h"
#include "guard.h"
#include "node.h"
#include "options.h"
#include "xattr-memory.h"

#define CACHE_LONG_S  86400.0
#define CACHE_SHORT_S 1.0

typedef struct Warden Warden;
typedef struct Workers Workers;

typedef struct Fs {
    struct fuse_session *se;
    NodeTable *nodes;
    DirAdvice *dir_advice;
    DirHandles *dir_handles;
    XattrMemory *xattr_memory;
    OpenFiles *open_files;
    Handles *handles;
    Guard *guard;
    Keeper *keeper;
    SessionTable *sessions;
    ProcessTable *processes;
    Warden *warden;
    Workers *workers;

    const MountOptions *options;
    char *workspace;  /* resolved path */
    char *mountpoint; /* resolved path */
    char *state_dir;
    dev_t backing_dev;
    ino_t backing_ino;
    gboolean copies_pages; /* the filesystem below: a copy shares nothing, and waits for no disk */
    gboolean in_place;
    gboolean is_whole; /* in place, and nothing is mounted in the workspace */
    gboolean is_plain; /* and it is ext4 or XFS, where the daemon may open any file at any time */
    gboolean spares_dir_handles; /* the kernel may do without: dir-handle.h */
    gboolean as_root;
    gboolean kernel_checks; /* default_permissions: others than the daemon's user are let in */
    gboolean masks;         /* the kernel leaves the umask to the daemon */
    uid_t uid;
    gid_t gid;
    guint64 pid_ns; /* in which the daemon's pid counts */

    _Atomic gboolean cache_long; /* nobody is known to reach past the mount */
    _Atomic guint8 telling;      /* fs_tell */
    _Atomic gint64 telling_since_s;
    _Atomic gboolean unmount_asked;
} Fs;

static inline Fs *fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

/* The kernel names only what it has not forgotten, but for the lookup of `.` by a file handle. */
static inline Node *fs_node(Fs *fs, fuse_ino_t ino)
{
    return node_by_number(fs->nodes, ino);
}

/* How long the kernel may believe an entry, attributes, or that there is no such name: seconds. */
static inline double fs_cache_seconds(Fs *fs)
{
    if (fs->options->cache == CACHE_NEVER)
        return 0;
    return atomic_load_explicit(&fs->cache_long, memory_order_relaxed) ? CACHE_LONG_S
                                                                       : CACHE_SHORT_S;
}

/*
 * What the kernel has been told of a file, and will not ask for again: then nobody has to look at
 * the file for a listing. A guess in its favour costs a request, one against it a system call.
 *
 * Nodes remember the number of the telling in which that was; when the kernel will ask anew for
 * all, another telling begins. Numbers come back after 255, which is as good as a wrong guess.
 */
static inline void fs_begin_telling(Fs *fs)
{
    atomic_store_explicit(&fs->telling_since_s, g_get_monotonic_time() / G_USEC_PER_SEC,
                          memory_order_relaxed);
    if (atomic_fetch_add_explicit(&fs->telling, 1, memory_order_relaxed) == G_MAXUINT8)
        atomic_fetch_add_explicit(&fs->telling, 1, memory_order_relaxed); /* 0 is none */
}

/* The file's name and attributes are in the reply. */
static inline void fs_tell(Fs *fs, Node *node)
{
    guint8 telling = fs_cache_seconds(fs) > CACHE_SHORT_S
                         ? atomic_load_explicit(&fs->telling, memory_order_relaxed)
                         : 0;

    atomic_store_explicit(node_told(node), telling, memory_order_relaxed);
}

static inline gboolean fs_has_told(Fs *fs, Node *node)
{
    guint8 told = atomic_load_explicit(node_told(node), memory_order_relaxed);

    return told != 0 && told == atomic_load_explicit(&fs->telling, memory_order_relaxed);
}

/* Whether pages survive an open. Elsewhere than in place the kernel drops what changed behind the
 * mount by itself; in place it is told nothing, so that pages survive only while nobody can. */
static inline gboolean fs_keeps_pages(Fs *fs)
{
    return fs->options->cache != CACHE_NEVER &&
           (!fs->in_place || atomic_load_explicit(&fs->cache_long, memory_order_relaxed));
}

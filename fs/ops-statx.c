/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * statx, which the kernel sends where someone asks for a file's birth time (protocol 7.39, kernel
 * 6.6), and which libfuse 3.17 does not know. The wire format is the kernel's <linux/fuse.h>; named
 * here, since that of the oldest system we build on has none of it.
 */
#include "ops.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define OPCODE_STATX 52

typedef struct StatxRequest {
    uint32_t getattr_flags;
    uint32_t reserved;
    uint64_t fh;
    uint32_t flags; /* AT_STATX_* */
    uint32_t mask;
} StatxRequest;

typedef struct StatxTime {
    int64_t sec;
    uint32_t nsec;
    int32_t reserved;
} StatxTime;

typedef struct StatxReply {
    uint64_t valid_sec; /* how long the kernel may believe it */
    uint32_t valid_nsec;
    uint32_t flags;
    uint64_t spare[2];
    uint32_t mask;
    uint32_t blksize;
    uint64_t attributes;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint16_t mode;
    uint16_t spare_mode;
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    uint64_t attributes_mask;
    StatxTime atime, btime, ctime, mtime;
    uint32_t rdev_major, rdev_minor;
    uint32_t dev_major, dev_minor;
    uint64_t spare_end[14];
} StatxReply;

G_STATIC_ASSERT(sizeof(StatxRequest) == 24);
G_STATIC_ASSERT(sizeof(StatxReply) == 32 + 256);

static StatxTime time_of(const struct statx_timestamp *time)
{
    return (StatxTime){.sec = time->tv_sec, .nsec = time->tv_nsec};
}

static int statx_node(Fs *fs, fuse_ino_t ino, const StatxRequest *request, struct statx *stx_out)
{
    Node *node = fs_node(fs, ino);

    if ((request->getattr_flags & FUSE_GETATTR_FH) && node_type(node) != S_IFDIR)
        return handle_statx(fs->handles, handle_of(request->fh), stx_out);
    return node_stat(fs->nodes, node, stx_out);
}

static StatxReply reply_of(Fs *fs, const struct statx *stx)
{
    return (StatxReply){
        .valid_sec = (uint64_t)fs_cache_seconds(fs),
        .mask = stx->stx_mask,
        .blksize = stx->stx_blksize,
        .nlink = stx->stx_nlink,
        .uid = stx->stx_uid,
        .gid = stx->stx_gid,
        .mode = stx->stx_mode,
        .ino = node_table_shown_ino(fs->nodes, makedev(stx->stx_dev_major, stx->stx_dev_minor),
                                    stx->stx_ino),
        .size = stx->stx_size,
        .blocks = stx->stx_blocks,
        .atime = time_of(&stx->stx_atime),
        .btime = time_of(&stx->stx_btime),
        .ctime = time_of(&stx->stx_ctime),
        .mtime = time_of(&stx->stx_mtime),
        .rdev_major = stx->stx_rdev_major,
        .rdev_minor = stx->stx_rdev_minor,
        .dev_major = stx->stx_dev_major,
        .dev_minor = stx->stx_dev_minor,
    };
}

gboolean ops_take(Fs *fs, const struct fuse_in_header *request, int reply_fd)
{
    struct fuse_out_header header = {.len = sizeof header, .unique = request->unique};
    struct iovec iov[2] = {{.iov_base = &header, .iov_len = sizeof header}};
    StatxReply reply;
    struct statx stx;
    int r;

    if (request->opcode != OPCODE_STATX)
        return FALSE;
    r = statx_node(fs, request->nodeid, (const StatxRequest *)(request + 1), &stx);
    if (r == 0) {
        reply = reply_of(fs, &stx);
        header.len += (uint32_t)sizeof reply;
        iov[1] = (struct iovec){.iov_base = &reply, .iov_len = sizeof reply};
    }
    header.error = r;
    if (writev(reply_fd, iov, r == 0 ? 2 : 1) < 0 && errno != ENOENT)
        g_debug("cannot answer a statx: %s", g_strerror(errno));
    return TRUE;
}

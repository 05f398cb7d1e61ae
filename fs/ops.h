/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The operations of the mirror, by family, and what they share.
 * Thread safety: operations run in any of the workers; each replies exactly once and waits
 * for nothing but the backing filesystem.
 */
#include "creds.h"
#include "fs.h"

/* Each family puts its operations into the table. */
void ops_add_lookup(struct fuse_lowlevel_ops *ops); /* lookup, forget, readlink */
void ops_add_attr(struct fuse_lowlevel_ops *ops);   /* getattr, setattr, access, statfs */
void ops_add_open(struct fuse_lowlevel_ops *ops);   /* open, create, tmpfile, release */
void ops_add_io(struct fuse_lowlevel_ops *ops);     /* read, write, fsync, fallocate, lseek... */
void ops_add_tree(struct fuse_lowlevel_ops *ops);   /* mknod, mkdir, unlink, link, rename... */
void ops_add_dir(struct fuse_lowlevel_ops *ops);    /* opendir, readdir, releasedir... */
void ops_add_xattr(struct fuse_lowlevel_ops *ops);  /* xattrs, inspection, control */
void ops_add_ioctl(struct fuse_lowlevel_ops *ops);  /* flags of files */

/* Requests that libfuse 3.17 does not know: statx, with the birth time. See WorkersTake. */
struct fuse_in_header;
gboolean ops_take(Fs *fs, const struct fuse_in_header *request, int reply_fd);

static inline Caller caller_of(fuse_req_t req)
{
    return (Caller){.tid = fuse_req_ctx(req)->pid};
}

/* Fills in what a reply says about a file that was looked up. */
void ops_fill_entry(Fs *fs, Node *node, const struct stat *st, struct fuse_entry_param *entry_out);
/* Replies with a looked-up node, or an error; undoes the lookup where the reply does not arrive. */
void ops_reply_entry(fuse_req_t req, Fs *fs, int r, Node *node, const struct stat *st);

/* A descriptor of an open directory: of the kernel's handle, or where it has none one that is put
 * into *own_fd_out, too, to be closed. Or -errno. */
int ops_dir_fd(Fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi, int *own_fd_out);

/* What is open still when the mount has gone, of which the kernel says nothing. */
void ops_close_all(Fs *fs);

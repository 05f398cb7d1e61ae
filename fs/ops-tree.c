/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* What mknod, mkdir and symlink have in common: a new name without an open file. */
typedef struct Making {
    mode_t mode; /* with its type */
    dev_t rdev;
    const char *target; /* of a symbolic link */
} Making;

static int make_at(int parent_fd, const char *name, const Making *making)
{
    int r;

    if (making->target)
        r = symlinkat(making->target, parent_fd, name);
    else if (S_ISDIR(making->mode))
        r = mkdirat(parent_fd, name, making->mode & 07777);
    else
        r = mknodat(parent_fd, name, making->mode, making->rdev);
    return r == 0 ? 0 : -errno;
}

static int make_child(fuse_req_t req, Fs *fs, const Change *change, Node *parent, const char *name,
                      const Making *making, struct stat *st_out, Node **node_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, parent, &fd);
    if (r != 0)
        return r;
    {
        g_auto(Creds) creds G_GNUC_UNUSED = creds_become(req, fs, making->mode);

        r = make_at(fd.fd, name, making);
    }
    if (r == 0)
        r = node_lookup(fs->nodes, parent, fd.fd, name, st_out, node_out);
    if (r == 0)
        guard_created(fs->guard, change, *node_out);
    return r;
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, const Making *making)
{
    Fs *fs = fs_of(req);
    Caller caller = caller_of(req);
    Node *node = NULL;
    struct stat st;
    Change change;
    int r;

    r = guard_begin_name(fs->guard, &caller, fs_node(fs, parent), name, &change);
    if (r == 0) {
        r = make_child(req, fs, &change, fs_node(fs, parent), name, making, &st, &node);
        guard_end(fs->guard, &change, r);
    }
    ops_reply_entry(req, fs, r, node, &st);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    make(req, parent, name, &(Making){.mode = mode, .rdev = rdev});
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(req, parent, name, &(Making){.mode = S_IFDIR | (mode & 07777)});
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make(req, parent, name, &(Making){.mode = S_IFLNK, .target = target});
}

/* Who has the file open keeps it. */
static int open_before_it_goes(Fs *fs, Node *parent, const char *name)
{
    Node *node = node_peek_child(fs->nodes, parent, name);
    int r = 0;

    if (node) {
        r = handles_open_deferred(fs->handles, node);
        node_unref(fs->nodes, node);
    }
    return r;
}

static int remove_child(Fs *fs, const Change *change, Node *parent, const char *name, int flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    NodeGone *gone;
    int r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, parent, &fd);
    if (r == 0)
        r = open_before_it_goes(fs, parent, name);
    if (r != 0)
        return r;
    gone = node_before_unlink(fs->nodes, parent, fd.fd, name);
    r = unlinkat(fd.fd, name, flags) == 0 ? 0 : -errno;
    node_after_unlink(fs->nodes, gone, r == 0);
    if (r == 0 && flags & AT_REMOVEDIR)
        dir_handles_close_removed(fs->dir_handles);
    return r;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
    Fs *fs = fs_of(req);
    Caller caller = caller_of(req);
    Change change;
    int r;

    r = guard_begin_name(fs->guard, &caller, fs_node(fs, parent), name, &change);
    if (r == 0) {
        r = remove_child(fs, &change, fs_node(fs, parent), name, flags);
        guard_end(fs->guard, &change, r);
    }
    fuse_reply_err(req, -r);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, 0);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, AT_REMOVEDIR);
}

static int link_child(Fs *fs, const Change *change, Node *node, Node *parent, const char *name,
                      struct stat *st_out, Node **node_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    g_auto(NodeFd) parent_fd = NODE_FD_INIT;
    NodePath path;
    int r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, node, &fd);
    if (r == 0)
        r = node_fd_get(fs->nodes, parent, &parent_fd);
    if (r != 0)
        return r;
    node_fd_path(&fd, &path);
    /* AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH */
    node_link_begin(fs->nodes);
    r = linkat(AT_FDCWD, path.text, parent_fd.fd, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
    node_link_end(fs->nodes);
    if (r != 0)
        return r;
    return node_lookup(fs->nodes, parent, parent_fd.fd, name, st_out, node_out);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    Fs *fs = fs_of(req);
    Caller caller = caller_of(req);
    Node *node = NULL;
    struct stat st;
    Change change;
    int r;

    r = guard_begin_link(fs->guard, &caller, fs_node(fs, ino), fs_node(fs, parent), name, &change);
    if (r == 0) {
        r = link_child(fs, &change, fs_node(fs, ino), fs_node(fs, parent), name, &st, &node);
        guard_end(fs->guard, &change, r);
    }
    ops_reply_entry(req, fs, r, node, &st);
}

static int rename_child(Fs *fs, const Change *change, Node *parent, const char *name,
                        Node *new_parent, const char *new_name, unsigned flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    g_auto(NodeFd) new_fd = NODE_FD_INIT;
    NodeGone *gone = NULL;
    gboolean replaces_directory;
    NodeRename rename;
    int r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, parent, &fd);
    if (r == 0)
        r = node_fd_get(fs->nodes, new_parent, &new_fd);
    if (r == 0 && !(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
        r = open_before_it_goes(fs, new_parent, new_name);
    if (r != 0)
        return r;
    if (!(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE)))
        gone = node_before_unlink(fs->nodes, new_parent, new_fd.fd, new_name);
    replaces_directory = node_gone_is_directory(gone);
    node_rename_begin(fs->nodes, &rename);
    r = renameat2(fd.fd, name, new_fd.fd, new_name, flags) == 0 ? 0 : -errno;
    node_after_unlink(fs->nodes, gone, r == 0);
    if (r == 0)
        node_renamed(fs->nodes, parent, name, new_parent, new_name, flags & RENAME_EXCHANGE);
    node_rename_end(fs->nodes, &rename);
    if (r == 0 && replaces_directory)
        dir_handles_close_removed(fs->dir_handles);
    return r;
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    Fs *fs = fs_of(req);
    Node *from = fs_node(fs, parent);
    Node *to = fs_node(fs, new_parent);
    Caller caller = caller_of(req);
    Change change;
    int r;

    r = guard_begin_rename(fs->guard, &caller, from, name, to, new_name, &change);
    if (r == 0) {
        r = rename_child(fs, &change, from, name, to, new_name, flags);
        guard_end(fs->guard, &change, r);
    }
    fuse_reply_err(req, -r);
}

void ops_add_tree(struct fuse_lowlevel_ops *ops)
{
    ops->mknod = op_mknod;
    ops->mkdir = op_mkdir;
    ops->symlink = op_symlink;
    ops->unlink = op_unlink;
    ops->rmdir = op_rmdir;
    ops->link = op_link;
    ops->rename = op_rename;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "util.h"
#include "warden.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

static int stat_node(Fs *fs, Node *node, struct stat *st_out)
{
    struct statx stx;
    int r = node_stat(fs->nodes, node, &stx);

    if (r == 0)
        node_stat_from_statx(&stx, st_out);
    return r;
}

static int stat_open(Fs *fs, Node *node, const struct fuse_file_info *fi, struct stat *st_out)
{
    struct statx stx;
    int r;

    if (!fi || node_type(node) == S_IFDIR)
        return stat_node(fs, node, st_out);
    r = handle_statx(fs->handles, handle_of(fi->fh), &stx);
    if (r == 0)
        node_stat_from_statx(&stx, st_out);
    return r;
}

static void reply_attr(fuse_req_t req, Fs *fs, Node *node, int r, struct stat *st)
{
    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    st->st_ino = node_table_shown_ino(fs->nodes, st->st_dev, st->st_ino);
    fs_tell(fs, node);
    fuse_reply_attr(req, st, fs_cache_seconds(fs));
}

/* The kernel knows the name, but not what became of the file: had it been listed with attributes,
 * it would not ask. */
static void note_look(fuse_req_t req, Fs *fs, Node *node)
{
    dir_advice_looked_up(fs->dir_advice, fuse_req_ctx(req)->pid,
                         node_parent_number(fs->nodes, node));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Node *node = fs_node(fs, ino);
    struct stat st;

    if (!fi && node_type(node) != S_IFDIR)
        note_look(req, fs, node);
    reply_attr(req, fs, node, stat_open(fs, node, fi, &st), &st);
}

/* The kernel does not look at the search permission of directories that it has cached. Nobody comes
 * through such a mount but the daemon's user, who is an owner or one of the others. */
static gboolean closes_directory(const Fs *fs, const struct stat *st, mode_t mode)
{
    mode_t of_us = st->st_uid == fs->uid ? S_IXUSR : S_IXUSR | S_IXGRP | S_IXOTH;

    return S_ISDIR(st->st_mode) && (st->st_mode & of_us & ~mode) != 0;
}

/* fchmodat2(2), by its number: glibc has it since 2.39. */
#define SYS_FCHMODAT2 452

/* Needs no path below /proc where the kernel is 6.6 or later. */
static int change_mode_of(const NodeFd *fd, mode_t mode)
{
    static _Atomic gboolean missing;
    NodePath path;

    if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
        if (syscall(SYS_FCHMODAT2, fd->fd, "", mode, AT_EMPTY_PATH) == 0)
            return 0;
        if (errno != ENOSYS)
            return -errno;
        atomic_store_explicit(&missing, TRUE, memory_order_relaxed);
    }
    node_fd_path(fd, &path);
    return chmod(path.text, mode) == 0 ? 0 : -errno;
}

/* A chown takes suid and sgid away, which a kernel without FUSE_HANDLE_KILLPRIV_V2 does by a mode
 * of its own. Where it does not check permissions it has no sticky bit to put into that. */
static mode_t mode_after_chown(const Fs *fs, const NodeFd *fd, mode_t mode)
{
    struct stat st;

    if (fs->kernel_checks || fstatat(fd->fd, "", &st, AT_EMPTY_PATH) != 0 ||
        (st.st_mode & 0777) != (mode & 0777))
        return mode;
    return mode | (st.st_mode & S_ISVTX);
}

static int change_mode(Fs *fs, Node *node, const NodeFd *fd, mode_t mode)
{
    gboolean hides = node_type(node) == S_IFDIR && !fs->kernel_checks;
    struct stat st;
    int r;

    if (node_type(node) == S_IFLNK)
        return -EOPNOTSUPP;
    if (hides && fstatat(fd->fd, "", &st, AT_EMPTY_PATH) != 0)
        return -errno;
    r = change_mode_of(fd, mode & 07777);
    if (r == 0 && hides && closes_directory(fs, &st, mode))
        warden_close_directory(fs->warden, node);
    return r;
}

static int change_owner(int fd, const struct stat *attr, int to_set)
{
    uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
    gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;

    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0 ? 0 : -errno;
}

static int change_size(fuse_req_t req, Fs *fs, Node *node, off_t size,
                       const struct fuse_file_info *fi)
{
    autofd opened_fd = fi ? -1 : node_open(fs->nodes, node, O_WRONLY | O_CLOEXEC);
    int fd = fi ? handle_of(fi->fh)->fd : opened_fd;

    if (fd < 0)
        return fd;
    if (!fi)
        io_mode_forbid_store(node_io_modes(node));
    if (ftruncate(fd, size) != 0)
        return -errno;
    creds_clear_suid(req, fs, node, fd);
    return 0;
}

static struct timespec new_time(struct timespec given, int to_set, int flag, int now_flag)
{
    if (to_set & now_flag)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (to_set & flag)
        return given;
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_times(int fd, const struct stat *attr, int to_set)
{
    struct timespec times[2] = {
        new_time(attr->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
        new_time(attr->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
    };

    return utimensat(fd, "", times, AT_EMPTY_PATH) == 0 ? 0 : -errno;
}

#define SETS_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SETS_TIMES                                                                                 \
    (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

#define SETS_ANYTHING (FUSE_SET_ATTR_MODE | SETS_OWNER | FUSE_SET_ATTR_SIZE | SETS_TIMES)

/* The wish to set nothing is a chown(2) with neither owner, which takes suid and sgid away and sets
 * the time of change. Or it comes before a write, from a kernel that would take these away itself
 * and has left it to us: the write does that (creds_clear_suid), and must not fail for it. The
 * request does not tell which of both it is, so the file's owner and root get the former. */
static void chown_to_nobody_else(fuse_req_t req, int fd)
{
    uid_t caller = fuse_req_ctx(req)->uid;
    struct stat st;

    if (fstatat(fd, "", &st, AT_EMPTY_PATH) != 0 || (caller != 0 && caller != st.st_uid))
        return;
    if (fchownat(fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH) != 0)
        g_debug("cannot clear suid: %s", g_strerror(errno));
}

static int set_attributes(fuse_req_t req, Fs *fs, const Change *change, Node *node,
                          const struct stat *attr, int to_set, const struct fuse_file_info *fi)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r = 0;

    guard_assert_admitted(change);
    if ((to_set & SETS_ANYTHING) != FUSE_SET_ATTR_SIZE)
        r = node_fd_get(fs->nodes, node, &fd);
    if (r == 0 && (to_set & FUSE_SET_ATTR_MODE))
        r = change_mode(fs, node, &fd,
                        to_set & SETS_OWNER ? mode_after_chown(fs, &fd, attr->st_mode)
                                            : attr->st_mode);
    if (r == 0 && (to_set & SETS_ANYTHING) == 0)
        chown_to_nobody_else(req, fd.fd);
    if (r == 0 && (to_set & SETS_OWNER))
        r = change_owner(fd.fd, attr, to_set);
    if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE))
        r = change_size(req, fs, node, attr->st_size, fi);
    if (r == 0 && (to_set & SETS_TIMES))
        r = change_times(fd.fd, attr, to_set);
    return r;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Node *node = fs_node(fs, ino);
    Caller caller = caller_of(req);
    gboolean of_size = (to_set & FUSE_SET_ATTR_SIZE) != 0;
    struct fuse_file_info *open = node_type(node) == S_IFDIR ? NULL : fi;
    struct stat st;
    Change change;
    int r;

    if (open && of_size && handle_of(open->fh)->file)
        r = guard_begin_handle(fs->guard, &caller, handle_of(open->fh), &change);
    else
        r = guard_begin_node(fs->guard, &caller, node, of_size, &change);
    if (r == 0) {
        r = set_attributes(req, fs, &change, node, attr, to_set, open);
        guard_end(fs->guard, &change, r);
    }
    if (r == 0)
        r = stat_open(fs, node, fi, &st);
    reply_attr(req, fs, node, r, &st);
}

static int check_access(Fs *fs, fuse_req_t req, Node *node, int mask)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    Caller caller = caller_of(req);
    int r = node_fd_get(fs->nodes, node, &fd);

    if (r != 0)
        return r;
    if (node_type(node) != S_IFLNK) {
        NodePath path;

        node_fd_path(&fd, &path);
        if (faccessat(AT_FDCWD, path.text, mask, AT_EACCESS) != 0)
            return -errno;
    }
    if ((mask & W_OK) && !guard_permits_on(fs->guard, &caller, node))
        return -EROFS;
    return 0;
}

static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
    Fs *fs = fs_of(req);

    fuse_reply_err(req, -check_access(fs, req, fs_node(fs, ino), mask));
}

static int stat_fs(Fs *fs, Node *node, struct statvfs *st_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r = node_fd_get(fs->nodes, node, &fd);

    if (r != 0)
        return r;
    return fstatvfs(fd.fd, st_out) == 0 ? 0 : -errno;
}

/* Of the filesystem that the file is on: another may be mounted below the workspace. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    Fs *fs = fs_of(req);
    struct statvfs st;
    int r = stat_fs(fs, fs_node(fs, ino), &st);

    if (r != 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_statfs(req, &st);
}

void ops_add_attr(struct fuse_lowlevel_ops *ops)
{
    ops->getattr = op_getattr;
    ops->setattr = op_setattr;
    ops->access = op_access;
    ops->statfs = op_statfs;
}

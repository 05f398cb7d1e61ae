/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control-run.h"
#include "inspect.h"
#include "ops.h"
#include "warden.h"
#include <errno.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

static const char *own_name(const char *name)
{
    return g_str_has_prefix(name, LEASEFS_XATTR_PREFIX) ? name + strlen(LEASEFS_XATTR_PREFIX)
                                                        : NULL;
}

/* O_PATH descriptors take no xattr calls: these are on a path, unless the file is open. The link
 * itself for a symbolic link, since /proc/self/fd follows to the link but no further. */
static ssize_t get_value(const NodeFd *fd, const char *name, char *value, size_t size)
{
    NodePath path;

    if (node_fd_is_open(fd))
        return fgetxattr(fd->fd, name, value, size);
    node_fd_path(fd, &path);
    return getxattr(path.text, name, value, size);
}

static ssize_t list_names(const NodeFd *fd, char *names, size_t size)
{
    NodePath path;

    if (node_fd_is_open(fd))
        return flistxattr(fd->fd, names, size);
    node_fd_path(fd, &path);
    return listxattr(path.text, names, size);
}

static int set_value(const NodeFd *fd, const char *name, const char *value, size_t size, int flags)
{
    NodePath path;

    if (node_fd_is_open(fd))
        return fsetxattr(fd->fd, name, value, size, flags);
    node_fd_path(fd, &path);
    return setxattr(path.text, name, value, size, flags);
}

static int remove_value(const NodeFd *fd, const char *name)
{
    NodePath path;

    if (node_fd_is_open(fd))
        return fremovexattr(fd->fd, name);
    node_fd_path(fd, &path);
    return removexattr(path.text, name);
}

static void reply_value(fuse_req_t req, const char *value, size_t length, size_t size)
{
    if (size == 0)
        fuse_reply_xattr(req, length);
    else if (length > size)
        fuse_reply_err(req, ERANGE);
    else
        fuse_reply_buf(req, value, length);
}

static void get_own(fuse_req_t req, Fs *fs, Node *node, const char *name, size_t size)
{
    Caller caller = caller_of(req);
    int error = 0;
    g_autofree char *value = inspect_attribute(fs, &caller, node, name, &error);

    if (!value)
        fuse_reply_err(req, error);
    else
        reply_value(req, value, strlen(value), size);
}

/* Another filesystem below may be changed from elsewhere. */
static gboolean remembers_absence(Fs *fs, const Node *node)
{
    return fs_cache_seconds(fs) > CACHE_SHORT_S && node_dev(node) == fs->backing_dev;
}

/* Puts the value into `value`; its length, or -errno. */
static ssize_t look_for(Fs *fs, Node *node, const char *name, char *value, size_t size)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    guint64 begun;
    ssize_t n;
    int r;

    if (xattr_memory_lacks(node, name))
        return -ENODATA;
    begun = xattr_memory_begin(fs->xattr_memory);
    r = node_fd_get(fs->nodes, node, &fd);
    if (r != 0)
        return r;
    n = get_value(&fd, name, value, size);
    if (n >= 0)
        return n;
    r = -errno;
    if (r == -ENODATA && remembers_absence(fs, node))
        xattr_memory_absent(fs->xattr_memory, node, name, begun);
    return r;
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    Fs *fs = fs_of(req);
    g_autofree char *value = NULL;
    ssize_t n;

    if (own_name(name)) {
        get_own(req, fs, fs_node(fs, ino), own_name(name), size);
        return;
    }
    value = size > 0 ? g_malloc(size) : NULL;
    n = look_for(fs, fs_node(fs, ino), name, value, size);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else if (size == 0)
        fuse_reply_xattr(req, (size_t)n);
    else
        fuse_reply_buf(req, value, (size_t)n);
}

/* Takes out of a list of names that the backing file may have ours, and, for callers who are not
 * root, those that xattr(7) shows to the privileged alone: the daemon was shown them. */
static size_t hide_names(char *names, size_t length, gboolean is_privileged)
{
    size_t kept = 0;

    for (size_t at = 0; at < length;) {
        size_t n = strnlen(names + at, length - at) + 1;

        n = MIN(n, length - at);
        if (!own_name(names + at) &&
            (is_privileged || !g_str_has_prefix(names + at, XATTR_TRUSTED_PREFIX))) {
            memmove(names + kept, names + at, n);
            kept += n;
        }
        at += n;
    }
    return kept;
}

/* The whole list, owned; -errno. The size is asked for again while the list grows. */
static ssize_t read_list(const NodeFd *fd, char **names_out)
{
    for (int tries = 0; tries < 5; tries++) {
        ssize_t n = list_names(fd, NULL, 0);
        g_autofree char *names = NULL;

        if (n < 0)
            return -errno;
        names = g_malloc((size_t)n + 1);
        if (n > 0)
            n = list_names(fd, names, (size_t)n);
        if (n < 0 && errno == ERANGE)
            continue;
        if (n < 0)
            return -errno;
        names[n] = '\0';
        *names_out = g_steal_pointer(&names);
        return n;
    }
    return -ERANGE;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    Fs *fs = fs_of(req);
    g_auto(NodeFd) fd = NODE_FD_INIT;
    g_autofree char *names = NULL;
    ssize_t n = node_fd_get(fs->nodes, fs_node(fs, ino), &fd);

    if (n == 0)
        n = read_list(&fd, &names);
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        reply_value(req, names, hide_names(names, (size_t)n, fuse_req_ctx(req)->uid == 0), size);
}

static void set_own(fuse_req_t req, Fs *fs, const char *name, const char *value, size_t size)
{
    g_auto(ControlMessage) message = {0};
    Caller caller = caller_of(req);

    if (strcmp(name, "control") != 0)
        fuse_reply_err(req, EPERM);
    else if (!control_parse(value, size, &message))
        fuse_reply_err(req, EINVAL);
    else
        fuse_reply_err(req, -control_run(fs, &caller, fuse_req_ctx(req)->uid, &message));
}

static int change_xattr(fuse_req_t req, Fs *fs, const Change *change, Node *node, const char *name,
                        const char *value, size_t size, int flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, node, &fd);
    if (r != 0)
        return r;
    r = value ? set_value(&fd, name, value, size, flags) : remove_value(&fd, name);
    if (r != 0)
        return -errno;
    if (value)
        xattr_memory_set(fs->xattr_memory, node);
    if (value && strcmp(name, XATTR_NAME_POSIX_ACL_ACCESS) == 0)
        r = creds_clear_sgid_of_stranger(req, fs, &fd);
    return r;
}

static void guarded_change(fuse_req_t req, Fs *fs, Node *node, const char *name, const char *value,
                           size_t size, int flags)
{
    Caller caller = caller_of(req);
    Change change;
    int r;

    r = guard_begin_node(fs->guard, &caller, node, FALSE, &change);
    if (r == 0) {
        r = change_xattr(req, fs, &change, node, name, value, size, flags);
        guard_end(fs->guard, &change, r);
    }
    if (r == 0)
        warden_forget_attributes(fs->warden, node);
    fuse_reply_err(req, -r);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    Fs *fs = fs_of(req);

    if (own_name(name))
        set_own(req, fs, own_name(name), value, size);
    else
        guarded_change(req, fs, fs_node(fs, ino), name, value, size, flags);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    Fs *fs = fs_of(req);

    if (own_name(name))
        fuse_reply_err(req, EPERM);
    else
        guarded_change(req, fs, fs_node(fs, ino), name, NULL, 0, 0);
}

void ops_add_xattr(struct fuse_lowlevel_ops *ops)
{
    ops->getxattr = op_getxattr;
    ops->listxattr = op_listxattr;
    ops->setxattr = op_setxattr;
    ops->removexattr = op_removexattr;
}

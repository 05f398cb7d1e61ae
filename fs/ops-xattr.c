/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control-run.h"
#include "inspect.h"
#include "ops.h"
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

/* Calls on a path, because O_PATH descriptors take no xattr calls; the link itself for a symbolic
 * link, by its parent's descriptor, since /proc/self/fd follows to the link but no further. */
static int xattr_path(Fs *fs, Node *node, NodeFd *fd, NodePath *path_out)
{
    int r = node_fd_get(fs->nodes, node, fd);

    if (r == 0)
        node_fd_path(fd, path_out);
    return r;
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

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    Fs *fs = fs_of(req);
    g_auto(NodeFd) fd = NODE_FD_INIT;
    g_autofree char *value = NULL;
    NodePath path;
    ssize_t n;
    int r;

    if (own_name(name)) {
        get_own(req, fs, fs_node(fs, ino), own_name(name), size);
        return;
    }
    r = xattr_path(fs, fs_node(fs, ino), &fd, &path);
    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    value = size > 0 ? g_malloc(size) : NULL;
    n = getxattr(path.text, name, value, size);
    if (n < 0)
        fuse_reply_err(req, errno);
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
static ssize_t read_list(const char *path, char **names_out)
{
    for (int tries = 0; tries < 5; tries++) {
        ssize_t n = listxattr(path, NULL, 0);
        g_autofree char *names = NULL;

        if (n < 0)
            return -errno;
        names = g_malloc((size_t)n + 1);
        n = listxattr(path, names, (size_t)n);
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
    NodePath path;
    ssize_t n = xattr_path(fs, fs_node(fs, ino), &fd, &path);

    if (n == 0)
        n = read_list(path.text, &names);
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
    NodePath path;
    int r;

    guard_assert_admitted(change);
    r = xattr_path(fs, node, &fd, &path);
    if (r != 0)
        return r;
    r = value ? setxattr(path.text, name, value, size, flags) : removexattr(path.text, name);
    if (r != 0)
        return -errno;
    if (value && strcmp(name, "system.posix_acl_access") == 0)
        r = creds_clear_sgid_of_stranger(req, fs, path.text);
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

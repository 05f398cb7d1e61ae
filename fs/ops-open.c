/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "preload.h"
#include <errno.h>
#include <fcntl.h>

/* KEEP_CACHE also where the handle itself is direct, else it would drop the pages of others. A
 * read-write file is cached and written through: reading and shared mappings cost no round trip,
 * while each write(2) is still a request that can be refused. */
static void choose_caching(Fs *fs, const Handle *handle, struct fuse_file_info *fi)
{
    if (handle->io_mode != IO_CACHED) {
        fi->direct_io = 1;
        fi->parallel_direct_writes = 1;
    }
    fi->keep_cache = fs_keeps_pages(fs);
}

static gboolean reads_kept_pages(const struct fuse_file_info *fi)
{
    return fi->keep_cache && !fi->direct_io && (fi->flags & O_ACCMODE) == O_RDONLY &&
           !(fi->flags & O_DIRECT);
}

static int open_truncating(fuse_req_t req, Fs *fs, const Change *change, Node *node, int flags,
                           Handle **handle_out)
{
    int fd;

    guard_assert_admitted(change);
    io_mode_forbid_store(node_io_modes(node));
    fd = handle_open_file(fs->handles, node, flags);
    if (fd < 0)
        return fd;
    creds_clear_suid(req, fs, node, fd);
    *handle_out = handle_new(fs->handles, node, fd, flags, change->path_class, change->session);
    return 0;
}

/* As handle.h has it. */
static gboolean may_be_put_off(Fs *fs, int flags)
{
    return fs->is_plain && fs_cache_seconds(fs) > CACHE_SHORT_S &&
           (flags & (O_ACCMODE | O_DIRECT)) == O_RDONLY;
}

static int open_plainly(Fs *fs, const Caller *caller, Node *node, int flags, Handle **handle_out)
{
    g_autoptr(Session) session = NULL;
    PathClass path_class = PATH_ORDINARY;
    int fd, r;

    if ((flags & O_ACCMODE) != O_RDONLY) {
        r = guard_check_open(fs->guard, caller, node, &path_class, &session);
        if (r != 0)
            return r;
    }
    if (may_be_put_off(fs, flags)) {
        *handle_out = handle_new_deferred(fs->handles, node, flags);
        if (*handle_out)
            return 0;
    }
    fd = handle_open_file(fs->handles, node, flags);
    if (fd < 0)
        return fd;
    *handle_out = handle_new(fs->handles, node, fd, flags, path_class, session);
    return 0;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Node *node = fs_node(fs, ino);
    Caller caller = caller_of(req);
    Handle *handle = NULL;
    Change change;
    int r;

    if (fi->flags & O_TRUNC) {
        r = guard_begin_node(fs->guard, &caller, node, TRUE, &change);
        if (r == 0) {
            r = open_truncating(req, fs, &change, node, fi->flags, &handle);
            guard_end(fs->guard, &change, r);
        }
    } else {
        r = open_plainly(fs, &caller, node, fi->flags, &handle);
    }
    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    choose_caching(fs, handle, fi);
    fi->fh = (uintptr_t)handle;
    if (reads_kept_pages(fi))
        preload(fs, ino, handle);
    if (fuse_reply_open(req, fi) != 0)
        handle_free(fs->handles, handle);
}

typedef struct Created {
    Node *node; /* looked up once */
    Handle *handle;
    struct stat st;
} Created;

static int adopt_created(Fs *fs, const Change *change, Node *parent, const char *name, int fd,
                         int flags, Created *created_out)
{
    struct statx stx;

    if (statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &stx) != 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    node_stat_from_statx(&stx, &created_out->st);
    created_out->node = name ? node_find_or_add(fs->nodes, parent, name, &stx)
                             : node_add_nameless(fs->nodes, fd, &stx);
    guard_created(fs->guard, change, created_out->node);
    created_out->handle =
        handle_new(fs->handles, created_out->node, fd, flags, change->path_class, change->session);
    return 0;
}

static int create_file(fuse_req_t req, Fs *fs, const Change *change, Node *parent, const char *name,
                       mode_t mode, int flags, Created *created_out)
{
    g_auto(NodeFd) parent_fd = NODE_FD_INIT;
    int fd, r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, parent, &parent_fd);
    if (r != 0)
        return r;
    {
        g_auto(Creds) creds G_GNUC_UNUSED = creds_become(req, fs, S_IFREG | mode);

        fd = openat(parent_fd.fd, name,
                    handle_backing_flags(flags) | O_CREAT | (flags & O_EXCL) | O_NOFOLLOW, mode);
        r = fd < 0 ? -errno : 0;
    }
    return r == 0 ? adopt_created(fs, change, parent, name, fd, flags, created_out) : r;
}

static int create_nameless(fuse_req_t req, Fs *fs, const Change *change, Node *parent, mode_t mode,
                           int flags, Created *created_out)
{
    g_auto(NodeFd) parent_fd = NODE_FD_INIT;
    int fd, r;

    guard_assert_admitted(change);
    r = node_fd_get(fs->nodes, parent, &parent_fd);
    if (r != 0)
        return r;
    {
        g_auto(Creds) creds G_GNUC_UNUSED = creds_become(req, fs, S_IFREG | mode);

        fd = openat(parent_fd.fd, ".", handle_backing_flags(flags) | O_TMPFILE | (flags & O_EXCL),
                    mode);
        r = fd < 0 ? -errno : 0;
    }
    return r == 0 ? adopt_created(fs, change, parent, NULL, fd, flags, created_out) : r;
}

static void reply_created(fuse_req_t req, Fs *fs, int r, const Created *created,
                          struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;

    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    choose_caching(fs, created->handle, fi);
    fi->fh = (uintptr_t)created->handle;
    ops_fill_entry(fs, created->node, &created->st, &entry);
    if (fuse_reply_create(req, &entry, fi) != 0) {
        handle_free(fs->handles, created->handle);
        node_forget(fs->nodes, created->node, 1);
    }
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Caller caller = caller_of(req);
    Created created;
    Change change;
    int r;

    r = guard_begin_name(fs->guard, &caller, fs_node(fs, parent), name, &change);
    if (r == 0) {
        r = create_file(req, fs, &change, fs_node(fs, parent), name, mode, fi->flags, &created);
        guard_end(fs->guard, &change, r);
    }
    reply_created(req, fs, r, &created, fi);
}

static void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);
    Caller caller = caller_of(req);
    Created created;
    Change change;
    int r;

    r = guard_begin_node(fs->guard, &caller, fs_node(fs, parent), FALSE, &change);
    if (r == 0) {
        r = create_nameless(req, fs, &change, fs_node(fs, parent), mode, fi->flags, &created);
        guard_end(fs->guard, &change, r);
    }
    reply_created(req, fs, r, &created, fi);
}

static void op_release(fuse_req_t req, fuse_ino_t ino G_GNUC_UNUSED, struct fuse_file_info *fi)
{
    Fs *fs = fs_of(req);

    handle_free(fs->handles, handle_of(fi->fh));
    fuse_reply_err(req, 0);
}

void ops_close_all(Fs *fs)
{
    g_autoptr(GPtrArray) files = NULL;

    dir_handles_close_kept(fs->dir_handles);
    handles_free_deferred(fs->handles);
    files = node_table_list_open_files(fs->nodes);
    for (guint i = 0; i < files->len; i++) {
        NodeOpenFile *file = g_ptr_array_index(files, i);

        if (node_type(file->node) == S_IFDIR)
            dir_handles_close(fs->dir_handles, dir_handle_of_file(file));
        else
            handle_free(fs->handles, handle_of_file(file));
    }
}

void ops_add_open(struct fuse_lowlevel_ops *ops)
{
    ops->open = op_open;
    ops->create = op_create;
    ops->tmpfile = op_tmpfile;
    ops->release = op_release;
    /* flush stays unset: after the first ENOSYS the kernel asks no more, and close still writes
     * back what mappings dirtied */
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "warden.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

void ops_fill_entry(Fs *fs, Node *node, const struct stat *st, struct fuse_entry_param *entry_out)
{
    double seconds = fs_cache_seconds(fs);

    *entry_out = (struct fuse_entry_param){
        .ino = node_number(node),
        .generation = node_generation(node),
        .attr = *st,
        .attr_timeout = seconds,
        .entry_timeout = seconds,
    };
    entry_out->attr.st_ino = node_table_shown_ino(fs->nodes, st->st_dev, st->st_ino);
    fs_tell(fs, node);
}

void ops_reply_entry(fuse_req_t req, Fs *fs, int r, Node *node, const struct stat *st)
{
    struct fuse_entry_param entry;

    if (r != 0) {
        fuse_reply_err(req, -r);
        return;
    }
    ops_fill_entry(fs, node, st, &entry);
    if (fuse_reply_entry(req, &entry) != 0)
        node_forget(fs->nodes, node, 1);
}

static void reply_negative(fuse_req_t req, Fs *fs)
{
    double seconds = fs_cache_seconds(fs);

    if (seconds > CACHE_SHORT_S)
        fuse_reply_entry(req, &(struct fuse_entry_param){.entry_timeout = seconds});
    else
        fuse_reply_err(req, ENOENT);
}

static int look_up_child(Fs *fs, Node *parent, const char *name, struct stat *st_out,
                         Node **node_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r = node_fd_get(fs->nodes, parent, &fd);

    return r != 0 ? r : node_lookup(fs->nodes, parent, fd.fd, name, st_out, node_out);
}

/* The kernel asks for `.` and `..` only when someone comes with a file handle: the first with a
 * number that may be forgotten, or invented. */
static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    Fs *fs = fs_of(req);
    struct stat st;
    Node *node = NULL;
    int r;

    if (strcmp(name, ".") == 0)
        r = node_lookup_number(fs->nodes, parent, &st, &node);
    else if (strcmp(name, "..") == 0)
        r = node_lookup_parent(fs->nodes, fs_node(fs, parent), &st, &node);
    else
        r = look_up_child(fs, fs_node(fs, parent), name, &st, &node);
    if (r == 0 && !S_ISDIR(st.st_mode))
        dir_advice_looked_up(fs->dir_advice, fuse_req_ctx(req)->pid, parent);
    if (r == -ENOENT)
        reply_negative(req, fs);
    else
        ops_reply_entry(req, fs, r, node, &st);
}

/* What the freed nodes took is given back to the system. */
static void note_forgotten(Fs *fs)
{
    if (node_table_take_shrinking(fs->nodes))
        warden_trim(fs->warden);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    Fs *fs = fs_of(req);

    if (ino != FUSE_ROOT_ID)
        node_forget(fs->nodes, fs_node(fs, ino), nlookup);
    fuse_reply_none(req);
    note_forgotten(fs);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    Fs *fs = fs_of(req);

    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != FUSE_ROOT_ID)
            node_forget(fs->nodes, fs_node(fs, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
    note_forgotten(fs);
}

static int read_link(Fs *fs, Node *node, char *target_out, size_t size)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    ssize_t n;
    int r = node_fd_get(fs->nodes, node, &fd);

    if (r != 0)
        return r;
    n = readlinkat(fd.fd, "", target_out, size - 1);
    if (n < 0)
        return -errno;
    target_out[n] = '\0';
    return 0;
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    Fs *fs = fs_of(req);
    char target[PATH_MAX + 1];
    int r = read_link(fs, fs_node(fs, ino), target, sizeof target);

    if (r != 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_readlink(req, target);
}

void ops_add_lookup(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = op_lookup;
    ops->forget = op_forget;
    ops->forget_multi = op_forget_multi;
    ops->readlink = op_readlink;
}

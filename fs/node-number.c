/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The numbers that the kernel knows nodes by, and nodes found by their number alone.
 *
 * A file handle (name_to_handle_at(2), NFS) that someone got from the mount holds the number and
 * the generation of a node, and is to open the file also when the kernel and this table have
 * forgotten it. Therefore the number is the inode number below, and the generation comes of the
 * birth time. From these a handle of the filesystem below is made up, where that filesystem takes
 * one without its own generation (ext2, ext3, ext4) and the daemon may open by handle
 * (CAP_DAC_READ_SEARCH). What it opens counts only if it is born when the handle's file was.
 *
 * Who opens by handle has that capability too, and could open any file of that filesystem below as
 * well: that a file lies in the workspace is looked at for directories only, which the kernel wants
 * to find its way up from.
 */
#include "node-private.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#define ROOT_NUMBER   1
#define MADE_UP       (G_GUINT64_CONSTANT(1) << 63)
#define HANDLE_TYPE   1 /* FILEID_INO32_GEN */
#define HANDLE_SIZE   8
#define MAX_DEPTH     10000
#define OPEN_THE_PATH (O_PATH | O_NOFOLLOW | O_CLOEXEC)

guint node_number_hash(gconstpointer key)
{
    return (guint)((((const Node *)key)->number * 0x9e3779b97f4a7c15u) >> 32);
}

gboolean node_number_equal(gconstpointer a, gconstpointer b)
{
    return ((const Node *)a)->number == ((const Node *)b)->number;
}

static Node *find_locked(NodeTable *table, guint64 number)
{
    const Node key = {.number = number};

    return g_hash_table_lookup(table->by_number, &key);
}

/* A file of another filesystem (mounted below), or one whose inode number is still that of a
 * deleted file in use, gets a number that no handle leads back from. */
void node_give_number_locked(NodeTable *table, Node *node)
{
    guint64 serial = ++table->last_serial;

    node->number = table->root == NULL ? ROOT_NUMBER : node->ino;
    if (table->root != NULL && (node->dev != table->root->dev || node->ino <= ROOT_NUMBER ||
                                node->ino >= MADE_UP || find_locked(table, node->ino) != NULL))
        node->number = MADE_UP | serial;
    /* unique for the number; the same again after it was forgotten, where there is a birth time */
    if (table->root == NULL)
        node->generation = 0; /* the kernel's own, for the root */
    else
        node->generation = node->btime_ns != 0
                               ? (guint32)(((guint64)node->btime_ns * 0x9e3779b97f4a7c15u) >> 32)
                               : (guint32)serial;
    g_hash_table_add(table->by_number, node);
}

guint64 node_number(const Node *node)
{
    return node->number;
}

guint64 node_generation(const Node *node)
{
    return node->generation;
}

Node *node_by_number(NodeTable *table, guint64 number)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;

    if (number == ROOT_NUMBER)
        return table->root;
    node_table_lock(table);
    node = find_locked(table, number);
    node_table_unlock(table, &trash);
    return node;
}

/* --- opening without a name ------------------------------------------------------------------- */

/* -errno; open_by_handle_at(2) wants a descriptor that is no O_PATH. */
static int open_inode(NodeTable *table, guint64 ino)
{
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + HANDLE_SIZE];
    } wanted = {.handle = {.handle_bytes = HANDLE_SIZE, .handle_type = HANDLE_TYPE}};
    const guint32 content[2] = {(guint32)ino, 0 /* any generation */};
    int fd;

    if (table->handle_fd < 0 || ino > G_MAXUINT32)
        return -ESTALE;
    memcpy(wanted.handle.f_handle, content, sizeof content);
    fd = open_by_handle_at(table->handle_fd, &wanted.handle, OPEN_THE_PATH);
    return fd >= 0 ? fd : -errno;
}

void node_table_open_handles(NodeTable *table, int root_fd)
{
    struct statfs fs;
    autofd fd = -1;

    table->handle_fd = -1;
    if (!table->use_btime || fstatfs(root_fd, &fs) != 0 || fs.f_type != EXT4_SUPER_MAGIC)
        return;
    table->handle_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = open_inode(table, table->root->ino);
    if (fd < 0)
        autofd_clear(&table->handle_fd);
}

gboolean node_table_opens_by_number(NodeTable *table)
{
    return table->handle_fd >= 0;
}

int node_fd_open_by_number(NodeTable *table, Node *node, NodeFd *fd_out)
{
    autofd fd = open_inode(table, node->ino);
    struct statx stx;
    int r;

    if (fd < 0)
        return fd == -ENOENT ? -ESTALE : fd;
    r = node_statx(fd, "", AT_EMPTY_PATH, &stx);
    if (r < 0)
        return r;
    if (!node_is_file(node, &stx))
        return -ESTALE;
    node_fd_adopt(table, node, fd_steal(&fd), fd_out);
    return 0;
}

/* Goes up from a directory. At the top of a filesystem `..` is the directory itself, or another
 * filesystem's. */
static gboolean is_in_workspace(const NodeTable *table, int dir_fd)
{
    autofd at_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
    ino_t below = 0;

    for (int depth = 0; at_fd >= 0 && depth < MAX_DEPTH; depth++) {
        struct statx stx;
        int up_fd;

        if (node_statx(at_fd, "", AT_EMPTY_PATH, &stx) < 0 || stx.stx_ino == below ||
            node_dev_of(stx.stx_dev_major, stx.stx_dev_minor) != table->root->dev)
            return FALSE;
        if (stx.stx_ino == table->root->ino)
            return TRUE;
        below = stx.stx_ino;
        up_fd = openat(at_fd, "..", OPEN_THE_PATH | O_DIRECTORY);
        autofd_clear(&at_fd);
        at_fd = up_fd;
    }
    return FALSE;
}

/* Counts a lookup of the file that fd (taken) is open on, under whatever name it has. */
static Node *count_lookup(NodeTable *table, int fd, const struct statx *stx)
{
    Node *node = node_find_or_add_nameless(table, stx);
    g_auto(NodeFd) node_fd = NODE_FD_INIT;

    node_fd_adopt(table, node, fd, &node_fd);
    return node;
}

static int look_up_forgotten(NodeTable *table, guint64 number, struct stat *stat_out,
                             Node **node_out)
{
    autofd fd = open_inode(table, number);
    struct statx stx;
    int r;

    if (fd < 0)
        return fd == -ENOENT ? -ESTALE : fd;
    r = node_statx(fd, "", AT_EMPTY_PATH, &stx);
    if (r < 0)
        return r;
    if (stx.stx_ino != number || (S_ISDIR(stx.stx_mode) && !is_in_workspace(table, fd)))
        return -ESTALE;
    *node_out = count_lookup(table, fd_steal(&fd), &stx);
    node_stat_from_statx(&stx, stat_out);
    return 0;
}

static Node *ref_by_number(NodeTable *table, guint64 number)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;

    node_table_lock(table);
    node = number == ROOT_NUMBER ? table->root : find_locked(table, number);
    if (node != NULL)
        node->refs++;
    node_table_unlock(table, &trash);
    return node;
}

int node_lookup_number(NodeTable *table, guint64 number, struct stat *stat_out, Node **node_out)
{
    Node *node = ref_by_number(table, number);
    g_auto(NodeFd) fd = NODE_FD_INIT;
    NodeTrash trash = NODE_TRASH_INIT;
    struct statx stx;
    int r;

    if (node == NULL)
        return look_up_forgotten(table, number, stat_out, node_out);
    r = node_fd_get(table, node, &fd);
    if (r == 0)
        r = node_statx(fd.fd, "", AT_EMPTY_PATH, &stx);
    node_fd_clear(&fd);
    if (r == 0) {
        node_stat_from_statx(&stx, stat_out);
        *node_out = node;
        node_table_lock(table);
        node->lookups++;
        node_table_unlock(table, &trash);
    }
    node_unref(table, node);
    return r;
}

int node_lookup_parent(NodeTable *table, Node *node, struct stat *stat_out, Node **node_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    struct statx stx;
    autofd up_fd = -1;
    int r = node == table->root ? -ESTALE : node_fd_get(table, node, &fd);

    if (r != 0)
        return r;
    up_fd = openat(fd.fd, "..", OPEN_THE_PATH | O_DIRECTORY);
    if (up_fd < 0)
        return -errno;
    r = node_statx(up_fd, "", AT_EMPTY_PATH, &stx);
    if (r != 0)
        return r;
    *node_out = count_lookup(table, fd_steal(&up_fd), &stx);
    node_stat_from_statx(&stx, stat_out);
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Identity and lifetimes of nodes.
 *
 * A node is in by_id while a lookup of its (dev, ino) may find it. Lookup, lookup count and the
 * drop to zero are changed under the one mutex. A file that lost a name stays in by_id, since it
 * may have others, unless no link is left: then its inode number is free to be given to a new
 * file, which must not be taken for this one.
 */
#include "node-private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <gio/gio.h>

#define TYPE_SHIFT 12

/* Some megabytes. */
#define WORTH_TRIMMING 16384u

G_STATIC_ASSERT(sizeof(gpointer) != 8 || sizeof(Node) <= 136);

/* --- identity --- */

static gint64 btime_of(const NodeTable *table, const struct statx *stx)
{
    if (!table->use_btime || !(stx->stx_mask & STATX_BTIME))
        return 0;
    return (gint64)((guint64)stx->stx_btime.tv_sec * 1000000000u + stx->stx_btime.tv_nsec);
}

gboolean node_is_file(const Node *node, const struct statx *stx)
{
    return node->ino == stx->stx_ino &&
           node->dev == node_dev_of(stx->stx_dev_major, stx->stx_dev_minor) &&
           node->mount == node_mount_of(stx) && node_type(node) == (stx->stx_mode & S_IFMT) &&
           node->btime_ns == btime_of(node->table, stx);
}

int node_statx(int dir_fd, const char *name, int flags, struct statx *stx_out)
{
    struct statx stx;

    if (statx(dir_fd, name, flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, NODE_STATX_MASK, &stx) <
        0)
        return -errno;
    *stx_out = stx;
    return 0;
}

static guint id_hash(gconstpointer key)
{
    const Node *node = key;
    guint64 apart = (guint64)node->dev << 40 ^ (guint64)node->mount << 48;
    guint64 mixed = ((guint64)node->ino ^ apart) * 0x9e3779b97f4a7c15u;

    return (guint)(mixed >> 32);
}

static gboolean id_equal(gconstpointer a, gconstpointer b)
{
    const Node *x = a;
    const Node *y = b;

    return x->ino == y->ino && x->dev == y->dev && x->mount == y->mount;
}

Node *node_find_locked(NodeTable *table, const struct statx *stx)
{
    const Node key = {
        .dev = node_dev_of(stx->stx_dev_major, stx->stx_dev_minor),
        .mount = node_mount_of(stx),
        .ino = stx->stx_ino,
    };

    return g_hash_table_lookup(table->by_id, &key);
}

/* --- lifetimes --- */

static Node *add_locked(NodeTable *table, const struct statx *stx)
{
    Node *node = g_new0(Node, 1);

    node->table = table;
    node->dev = node_dev_of(stx->stx_dev_major, stx->stx_dev_minor);
    node->mount = node_mount_of(stx);
    node->ino = stx->stx_ino;
    node->type = (stx->stx_mode & S_IFMT) >> TYPE_SHIFT;
    node->btime_ns = btime_of(table, stx);
    node->hashed = TRUE;
    node_give_number_locked(table, node);
    g_hash_table_add(table->by_id, node);
    table->most = MAX(table->most, g_hash_table_size(table->by_number));
    return node;
}

void node_unhash_locked(Node *node)
{
    if (!node->hashed)
        return;
    g_hash_table_remove(node->table->by_id, node);
    g_hash_table_add(node->table->strays, node);
    node->hashed = FALSE;
}

/* Takes out a node that nothing holds any more, and the ancestors that only it held: a loop, since
 * the chain may be as deep as a directory tree. */
void node_reap_locked(Node *node, NodeTrash *trash)
{
    while (node != NULL && node->refs == 0 && node->lookups == 0) {
        Node *parent = node->parent;

        if (parent != NULL) {
            node_leave_parent_locked(node);
            parent->refs--;
        }
        g_hash_table_remove(node->hashed ? node->table->by_id : node->table->strays, node);
        g_hash_table_remove(node->table->by_number, node);
        node_fd_detach_locked(node, trash);
        node->next = trash->nodes;
        trash->nodes = node;
        node = parent;
    }
}

static void trash_empty(NodeTrash *trash)
{
    GList *link;

    while (trash->nodes != NULL) {
        Node *node = trash->nodes;

        trash->nodes = node->next;
        if (node->data != NULL && node->data_destroy != NULL)
            node->data_destroy(node->data);
        g_free(node->name);
        g_free(node);
    }
    while ((link = g_queue_pop_head_link(&trash->fds)) != NULL) {
        NodeFdEntry *entry = link->data;

        close(entry->fd);
        g_free(entry);
    }
}

void node_table_unlock(NodeTable *table, NodeTrash *trash)
{
    pthread_mutex_unlock(&table->mutex);
    trash_empty(trash);
}

static gboolean is_overlay(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

NodeTable *node_table_new(int root_fd, guint max_fds, GError **error)
{
    autofd owned_fd = root_fd;
    pthread_condattr_t monotonic;
    NodeTable *table;
    struct statx stx;
    NodeFd fd = NODE_FD_INIT;
    int r = node_statx(owned_fd, "", AT_EMPTY_PATH, &stx);

    if (r == 0 && !S_ISDIR(stx.stx_mode))
        r = -ENOTDIR;
    if (r < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-r),
                    "cannot use the backing directory: %s", g_strerror(-r));
        return NULL;
    }
    table = g_new0(NodeTable, 1);
    pthread_mutex_init(&table->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&table->rename_ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    g_queue_init(&table->renames);
    table->by_id = g_hash_table_new(id_hash, id_equal);
    table->by_name = g_hash_table_new(node_name_hash, node_name_equal);
    table->by_number = g_hash_table_new(node_number_hash, node_number_equal);
    table->strays = g_hash_table_new(NULL, NULL);
    g_queue_init(&table->idle);
    table->max_idle = max_fds;
    /* The first write to a file of a lower layer copies it up: the same file and inode number, but
     * the birth time of the copy. */
    table->use_btime = !is_overlay(owned_fd);
    table->mount_id = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
    table->foreign = g_array_new(FALSE, FALSE, sizeof(guint32));
    table->root = add_locked(table, &stx);
    table->root->refs = 1;
    node_table_open_handles(table, owned_fd);
    node_fd_adopt(table, table->root, fd_steal(&owned_fd), &fd);
    node_fd_clear(&fd);
    return table;
}

/* Every NodeFd must have been cleared; references and lookups need not have been given back. */
void node_table_free(NodeTable *table)
{
    NodeTrash trash = NODE_TRASH_INIT;
    GHashTable *sets[2];

    if (table == NULL)
        return;
    sets[0] = table->by_id;
    sets[1] = table->strays;
    for (gsize i = 0; i < G_N_ELEMENTS(sets); i++) {
        GHashTableIter iter;
        gpointer key;

        g_hash_table_iter_init(&iter, sets[i]);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            Node *node = key;

            node_fd_detach_locked(node, &trash);
            node->next = trash.nodes;
            trash.nodes = node;
        }
    }
    autofd_clear(&table->handle_fd);
    g_hash_table_unref(table->by_name);
    g_hash_table_unref(table->by_number);
    g_hash_table_unref(table->by_id);
    g_hash_table_unref(table->strays);
    g_array_unref(table->foreign);
    trash_empty(&trash);
    pthread_cond_destroy(&table->rename_ended);
    pthread_mutex_destroy(&table->mutex);
    g_free(table);
}

Node *node_table_root(NodeTable *table)
{
    return table->root;
}

guint node_table_count(NodeTable *table)
{
    NodeTrash trash = NODE_TRASH_INIT;
    guint n;

    node_table_lock(table);
    n = g_hash_table_size(table->by_id) + g_hash_table_size(table->strays);
    node_table_unlock(table, &trash);
    return n;
}

guint node_table_fd_count(NodeTable *table)
{
    NodeTrash trash = NODE_TRASH_INIT;
    guint n;

    node_table_lock(table);
    n = table->n_fds;
    node_table_unlock(table, &trash);
    return n;
}

static void note_shrinking_locked(NodeTable *table)
{
    guint n = g_hash_table_size(table->by_number);

    if (n >= table->most / 2 || table->most - n < WORTH_TRIMMING)
        return;
    table->most = n;
    atomic_store_explicit(&table->has_shrunk, TRUE, memory_order_relaxed);
}

void node_forget(NodeTable *table, Node *node, guint64 n)
{
    NodeTrash trash = NODE_TRASH_INIT;

    node_table_lock(table);
    node->lookups -= MIN(n, node->lookups);
    node_reap_locked(node, &trash);
    note_shrinking_locked(table);
    node_table_unlock(table, &trash);
}

gboolean node_table_take_shrinking(NodeTable *table)
{
    return atomic_load_explicit(&table->has_shrunk, memory_order_relaxed) &&
           atomic_exchange(&table->has_shrunk, FALSE);
}

Node *node_ref(NodeTable *table, Node *node)
{
    NodeTrash trash = NODE_TRASH_INIT;

    node_table_lock(table);
    node->refs++;
    node_table_unlock(table, &trash);
    return node;
}

void node_unref(NodeTable *table, Node *node)
{
    NodeTrash trash = NODE_TRASH_INIT;

    node_table_lock(table);
    node->refs--;
    node_reap_locked(node, &trash);
    node_table_unlock(table, &trash);
}

/* --- lookup --- */

static Node *count_lookup_locked(NodeTable *table, const struct statx *stx, NodeTrash *trash)
{
    Node *node = node_find_locked(table, stx);

    if (node != NULL && node != table->root && !node_is_file(node, stx)) {
        node_unhash_locked(node);
        node_drop_name_locked(node, trash);
        node = NULL;
    }
    if (node == NULL)
        node = add_locked(table, stx);
    node->lookups++;
    return node;
}

Node *node_find_or_add(NodeTable *table, Node *parent, const char *name, const struct statx *stx)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;

    node_table_lock(table);
    node = count_lookup_locked(table, stx, &trash);
    node_set_name_locked(node, parent, name, &trash);
    node_table_unlock(table, &trash);
    return node;
}

/* A directory gets its name right away, by the lookups that the kernel makes of it. */
Node *node_find_or_add_nameless(NodeTable *table, const struct statx *stx)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;

    node_table_lock(table);
    node = count_lookup_locked(table, stx, &trash);
    if (node->parent == NULL && !S_ISDIR(node_type(node)) && stx->stx_nlink > 0)
        node->by_number = table->handle_fd >= 0;
    node_table_unlock(table, &trash);
    return node;
}

Node *node_add_nameless(NodeTable *table, int fd, const struct statx *stx)
{
    g_auto(NodeFd) node_fd = NODE_FD_INIT;
    NodeTrash trash = NODE_TRASH_INIT;
    NodePath path;
    Node *node, *old;
    int path_fd;

    node_table_lock(table);
    old = node_find_locked(table, stx);
    if (old && old != table->root) {
        node_unhash_locked(old);
        node_drop_name_locked(old, &trash);
    }
    node = add_locked(table, stx);
    node->lookups++;
    node_table_unlock(table, &trash);

    /* A name is the only other way to it: without this descriptor only its handles reach it. */
    node_fd_path(&(NodeFd){.fd = fd}, &path);
    path_fd = open(path.text, O_PATH | O_CLOEXEC);
    if (path_fd >= 0)
        node_fd_adopt(table, node, path_fd, &node_fd);
    return node;
}

/* `..` of the root would lead out of the workspace. */
gboolean node_name_is_plain(const char *name)
{
    return *name != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strchr(name, '/') == NULL;
}

int node_lookup(NodeTable *table, Node *parent, int parent_fd, const char *name,
                struct stat *stat_out, Node **node_out)
{
    struct statx stx;
    int r;

    if (!node_name_is_plain(name))
        return -EINVAL;
    r = node_statx(parent_fd, name, 0, &stx);
    if (r < 0)
        return r;
    if (node_table_refuses(table, &stx))
        return -EXDEV;
    *node_out = node_find_or_add(table, parent, name, &stx);
    node_stat_from_statx(&stx, stat_out);
    return 0;
}

void node_stat_from_statx(const struct statx *stx, struct stat *stat_out)
{
    *stat_out = (struct stat){
        .st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
        .st_ino = stx->stx_ino,
        .st_mode = stx->stx_mode,
        .st_nlink = stx->stx_nlink,
        .st_uid = stx->stx_uid,
        .st_gid = stx->stx_gid,
        .st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
        .st_size = (off_t)stx->stx_size,
        .st_blksize = stx->stx_blksize,
        .st_blocks = (blkcnt_t)stx->stx_blocks,
        .st_atim = {stx->stx_atime.tv_sec, stx->stx_atime.tv_nsec},
        .st_mtim = {stx->stx_mtime.tv_sec, stx->stx_mtime.tv_nsec},
        .st_ctim = {stx->stx_ctime.tv_sec, stx->stx_ctime.tv_nsec},
    };
}

/* --- plain values --- */

dev_t node_dev(const Node *node)
{
    return makedev(node->dev >> 20, node->dev & 0xfffffu);
}

ino_t node_ino(const Node *node)
{
    return node->ino;
}

mode_t node_type(const Node *node)
{
    return (mode_t)node->type << TYPE_SHIFT;
}

_Atomic guint8 *node_told(Node *node)
{
    return &node->told;
}

_Atomic guint8 *node_lacks(Node *node)
{
    return &node->lacks;
}

IoModes *node_io_modes(Node *node)
{
    return &node->io_modes;
}

gpointer node_data(Node *node)
{
    return g_atomic_pointer_get(&node->data);
}

gpointer node_set_data(Node *node, gpointer data, GDestroyNotify destroy)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gpointer standing;

    node_table_lock(node->table);
    standing = node->data;
    if (standing == NULL) {
        node->data_destroy = destroy;
        g_atomic_pointer_set(&node->data, data);
        standing = data;
    }
    node_table_unlock(node->table, &trash);
    return standing;
}

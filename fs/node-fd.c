/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptors of nodes.
 *
 * A node that was opened keeps its descriptor until it has been idle for the longest time among
 * more than max_idle others. After that it is opened again: from its nearest ancestor that still
 * has a descriptor (the root always does), one component at a time, so that no length of path is
 * too long. The names are copied under the lock and opened without it, hence a name may be
 * outdated when it is opened. That is harmless because what was opened counts only if it is the
 * same inode as the node, and then it is right whatever its name has become.
 *
 * A node without a name, or whose name may no longer be gone through, is opened again by an open
 * file of it, by the descriptor of who is just removing its name, or by its number (node-number.c).
 * Where neither is to be had, the descriptor of one without a name is never idle.
 *
 * A node that is opened for somebody while it has no descriptor uses that open file's
 * (node_add_open_file): what is created is mostly given its owner, mode and times next.
 */
#include "node-private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    REOPEN_ATTEMPTS = 5,
    /* How long who has renamed below may take to tell the table. */
    RENAME_LIMIT_S = 1,
};

static void shed_locked(NodeTable *table, guint keep, NodeTrash *trash)
{
    while (table->idle.length > keep) {
        NodeFdEntry *oldest = table->idle.tail->data;

        node_fd_detach_locked(oldest->node, trash);
    }
}

static gboolean can_be_reopened(const Node *node)
{
    return node->parent != NULL || node->by_number || node->open_files != NULL;
}

void node_fd_settle_locked(NodeFdEntry *entry, NodeTrash *trash)
{
    NodeTable *table = entry->table;
    gboolean idle = entry->node != NULL && entry->uses == 0 && can_be_reopened(entry->node);

    if (entry->idle && !idle)
        g_queue_unlink(&table->idle, &entry->link);
    else if (!entry->idle && idle)
        g_queue_push_head_link(&table->idle, &entry->link);
    entry->idle = idle;

    if (entry->node == NULL && entry->uses == 0) {
        g_queue_push_tail_link(&trash->fds, &entry->link);
        if (!entry->is_open_file)
            table->n_fds--;
    } else if (idle && table->let_nested_go && node_is_nested(entry->node)) {
        node_fd_detach_locked(entry->node, trash);
    } else if (idle) {
        shed_locked(table, table->max_idle, trash);
    }
}

void node_fd_detach_locked(Node *node, NodeTrash *trash)
{
    NodeFdEntry *entry = g_steal_pointer(&node->fd);

    if (entry == NULL)
        return;
    entry->node = NULL;
    node_fd_settle_locked(entry, trash);
}

void node_fd_use_locked(NodeFdEntry *entry, NodeFd *fd_out)
{
    entry->uses++;
    if (entry->idle)
        g_queue_unlink(&entry->table->idle, &entry->link);
    entry->idle = FALSE;
    fd_out->fd = entry->fd;
    fd_out->entry = entry;
}

static void give_locked(NodeTable *table, Node *node, int fd, gboolean is_open_file)
{
    NodeFdEntry *entry = g_new0(NodeFdEntry, 1);

    entry->table = table;
    entry->node = node;
    entry->fd = fd;
    entry->is_open_file = is_open_file;
    entry->link.data = entry;
    node->fd = entry;
    if (!is_open_file)
        table->n_fds++;
}

void node_fd_adopt(NodeTable *table, Node *node, int fd, NodeFd *fd_out)
{
    NodeTrash trash = NODE_TRASH_INIT;
    autofd spare_fd = fd;

    node_table_lock(table);
    if (node->fd == NULL)
        give_locked(table, node, fd_steal(&spare_fd), FALSE);
    node_fd_use_locked(node->fd, fd_out);
    node_table_unlock(table, &trash);
}

gboolean node_fd_get_cached(NodeTable *table, Node *node, NodeFd *fd_out)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean cached;

    node_table_lock(table);
    cached = node->fd != NULL;
    if (cached)
        node_fd_use_locked(node->fd, fd_out);
    node_table_unlock(table, &trash);
    return cached;
}

void node_fd_clear(NodeFd *fd)
{
    NodeFdEntry *entry = fd->entry;
    NodeTrash trash = NODE_TRASH_INIT;
    NodeTable *table;

    fd->fd = -1;
    fd->entry = NULL;
    if (entry == NULL)
        return;
    table = entry->table;
    node_table_lock(table);
    entry->uses--;
    node_fd_settle_locked(entry, &trash);
    node_table_unlock(table, &trash);
}

gboolean node_fd_is_open(const NodeFd *fd)
{
    const NodeFdEntry *entry = fd->entry;

    return entry != NULL && entry->is_open_file;
}

void node_fd_path(const NodeFd *fd, NodePath *path_out)
{
    g_snprintf(path_out->text, sizeof path_out->text, "/proc/self/fd/%d", fd->fd);
}

/* Other users of the process's descriptors may have taken the last one: idle ones make room. */
int node_open_path_at(NodeTable *table, int dir_fd, const char *name, int more_flags)
{
    const int flags = O_PATH | O_CLOEXEC | more_flags;
    NodeTrash trash = NODE_TRASH_INIT;
    int fd = openat(dir_fd, name, flags);

    if (fd >= 0)
        return fd;
    if (errno != EMFILE && errno != ENFILE)
        return -errno;

    node_table_lock(table);
    shed_locked(table, table->idle.length / 2, &trash);
    node_table_unlock(table, &trash);
    fd = openat(dir_fd, name, flags);
    return fd >= 0 ? fd : -errno;
}

/* Takes opened_fd. */
static int adopt_if_same(NodeTable *table, Node *node, int opened_fd, NodeFd *fd_out)
{
    autofd fd = opened_fd;
    struct statx stx;
    int r = node_statx(fd, "", AT_EMPTY_PATH, &stx);

    if (r < 0)
        return r;
    if (!node_is_file(node, &stx))
        return -ESTALE;
    node_fd_adopt(table, node, fd_steal(&fd), fd_out);
    return 0;
}

int node_fd_open_at(NodeTable *table, Node *node, int dir_fd, const char *name, NodeFd *fd_out)
{
    int fd = node_open_path_at(table, dir_fd, name, O_NOFOLLOW);

    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
    return adopt_if_same(table, node, fd, fd_out);
}

/* Copies the way to a node: the names (the node's own first) and a descriptor to start from. */
static int plan_walk_locked(Node *node, GArray *steps, NodeFd *start_out)
{
    for (; node->fd == NULL; node = node->parent) {
        NodeChild step = {node, g_strdup(node->name)};

        if (node->parent == NULL) {
            g_free(step.name);
            return -ESTALE;
        }
        node->refs++;
        g_array_append_val(steps, step);
    }
    node_fd_use_locked(node->fd, start_out);
    return 0;
}

/* Leaves `at` on the node of the first step. */
static int walk(NodeTable *table, GArray *steps, NodeFd *at)
{
    for (guint i = steps->len; i-- > 0;) {
        const NodeChild *step = &g_array_index(steps, NodeChild, i);
        NodeFd next = NODE_FD_INIT;
        int r = node_fd_open_at(table, step->node, at->fd, step->name, &next);

        if (r < 0)
            return r;
        node_fd_clear(at);
        *at = next;
    }
    return 0;
}

static int try_reopen(NodeTable *table, Node *node, NodeFd *fd_out, guint64 *moves_out)
{
    g_autoptr(GArray) steps = g_array_new(FALSE, FALSE, sizeof(NodeChild));
    g_auto(NodeFd) at = NODE_FD_INIT;
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean by_number;
    int r = 0;

    g_array_set_clear_func(steps, node_child_clear);
    node_table_lock(table);
    *moves_out = table->moves;
    by_number = node->fd == NULL && node->parent == NULL && node->by_number;
    if (!by_number)
        r = plan_walk_locked(node, steps, &at);
    node_table_unlock(table, &trash);
    if (by_number)
        return node_fd_open_by_number(table, node, fd_out);
    if (r == 0)
        r = walk(table, steps, &at);
    if (r < 0)
        return r;
    *fd_out = at;
    at = (NodeFd)NODE_FD_INIT;
    return 0;
}

/* -1: none, not even one that is about to end. */
static int find_way_locked(NodeTable *table, Node *node)
{
    const NodeOpenFile *way = node->open_files;

    if (way == NULL)
        for (way = table->leaving; way != NULL && (way->node != node || way->fd < 0);)
            way = way->next;
    return way != NULL ? way->fd : -1;
}

/* Opens a node by a descriptor of it that is there. That may be closed meanwhile, and its number be
 * another's: what was opened counts only if it is this node's, and whoever closed it has left
 * another way. */
static int open_without_name(NodeTable *table, Node *node, NodeFd *fd_out)
{
    for (guint i = 0; i < REOPEN_ATTEMPTS; i++) {
        NodeTrash trash = NODE_TRASH_INIT;
        NodeFd way = NODE_FD_INIT;
        gboolean cached;
        NodePath path;
        int r;

        node_table_lock(table);
        cached = node->fd != NULL;
        if (cached)
            node_fd_use_locked(node->fd, fd_out);
        else
            way.fd = find_way_locked(table, node);
        node_table_unlock(table, &trash);
        if (cached)
            return 0;
        if (way.fd < 0)
            return -ESTALE;
        node_fd_path(&way, &path);
        r = node_open_path_at(table, AT_FDCWD, path.text, 0);
        if (r >= 0)
            r = adopt_if_same(table, node, r, fd_out);
        if (r != -ENOENT && r != -ESTALE)
            return r;
    }
    return -ESTALE;
}

static gboolean has_moved(NodeTable *table, guint64 moves)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean moved;

    node_table_lock(table);
    moved = table->moves != moves;
    node_table_unlock(table, &trash);
    return moved;
}

static gboolean is_under_way_locked(NodeTable *table, guint64 last)
{
    const NodeRename *oldest = g_queue_peek_head(&table->renames);

    return oldest != NULL && oldest->serial <= last;
}

/* Waits for those that have begun by now. */
static void await_renames(NodeTable *table, const struct timespec *until)
{
    NodeTrash trash = NODE_TRASH_INIT;
    int error = 0;
    guint64 last;

    node_table_lock(table);
    last = table->last_rename;
    table->n_awaiting++;
    while (error == 0 && is_under_way_locked(table, last))
        error = pthread_cond_timedwait(&table->rename_ended, &table->mutex, until);
    table->n_awaiting--;
    node_table_unlock(table, &trash);
}

/* The names of its way may be outdated: because of a rename that the table knows by now, or of one
 * whose thread is about to tell it. */
static int reopen(NodeTable *table, Node *node, NodeFd *fd_out)
{
    struct timespec until;
    int r = -ESTALE;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RENAME_LIMIT_S;
    for (guint i = 0; i < REOPEN_ATTEMPTS; i++) {
        guint64 moves;

        r = try_reopen(table, node, fd_out, &moves);
        if (r != -ESTALE || node_is_unlinked(table, node))
            break;
        await_renames(table, &until);
        if (!has_moved(table, moves))
            break;
    }
    return r;
}

int node_fd_get(NodeTable *table, Node *node, NodeFd *fd_out)
{
    int r;

    if (node_fd_get_cached(table, node, fd_out))
        return 0;
    if (node_is_unlinked(table, node) && open_without_name(table, node, fd_out) == 0)
        return 0;
    r = reopen(table, node, fd_out);
    return r != 0 && open_without_name(table, node, fd_out) == 0 ? 0 : r;
}

static void leave_list_locked(NodeOpenFile **list, NodeOpenFile *file)
{
    if (file->prev != NULL)
        file->prev->next = file->next;
    else
        *list = file->next;
    if (file->next != NULL)
        file->next->prev = file->prev;
}

static void join_list_locked(NodeOpenFile **list, NodeOpenFile *file)
{
    file->prev = NULL;
    file->next = *list;
    if (*list != NULL)
        (*list)->prev = file;
    *list = file;
}

void node_begin_leaving_locked(NodeTable *table, NodeOpenFile *way)
{
    join_list_locked(&table->leaving, way);
}

void node_end_leaving_locked(NodeTable *table, NodeOpenFile *way)
{
    leave_list_locked(&table->leaving, way);
}

void node_add_open_file(NodeTable *table, Node *node, int fd, NodeOpenFile *file_out)
{
    NodeTrash trash = NODE_TRASH_INIT;

    node_table_lock(table);
    node->refs++;
    *file_out = (NodeOpenFile){.node = node, .fd = fd};
    join_list_locked(&node->open_files, file_out);
    if (node->fd == NULL) {
        give_locked(table, node, fd, TRUE);
        node->fd->uses++;
        file_out->entry = node->fd;
    }
    node_table_unlock(table, &trash);
}

gboolean node_lacks_descriptor_locked(const Node *node)
{
    return node->lookups > 0 && node->fd == NULL && node->open_files == NULL &&
           node != node->table->root;
}

void node_fd_keep(NodeTable *table, Node *node, int fd, NodeFd *kept_out)
{
    NodePath path;
    int r;

    node_fd_path(&(NodeFd){.fd = fd}, &path);
    r = node_open_path_at(table, AT_FDCWD, path.text, 0);
    if (r >= 0)
        r = adopt_if_same(table, node, r, kept_out);
    if (r < 0)
        g_debug("cannot keep a deleted file that the kernel still knows: %s", g_strerror(-r));
}

/* Whether another way to the node is left is decided where this one begins to go: of several that
 * go at the same time one is the last. Until the node has another, this one can still be used. */
void node_remove_open_file(NodeTable *table, Node *node, NodeOpenFile *file)
{
    NodeTrash trash = NODE_TRASH_INIT;
    NodeFdEntry *entry = file->entry;
    NodeFd kept = NODE_FD_INIT;
    gboolean is_last_way;

    node_table_lock(table);
    leave_list_locked(&node->open_files, file);
    node_begin_leaving_locked(table, file);
    if (entry != NULL && node->fd == entry)
        node_fd_detach_locked(node, &trash);
    else if (node->fd != NULL)
        node_fd_settle_locked(node->fd, &trash);
    is_last_way = node_lacks_descriptor_locked(node) && node->parent == NULL && !node->by_number;
    node_table_unlock(table, &trash);

    if (is_last_way)
        node_fd_keep(table, node, file->fd, &kept);

    node_table_lock(table);
    node_end_leaving_locked(table, file);
    if (entry != NULL) {
        entry->uses--;
        node_fd_settle_locked(entry, &trash);
    }
    node_table_unlock(table, &trash);
    if (entry == NULL)
        close(file->fd);
    node_fd_clear(&kept);
}

GPtrArray *node_table_list_open_files(NodeTable *table)
{
    GPtrArray *files = g_ptr_array_new();
    NodeTrash trash = NODE_TRASH_INIT;
    GHashTableIter iter;
    gpointer node;

    node_table_lock(table);
    g_hash_table_iter_init(&iter, table->by_number);
    while (g_hash_table_iter_next(&iter, &node, NULL))
        for (NodeOpenFile *file = ((Node *)node)->open_files; file != NULL; file = file->next)
            g_ptr_array_add(files, file);
    node_table_unlock(table, &trash);
    return files;
}

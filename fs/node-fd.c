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
 * A node without a name can be opened again only by its number (node-number.c); where that is not
 * to be had its descriptor is never idle.
 */
#include "node-private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>

enum {
    REOPEN_ATTEMPTS = 5,
    /* How long the thread that has just renamed below may take to tell the table. */
    RENAME_GRACE_US = 200,
};

static void shed_locked(NodeTable *table, guint keep, NodeTrash *trash)
{
    while (table->idle.length > keep) {
        NodeFdEntry *oldest = table->idle.tail->data;

        node_fd_detach_locked(oldest->node, trash);
    }
}

void node_fd_settle_locked(NodeFdEntry *entry, NodeTrash *trash)
{
    NodeTable *table = entry->table;
    gboolean idle = entry->node != NULL && entry->uses == 0 &&
                    (entry->node->parent != NULL || entry->node->by_number);

    if (entry->idle && !idle)
        g_queue_unlink(&table->idle, &entry->link);
    else if (!entry->idle && idle)
        g_queue_push_head_link(&table->idle, &entry->link);
    entry->idle = idle;

    if (entry->node == NULL && entry->uses == 0) {
        g_queue_push_tail_link(&trash->fds, &entry->link);
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

void node_fd_adopt(NodeTable *table, Node *node, int fd, NodeFd *fd_out)
{
    NodeTrash trash = NODE_TRASH_INIT;
    autofd spare_fd = fd;

    node_table_lock(table);
    if (node->fd == NULL) {
        NodeFdEntry *entry = g_new0(NodeFdEntry, 1);

        entry->table = table;
        entry->node = node;
        entry->fd = fd_steal(&spare_fd);
        entry->link.data = entry;
        node->fd = entry;
        table->n_fds++;
    }
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

void node_fd_path(const NodeFd *fd, NodePath *path_out)
{
    g_snprintf(path_out->text, sizeof path_out->text, "/proc/self/fd/%d", fd->fd);
}

/* Other users of the process's descriptors may have taken the last one: idle ones make room. */
int node_open_path_at(NodeTable *table, int dir_fd, const char *name)
{
    const int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
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

int node_fd_open_at(NodeTable *table, Node *node, int dir_fd, const char *name, NodeFd *fd_out)
{
    struct statx stx;
    autofd fd = node_open_path_at(table, dir_fd, name);
    int r;

    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR ? -ESTALE : fd;
    r = node_statx(fd, "", AT_EMPTY_PATH, &stx);
    if (r < 0)
        return r;
    if (!node_is_file(node, &stx))
        return -ESTALE;
    node_fd_adopt(table, node, fd_steal(&fd), fd_out);
    return 0;
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

static gboolean has_moved(NodeTable *table, guint64 moves)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean moved;

    node_table_lock(table);
    moved = table->moves != moves;
    node_table_unlock(table, &trash);
    return moved;
}

int node_fd_get(NodeTable *table, Node *node, NodeFd *fd_out)
{
    gboolean waited = FALSE;
    int r = -ESTALE;

    if (node_fd_get_cached(table, node, fd_out))
        return 0;
    for (guint i = 0; i < REOPEN_ATTEMPTS; i++) {
        guint64 moves;

        r = try_reopen(table, node, fd_out, &moves);
        if (r != -ESTALE)
            return r;
        if (has_moved(table, moves))
            continue;
        if (waited || node_is_unlinked(table, node))
            return r;
        waited = TRUE;
        g_usleep(RENAME_GRACE_US);
    }
    return r;
}

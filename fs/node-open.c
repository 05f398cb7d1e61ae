/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at a node and opening it with as few system calls as can be.
 *
 * A node without a descriptor is reached by its parent's and its name; one that has a descriptor is
 * looked at by that, and opened by its name nonetheless: the way through /proc takes the kernel
 * twice as long. The name may be another file's by then, so what was found counts only if it is the
 * node; otherwise, and after any error, the slow way by a descriptor of its own says what is true.
 * Nothing may happen to a file that is not the node: therefore O_TRUNC always takes the slow way,
 * and O_NONBLOCK keeps a pipe, or a file under a lease of fcntl(2), from holding a worker up.
 */
#include "node-private.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

typedef struct Reach {
    NodeFd fd;
    gboolean own; /* `fd` is of the node itself */
    char name[NAME_MAX + 1];
} Reach;

static gboolean reach_own_locked(Node *node, Reach *reach_out)
{
    if (node->fd == NULL)
        return FALSE;
    reach_out->own = TRUE;
    node_fd_use_locked(node->fd, &reach_out->fd);
    return TRUE;
}

static gboolean reach_by_name_locked(Node *node, Reach *reach_out)
{
    if (node->parent == NULL || node->parent->fd == NULL || strlen(node->name) > NAME_MAX)
        return FALSE;
    strcpy(reach_out->name, node->name);
    node_fd_use_locked(node->parent->fd, &reach_out->fd);
    return TRUE;
}

/* FALSE where no descriptor is at hand. To be ended with node_fd_clear. */
static gboolean reach(NodeTable *table, Node *node, gboolean by_name, Reach *reach_out)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean found;

    reach_out->fd = (NodeFd)NODE_FD_INIT;
    reach_out->own = FALSE;
    node_table_lock(table);
    found = by_name ? reach_by_name_locked(node, reach_out)
                    : reach_own_locked(node, reach_out) || reach_by_name_locked(node, reach_out);
    node_table_unlock(table, &trash);
    return found;
}

int node_stat(NodeTable *table, Node *node, struct statx *stx_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    Reach way;
    int r = -ESTALE;

    if (reach(table, node, FALSE, &way)) {
        r = way.own ? node_statx(way.fd.fd, "", AT_EMPTY_PATH, stx_out)
                    : node_statx(way.fd.fd, way.name, 0, stx_out);
        node_fd_clear(&way.fd);
        if (way.own || (r == 0 && node_is_file(node, stx_out)))
            return r;
    }
    r = node_fd_get(table, node, &fd);
    return r == 0 ? node_statx(fd.fd, "", AT_EMPTY_PATH, stx_out) : r;
}

gboolean node_is_at_its_name(NodeTable *table, Node *node)
{
    struct statx stx;
    Reach way;
    int r = -ESTALE;

    if (reach(table, node, TRUE, &way)) {
        r = node_statx(way.fd.fd, way.name, 0, &stx);
        node_fd_clear(&way.fd);
    }
    return r == 0 && node_is_file(node, &stx);
}

static gboolean is_open_on(const Node *node, int fd)
{
    struct statx stx;

    return node_statx(fd, "", AT_EMPTY_PATH, &stx) == 0 && node_is_file(node, &stx);
}

static int open_by_name(Node *node, const Reach *way, int flags)
{
    autofd fd = openat(way->fd.fd, way->name, flags | O_NOFOLLOW | O_NONBLOCK);

    return fd >= 0 && is_open_on(node, fd) ? fd_steal(&fd) : -1;
}

static int open_by_descriptor(const NodeFd *fd, int flags)
{
    NodePath path;
    int opened_fd;

    node_fd_path(fd, &path);
    opened_fd = open(path.text, flags);
    return opened_fd >= 0 ? opened_fd : -errno;
}

int node_open_by_number(NodeTable *table, Node *node, int flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r = -ESTALE;

    if (node_table_opens_by_number(table) && !node_is_nested(node))
        r = node_fd_open_by_number(table, node, &fd);
    return r == 0 ? open_by_descriptor(&fd, flags) : r;
}

int node_open(NodeTable *table, Node *node, int flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    Reach way;
    int r;

    if (!(flags & O_TRUNC) && reach(table, node, TRUE, &way)) {
        int opened_fd = open_by_name(node, &way, flags);

        node_fd_clear(&way.fd);
        if (opened_fd >= 0)
            return opened_fd;
    }
    r = node_fd_get(table, node, &fd);
    return r == 0 ? open_by_descriptor(&fd, flags) : r;
}

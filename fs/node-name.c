/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of nodes.
 *
 * A node is in by_name, and in its parent's list, while it has a name. A hard link has as many as
 * it likes; the node remembers the last one seen. It loses its name when that was removed, or was
 * found to be another file's.
 *
 * Names come from outside and may be outdated where the tree was changed past the mount. A name
 * is therefore never believed when a node is opened by it (node-fd.c), and node_set_name_locked
 * keeps outdated names from closing a circle of parents.
 */
#include "node-private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define KEEP_ATTEMPTS 5

struct NodeGone {
    Node *node;
    Node *parent;
    char *name;
    NodeFd fd;
    NodeOpenFile way; /* fd, or -1 */
    guint32 n_links;  /* before; 0: not known */
    guint64 links_made;
};

guint node_name_hash(gconstpointer key)
{
    const Node *node = key;

    return g_str_hash(node->name) * 31 + g_direct_hash(node->parent) / 16;
}

gboolean node_name_equal(gconstpointer a, gconstpointer b)
{
    const Node *x = a;
    const Node *y = b;

    return x->parent == y->parent && strcmp(x->name, y->name) == 0;
}

static Node *find_named_locked(NodeTable *table, Node *parent, const char *name)
{
    const Node key = {.parent = parent, .name = (char *)(guintptr)name};

    return g_hash_table_lookup(table->by_name, &key);
}

void node_leave_parent_locked(Node *node)
{
    g_hash_table_remove(node->table->by_name, node);
    if (node->prev != NULL)
        node->prev->next = node->next;
    else
        node->parent->children = node->next;
    if (node->next != NULL)
        node->next->prev = node->prev;
    node->next = node->prev = NULL;
    node->parent = NULL;
}

void node_drop_name_locked(Node *node, NodeTrash *trash)
{
    Node *parent = node->parent;

    if (parent == NULL)
        return;
    node_leave_parent_locked(node);
    g_clear_pointer(&node->name, g_free);
    node->table->moves++;
    if (node->fd != NULL)
        node_fd_settle_locked(node->fd, trash);
    parent->refs--;
    node_reap_locked(parent, trash);
}

static gboolean is_below_locked(const Node *node, const Node *ancestor)
{
    for (; node != NULL; node = node->parent) {
        if (node == ancestor)
            return TRUE;
    }
    return FALSE;
}

void node_set_name_locked(Node *node, Node *parent, const char *name, NodeTrash *trash)
{
    NodeTable *table = node->table;
    Node *other;

    if (node->parent == parent && strcmp(node->name, name) == 0)
        return;
    other = find_named_locked(table, parent, name);
    if (other != NULL)
        node_drop_name_locked(other, trash);
    if (node == table->root)
        return;
    /* Directories that changed places past the mount, or a bind mount below itself. The name it
     * has is kept until a lookup from further up has put the others right. */
    if (S_ISDIR(node_type(node)) && node->parent != parent && is_below_locked(parent, node))
        return;

    parent->refs++; /* before the old one goes, which may hold the last reference to it */
    node_drop_name_locked(node, trash);
    node->parent = parent;
    node->name = g_strdup(name);
    node->next = parent->children;
    if (node->next != NULL)
        node->next->prev = node;
    parent->children = node;
    g_hash_table_add(table->by_name, node);
    if (node->fd != NULL)
        node_fd_settle_locked(node->fd, trash);
}

void node_link_begin(NodeTable *table)
{
    atomic_fetch_add(&table->links_begun, 1);
}

void node_link_end(NodeTable *table)
{
    atomic_fetch_add(&table->links_ended, 1);
}

void node_rename_begin(NodeTable *table, NodeRename *rename_out)
{
    NodeTrash trash = NODE_TRASH_INIT;

    rename_out->link = (GList){.data = rename_out};
    node_table_lock(table);
    rename_out->serial = ++table->last_rename;
    g_queue_push_tail_link(&table->renames, &rename_out->link);
    node_table_unlock(table, &trash);
}

void node_rename_end(NodeTable *table, NodeRename *rename)
{
    NodeTrash trash = NODE_TRASH_INIT;

    node_table_lock(table);
    g_queue_unlink(&table->renames, &rename->link);
    if (table->n_awaiting > 0)
        pthread_cond_broadcast(&table->rename_ended);
    node_table_unlock(table, &trash);
}

/* Stands for the links made so far, while none is on its way. */
static guint64 links_made(NodeTable *table)
{
    guint64 ended = atomic_load(&table->links_ended);

    return atomic_load(&table->links_begun) == ended ? ended : G_MAXUINT64;
}

static gboolean none_begun_since(NodeTable *table, guint64 made)
{
    return atomic_load(&table->links_begun) == made;
}

/* The node of a name that is about to go, referenced, or NULL; with an open descriptor where one is
 * to be had. A name that the table knows, of a file that is open, costs no system call: should it
 * be another's by now, the links of the file will tell. Those of a directory would not. */
static Node *find_going(NodeTable *table, Node *parent, int parent_fd, const char *name,
                        NodeFd *fd_out, guint32 *n_links_out)
{
    NodeTrash trash = NODE_TRASH_INIT;
    autofd fd = -1;
    struct statx stx;
    Node *node;
    int r;

    node_table_lock(table);
    node = find_named_locked(table, parent, name);
    if (node != NULL && node->fd != NULL && !S_ISDIR(node_type(node))) {
        node_fd_use_locked(node->fd, fd_out);
        node->refs++;
    } else {
        node = NULL;
    }
    node_table_unlock(table, &trash);
    if (node != NULL)
        return node;

    fd = r = node_open_path_at(table, parent_fd, name, O_NOFOLLOW);
    if (r == -ENOENT)
        return NULL;
    if (node_statx(fd >= 0 ? fd : parent_fd, fd >= 0 ? "" : name, fd >= 0 ? AT_EMPTY_PATH : 0,
                   &stx) < 0)
        return NULL;
    node_table_lock(table);
    node = node_find_locked(table, &stx);
    if (node != NULL && (node == table->root || !node_is_file(node, &stx)))
        node = NULL;
    if (node != NULL)
        node->refs++;
    node_table_unlock(table, &trash);
    *n_links_out = stx.stx_nlink;
    /* Without a descriptor only the use of the file after its removal fails, not the removal. */
    if (node != NULL && fd >= 0)
        node_fd_adopt(table, node, fd_steal(&fd), fd_out);
    return node;
}

NodeGone *node_before_unlink(NodeTable *table, Node *parent, int parent_fd, const char *name)
{
    NodeTrash trash = NODE_TRASH_INIT;
    NodeFd fd = NODE_FD_INIT;
    guint64 made = links_made(table);
    guint32 n_links = 0;
    NodeGone *gone;
    Node *node;

    if (!node_name_is_plain(name))
        return NULL;
    node = find_going(table, parent, parent_fd, name, &fd, &n_links);
    if (node == NULL)
        return NULL;
    gone = g_new0(NodeGone, 1);
    gone->node = node;
    gone->parent = node_ref(table, parent);
    gone->name = g_strdup(name);
    gone->fd = fd;
    gone->n_links = n_links;
    gone->links_made = made;
    gone->way = (NodeOpenFile){.node = node, .fd = fd.fd};
    node_table_lock(table);
    node_begin_leaving_locked(table, &gone->way);
    node_table_unlock(table, &trash);
    return gone;
}

/* The links that are left. Another may have been made or removed since node_before_unlink: so the
 * file itself is asked where it is open, unless it had one link and no other was made. */
static guint32 count_links(NodeTable *table, const NodeGone *gone)
{
    struct statx stx;

    if (S_ISDIR(node_type(gone->node)))
        return 0;
    if (gone->n_links == 1 && none_begun_since(table, gone->links_made))
        return 0;
    if (gone->fd.fd >= 0 && node_statx(gone->fd.fd, "", AT_EMPTY_PATH, &stx) == 0)
        return stx.stx_nlink;
    return gone->n_links > 0 ? gone->n_links - 1 : 0;
}

gboolean node_gone_is_directory(const NodeGone *gone)
{
    return gone != NULL && S_ISDIR(node_type(gone->node));
}

void node_after_unlink(NodeTable *table, NodeGone *gone, gboolean done)
{
    NodeTrash trash = NODE_TRASH_INIT;
    NodeFd kept = NODE_FD_INIT;
    guint32 n_links;
    guint tries = 0;
    Node *node;

    if (gone == NULL)
        return;
    node = gone->node;
    n_links = done ? count_links(table, gone) : 1;
    node_table_lock(table);
    /* The file that was open on it before its name went has been closed meanwhile; and so may be
     * one that has come since, in which case that one's descriptor was kept. */
    while (done && gone->fd.fd >= 0 && node_lacks_descriptor_locked(node) &&
           tries++ < KEEP_ATTEMPTS) {
        node_table_unlock(table, &trash);
        node_fd_clear(&kept);
        node_fd_keep(table, node, gone->fd.fd, &kept);
        node_table_lock(table);
    }
    if (n_links == 0) {
        node_unhash_locked(node);
        node->by_number = FALSE;
    }
    if (n_links == 0 ||
        (done && node->parent == gone->parent && strcmp(node->name, gone->name) == 0))
        node_drop_name_locked(node, &trash);
    node_end_leaving_locked(table, &gone->way);
    node_table_unlock(table, &trash);

    node_fd_clear(&kept);
    node_fd_clear(&gone->fd);
    node_unref(table, node);
    node_unref(table, gone->parent);
    g_free(gone->name);
    g_free(gone);
}

void node_renamed(NodeTable *table, Node *parent, const char *name, Node *new_parent,
                  const char *new_name, gboolean exchange)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;
    Node *other;

    node_table_lock(table);
    node = find_named_locked(table, parent, name);
    other = find_named_locked(table, new_parent, new_name);
    if (other != NULL && other != node) {
        other->refs++; /* nameless for a moment */
        node_drop_name_locked(other, &trash);
    }
    if (node != NULL)
        node_set_name_locked(node, new_parent, new_name, &trash);
    if (other != NULL && other != node) {
        if (exchange)
            node_set_name_locked(other, parent, name, &trash);
        other->refs--;
        node_reap_locked(other, &trash);
    }
    node_table_unlock(table, &trash);
}

Node *node_peek_child(NodeTable *table, Node *parent, const char *name)
{
    NodeTrash trash = NODE_TRASH_INIT;
    Node *node;

    node_table_lock(table);
    node = find_named_locked(table, parent, name);
    if (node)
        node->refs++;
    node_table_unlock(table, &trash);
    return node;
}

guint64 node_parent_number(NodeTable *table, Node *node)
{
    NodeTrash trash = NODE_TRASH_INIT;
    guint64 number;

    node_table_lock(table);
    number = node->parent ? node->parent->number : 0;
    node_table_unlock(table, &trash);
    return number;
}

gboolean node_is_unlinked(NodeTable *table, Node *node)
{
    NodeTrash trash = NODE_TRASH_INIT;
    gboolean unlinked;

    node_table_lock(table);
    unlinked = node->parent == NULL && node != table->root;
    node_table_unlock(table, &trash);
    return unlinked;
}

/* Written from its end; every part but the last has a slash after it. */
static char *build_path_locked(const Node *root, const Node *node, const char *name)
{
    gsize size = name != NULL ? strlen(name) + 1 : node == root;
    const Node *step;
    char *path;
    char *at;

    for (step = node; step != root; step = step->parent) {
        if (step->parent == NULL)
            return NULL;
        size += strlen(step->name) + 1;
    }
    path = g_malloc(size);
    at = path + size;
    if (name != NULL || node == root) {
        gsize length = name != NULL ? strlen(name) : 0;

        at -= length + 1;
        memcpy(at, name != NULL ? name : "", length + 1);
    }
    for (step = node; step != root; step = step->parent) {
        gsize length = strlen(step->name);

        at--;
        *at = at == path + size - 1 ? '\0' : '/';
        at -= length;
        memcpy(at, step->name, length);
    }
    return path;
}

char *node_dup_path(NodeTable *table, Node *node, const char *name)
{
    NodeTrash trash = NODE_TRASH_INIT;
    char *path;

    node_table_lock(table);
    path = build_path_locked(table->root, node, name);
    node_table_unlock(table, &trash);
    return path;
}

void node_child_clear(gpointer child)
{
    NodeChild *owned = child;

    node_unref(owned->node->table, owned->node);
    g_free(owned->name);
}

GArray *node_dup_children(NodeTable *table, Node *parent)
{
    GArray *children = g_array_new(FALSE, FALSE, sizeof(NodeChild));
    NodeTrash trash = NODE_TRASH_INIT;

    g_array_set_clear_func(children, node_child_clear);
    node_table_lock(table);
    for (Node *node = parent->children; node != NULL; node = node->next) {
        NodeChild child = {node, g_strdup(node->name)};

        node->refs++;
        g_array_append_val(children, child);
    }
    node_table_unlock(table, &trash);
    return children;
}

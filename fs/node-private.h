/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What node.c (identity, lifetimes), node-name.c and node-fd.c (descriptors) share. Nobody else's.
 */
#include "node.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct NodeFdEntry NodeFdEntry;

/* 136 bytes, which malloc serves with 144; the name is apart. */
struct Node {
    NodeTable *table;
    Node *parent; /* a reference; NULL: the root, or a node without a known name */
    char *name;   /* NULL like parent */
    Node *children;
    Node *next; /* among the parent's children */
    Node *prev;
    NodeFdEntry *fd;
    NodeOpenFile *open_files;
    IoModes io_modes;
    guint32 generation;
    gpointer data; /* atomic */
    GDestroyNotify data_destroy;
    guint32 dev;   /* node_dev_of */
    guint32 mount; /* of a directory: node_mount_of; else 0 */
    ino_t ino;
    gint64 btime_ns; /* 0: the filesystem gives none */
    guint64 number;  /* what the kernel calls it */
    guint64 lookups;
    guint32 refs; /* of node_ref and of children; freed when this and lookups are 0 */
    guint8 type;  /* S_IFMT bits, in 4: node_type */
    guint8 hashed : 1;
    guint8 by_number : 1; /* nameless, but not unlinked: opened by its number when it has to be */
    _Atomic guint8 told;
    _Atomic guint8 lacks;
};

struct NodeTable {
    pthread_mutex_t mutex;
    GHashTable *by_id;     /* set of nodes: (dev, ino), and the mount of directories */
    GHashTable *by_name;   /* set of nodes: (parent, name) */
    GHashTable *by_number; /* set of all nodes */
    GHashTable *strays; /* set of nodes no longer in by_id: their inode number may be another's */
    Node *root;
    gboolean use_btime;
    gboolean refuse_nested;
    gboolean let_nested_go; /* keep no descriptor that is not in use */
    guint64 mount_id;       /* of the root; 0: the kernel tells none */
    GArray *foreign;        /* of guint32: node_dev_of other filesystems, in the order of sight */
    int handle_fd;          /* to open by handle with; -1: cannot */
    guint most;             /* nodes, since it last shrank */
    _Atomic gboolean has_shrunk;
    guint64 last_serial;
    _Atomic guint64 links_begun, links_ended; /* of node_link_begin, _end */
    GQueue renames;              /* of NodeRename: under way, in the order in which they began */
    guint64 last_rename;         /* the serial */
    pthread_cond_t rename_ended; /* is told only where somebody waits */
    guint n_awaiting;
    guint64 moves;         /* grows whenever a node loses the name it had */
    GQueue idle;           /* of NodeFdEntry, the least recently used last */
    NodeOpenFile *leaving; /* of any node: see node_begin_leaving_locked */
    guint max_idle;
    guint n_fds; /* those that are no open files' */
};

/* An open descriptor. It belongs to its node and to its users, and is closed when it has neither.
 * It is idle, and may be evicted, when it has no users and its node has a name to reopen it by. */
struct NodeFdEntry {
    NodeTable *table;
    Node *node;
    int fd;
    guint uses;
    gboolean idle;
    gboolean is_open_file; /* of an open file, which is one of the users; else O_PATH */
    GList link;            /* in table->idle or in NodeTrash.fds */
};

/* What was taken out under the lock, to be destroyed without it. */
typedef struct NodeTrash {
    Node *nodes; /* chained by `next` */
    GQueue fds;
} NodeTrash;
#define NODE_TRASH_INIT                                                                            \
    {                                                                                              \
        .nodes = NULL, .fds = G_QUEUE_INIT                                                         \
    }

static inline void node_table_lock(NodeTable *table)
{
    pthread_mutex_lock(&table->mutex);
}

/* Unlocks, then destroys what the locked section took out. */
void node_table_unlock(NodeTable *table, NodeTrash *trash);

/* The kernel's own 32 bits. */
static inline guint32 node_dev_of(guint32 major, guint32 minor)
{
    return major << 20 | minor;
}
/* A directory that is bound in two places of the tree has a parent in each, and is two. */
static inline guint32 node_mount_of(const struct statx *stx)
{
    return S_ISDIR(stx->stx_mode) && stx->stx_mask & STATX_MNT_ID ? (guint32)stx->stx_mnt_id : 0;
}

/* Whether a statx answer describes this very file. Needs no lock: identity never changes. */
gboolean node_is_file(const Node *node, const struct statx *stx);
void node_child_clear(gpointer child); /* a NodeChild */
/* Whether it lies on another filesystem than the root, or in another mount as far as that is known.
 */
gboolean node_is_nested(const Node *node);

/* Gives a new node its number and generation, and puts it into by_number. */
void node_give_number_locked(NodeTable *table, Node *node);
guint node_number_hash(gconstpointer node);
gboolean node_number_equal(gconstpointer a, gconstpointer b);
/* Finds out whether files can be opened by their number. The table's root is there. */
void node_table_open_handles(NodeTable *table, int root_fd);
/* Opens a node without a name: 0, -ESTALE, or another -errno. */
int node_fd_open_by_number(NodeTable *table, Node *node, NodeFd *fd_out);
/* Counts a lookup without a name. */
Node *node_find_or_add_nameless(NodeTable *table, const struct statx *stx);

gboolean node_name_is_plain(const char *name);
Node *node_find_locked(NodeTable *table, const struct statx *stx); /* whatever its birth time */
void node_unhash_locked(Node *node);
/* Takes out a node that nothing holds any more, and the ancestors that only it held. */
void node_reap_locked(Node *node, NodeTrash *trash);

guint node_name_hash(gconstpointer node);
gboolean node_name_equal(gconstpointer a, gconstpointer b);
/* Out of its parent's list; the reference and the string `name` are left to the caller. */
void node_leave_parent_locked(Node *node);
void node_set_name_locked(Node *node, Node *parent, const char *name, NodeTrash *trash);
void node_drop_name_locked(Node *node, NodeTrash *trash);

/* Drops the node's claim on its descriptor. */
void node_fd_detach_locked(Node *node, NodeTrash *trash);
/* A descriptor of whatever bears the name (O_PATH), or -errno. */
int node_open_path_at(NodeTable *table, int dir_fd, const char *name, int more_flags);
void node_fd_use_locked(NodeFdEntry *entry, NodeFd *fd_out);
/* To be called whenever an entry's users, node or the node's name changed. */
void node_fd_settle_locked(NodeFdEntry *entry, NodeTrash *trash);
/* Gives the node this descriptor (taken), or drops it where the node has one by now. */
void node_fd_adopt(NodeTable *table, Node *node, int fd, NodeFd *fd_out);
gboolean node_fd_get_cached(NodeTable *table, Node *node, NodeFd *fd_out);
/* Whether only its name leads to a file that the kernel knows. */
gboolean node_lacks_descriptor_locked(const Node *node);
/* Around the end of a way to a node (its `node` and `fd`): the closing of an open file, or the
 * removal of a name. In between the node may have neither name nor descriptor, and is reached by
 * this one; at the end it has another, unless there was none to be had. */
void node_begin_leaving_locked(NodeTable *table, NodeOpenFile *way);
void node_end_leaving_locked(NodeTable *table, NodeOpenFile *way);
/* Gives it a descriptor of its own, by one (borrowed) that is about to be closed. *kept_out is
 * empty where that fails; else it is to be cleared once the node cannot lose it any more. */
void node_fd_keep(NodeTable *table, Node *node, int fd, NodeFd *kept_out);
/* Opens dir_fd/name if it is this node: 0, -ESTALE where it is not, or another -errno. */
int node_fd_open_at(NodeTable *table, Node *node, int dir_fd, const char *name, NodeFd *fd_out);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which file of the backing tree an inode number of the mount means, and keeps it reachable
 * with a bounded number of descriptors.
 *
 * A node is one inode of the backing filesystem: (device, inode number, birth time), so that an
 * inode number that was freed and given to a new file makes a new node; a directory's mount counts,
 * too. It remembers one name (parent and last component) by which it is opened again when its
 * descriptor was evicted.
 *
 * Thread safety: every function may be called from any thread. One mutex guards table, names and
 * descriptor cache; it is never held over a system call that can block.
 */
#include "io-mode.h"
#include <glib.h>
#include <sys/stat.h>

typedef struct Node Node;
typedef struct NodeTable NodeTable;

/* root_fd (taken) is the workspace's backing directory. At most max_fds descriptors are kept for
 * nodes beyond those in use and those of unlinked files. */
NodeTable *node_table_new(int root_fd, guint max_fds, GError **error);
void node_table_free(NodeTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NodeTable, node_table_free)

Node *node_table_root(NodeTable *table); /* borrowed; never forgotten */
guint node_table_count(NodeTable *table);
guint node_table_fd_count(NodeTable *table);

/* A descriptor of a node (O_PATH, or of an open file; a directory's may be used for *at calls),
 * held open while this is. NODE_FD_INIT is none; node_fd_clear may be called twice. */
typedef struct NodeFd {
    int fd;         /* -1: none */
    gpointer entry; /* private */
} NodeFd;
#define NODE_FD_INIT                                                                               \
    {                                                                                              \
        .fd = -1, .entry = NULL                                                                    \
    }

/* 0, -ESTALE where the file is no longer found under its name, or another -errno. */
int node_fd_get(NodeTable *table, Node *node, NodeFd *fd_out);
void node_fd_clear(NodeFd *fd);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(NodeFd, node_fd_clear)

/* What a node's file says of itself, without keeping a descriptor of it. 0, or as node_fd_get. */
struct statx;
int node_stat(NodeTable *table, Node *node, struct statx *stx_out);
/* Whether the file stands under the name that the node remembers. FALSE also where that is not
 * quickly found out. */
gboolean node_is_at_its_name(NodeTable *table, Node *node);
/* Opens the file with these flags of open(2): a descriptor, or an error as node_fd_get. */
int node_open(NodeTable *table, Node *node, int flags);
/* The same by the inode's number alone, whatever its name: -ESTALE also where that is not possible
 * (node_table_opens_by_number). */
int node_open_by_number(NodeTable *table, Node *node, int flags);

/* The descriptor of an open file (taken), by which its node is reached meanwhile: without opening
 * another, and where its name does not lead to it (any more). Adding takes a reference to the
 * node, to be dropped after removing; that closes the file, or leaves it to who still uses it. The
 * members are private. */
typedef struct NodeOpenFile NodeOpenFile;
struct NodeOpenFile {
    Node *node;
    int fd;
    gpointer entry; /* NULL: the node had another descriptor */
    NodeOpenFile *next;
    NodeOpenFile *prev;
};
void node_add_open_file(NodeTable *table, Node *node, int fd, NodeOpenFile *file_out);
void node_remove_open_file(NodeTable *table, Node *node, NodeOpenFile *file);
/* All of them, borrowed. */
GPtrArray *node_table_list_open_files(NodeTable *table);

/* Whether it is of an open file: no O_PATH, which many calls refuse. */
gboolean node_fd_is_open(const NodeFd *fd);
/* `/proc/self/fd/N` of a node's descriptor, for these. */
typedef struct NodePath {
    char text[40];
} NodePath;
void node_fd_path(const NodeFd *fd, NodePath *path_out);

/* Looks a name up with one statx and no descriptor: counts one lookup on *node_out.
 * 0 or -errno (-ENOENT...; -EXDEV where what is mounted there is refused). parent_fd is the
 * parent's. */
int node_lookup(NodeTable *table, Node *parent, int parent_fd, const char *name,
                struct stat *stat_out, Node **node_out);
/* The same with the answer of a statx at hand (readdirplus). */
Node *node_find_or_add(NodeTable *table, Node *parent, const char *name, const struct statx *stx);
/* A file without a name (O_TMPFILE), by a descriptor of it (borrowed): counts one lookup. */
Node *node_add_nameless(NodeTable *table, int fd, const struct statx *stx);
/* The node known under a name, with a reference, or NULL. Asks no filesystem. */
Node *node_peek_child(NodeTable *table, Node *parent, const char *name);
#define NODE_STATX_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
/* Of a name as it stands there, or of a descriptor (AT_EMPTY_PATH): 0 or -errno. */
int node_statx(int dir_fd, const char *name, int flags, struct statx *stx_out);
void node_stat_from_statx(const struct statx *stx, struct stat *stat_out);

/* The kernel forgets n lookups. */
void node_forget(NodeTable *table, Node *node, guint64 n);
/* Whether it has lost half of its many nodes since it was last asked. */
gboolean node_table_take_shrinking(NodeTable *table);
/* Keeps a node in memory without a lookup (open handles, queues). */
Node *node_ref(NodeTable *table, Node *node);
void node_unref(NodeTable *table, Node *node);

/* To be called by the operation, with what it did to the names of the tree. node_before_unlink
 * comes BEFORE the backing call (also for what a rename replaces), so that a file that stays in use
 * keeps a descriptor: it returns a token for node_after_unlink, NULL where the name is of no known
 * node. */
typedef struct NodeGone NodeGone;
NodeGone *node_before_unlink(NodeTable *table, Node *parent, int parent_fd, const char *name);
/* Takes `gone` (NULL is fine). `done`: the name is gone; else nothing happened. */
void node_after_unlink(NodeTable *table, NodeGone *gone, gboolean done);
gboolean node_gone_is_directory(const NodeGone *gone); /* FALSE for NULL */
/* Around a backing call that gives a file one more name. */
void node_link_begin(NodeTable *table);
void node_link_end(NodeTable *table);
/* Around a backing call that renames, and what tells the table of it: who looks for a file by a
 * name that it has just lost waits for that, for a second at most. The members are private. */
typedef struct NodeRename {
    guint64 serial;
    GList link; /* in table->renames */
} NodeRename;
void node_rename_begin(NodeTable *table, NodeRename *rename_out);
void node_rename_end(NodeTable *table, NodeRename *rename);
/* A rename that succeeded: moves names, also of what stood at the target when exchanged. */
void node_renamed(NodeTable *table, Node *parent, const char *name, Node *new_parent,
                  const char *new_name, gboolean exchange);

/* Whether the last name that the table knew is gone. */
gboolean node_is_unlinked(NodeTable *table, Node *node);
dev_t node_dev(const Node *node);
ino_t node_ino(const Node *node);
mode_t node_type(const Node *node); /* S_IFMT bits */
/* What the kernel calls a node, alone and with the generation: unique among the nodes that it
 * knows, and, where handles can be opened, the same again after it was forgotten. The root's is 1.
 */
guint64 node_number(const Node *node);
guint64 node_generation(const Node *node); /* 32 bits */
/* What it calls the directory that the node was last seen in; 0: none. */
guint64 node_parent_number(NodeTable *table, Node *node);
/* Borrowed; NULL where the kernel has forgotten it. */
Node *node_by_number(NodeTable *table, guint64 number);

/* Sets, before the first lookup, that what is mounted below is refused, or that it is kept busy by
 * no descriptor that is not in use. */
void node_table_refuse_nested(NodeTable *table);
void node_table_let_nested_go(NodeTable *table);
/* Whether a statx answer is of what is refused. */
gboolean node_table_refuses(const NodeTable *table, const struct statx *stx);
/* The inode number that the mount shows, whose st_dev is one for all: see node-nested.c. */
ino_t node_table_shown_ino(NodeTable *table, dev_t dev, ino_t ino);

/* Whether a file can be found by its number when the table has forgotten it: ext2, ext3 or ext4
 * below, and CAP_DAC_READ_SEARCH. */
gboolean node_table_opens_by_number(NodeTable *table);
/* Like node_lookup, for file handles: by number alone, and what is above a directory. -ESTALE where
 * there is no such file (any more), or nothing above. */
int node_lookup_number(NodeTable *table, guint64 number, struct stat *stat_out, Node **node_out);
int node_lookup_parent(NodeTable *table, Node *node, struct stat *stat_out, Node **node_out);

/* The path relative to the workspace ("" for its root), with `name` appended where not NULL.
 * Owned; NULL where the node is unlinked. */
char *node_dup_path(NodeTable *table, Node *node, const char *name);

/* What the kernel may have cached below a directory: its known children, as (node, name) pairs
 * with references. */
typedef struct NodeChild {
    Node *node;
    char *name;
} NodeChild;
GArray *node_dup_children(NodeTable *table, Node *parent); /* clear func set */

/* How its open handles are cached: kept for the layer above. */
IoModes *node_io_modes(Node *node);
/* Which of its attributes the kernel has (fs_tell): for the layer above. Zero at first. */
_Atomic guint8 *node_told(Node *node);
/* They have changed, or been read: the kernel will ask again. */
static inline void node_untell(Node *node)
{
    atomic_store_explicit(node_told(node), 0, memory_order_relaxed);
}
/* Which extended attributes it is known to lack (xattr-memory.h). Zero at first. */
_Atomic guint8 *node_lacks(Node *node);
/* A slot for the layer above (the file's fencing state): set once, freed with the node. */
gpointer node_data(Node *node);
/* Sets it if it is still unset; returns the one that stands. Takes `data` when it is set. */
gpointer node_set_data(Node *node, gpointer data, GDestroyNotify destroy);

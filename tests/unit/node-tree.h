/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A node table over a real temporary directory, for the tests of nodes. What threads may call
 * asserts nothing and returns an int: tree_try_*, tree_unlink, tree_rename.
 */
#include "node.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <cmocka.h>

typedef struct Tree {
    char *dir;
    int fd;
    NodeTable *table;
    Node *root;
} Tree;

/* Descriptors are reopened at once with max_fds 0. */
static inline void tree_init(Tree *tree, guint max_fds)
{
    g_autoptr(GError) error = NULL;

    tree->dir = g_dir_make_tmp("leasefs-node-XXXXXX", &error);
    assert_non_null(tree->dir);
    tree->fd = open(tree->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(tree->fd >= 0);
    tree->table = node_table_new(fcntl(tree->fd, F_DUPFD_CLOEXEC, 0), max_fds, &error);
    assert_non_null(tree->table);
    tree->root = node_table_root(tree->table);
}

static inline void tree_clear(Tree *tree)
{
    char *argv[] = {(char[]){"rm"}, (char[]){"-rf"}, tree->dir, NULL};

    node_table_free(tree->table);
    close(tree->fd);
    g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(tree->dir);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Tree, tree_clear)

static inline void tree_make_file(const Tree *tree, const char *path)
{
    autofd fd = openat(tree->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
}

static inline void tree_make_dir(const Tree *tree, const char *path)
{
    assert_int_equal(mkdirat(tree->fd, path, 0700), 0);
}

static inline int tree_try_lookup(const Tree *tree, Node *parent, const char *name, Node **node_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    struct stat st;
    int r = node_fd_get(tree->table, parent, &fd);

    return r < 0 ? r : node_lookup(tree->table, parent, fd.fd, name, &st, node_out);
}

static inline Node *tree_lookup(const Tree *tree, Node *parent, const char *name)
{
    Node *node = NULL;

    assert_int_equal(tree_try_lookup(tree, parent, name, &node), 0);
    return node;
}

/* 0 and the file's inode number, or -errno. */
static inline int tree_try_open(const Tree *tree, Node *node, ino_t *ino_out)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    struct stat st;
    int r = node_fd_get(tree->table, node, &fd);

    if (r < 0)
        return r;
    if (fstat(fd.fd, &st) < 0)
        return -errno;
    *ino_out = st.st_ino;
    return 0;
}

static inline void tree_assert_opens(const Tree *tree, Node *node)
{
    ino_t ino = 0;

    assert_int_equal(tree_try_open(tree, node, &ino), 0);
    assert_int_equal(ino, node_ino(node));
}

static inline void tree_assert_stale(const Tree *tree, Node *node)
{
    ino_t ino;

    assert_int_equal(tree_try_open(tree, node, &ino), -ESTALE);
}

static inline void tree_assert_path(const Tree *tree, Node *node, const char *expected)
{
    g_autofree char *path = node_dup_path(tree->table, node, NULL);

    if (expected != NULL)
        assert_string_equal(path, expected);
    else
        assert_null(path);
}

/* Not on overlayfs, where a copy-up changes it. */
static inline gboolean tree_has_birth_times(const Tree *tree, const struct statx *stx)
{
    struct statfs fs;

    return stx->stx_mask & STATX_BTIME && fstatfs(tree->fd, &fs) == 0 &&
           fs.f_type != OVERLAYFS_SUPER_MAGIC;
}

/* Removes a name as an operation does. */
static inline int tree_unlink(const Tree *tree, Node *parent, const char *name, int flags)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    NodeGone *gone;
    int r = node_fd_get(tree->table, parent, &fd);

    if (r < 0)
        return r;
    gone = node_before_unlink(tree->table, parent, fd.fd, name);
    r = unlinkat(fd.fd, name, flags) < 0 ? -errno : 0;
    node_after_unlink(tree->table, gone, r == 0);
    return r;
}

/* Renames as an operation does, replacing what stands there. */
static inline int tree_rename(const Tree *tree, Node *parent, const char *name, Node *new_parent,
                              const char *new_name)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    g_auto(NodeFd) new_fd = NODE_FD_INIT;
    NodeRename rename;
    NodeGone *gone;
    int r = node_fd_get(tree->table, parent, &fd);

    if (r == 0)
        r = node_fd_get(tree->table, new_parent, &new_fd);
    if (r < 0)
        return r;
    gone = node_before_unlink(tree->table, new_parent, new_fd.fd, new_name);
    node_rename_begin(tree->table, &rename);
    r = renameat(fd.fd, name, new_fd.fd, new_name) < 0 ? -errno : 0;
    node_after_unlink(tree->table, gone, r == 0);
    if (r == 0)
        node_renamed(tree->table, parent, name, new_parent, new_name, FALSE);
    node_rename_end(tree->table, &rename);
    return r;
}

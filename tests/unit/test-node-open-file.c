/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes that are reached by the files that are open on them.
 */
#include "node-tree.h"

#include <pthread.h>
#include <stdatomic.h>

/* The descriptor, which the node has until it is closed. */
static int open_file(const Tree *tree, Node *node, const char *path, int flags,
                     NodeOpenFile *file_out)
{
    int fd = openat(tree->fd, path, flags | O_CLOEXEC);

    node_add_open_file(tree->table, node, fd, file_out);
    return fd;
}

/* 15,000 files that are open and deleted would need 30,000 descriptors. */
static void deleted_file_is_reached_by_an_open_one(void **state)
{
    g_auto(Tree) tree = {0};
    NodeOpenFile files[2];
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    for (guint i = 0; i < 2; i++)
        open_file(&tree, a, "a", O_RDONLY, &files[i]);
    assert_int_equal(tree_unlink(&tree, tree.root, "a", 0), 0);
    assert_int_equal(node_table_fd_count(tree.table), 1);
    tree_assert_opens(&tree, a);
    for (guint i = 0; i < 2; i++) {
        node_remove_open_file(tree.table, a, &files[i]);
        node_unref(tree.table, a);
        /* the kernel may know it still, by a descriptor without an open file */
        tree_assert_opens(&tree, a);
        assert_int_equal(node_table_fd_count(tree.table), 1 + i);
    }
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_fd_count(tree.table), 1);
}

static void file_that_its_name_no_longer_leads_to_is_reached_by_an_open_one(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *a;
    NodeOpenFile file;
    ino_t ino;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    a = tree_lookup(&tree, d, "a");
    open_file(&tree, a, "d/a", O_RDONLY, &file);
    assert_int_equal(renameat(tree.fd, "d/a", tree.fd, "b"), 0); /* past the mount */
    tree_assert_opens(&tree, a);
    node_remove_open_file(tree.table, a, &file);
    assert_int_equal(tree_try_open(&tree, a, &ino), -ESTALE);
    node_unref(tree.table, a);
}

#define PARTINGS 1500

/* A deleted file, or one that is being deleted, while its open files are closed. */
typedef struct Parting {
    Tree *tree;
    Node *node;
    NodeOpenFile files[2];
    pthread_barrier_t begin;
    _Atomic gboolean over;
} Parting;

/* Looks at it all the time: how often that failed. */
static void *look_on(void *data)
{
    Parting *parting = data;
    guint failures = 0;

    pthread_barrier_wait(&parting->begin);
    do {
        struct statx stx;

        failures += node_stat(parting->tree->table, parting->node, &stx) != 0;
    } while (!atomic_load(&parting->over));
    return GUINT_TO_POINTER(failures);
}

static void *close_second(void *data)
{
    Parting *parting = data;

    pthread_barrier_wait(&parting->begin);
    node_remove_open_file(parting->tree->table, parting->node, &parting->files[1]);
    return NULL;
}

static void open_for_parting(Parting *parting, guint i)
{
    open_file(parting->tree, parting->node, "a", O_RDONLY, &parting->files[i]);
}

static void part(Parting *parting, gboolean deleted_before)
{
    Tree *tree = parting->tree;
    struct statx stx;
    pthread_t threads[2];
    void *failures;

    tree_make_file(tree, "a");
    parting->node = tree_lookup(tree, tree->root, "a");
    open_for_parting(parting, 1);
    if (deleted_before) {
        open_for_parting(parting, 0);
        assert_int_equal(tree_unlink(tree, tree->root, "a", 0), 0);
    }
    atomic_store(&parting->over, FALSE);
    assert_int_equal(pthread_create(&threads[0], NULL, close_second, parting), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, look_on, parting), 0);
    pthread_barrier_wait(&parting->begin);
    if (deleted_before)
        node_remove_open_file(tree->table, parting->node, &parting->files[0]);
    else
        assert_int_equal(tree_unlink(tree, tree->root, "a", 0), 0);
    pthread_join(threads[0], NULL);
    atomic_store(&parting->over, TRUE);
    pthread_join(threads[1], &failures);
    assert_int_equal(GPOINTER_TO_UINT(failures), 0);

    /* the kernel knows it still */
    assert_int_equal(node_stat(tree->table, parting->node, &stx), 0);
    assert_int_equal(stx.stx_nlink, 0);
    node_unref(tree->table, parting->node);
    if (deleted_before)
        node_unref(tree->table, parting->node);
    node_forget(tree->table, parting->node, 1);
    assert_int_equal(node_table_fd_count(tree->table), 1);
}

static void deleted_file_stays_while_it_is_closed(void **state)
{
    g_auto(Tree) tree = {0};
    Parting parting = {.tree = &tree};

    (void)state;
    tree_init(&tree, 8);
    pthread_barrier_init(&parting.begin, NULL, 3);
    for (int i = 0; i < PARTINGS; i++)
        part(&parting, i % 2 == 0);
    pthread_barrier_destroy(&parting.begin);
}

/* The looker above meets this moment once in a while, this one always. */
static void file_is_reached_between_its_deletion_and_the_end_of_its_name(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    NodeOpenFile file;
    NodeGone *gone;
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    open_file(&tree, a, "a", O_RDONLY, &file);
    gone = node_before_unlink(tree.table, tree.root, tree.fd, "a");
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    node_remove_open_file(tree.table, a, &file);
    assert_int_equal(node_stat(tree.table, a, &stx), 0);
    assert_int_equal(stx.stx_nlink, 0);
    node_after_unlink(tree.table, gone, TRUE);
    assert_int_equal(node_stat(tree.table, a, &stx), 0);
    node_unref(tree.table, a);
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_fd_count(tree.table), 1);
}

static gboolean is_closed(int fd)
{
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static void open_file_is_used_instead_of_a_descriptor(void **state)
{
    g_auto(Tree) tree = {0};
    NodeFd used = NODE_FD_INIT, later = NODE_FD_INIT;
    struct stat st;
    NodeOpenFile file;
    Node *a;
    int fd;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    fd = open_file(&tree, a, "a", O_WRONLY, &file);
    assert_int_equal(node_fd_get(tree.table, a, &used), 0);
    assert_int_equal(used.fd, fd);
    assert_true(node_fd_is_open(&used));
    assert_int_equal(node_table_fd_count(tree.table), 1); /* the root's */

    /* closed meanwhile, it stays with who uses it, and with nobody else */
    node_remove_open_file(tree.table, a, &file);
    node_unref(tree.table, a);
    assert_int_equal(fstat(used.fd, &st), 0);
    assert_int_equal(node_fd_get(tree.table, a, &later), 0);
    assert_int_not_equal(later.fd, fd);
    assert_false(node_fd_is_open(&later));
    node_fd_clear(&used);
    assert_true(is_closed(fd));
    node_fd_clear(&later);
    assert_int_equal(node_table_fd_count(tree.table), 2);
}

static void open_files_are_listed(void **state)
{
    g_autoptr(GPtrArray) none = NULL, all = NULL;
    g_auto(Tree) tree = {0};
    NodeOpenFile files[2];
    Node *nodes[2];

    (void)state;
    tree_init(&tree, 8);
    none = node_table_list_open_files(tree.table);
    assert_int_equal(none->len, 0);
    tree_make_file(&tree, "a");
    nodes[0] = tree_lookup(&tree, tree.root, "a");
    nodes[1] = node_ref(tree.table, tree.root);
    for (guint i = 0; i < 2; i++)
        open_file(&tree, nodes[i], i == 0 ? "a" : ".", O_RDONLY, &files[i]);
    all = node_table_list_open_files(tree.table);
    assert_int_equal(all->len, 2);
    for (guint i = 0; i < all->len; i++) {
        NodeOpenFile *file = g_ptr_array_index(all, i);
        Node *node = file->node;

        assert_true(node == nodes[0] || node == nodes[1]);
        node_remove_open_file(tree.table, node, file);
        node_unref(tree.table, node);
    }
    node_unref(tree.table, nodes[1]);
}

static void open_file_leaves_a_descriptor_alone(void **state)
{
    g_auto(Tree) tree = {0};
    NodeFd own = NODE_FD_INIT, again = NODE_FD_INIT;
    NodeOpenFile file;
    Node *a;
    int fd;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(node_fd_get(tree.table, a, &own), 0);
    fd = open_file(&tree, a, "a", O_RDONLY, &file);
    assert_int_equal(node_fd_get(tree.table, a, &again), 0);
    assert_int_equal(again.fd, own.fd);
    assert_false(node_fd_is_open(&again));
    node_remove_open_file(tree.table, a, &file);
    assert_true(is_closed(fd));
    node_fd_clear(&own);
    node_fd_clear(&again);
    node_unref(tree.table, a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deleted_file_is_reached_by_an_open_one),
        cmocka_unit_test(file_that_its_name_no_longer_leads_to_is_reached_by_an_open_one),
        cmocka_unit_test(deleted_file_stays_while_it_is_closed),
        cmocka_unit_test(file_is_reached_between_its_deletion_and_the_end_of_its_name),
        cmocka_unit_test(open_file_is_used_instead_of_a_descriptor),
        cmocka_unit_test(open_files_are_listed),
        cmocka_unit_test(open_file_leaves_a_descriptor_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

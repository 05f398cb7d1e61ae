/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes found by their number alone, as file handles name them. On a filesystem that opens nothing
 * by its inode number, or without the right to, each is stale; the tests say so then, and expect
 * it.
 */
#include "node-tree.h"

static ino_t inode_of(const Tree *tree, const char *path)
{
    struct statx stx;

    assert_int_equal(statx(tree->fd, path, AT_SYMLINK_NOFOLLOW, STATX_INO, &stx), 0);
    return stx.stx_ino;
}

/* Looks a forgotten file up: NULL where that cannot be had here. */
static Node *find_forgotten(const Tree *tree, guint64 number)
{
    struct stat st;
    Node *node = NULL;
    int r = node_lookup_number(tree->table, number, &st, &node);

    if (node_table_opens_by_number(tree->table)) {
        assert_int_equal(r, 0);
        assert_int_equal(st.st_ino, number);
        return node;
    }
    print_message("nothing is opened by its inode number here\n");
    assert_int_equal(r, -ESTALE);
    return NULL;
}

static void numbers_are_those_of_inodes(void **state)
{
    g_auto(Tree) tree = {0};
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    node = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(node_number(tree.root), 1);
    assert_int_equal(node_number(node), inode_of(&tree, "a"));
    assert_ptr_equal(node_by_number(tree.table, 1), tree.root);
    assert_ptr_equal(node_by_number(tree.table, node_number(node)), node);
    node_forget(tree.table, node, 1);
    assert_null(node_by_number(tree.table, inode_of(&tree, "a")));
}

static void forgotten_file_is_found_and_is_the_same(void **state)
{
    g_auto(Tree) tree = {0};
    guint64 number, generation;
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    number = inode_of(&tree, "d/a");
    node = tree_lookup(&tree, tree.root, "d");
    node_forget(tree.table, tree_lookup(&tree, node, "a"), 1);
    node_forget(tree.table, node, 1);
    node = find_forgotten(&tree, number);
    if (!node)
        return;
    generation = node_generation(node);
    assert_int_equal(node_number(node), number);
    node_forget(tree.table, node, 1);
    node = find_forgotten(&tree, number);
    assert_int_equal(node_generation(node), generation);
    node_forget(tree.table, node, 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

/* With room for no descriptor at all each use opens it anew. */
static void nameless_node_is_opened_again_by_its_number(void **state)
{
    g_auto(Tree) tree = {0};
    g_auto(NodeFd) fd = NODE_FD_INIT;
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    node = find_forgotten(&tree, inode_of(&tree, "a"));
    if (!node)
        return;
    assert_int_equal(node_table_fd_count(tree.table), 1); /* the root's */
    assert_int_equal(node_fd_get(tree.table, node, &fd), 0);
    node_fd_clear(&fd);
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    assert_int_equal(node_fd_get(tree.table, node, &fd), -ESTALE);
    node_forget(tree.table, node, 1);
}

static void directory_finds_its_way_up_to_the_root(void **state)
{
    g_auto(Tree) tree = {0};
    Node *inner, *outer, *root;
    struct stat st;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_dir(&tree, "d/e");
    inner = find_forgotten(&tree, inode_of(&tree, "d/e"));
    if (!inner)
        return;
    assert_int_equal(node_lookup_parent(tree.table, inner, &st, &outer), 0);
    assert_int_equal(node_number(outer), inode_of(&tree, "d"));
    assert_int_equal(node_lookup_parent(tree.table, outer, &st, &root), 0);
    assert_ptr_equal(root, tree.root);
    assert_int_equal(node_generation(root), 0); /* the kernel warns of any other */
    assert_int_equal(node_lookup_parent(tree.table, tree.root, &st, &root), -ESTALE);
    assert_ptr_equal(tree_lookup(&tree, outer, "e"), inner);
    tree_assert_path(&tree, inner, NULL);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "d"), outer);
    tree_assert_path(&tree, inner, "d/e");
    node_forget(tree.table, inner, 2);
    node_forget(tree.table, outer, 2);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void what_is_no_file_of_the_workspace_is_stale(void **state)
{
    g_auto(Tree) tree = {0};
    const guint64 invented[] = {0, 2, 3, G_MAXUINT32, G_MAXUINT64, (guint64)1 << 63};
    struct stat st;
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    for (guint i = 0; i < G_N_ELEMENTS(invented); i++)
        assert_int_not_equal(node_lookup_number(tree.table, invented[i], &st, &node), 0);
    assert_int_equal(node_lookup_number(tree.table, inode_of(&tree, ".."), &st, &node), -ESTALE);
    assert_int_equal(node_table_count(tree.table), 1);
}

/* The kernel still uses the number of a deleted file; the new file of that inode gets another. */
static void number_in_use_is_not_given_twice(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    Node *old, *new;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    assert_int_equal(statx(tree.fd, "a", 0, NODE_STATX_MASK, &stx), 0);
    old = tree_lookup(&tree, tree.root, "a");
    stx.stx_mode = S_IFIFO | 0600;
    new = node_find_or_add(tree.table, tree.root, "a", &stx);
    assert_ptr_not_equal(old, new);
    assert_int_not_equal(node_number(old), node_number(new));
    assert_ptr_equal(node_by_number(tree.table, node_number(new)), new);
    assert_ptr_equal(node_by_number(tree.table, node_number(old)), old);
    node_forget(tree.table, old, 1);
    node_forget(tree.table, new, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_inodes),
        cmocka_unit_test(forgotten_file_is_found_and_is_the_same),
        cmocka_unit_test(nameless_node_is_opened_again_by_its_number),
        cmocka_unit_test(directory_finds_its_way_up_to_the_root),
        cmocka_unit_test(what_is_no_file_of_the_workspace_is_stale),
        cmocka_unit_test(number_in_use_is_not_given_twice),
    };

    return cmocka_run_group_tests_name("node-number", tests, NULL, NULL);
}

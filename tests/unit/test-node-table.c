/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the table of nodes tells as a whole: that it has shrunk, and the numbers of files on other
 * filesystems.
 */
#include "node-tree.h"
#include <sys/sysmacros.h>

#define MANY 30000u

/* As found in the root, on the filesystem `minor`. */
static Node *find_number(const Tree *tree, guint64 ino, guint32 minor)
{
    g_autofree char *name = g_strdup_printf("%u-%" G_GUINT64_FORMAT, minor, ino);
    const struct statx stx = {
        .stx_mask = STATX_BASIC_STATS,
        .stx_mode = S_IFREG | 0600,
        .stx_nlink = 1,
        .stx_ino = ino,
        .stx_dev_major = 300,
        .stx_dev_minor = minor,
    };

    return node_find_or_add(tree->table, tree->root, name, &stx);
}

static void losing_half_of_many_nodes_is_told_once(void **state G_GNUC_UNUSED)
{
    g_autofree Node **nodes = g_new(Node *, MANY);
    g_auto(Tree) tree = {0};
    guint times = 0;

    tree_init(&tree, 0);
    for (guint i = 0; i < MANY; i++)
        nodes[i] = find_number(&tree, i + 2, 1);
    assert_false(node_table_take_shrinking(tree.table));
    for (guint i = 0; i < MANY / 2; i++)
        node_forget(tree.table, nodes[i], 1);
    assert_false(node_table_take_shrinking(tree.table));
    for (guint i = MANY / 2; i < MANY; i++) {
        node_forget(tree.table, nodes[i], 1);
        times += node_table_take_shrinking(tree.table) != FALSE;
    }
    assert_int_equal(times, 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void few_nodes_are_not_worth_telling(void **state G_GNUC_UNUSED)
{
    g_auto(Tree) tree = {0};

    tree_init(&tree, 0);
    for (guint64 ino = 2; ino < 1000; ino++)
        node_forget(tree.table, find_number(&tree, ino, 1), 1);
    assert_false(node_table_take_shrinking(tree.table));
}

static void files_of_other_filesystems_have_numbers_of_their_own(void **state G_GNUC_UNUSED)
{
    g_auto(Tree) tree = {0};
    Node *first, *second;
    ino_t one, two, own;
    struct stat st;

    tree_init(&tree, 0);
    assert_int_equal(fstat(tree.fd, &st), 0);
    first = find_number(&tree, st.st_ino, 1);
    second = find_number(&tree, st.st_ino, 2);
    assert_ptr_not_equal(first, second);
    assert_int_not_equal(node_number(first), node_number(second));
    assert_int_equal(node_dev(second), makedev(300, 2));
    own = node_table_shown_ino(tree.table, st.st_dev, st.st_ino);
    one = node_table_shown_ino(tree.table, node_dev(first), node_ino(first));
    two = node_table_shown_ino(tree.table, node_dev(second), node_ino(second));
    assert_int_equal(own, st.st_ino);
    assert_int_not_equal(one, own);
    assert_int_not_equal(two, own);
    assert_int_not_equal(one, two);
    assert_int_equal(node_table_shown_ino(tree.table, makedev(300, 1), st.st_ino), one);
}

static void other_filesystems_are_refused_where_that_is_set(void **state G_GNUC_UNUSED)
{
    g_auto(Tree) tree = {0};
    struct statx here, other;

    tree_init(&tree, 0);
    assert_int_equal(node_statx(tree.fd, "", AT_EMPTY_PATH, &here), 0);
    other = here;
    other.stx_dev_minor++;
    assert_false(node_table_refuses(tree.table, &other));
    node_table_refuse_nested(tree.table);
    assert_false(node_table_refuses(tree.table, &here));
    assert_true(node_table_refuses(tree.table, &other));
    other = here;
    other.stx_mnt_id++;
    assert_int_equal(node_table_refuses(tree.table, &other), (here.stx_mask & STATX_MNT_ID) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losing_half_of_many_nodes_is_told_once),
        cmocka_unit_test(few_nodes_are_not_worth_telling),
        cmocka_unit_test(files_of_other_filesystems_have_numbers_of_their_own),
        cmocka_unit_test(other_filesystems_are_refused_where_that_is_set),
    };

    return cmocka_run_group_tests_name("node-table", tests, NULL, NULL);
}

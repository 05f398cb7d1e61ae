/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node-tree.h"

static void file_is_one_node_and_counts_its_lookups(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_ptr_equal(tree_lookup(&tree, tree.root, "a"), a);
    assert_int_equal(node_type(a), S_IFREG);
    assert_int_equal(node_table_count(tree.table), 2);
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_count(tree.table), 2);
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void forgetting_more_than_was_looked_up_is_harmless(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    node_forget(tree.table, a, G_MAXUINT64);
    node_forget(tree.table, tree.root, 5);
    assert_int_equal(node_table_count(tree.table), 1);
    tree_assert_opens(&tree, tree.root);
}

static void reference_keeps_a_forgotten_node(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    a = node_ref(tree.table, tree_lookup(&tree, tree.root, "a"));
    node_forget(tree.table, a, 1);
    tree_assert_opens(&tree, a);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "a"), a);
    node_forget(tree.table, a, 1);
    node_unref(tree.table, a);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void parent_outlives_its_children(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    a = tree_lookup(&tree, d, "a");
    node_forget(tree.table, d, 1);
    tree_assert_path(&tree, a, "d/a");
    tree_assert_opens(&tree, a);
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void missing_and_improper_names_are_refused(void **state)
{
    static const char *const names[] = {"", ".", "..", "d/a", "/"};
    g_auto(Tree) tree = {0};
    Node *node = NULL;

    (void)state;
    tree_init(&tree, 8);
    assert_int_equal(tree_try_lookup(&tree, tree.root, "none", &node), -ENOENT);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_int_equal(tree_try_lookup(&tree, tree.root, names[i], &node), -EINVAL);
        assert_null(node_before_unlink(tree.table, tree.root, tree.fd, names[i]));
    }
    assert_null(node);
}

static void table_needs_a_directory(void **state)
{
    g_autoptr(GError) error = NULL;

    (void)state;
    assert_null(node_table_new(open("/dev/null", O_PATH | O_CLOEXEC), 8, &error));
    assert_non_null(error);
    node_table_free(NULL);
}

static void stat_is_converted_in_full(void **state)
{
    static const char *const paths[] = {"/dev/null", "/", "/proc/self/exe"};

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
        struct stat expected, got;
        struct statx stx;

        memset(&got, 0xff, sizeof got);
        assert_int_equal(lstat(paths[i], &expected), 0);
        assert_int_equal(statx(AT_FDCWD, paths[i], AT_SYMLINK_NOFOLLOW, NODE_STATX_MASK, &stx), 0);
        node_stat_from_statx(&stx, &got);
        assert_int_equal(got.st_dev, expected.st_dev);
        assert_int_equal(got.st_ino, expected.st_ino);
        assert_int_equal(got.st_mode, expected.st_mode);
        assert_int_equal(got.st_nlink, expected.st_nlink);
        assert_int_equal(got.st_uid, expected.st_uid);
        assert_int_equal(got.st_gid, expected.st_gid);
        assert_int_equal(got.st_rdev, expected.st_rdev);
        assert_int_equal(got.st_size, expected.st_size);
        assert_int_equal(got.st_blksize, expected.st_blksize);
        assert_int_equal(got.st_blocks, expected.st_blocks);
        assert_memory_equal(&got.st_mtim, &expected.st_mtim, sizeof got.st_mtim);
        assert_memory_equal(&got.st_ctim, &expected.st_ctim, sizeof got.st_ctim);
        assert_int_equal(got.st_atim.tv_sec, expected.st_atim.tv_sec);
    }
}

static void inode_number_given_to_a_new_file_makes_a_new_node(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    Node *old, *new;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    assert_int_equal(statx(tree.fd, "a", 0, NODE_STATX_MASK, &stx), 0);
    if (!tree_has_birth_times(&tree, &stx)) {
        print_message("no lasting birth time on the temporary filesystem\n");
        tree_clear(&tree);
        skip();
    }
    old = tree_lookup(&tree, tree.root, "a");
    stx.stx_btime.tv_nsec ^= 1;
    new = node_find_or_add(tree.table, tree.root, "a", &stx);
    assert_ptr_not_equal(old, new);
    assert_int_not_equal(node_generation(old), node_generation(new));
    assert_int_equal(node_ino(old), node_ino(new));
    assert_true(node_is_unlinked(tree.table, old));
    tree_assert_path(&tree, new, "a");
    assert_int_equal(node_table_count(tree.table), 3);
    /* The file below is neither's now: of the old there is no name, the new was made up. */
    tree_assert_stale(&tree, old);
    tree_assert_stale(&tree, new);
    node_forget(tree.table, old, 1);
    node_forget(tree.table, new, 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void number_of_another_type_of_file_is_another_node(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    Node *file;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    assert_int_equal(statx(tree.fd, "a", 0, STATX_BASIC_STATS, &stx), 0);
    stx.stx_mask &= ~STATX_BTIME;
    file = node_find_or_add(tree.table, tree.root, "a", &stx);
    assert_ptr_equal(node_find_or_add(tree.table, tree.root, "a", &stx), file);
    stx.stx_mode = S_IFDIR | 0700;
    assert_ptr_not_equal(node_find_or_add(tree.table, tree.root, "a", &stx), file);
}

static void hard_link_has_the_name_seen_last(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    assert_int_equal(linkat(tree.fd, "a", tree.fd, "b", 0), 0);
    a = tree_lookup(&tree, tree.root, "a");
    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), a);
    tree_assert_path(&tree, a, "b");
    assert_int_equal(tree_unlink(&tree, tree.root, "a", 0), 0);
    tree_assert_path(&tree, a, "b");
    tree_assert_opens(&tree, a);
}

static void hard_link_without_its_known_name_waits_for_another(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    assert_int_equal(linkat(tree.fd, "a", tree.fd, "b", 0), 0);
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(tree_unlink(&tree, tree.root, "a", 0), 0);
    assert_true(node_is_unlinked(tree.table, a));
    tree_assert_path(&tree, a, NULL);
    tree_assert_opens(&tree, a);
    assert_int_equal(node_table_fd_count(tree.table), 2);

    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), a);
    assert_false(node_is_unlinked(tree.table, a));
    tree_assert_path(&tree, a, "b");
    assert_int_equal(node_table_fd_count(tree.table), 1);
    tree_assert_opens(&tree, a);
}

static void unlinked_file_stays_usable_until_forgotten(void **state)
{
    g_auto(Tree) tree = {0};
    g_auto(NodeFd) fd = NODE_FD_INIT;
    autofd again_fd = -1;
    NodePath path;
    struct stat st;
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(tree_unlink(&tree, tree.root, "a", 0), 0);
    assert_true(node_is_unlinked(tree.table, a));
    assert_int_equal(node_fd_get(tree.table, a, &fd), 0);
    assert_int_equal(fstat(fd.fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    node_fd_path(&fd, &path);
    again_fd = open(path.text, O_RDWR | O_CLOEXEC);
    assert_true(again_fd >= 0);
    node_fd_clear(&fd);
    node_fd_clear(&fd);
    assert_int_equal(node_table_fd_count(tree.table), 2);
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_fd_count(tree.table), 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void new_file_with_the_number_of_an_unlinked_one_is_not_it(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    Node *old;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    assert_int_equal(statx(tree.fd, "a", 0, NODE_STATX_MASK, &stx), 0);
    old = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(tree_unlink(&tree, tree.root, "a", 0), 0);
    /* Even where the birth time is no help: none, or too coarse. */
    assert_ptr_not_equal(node_find_or_add(tree.table, tree.root, "b", &stx), old);
    assert_true(node_is_unlinked(tree.table, old));
}

static void removed_directory_is_unlinked(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    d = tree_lookup(&tree, tree.root, "d");
    assert_int_equal(tree_unlink(&tree, tree.root, "d", AT_REMOVEDIR), 0);
    assert_true(node_is_unlinked(tree.table, d));
    tree_assert_opens(&tree, d);
}

static void failed_unlink_changes_nothing(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    assert_int_equal(tree_unlink(&tree, tree.root, "d", AT_REMOVEDIR), -ENOTEMPTY);
    tree_assert_path(&tree, d, "d");
    assert_int_equal(node_table_fd_count(tree.table), 1);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "d"), d);
}

static void unknown_name_has_no_token(void **state)
{
    g_auto(Tree) tree = {0};

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    assert_null(node_before_unlink(tree.table, tree.root, tree.fd, "a"));
    assert_null(node_before_unlink(tree.table, tree.root, tree.fd, "none"));
    node_after_unlink(tree.table, NULL, TRUE);
}

static void renamed_directory_takes_what_is_below_along(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *e, *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_dir(&tree, "e");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    e = tree_lookup(&tree, tree.root, "e");
    a = tree_lookup(&tree, d, "a");
    assert_int_equal(tree_rename(&tree, tree.root, "d", e, "f"), 0);
    tree_assert_path(&tree, d, "e/f");
    tree_assert_path(&tree, a, "e/f/a");
    tree_assert_opens(&tree, a);
}

static void replaced_target_is_unlinked(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a, *b;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    tree_make_file(&tree, "b");
    a = tree_lookup(&tree, tree.root, "a");
    b = tree_lookup(&tree, tree.root, "b");
    assert_int_equal(tree_rename(&tree, tree.root, "a", tree.root, "b"), 0);
    tree_assert_path(&tree, a, "b");
    tree_assert_opens(&tree, a);
    assert_true(node_is_unlinked(tree.table, b));
    tree_assert_opens(&tree, b);
}

static void rename_of_an_unknown_file_takes_the_targets_name(void **state)
{
    g_auto(Tree) tree = {0};
    Node *b;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "b");
    b = tree_lookup(&tree, tree.root, "b");
    node_renamed(tree.table, tree.root, "a", tree.root, "b", FALSE);
    assert_true(node_is_unlinked(tree.table, b));
}

static void exchange_swaps_the_names(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *a, *b;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    tree_make_file(&tree, "b");
    d = tree_lookup(&tree, tree.root, "d");
    a = tree_lookup(&tree, d, "a");
    b = tree_lookup(&tree, tree.root, "b");
    assert_int_equal(renameat2(tree.fd, "d/a", tree.fd, "b", RENAME_EXCHANGE), 0);
    node_renamed(tree.table, d, "a", tree.root, "b", TRUE);
    tree_assert_path(&tree, a, "b");
    tree_assert_path(&tree, b, "d/a");
    tree_assert_opens(&tree, a);
    tree_assert_opens(&tree, b);
}

static void exchange_with_an_unknown_file_moves_the_known(void **state)
{
    g_auto(Tree) tree = {0};
    Node *b;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    tree_make_file(&tree, "b");
    b = tree_lookup(&tree, tree.root, "b");
    assert_int_equal(renameat2(tree.fd, "a", tree.fd, "b", RENAME_EXCHANGE), 0);
    node_renamed(tree.table, tree.root, "a", tree.root, "b", TRUE);
    tree_assert_path(&tree, b, "a");
    tree_assert_opens(&tree, b);
}

static void file_replaced_past_the_mount_is_stale(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a, *new;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    tree_make_file(&tree, "b");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(renameat(tree.fd, "b", tree.fd, "a"), 0);
    tree_assert_stale(&tree, a);
    new = tree_lookup(&tree, tree.root, "a");
    assert_ptr_not_equal(new, a);
    assert_true(node_is_unlinked(tree.table, a));
    tree_assert_opens(&tree, new);
}

static void file_moved_past_the_mount_is_found_by_its_next_lookup(void **state)
{
    g_auto(Tree) tree = {0};
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(renameat(tree.fd, "a", tree.fd, "b"), 0);
    tree_assert_stale(&tree, a);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), a);
    tree_assert_opens(&tree, a);
}

static void directories_that_changed_places_form_no_circle(void **state)
{
    g_auto(Tree) tree = {0};
    autofd b_fd = -1;
    struct stat st;
    Node *a, *b, *again;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "a");
    tree_make_dir(&tree, "a/b");
    a = tree_lookup(&tree, tree.root, "a");
    b = tree_lookup(&tree, a, "b");
    assert_int_equal(renameat(tree.fd, "a/b", tree.fd, "b"), 0);
    assert_int_equal(renameat(tree.fd, "a", tree.fd, "b/a"), 0);
    b_fd = openat(tree.fd, "b", O_PATH | O_CLOEXEC);
    assert_int_equal(node_lookup(tree.table, b, b_fd, "a", &st, &again), 0);
    assert_ptr_equal(again, a);
    tree_assert_stale(&tree, b);

    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), b);
    assert_ptr_equal(tree_lookup(&tree, b, "a"), a);
    tree_assert_path(&tree, a, "b/a");
    tree_assert_opens(&tree, a);
}

static void root_seen_under_a_name_stays_the_root(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;

    (void)state;
    tree_init(&tree, 8);
    assert_int_equal(statx(tree.fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &stx), 0);
    assert_ptr_equal(node_find_or_add(tree.table, tree.root, "bind", &stx), tree.root);
    tree_assert_path(&tree, tree.root, "");
}

static void file_without_a_name_gets_one_by_lookup(void **state)
{
    g_auto(Tree) tree = {0};
    autofd fd = -1;
    struct statx stx;
    NodePath path;
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    fd = openat(tree.fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        print_message("no O_TMPFILE on the temporary filesystem\n");
        tree_clear(&tree);
        skip();
    }
    assert_int_equal(statx(fd, "", AT_EMPTY_PATH, NODE_STATX_MASK, &stx), 0);
    node = node_add_nameless(tree.table, fd, &stx);
    assert_true(node_is_unlinked(tree.table, node));
    tree_assert_opens(&tree, node);
    node_fd_path(&(NodeFd){.fd = fd}, &path);
    assert_int_equal(linkat(AT_FDCWD, path.text, tree.fd, "a", AT_SYMLINK_FOLLOW), 0);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "a"), node);
    tree_assert_path(&tree, node, "a");
}

static void paths_are_relative_to_the_root(void **state)
{
    g_auto(Tree) tree = {0};
    g_autofree char *in_root = NULL;
    g_autofree char *in_dir = NULL;
    Node *d;

    (void)state;
    tree_init(&tree, 8);
    tree_make_dir(&tree, "d");
    d = tree_lookup(&tree, tree.root, "d");
    tree_assert_path(&tree, tree.root, "");
    tree_assert_path(&tree, d, "d");
    in_root = node_dup_path(tree.table, tree.root, "x");
    in_dir = node_dup_path(tree.table, d, "x");
    assert_string_equal(in_root, "x");
    assert_string_equal(in_dir, "d/x");
}

static void children_are_listed_with_references(void **state)
{
    g_auto(Tree) tree = {0};
    g_autoptr(GArray) children = NULL;
    Node *a, *peeked;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    tree_make_file(&tree, "unknown");
    a = tree_lookup(&tree, tree.root, "a");
    peeked = node_peek_child(tree.table, tree.root, "a");
    assert_ptr_equal(peeked, a);
    node_unref(tree.table, peeked);
    assert_null(node_peek_child(tree.table, tree.root, "unknown"));
    children = node_dup_children(tree.table, tree.root);
    assert_int_equal(children->len, 1);
    assert_ptr_equal(g_array_index(children, NodeChild, 0).node, a);
    assert_string_equal(g_array_index(children, NodeChild, 0).name, "a");
    node_forget(tree.table, a, 1);
    assert_int_equal(node_table_count(tree.table), 2);
    g_clear_pointer(&children, g_array_unref);
    assert_int_equal(node_table_count(tree.table), 1);
    children = node_dup_children(tree.table, tree.root);
    assert_int_equal(children->len, 0);
}

static void count_call(gpointer data)
{
    ++*(int *)data;
}

static void data_is_set_once_and_freed_with_the_node(void **state)
{
    g_auto(Tree) tree = {0};
    int first = 0, second = 0;
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_null(node_data(a));
    assert_ptr_equal(node_set_data(a, &first, count_call), &first);
    assert_ptr_equal(node_set_data(a, &second, count_call), &first);
    assert_ptr_equal(node_data(a), &first);
    node_forget(tree.table, a, 1);
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_is_one_node_and_counts_its_lookups),
        cmocka_unit_test(forgetting_more_than_was_looked_up_is_harmless),
        cmocka_unit_test(reference_keeps_a_forgotten_node),
        cmocka_unit_test(parent_outlives_its_children),
        cmocka_unit_test(missing_and_improper_names_are_refused),
        cmocka_unit_test(table_needs_a_directory),
        cmocka_unit_test(stat_is_converted_in_full),
        cmocka_unit_test(inode_number_given_to_a_new_file_makes_a_new_node),
        cmocka_unit_test(number_of_another_type_of_file_is_another_node),
        cmocka_unit_test(hard_link_has_the_name_seen_last),
        cmocka_unit_test(hard_link_without_its_known_name_waits_for_another),
        cmocka_unit_test(unlinked_file_stays_usable_until_forgotten),
        cmocka_unit_test(new_file_with_the_number_of_an_unlinked_one_is_not_it),
        cmocka_unit_test(removed_directory_is_unlinked),
        cmocka_unit_test(failed_unlink_changes_nothing),
        cmocka_unit_test(unknown_name_has_no_token),
        cmocka_unit_test(renamed_directory_takes_what_is_below_along),
        cmocka_unit_test(replaced_target_is_unlinked),
        cmocka_unit_test(rename_of_an_unknown_file_takes_the_targets_name),
        cmocka_unit_test(exchange_swaps_the_names),
        cmocka_unit_test(exchange_with_an_unknown_file_moves_the_known),
        cmocka_unit_test(file_replaced_past_the_mount_is_stale),
        cmocka_unit_test(file_moved_past_the_mount_is_found_by_its_next_lookup),
        cmocka_unit_test(directories_that_changed_places_form_no_circle),
        cmocka_unit_test(root_seen_under_a_name_stays_the_root),
        cmocka_unit_test(file_without_a_name_gets_one_by_lookup),
        cmocka_unit_test(paths_are_relative_to_the_root),
        cmocka_unit_test(children_are_listed_with_references),
        cmocka_unit_test(data_is_set_once_and_freed_with_the_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

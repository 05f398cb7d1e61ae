/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * By which descriptor a directory is read, and when the kernel does without handles.
 */
#include "dir-handle.h"
#include "node-tree.h"

#define MANY 200

typedef struct Stage {
    Tree tree;
    DirHandles *handles;
    Node *d, *e; /* directories */
} Stage;

static Node *make_dir(const Tree *tree, const char *name)
{
    tree_make_dir(tree, name);
    return tree_lookup(tree, tree->root, name);
}

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);

    tree_init(&stage->tree, 4);
    stage->d = make_dir(&stage->tree, "d");
    stage->e = make_dir(&stage->tree, "e");
    stage->handles = dir_handles_new(stage->tree.table, 0);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    dir_handles_free(stage->handles);
    tree_clear(&stage->tree);
    g_free(stage);
    return 0;
}

static DirHandle *take(DirHandles *handles, Node *node, off_t off)
{
    DirHandle *dir = NULL;

    assert_int_equal(dir_handles_take(handles, node, off, &dir), 0);
    assert_ptr_equal(dir->node, node);
    return dir;
}

/* As after a part of a listing that ends at `off`. */
static void keep_at(DirHandles *handles, DirHandle *dir, off_t off)
{
    dir->next = off;
    dir_handles_keep(handles, dir);
}

static guint count_descriptors(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint n = 0;

    while (dir && g_dir_read_name(dir))
        n++;
    return n;
}

/* --- whether the kernel has handles ----------------------------------------------------------- */

static void kernel_has_handles_unless_they_can_be_spared(void **state)
{
    g_autoptr(DirHandles) handles = dir_handles_new(NULL, 0);

    (void)state;
    assert_false(dir_handles_refuse(handles, FALSE));
    dir_handles_returned(handles);
    assert_true(dir_handles_refuse(handles, TRUE));
}

/* It would not say that it has closed them. */
static void none_is_refused_while_the_kernel_has_one(void **state)
{
    g_autoptr(DirHandles) handles = dir_handles_new(NULL, 0);

    (void)state;
    assert_false(dir_handles_refuse(handles, FALSE));
    assert_false(dir_handles_refuse(handles, TRUE));
    dir_handles_returned(handles);
    assert_false(dir_handles_refuse(handles, TRUE));
    dir_handles_returned(handles);
    dir_handles_returned(handles);
    assert_true(dir_handles_refuse(handles, TRUE));
}

/* Requests that were sent before it knew. */
static void all_are_refused_after_the_first(void **state)
{
    g_autoptr(DirHandles) handles = dir_handles_new(NULL, 0);

    (void)state;
    assert_true(dir_handles_refuse(handles, TRUE));
    assert_true(dir_handles_refuse(handles, FALSE));
    assert_true(dir_handles_refuse(handles, TRUE));
}

/* --- those that are kept ---------------------------------------------------------------------- */

static void next_part_is_read_by_the_same_descriptor(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    DirHandle *dir, *same;

    dir = take(handles, stage->d, 0);
    keep_at(handles, dir, 7);
    same = take(handles, stage->d, 7);
    assert_ptr_equal(same, dir);
    assert_int_equal(same->next, 7);
    dir_handles_close(handles, same);
}

static void anything_else_has_one_of_its_own(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    DirHandle *kept, *others[3];

    kept = take(handles, stage->d, 0);
    keep_at(handles, kept, 7);
    others[0] = take(handles, stage->d, 8);
    others[1] = take(handles, stage->e, 7);
    others[2] = take(handles, stage->d, 0);
    for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
        assert_ptr_not_equal(others[i], kept);
        assert_int_equal(others[i]->next, 0);
        dir_handles_close(handles, others[i]);
    }
    assert_ptr_equal(take(handles, stage->d, 7), kept);
    dir_handles_close(handles, kept);
}

/* The one before belongs to a listing that was given up, as a rule. */
static void of_two_at_one_place_the_later_is_read_on(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    DirHandle *given_up, *later;

    given_up = take(handles, stage->d, 0);
    keep_at(handles, given_up, 7);
    later = take(handles, stage->d, 0);
    keep_at(handles, later, 7);
    assert_ptr_equal(take(handles, stage->d, 7), later);
    dir_handles_close(handles, later);
}

static void listings_that_are_given_up_take_a_bounded_number(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    guint before = count_descriptors();
    DirHandle *last = NULL;

    for (guint i = 1; i <= MANY; i++) {
        last = take(handles, stage->d, 0);
        keep_at(handles, last, i);
    }
    assert_in_range(count_descriptors(), before + 2, before + MANY / 2);
    assert_ptr_equal(take(handles, stage->d, MANY), last);
    dir_handles_close(handles, last);
}

/* Else its blocks would stay on the disk. */
static void removed_directory_is_let_go(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    DirHandle *staying;
    guint before;

    staying = take(handles, stage->d, 0);
    keep_at(handles, staying, 7);
    before = count_descriptors();
    for (guint i = 1; i <= 3; i++)
        keep_at(handles, take(handles, stage->e, 0), i);
    assert_int_equal(tree_unlink(&stage->tree, stage->tree.root, "e", AT_REMOVEDIR), 0);
    dir_handles_close_removed(handles);
    node_forget(stage->tree.table, stage->e, 1);
    assert_int_equal(count_descriptors(), before);
    assert_ptr_equal(take(handles, stage->d, 7), staying);
    dir_handles_close(handles, staying);
}

/* While a part of its listing was read. */
static void directory_that_was_removed_before_is_not_kept(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    guint before = count_descriptors();
    DirHandle *dir = take(handles, stage->e, 0);

    assert_int_equal(tree_unlink(&stage->tree, stage->tree.root, "e", AT_REMOVEDIR), 0);
    dir_handles_close_removed(handles);
    keep_at(handles, dir, 7);
    node_forget(stage->tree.table, stage->e, 1);
    assert_int_equal(count_descriptors(), before);
}

static void none_is_left_at_the_end(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    guint before;

    dir_handles_close(handles, take(handles, stage->d, 0)); /* the node keeps one, too */
    before = count_descriptors();
    for (guint i = 1; i <= 3; i++)
        keep_at(handles, take(handles, stage->d, 0), i);
    assert_int_not_equal(count_descriptors(), before);
    dir_handles_close_kept(handles);
    assert_int_equal(count_descriptors(), before);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void a_directory_that_has_gone_is_stale(void **state)
{
    Stage *stage = *state;
    DirHandles *handles = stage->handles;
    DirHandle *dir = NULL;

    assert_int_equal(unlinkat(stage->tree.fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(dir_handles_take(handles, stage->d, 0, &dir), -ESTALE);
    assert_null(dir);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_has_handles_unless_they_can_be_spared),
        cmocka_unit_test(none_is_refused_while_the_kernel_has_one),
        cmocka_unit_test(all_are_refused_after_the_first),
        CASE(next_part_is_read_by_the_same_descriptor),
        CASE(anything_else_has_one_of_its_own),
        CASE(of_two_at_one_place_the_later_is_read_on),
        CASE(listings_that_are_given_up_take_a_bounded_number),
        CASE(removed_directory_is_let_go),
        CASE(directory_that_was_removed_before_is_not_kept),
        CASE(none_is_left_at_the_end),
        CASE(a_directory_that_has_gone_is_stale),
    };

    return cmocka_run_group_tests_name("dir-handle", tests, NULL, NULL);
}

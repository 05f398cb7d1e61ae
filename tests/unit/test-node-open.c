/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at nodes and opening them by their parent's descriptor and their name, which may have
 * become another file's.
 */
#include "node-private.h"
#include "node-tree.h"
#include <pthread.h>
#include <sched.h>

static void write_to(const Tree *tree, const char *name, const char *text)
{
    autofd fd = openat(tree->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static gint64 size_of(const Tree *tree, const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(tree->fd, name, &st, 0), 0);
    return st.st_size;
}

/* The file goes elsewhere past the table, and another gets its name. */
static void replace(const Tree *tree, const char *name)
{
    assert_int_equal(renameat(tree->fd, name, tree->fd, "elsewhere"), 0);
    write_to(tree, name, "another");
}

static void no_descriptor_is_kept_for_a_look_or_an_open(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    autofd fd = -1;
    Node *node;

    (void)state;
    tree_init(&tree, 8);
    write_to(&tree, "a", "text");
    node = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(node_stat(tree.table, node, &stx), 0);
    assert_int_equal(stx.stx_size, 4);
    fd = node_open(tree.table, node, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "longer", 6), 6);
    assert_int_equal(size_of(&tree, "a"), 6);
    assert_int_equal(node_table_fd_count(tree.table), 1); /* the root's */
}

static void file_below_an_evicted_directory_is_reached(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    autofd fd = -1;
    Node *dir, *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    write_to(&tree, "d/a", "text");
    dir = tree_lookup(&tree, tree.root, "d");
    node = tree_lookup(&tree, dir, "a");
    assert_int_equal(node_stat(tree.table, node, &stx), 0);
    assert_int_equal(stx.stx_size, 4);
    fd = node_open(tree.table, node, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
}

static void another_file_of_that_name_is_neither_shown_nor_opened(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    write_to(&tree, "a", "text");
    node = tree_lookup(&tree, tree.root, "a");
    replace(&tree, "a");
    assert_int_equal(node_stat(tree.table, node, &stx), -ESTALE);
    assert_int_equal(node_open(tree.table, node, O_RDONLY | O_CLOEXEC), -ESTALE);
    assert_int_equal(node_open(tree.table, node, O_WRONLY | O_TRUNC | O_CLOEXEC), -ESTALE);
    assert_int_equal(size_of(&tree, "a"), strlen("another"));
}

static void renamed_file_is_reached_by_the_descriptor_it_has(void **state)
{
    g_auto(Tree) tree = {0};
    struct statx stx;
    autofd fd = -1, read_fd = -1;
    Node *node;

    (void)state;
    tree_init(&tree, 8);
    write_to(&tree, "a", "text");
    node = tree_lookup(&tree, tree.root, "a");
    tree_assert_opens(&tree, node);
    replace(&tree, "a");
    assert_int_equal(node_stat(tree.table, node, &stx), 0);
    assert_int_equal(stx.stx_size, 4);
    read_fd = node_open(tree.table, node, O_RDONLY | O_CLOEXEC);
    assert_true(read_fd >= 0);
    assert_int_equal(node_statx(read_fd, "", AT_EMPTY_PATH, &stx), 0);
    assert_int_equal(stx.stx_size, 4);
    fd = node_open(tree.table, node, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(size_of(&tree, "elsewhere"), 0);
    assert_int_equal(size_of(&tree, "a"), strlen("another"));
}

/* An open of it that waited for a writer would never return. */
static void pipe_of_that_name_holds_nobody_up(void **state)
{
    g_auto(Tree) tree = {0};
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    node = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    assert_int_equal(mkfifoat(tree.fd, "a", 0600), 0);
    assert_int_equal(node_open(tree.table, node, O_RDONLY | O_CLOEXEC), -ESTALE);
    assert_int_equal(node_open(tree.table, node, O_WRONLY | O_CLOEXEC), -ESTALE);
}

static void missing_permission_is_told(void **state)
{
    g_auto(Tree) tree = {0};
    Node *node;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    node = tree_lookup(&tree, tree.root, "d");
    assert_int_equal(node_open(tree.table, node, O_WRONLY | O_CLOEXEC), -EISDIR);
}

/* --- the last link ------------------------------------------------------------------------------
 */

static void link_made_during_the_removal_keeps_the_file_known(void **state)
{
    g_auto(Tree) tree = {0};
    NodeGone *gone;
    Node *node;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    node = tree_lookup(&tree, tree.root, "a");
    gone = node_before_unlink(tree.table, tree.root, tree.fd, "a");
    assert_non_null(gone);
    node_link_begin(tree.table);
    assert_int_equal(linkat(tree.fd, "a", tree.fd, "b", 0), 0);
    node_link_end(tree.table);
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    node_after_unlink(tree.table, gone, TRUE);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), node);
}

static void link_on_its_way_keeps_the_file_known(void **state)
{
    g_auto(Tree) tree = {0};
    NodeGone *gone;
    Node *node;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    node = tree_lookup(&tree, tree.root, "a");
    node_link_begin(tree.table);
    gone = node_before_unlink(tree.table, tree.root, tree.fd, "a");
    assert_int_equal(linkat(tree.fd, "a", tree.fd, "b", 0), 0);
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    node_after_unlink(tree.table, gone, TRUE);
    node_link_end(tree.table);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "b"), node);
}

/* A directory that went elsewhere past the table, and another that got its name and is removed. */
static void removal_of_another_directory_of_that_name_forgets_nothing(void **state)
{
    g_auto(Tree) tree = {0};
    Node *node;

    (void)state;
    tree_init(&tree, 8);
    tree_make_dir(&tree, "d");
    node = tree_lookup(&tree, tree.root, "d");
    tree_assert_opens(&tree, node);
    assert_int_equal(renameat(tree.fd, "d", tree.fd, "elsewhere"), 0);
    tree_make_dir(&tree, "d");
    assert_int_equal(tree_unlink(&tree, tree.root, "d", AT_REMOVEDIR), 0);
    assert_ptr_equal(tree_lookup(&tree, tree.root, "elsewhere"), node);
}

#define OTHERS 1000

/* A file is looked for by the name that it has lost below, while the table does not know of it. */
typedef struct Search {
    Tree *tree;
    Node *node;
    int result;
    _Atomic gboolean over;
} Search;

static void *search(void *data)
{
    Search *search = data;
    struct statx stx;

    search->result = node_stat(search->tree->table, search->node, &stx);
    atomic_store(&search->over, TRUE);
    return NULL;
}

static guint count_awaiting(NodeTable *table)
{
    NodeTrash trash = NODE_TRASH_INIT;
    guint n;

    node_table_lock(table);
    n = table->n_awaiting;
    node_table_unlock(table, &trash);
    return n;
}

static void wait_until_it_waits(Search *search)
{
    while (count_awaiting(search->tree->table) == 0 && !atomic_load(&search->over))
        sched_yield();
    assert_false(atomic_load(&search->over));
}

static void rename_that_is_under_way_is_waited_for(void **state)
{
    g_auto(Tree) tree = {0};
    Search lookup = {.tree = &tree};
    NodeRename slow;
    pthread_t thread;
    Node *d;

    (void)state;
    tree_init(&tree, 8);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    lookup.node = tree_lookup(&tree, d, "a");

    node_rename_begin(tree.table, &slow);
    assert_int_equal(renameat(tree.fd, "d/a", tree.fd, "d/b"), 0);
    assert_int_equal(pthread_create(&thread, NULL, search, &lookup), 0);
    wait_until_it_waits(&lookup);
    /* those of others, which begin later and end sooner, are not what it waits for */
    for (int i = 0; i < OTHERS; i++) {
        NodeRename other;

        node_rename_begin(tree.table, &other);
        node_rename_end(tree.table, &other);
        wait_until_it_waits(&lookup);
        sched_yield();
    }
    node_renamed(tree.table, d, "a", d, "b", FALSE);
    node_rename_end(tree.table, &slow);
    pthread_join(thread, NULL);
    assert_int_equal(lookup.result, 0);
    node_forget(tree.table, lookup.node, 1);
    node_forget(tree.table, d, 1);
}

/* As where the filesystem below hangs. */
static void rename_that_does_not_end_is_not_waited_for_for_ever(void **state)
{
    g_auto(Tree) tree = {0};
    NodeRename slow;
    struct statx stx;
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(renameat(tree.fd, "a", tree.fd, "elsewhere"), 0); /* past the table */
    node_rename_begin(tree.table, &slow);
    assert_int_equal(node_stat(tree.table, a, &stx), -ESTALE);
    node_rename_end(tree.table, &slow);
    node_forget(tree.table, a, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_descriptor_is_kept_for_a_look_or_an_open),
        cmocka_unit_test(file_below_an_evicted_directory_is_reached),
        cmocka_unit_test(another_file_of_that_name_is_neither_shown_nor_opened),
        cmocka_unit_test(renamed_file_is_reached_by_the_descriptor_it_has),
        cmocka_unit_test(pipe_of_that_name_holds_nobody_up),
        cmocka_unit_test(missing_permission_is_told),
        cmocka_unit_test(link_made_during_the_removal_keeps_the_file_known),
        cmocka_unit_test(link_on_its_way_keeps_the_file_known),
        cmocka_unit_test(removal_of_another_directory_of_that_name_forgets_nothing),
        cmocka_unit_test(rename_that_is_under_way_is_waited_for),
        cmocka_unit_test(rename_that_does_not_end_is_not_waited_for_for_ever),
    };

    return cmocka_run_group_tests_name("node-open", tests, NULL, NULL);
}

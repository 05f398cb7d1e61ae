/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a file is opened below for a handle: at once, or when the handle needs it.
 */
#include "descriptors.h"
#include "handle.h"
#include "node-tree.h"
#include <pthread.h>
#include <sys/resource.h>

#define MOST    3
#define THREADS 4
#define ROUNDS  500

typedef struct Stage {
    Tree tree;
    OpenFiles *open_files;
    Handles *handles;
} Stage;

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);

    tree_init(&stage->tree, 4);
    stage->open_files = open_files_new();
    stage->handles = handles_new(stage->tree.table, stage->open_files, 0, MOST);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    handles_free(stage->handles);
    tree_clear(&stage->tree);
    open_files_free(stage->open_files);
    g_free(stage);
    return 0;
}

/* Its pages were stored. */
static Node *make_known(const Stage *stage, const char *name)
{
    Node *node;

    tree_make_file(&stage->tree, name);
    node = tree_lookup(&stage->tree, stage->tree.root, name);
    io_mode_forbid_store(node_io_modes(node));
    return node;
}

static Handle *defer(const Stage *stage, Node *node)
{
    Handle *handle = handle_new_deferred(stage->handles, node, O_RDONLY);

    assert_non_null(handle);
    assert_int_equal(handle->fd, -1);
    return handle;
}

static int stat_of(const Stage *stage, Handle *handle)
{
    struct statx stx;
    int r = handle_statx(stage->handles, handle, &stx);

    if (r == 0)
        assert_int_equal(stx.stx_ino, node_ino(handle->node));
    return r;
}

static void assert_is_open_on(Handle *handle, int fd)
{
    struct stat st;

    assert_true(fd >= 0);
    assert_int_equal(handle->fd, fd);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_ino, node_ino(handle->node));
}

static void file_is_opened_when_it_is_needed_and_then_stays(void **state)
{
    Stage *stage = *state;
    Handle *handle = defer(stage, make_known(stage, "a"));
    int fd;

    assert_int_equal(stat_of(stage, handle), 0);
    assert_int_equal(handle->fd, -1);
    fd = handle_fd(stage->handles, handle);
    assert_is_open_on(handle, fd);
    assert_int_equal(stat_of(stage, handle), 0);
    assert_int_equal(handle_fd(stage->handles, handle), fd);
    handle_free(stage->handles, handle);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void file_that_nobody_needed_was_never_open(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a");
    const gint32 modes = *node_io_modes(a);
    Handle *handle = defer(stage, a);

    assert_int_not_equal(*node_io_modes(a), modes); /* a reader from the open on */
    handle_free(stage->handles, handle);
    assert_int_equal(*node_io_modes(a), modes);
    /* as at the end of a mount */
    defer(stage, a);
    defer(stage, a);
    handles_free_deferred(stage->handles);
}

static void file_whose_pages_were_not_stored_is_opened_at_once(void **state)
{
    Stage *stage = *state;
    Node *a;

    tree_make_file(&stage->tree, "a");
    a = tree_lookup(&stage->tree, stage->tree.root, "a");
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
}

static void file_that_is_read_past_the_cache_is_opened_at_once(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a");
    IoMode mode = io_mode_take(node_io_modes(a), O_WRONLY);

    assert_int_equal(mode, IO_DIRECT_WRITER);
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
    io_mode_drop(node_io_modes(a), mode);
    handle_free(stage->handles, defer(stage, a));
}

static void file_that_is_not_at_its_name_is_opened_at_once(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a");

    assert_int_equal(renameat(stage->tree.fd, "a", stage->tree.fd, "elsewhere"), 0);
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
    tree_make_file(&stage->tree, "a");
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
}

static void file_that_is_deleted_or_renamed_meanwhile_is_the_same(void **state)
{
    Stage *stage = *state;
    const Tree *tree = &stage->tree;
    Node *a = make_known(stage, "a"), *b = make_known(stage, "b"), *c = make_known(stage, "c");
    Handle *deleted = defer(stage, a), *renamed = defer(stage, b), *replaced = defer(stage, c);

    assert_int_equal(tree_unlink(tree, tree->root, "a", 0), 0);
    assert_int_equal(tree_rename(tree, tree->root, "b", tree->root, "c"), 0);
    tree_make_file(tree, "a");
    tree_make_file(tree, "b");
    assert_is_open_on(deleted, handle_fd(stage->handles, deleted));
    assert_is_open_on(renamed, handle_fd(stage->handles, renamed));
    assert_is_open_on(replaced, handle_fd(stage->handles, replaced));
    handle_free(stage->handles, deleted);
    handle_free(stage->handles, renamed);
    handle_free(stage->handles, replaced);
}

/* By the number of the inode, where files can be opened by that. */
static void file_that_was_renamed_past_the_table_is_found_or_stale(void **state)
{
    Stage *stage = *state;
    Handle *handle = defer(stage, make_known(stage, "a"));
    int fd;

    assert_int_equal(renameat(stage->tree.fd, "a", stage->tree.fd, "elsewhere"), 0);
    tree_make_file(&stage->tree, "a");
    if (node_table_opens_by_number(stage->tree.table)) {
        assert_int_equal(stat_of(stage, handle), 0);
        fd = handle_fd(stage->handles, handle);
        assert_is_open_on(handle, fd);
    } else {
        assert_int_equal(stat_of(stage, handle), -ESTALE);
        assert_int_equal(handle_fd(stage->handles, handle), -ESTALE);
    }
    handle_free(stage->handles, handle);
}

static void file_that_was_replaced_past_the_table_is_stale(void **state)
{
    Stage *stage = *state;
    Handle *handle = defer(stage, make_known(stage, "a"));

    tree_make_file(&stage->tree, "b");
    assert_int_equal(renameat(stage->tree.fd, "b", stage->tree.fd, "a"), 0);
    assert_int_equal(handle_fd(stage->handles, handle), -ESTALE);
    assert_int_equal(handles_open_deferred(stage->handles, handle->node), 0);
    assert_int_equal(handle->fd, -1);
    handle_free(stage->handles, handle);
}

static void file_is_opened_before_its_name_goes(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a"), *b = make_known(stage, "b");
    Handle *of_a[] = {defer(stage, a), defer(stage, a)}, *of_b = defer(stage, b);

    assert_int_equal(handles_open_deferred(stage->handles, a), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(of_a); i++) {
        assert_is_open_on(of_a[i], of_a[i]->fd);
        handle_free(stage->handles, of_a[i]);
    }
    assert_int_equal(of_b->fd, -1);
    handle_free(stage->handles, of_b);
    assert_int_equal(handles_open_deferred(stage->handles, b), 0);
}

/* --- how many --------------------------------------------------------------------------------- */

static void no_more_are_put_off_than_there_may_be(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a");
    Handle *handles[MOST];

    for (int i = 0; i < MOST; i++)
        handles[i] = defer(stage, a);
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
    /* it has its descriptor from the reserve for as long as it has it */
    assert_true(handle_fd(stage->handles, handles[0]) >= 0);
    assert_null(handle_new_deferred(stage->handles, a, O_RDONLY));
    handle_free(stage->handles, handles[0]);
    handles[0] = defer(stage, a);
    for (int i = 0; i < MOST; i++)
        handle_free(stage->handles, handles[i]);
    for (int i = 0; i < MOST; i++)
        handles[i] = defer(stage, a);
    for (int i = 0; i < MOST; i++)
        handle_free(stage->handles, handles[i]);
}

/* Those that may fail for want of one have failed by then. */
static void descriptors_are_left_for_all_that_are_put_off(void **state)
{
    Stage *stage = *state;
    g_autoptr(GArray) others = g_array_new(FALSE, FALSE, sizeof(int));
    Node *nodes[MOST];
    Handle *handles[MOST];
    struct rlimit usual;
    int fds[MOST], fd;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    for (int i = 0; i < MOST; i++) {
        char name[2] = {(char)('a' + i), '\0'};

        nodes[i] = make_known(stage, name);
        handles[i] = defer(stage, nodes[i]);
    }
    descriptors_prepare();
    assert_in_range(descriptors_reserve(), MOST + 1, usual.rlim_max / 2);
    while ((fd = fcntl(stage->tree.fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        g_array_append_val(others, fd);
    assert_int_equal(errno, EMFILE);
    for (int i = 0; i < MOST; i++)
        fds[i] = handle_fd(stage->handles, handles[i]);
    fd = fcntl(stage->tree.fd, F_DUPFD_CLOEXEC, 0);
    for (guint i = 0; i < others->len; i++)
        close(g_array_index(others, int, i));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(fd, -1);
    for (int i = 0; i < MOST; i++) {
        assert_is_open_on(handles[i], fds[i]);
        handle_free(stage->handles, handles[i]);
    }
}

/* --- several at the same time ----------------------------------------------------------------- */

typedef struct Race {
    Handles *handles;
    Handle *handle;
    pthread_barrier_t begin;
} Race;

static void *need(void *data)
{
    Race *race = data;

    pthread_barrier_wait(&race->begin);
    return GINT_TO_POINTER(handle_fd(race->handles, race->handle));
}

static void several_that_need_it_have_one_descriptor(void **state)
{
    Stage *stage = *state;
    Node *a = make_known(stage, "a");
    Race race = {.handles = stage->handles};

    pthread_barrier_init(&race.begin, NULL, THREADS);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t threads[THREADS];
        void *fd;

        race.handle = defer(stage, a);
        for (int t = 0; t < THREADS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, need, &race), 0);
        for (int t = 0; t < THREADS; t++) {
            assert_int_equal(pthread_join(threads[t], &fd), 0);
            assert_is_open_on(race.handle, GPOINTER_TO_INT(fd));
        }
        handle_free(stage->handles, race.handle);
        assert_int_equal(fcntl(GPOINTER_TO_INT(fd), F_GETFD), -1);
    }
    pthread_barrier_destroy(&race.begin);
}

/* --- opened because its name goes, while it is closed ------------------------------------------
 */

#define OTHERS 400 /* the list takes a while to look through */
#define LOSSES 20000

typedef struct Losing {
    Handles *handles;
    Node *node;
    _Atomic gboolean over;
} Losing;

static void *open_and_close(void *data)
{
    Losing *losing = data;

    while (!atomic_load(&losing->over))
        handle_free(losing->handles, handle_new_deferred(losing->handles, losing->node, O_RDONLY));
    return NULL;
}

static void file_may_be_closed_while_its_name_goes(void **state)
{
    Stage *stage = *state;
    Handles *handles = handles_new(stage->tree.table, stage->open_files, 0, OTHERS + THREADS);
    Node *other = make_known(stage, "other");
    Losing losing = {.handles = handles, .node = make_known(stage, "a")};
    pthread_t threads[THREADS];
    int failed = 0;

    for (int i = 0; i < OTHERS; i++)
        assert_non_null(handle_new_deferred(handles, other, O_RDONLY));
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, open_and_close, &losing), 0);
    for (int i = 0; i < LOSSES; i++)
        failed += handles_open_deferred(handles, losing.node) != 0;
    atomic_store(&losing.over, TRUE);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    assert_int_equal(failed, 0);
    handles_free_deferred(handles);
    handles_free(handles);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_is_opened_when_it_is_needed_and_then_stays),
        TEST(file_that_nobody_needed_was_never_open),
        TEST(file_whose_pages_were_not_stored_is_opened_at_once),
        TEST(file_that_is_read_past_the_cache_is_opened_at_once),
        TEST(file_that_is_not_at_its_name_is_opened_at_once),
        TEST(file_that_is_deleted_or_renamed_meanwhile_is_the_same),
        TEST(file_that_was_renamed_past_the_table_is_found_or_stale),
        TEST(file_that_was_replaced_past_the_table_is_stale),
        TEST(file_is_opened_before_its_name_goes),
        TEST(no_more_are_put_off_than_there_may_be),
        TEST(descriptors_are_left_for_all_that_are_put_off),
        TEST(several_that_need_it_have_one_descriptor),
        TEST(file_may_be_closed_while_its_name_goes),
    };

    return cmocka_run_group_tests_name("handle", tests, NULL, NULL);
}

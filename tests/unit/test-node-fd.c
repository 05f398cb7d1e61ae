/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptors of nodes, and the table under several threads.
 */
#include "node-tree.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define MANY 20

static void make_many(const Tree *tree, Node **nodes)
{
    for (int i = 0; i < MANY; i++) {
        char name[16];

        snprintf(name, sizeof name, "f%d", i);
        tree_make_file(tree, name);
        nodes[i] = tree_lookup(tree, tree->root, name);
    }
}

static void idle_descriptors_are_bounded(void **state)
{
    g_auto(Tree) tree = {0};
    Node *nodes[MANY];

    (void)state;
    tree_init(&tree, 4);
    make_many(&tree, nodes);
    assert_int_equal(node_table_fd_count(tree.table), 1);
    for (int i = 0; i < MANY; i++)
        tree_assert_opens(&tree, nodes[i]);
    assert_int_equal(node_table_fd_count(tree.table), 1 + 4);
}

static void descriptor_used_last_is_evicted_last(void **state)
{
    g_auto(Tree) tree = {0};
    Node *nodes[MANY];

    (void)state;
    tree_init(&tree, 2);
    make_many(&tree, nodes);
    tree_assert_opens(&tree, nodes[0]);
    tree_assert_opens(&tree, nodes[1]);
    tree_assert_opens(&tree, nodes[0]);
    tree_assert_opens(&tree, nodes[2]);
    /* What is cached opens although its name is gone; what was evicted does not. */
    assert_int_equal(unlinkat(tree.fd, "f0", 0), 0);
    assert_int_equal(unlinkat(tree.fd, "f1", 0), 0);
    tree_assert_opens(&tree, nodes[0]);
    tree_assert_stale(&tree, nodes[1]);
}

static void descriptors_in_use_are_never_closed(void **state)
{
    g_auto(Tree) tree = {0};
    NodeFd fds[MANY];
    Node *nodes[MANY];

    (void)state;
    tree_init(&tree, 2);
    make_many(&tree, nodes);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(node_fd_get(tree.table, nodes[i], &fds[i]), 0);
    assert_int_equal(node_table_fd_count(tree.table), 1 + MANY);
    for (int i = 0; i < MANY; i++) {
        struct stat st;

        assert_int_equal(fstat(fds[i].fd, &st), 0);
        assert_int_equal(st.st_ino, node_ino(nodes[i]));
        node_fd_clear(&fds[i]);
    }
    assert_int_equal(node_table_fd_count(tree.table), 1 + 2);
}

static void descriptor_is_closed_with_its_last_user(void **state)
{
    g_auto(Tree) tree = {0};
    NodeFd first = NODE_FD_INIT, second = NODE_FD_INIT, third = NODE_FD_INIT;
    struct stat st;
    Node *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(node_fd_get(tree.table, a, &first), 0);
    assert_int_equal(node_fd_get(tree.table, a, &second), 0);
    assert_int_equal(first.fd, second.fd);
    node_fd_clear(&first);
    assert_int_equal(node_fd_get(tree.table, a, &third), 0);
    assert_int_equal(third.fd, second.fd);
    node_fd_clear(&third);
    assert_int_equal(tree_rename(&tree, tree.root, "a", tree.root, "b"), 0);
    assert_int_equal(fstat(second.fd, &st), 0);
    assert_int_equal(node_table_fd_count(tree.table), 2);
    node_fd_clear(&second);
    assert_int_equal(node_table_fd_count(tree.table), 1);
}

static void descriptor_outlives_its_forgotten_node(void **state)
{
    g_auto(Tree) tree = {0};
    g_auto(NodeFd) fd = NODE_FD_INIT;
    struct stat st;
    Node *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(node_fd_get(tree.table, a, &fd), 0);
    node_forget(tree.table, a, 1);
    assert_int_equal(fstat(fd.fd, &st), 0);
    assert_int_equal(node_table_fd_count(tree.table), 2);
    node_fd_clear(&fd);
    assert_int_equal(node_table_fd_count(tree.table), 1);
}

static void directories_on_the_way_are_kept(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *a;

    (void)state;
    tree_init(&tree, 8);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    a = tree_lookup(&tree, d, "a");
    tree_assert_opens(&tree, a);
    assert_int_equal(node_table_fd_count(tree.table), 1 + 2);
}

static void symbolic_link_itself_is_opened(void **state)
{
    g_auto(Tree) tree = {0};
    Node *link;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    assert_int_equal(symlinkat("d", tree.fd, "link"), 0);
    link = tree_lookup(&tree, tree.root, "link");
    assert_int_equal(node_type(link), S_IFLNK);
    tree_assert_opens(&tree, link);
}

static void directory_replaced_by_a_link_is_not_followed(void **state)
{
    g_auto(Tree) tree = {0};
    Node *d, *a;

    (void)state;
    tree_init(&tree, 0);
    tree_make_dir(&tree, "d");
    tree_make_file(&tree, "d/a");
    d = tree_lookup(&tree, tree.root, "d");
    a = tree_lookup(&tree, d, "a");
    assert_int_equal(renameat(tree.fd, "d", tree.fd, "e"), 0);
    assert_int_equal(symlinkat("e", tree.fd, "d"), 0);
    tree_assert_stale(&tree, a);
}

static void path_longer_than_path_max_is_reopened(void **state)
{
    static const char name[] = "a-directory-with-a-rather-long-name";
    const int depth = 2 * PATH_MAX / (int)sizeof name;
    g_auto(Tree) tree = {0};
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    g_autofree char *path = NULL;

    (void)state;
    tree_init(&tree, 0);
    g_ptr_array_add(nodes, tree.root);
    for (int i = 0; i < depth; i++) {
        g_auto(NodeFd) fd = NODE_FD_INIT;
        Node *parent = nodes->pdata[i];

        assert_int_equal(node_fd_get(tree.table, parent, &fd), 0);
        assert_int_equal(mkdirat(fd.fd, name, 0700), 0);
        g_ptr_array_add(nodes, tree_lookup(&tree, parent, name));
    }
    tree_assert_opens(&tree, nodes->pdata[depth]);
    path = node_dup_path(tree.table, nodes->pdata[depth], NULL);
    assert_true(strlen(path) > PATH_MAX);
    assert_int_equal(node_table_fd_count(tree.table), 1);
    /* From the top: all of them stand until the last child goes. */
    for (int i = 1; i <= depth; i++)
        node_forget(tree.table, nodes->pdata[i], 1);
    assert_int_equal(node_table_count(tree.table), 1);
}

static void idle_descriptors_make_room_when_there_are_none_left(void **state)
{
    g_auto(Tree) tree = {0};
    struct rlimit old, limit;
    Node *nodes[MANY];
    ino_t ino = 0;
    int next_fd, r;

    (void)state;
    tree_init(&tree, 1000);
    make_many(&tree, nodes);
    for (int i = 0; i < MANY - 1; i++)
        tree_assert_opens(&tree, nodes[i]);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    next_fd = fcntl(tree.fd, F_DUPFD_CLOEXEC, 0);
    close(next_fd);
    limit = (struct rlimit){.rlim_cur = (rlim_t)next_fd, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    r = tree_try_open(&tree, nodes[MANY - 1], &ino);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r, 0);
    assert_int_equal(ino, node_ino(nodes[MANY - 1]));
    assert_in_range(node_table_fd_count(tree.table), 2, 2 + MANY / 2);
}

static void no_descriptor_at_all_is_told_as_such(void **state)
{
    g_auto(Tree) tree = {0};
    struct rlimit old, limit;
    NodeGone *gone;
    ino_t ino;
    Node *a;
    int r;

    (void)state;
    tree_init(&tree, 8);
    tree_make_file(&tree, "a");
    a = tree_lookup(&tree, tree.root, "a");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    limit = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    r = tree_try_open(&tree, a, &ino);
    /* A removal goes on without one. */
    gone = node_before_unlink(tree.table, tree.root, tree.fd, "a");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(r, -EMFILE);
    assert_non_null(gone);
    assert_int_equal(unlinkat(tree.fd, "a", 0), 0);
    node_after_unlink(tree.table, gone, TRUE);
    assert_true(node_is_unlinked(tree.table, a));
    tree_assert_stale(&tree, a);
}

/* --- threads --- */

#define N_THREADS 4
#define N_ROUNDS  1500
#define N_NAMES   6

typedef struct Crowd {
    Tree tree;
    Node *dirs[2];
    atomic_int failures;
} Crowd;

typedef struct Member {
    Crowd *crowd;
    pthread_t thread;
    guint32 seed;
} Member;

/* What may come of a race with the others, who rename and remove what one is about to use. */
static void expect_lost_race(Crowd *crowd, int r)
{
    if (r != 0 && r != -ENOENT && r != -ESTALE && r != -EEXIST)
        atomic_fetch_add(&crowd->failures, 1);
}

static void use_name(Crowd *crowd, Node *dir, const char *name)
{
    g_autofree char *path = NULL;
    ino_t ino = 0;
    char *own;
    Node *node;
    int r = tree_try_lookup(&crowd->tree, dir, name, &node);

    expect_lost_race(crowd, r);
    if (r < 0)
        return;
    r = tree_try_open(&crowd->tree, node, &ino);
    expect_lost_race(crowd, r);
    if (r == 0 && ino != node_ino(node))
        atomic_fetch_add(&crowd->failures, 1);
    own = g_strdup("x");
    if (node_set_data(node, own, g_free) != own)
        g_free(own);
    path = node_dup_path(crowd->tree.table, node, NULL);
    node_forget(crowd->tree.table, node, 1);
}

static void create_name(Crowd *crowd, Node *dir, const char *name)
{
    g_auto(NodeFd) fd = NODE_FD_INIT;
    int r = node_fd_get(crowd->tree.table, dir, &fd);

    expect_lost_race(crowd, r);
    if (r == 0) {
        autofd new_fd = openat(fd.fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        if (new_fd < 0)
            expect_lost_race(crowd, -errno);
    }
}

static guint32 pick(Member *member, guint32 n)
{
    member->seed = member->seed * 1664525u + 1013904223u;
    return (member->seed >> 16) % n;
}

static void *run_member(void *data)
{
    Member *member = data;
    Crowd *crowd = member->crowd;

    for (int i = 0; i < N_ROUNDS; i++) {
        Node *dir = crowd->dirs[pick(member, 2)];
        Node *other_dir = crowd->dirs[pick(member, 2)];
        char name[8], other[8];

        snprintf(name, sizeof name, "n%u", pick(member, N_NAMES));
        snprintf(other, sizeof other, "n%u", pick(member, N_NAMES));
        switch (pick(member, 8)) {
        case 0:
            expect_lost_race(crowd, tree_unlink(&crowd->tree, dir, name, 0));
            break;
        case 1:
            expect_lost_race(crowd, tree_rename(&crowd->tree, dir, name, other_dir, other));
            break;
        case 2:
        case 3:
            create_name(crowd, dir, name);
            break;
        case 4: {
            g_autoptr(GArray) children = node_dup_children(crowd->tree.table, dir);

            if (children->len > N_NAMES)
                atomic_fetch_add(&crowd->failures, 1);
            break;
        }
        default:
            use_name(crowd, dir, name);
        }
    }
    return NULL;
}

static void many_threads_leave_nothing_behind(void **state)
{
    Crowd crowd = {0};
    Member members[N_THREADS];

    (void)state;
    tree_init(&crowd.tree, 3);
    tree_make_dir(&crowd.tree, "d0");
    tree_make_dir(&crowd.tree, "d1");
    crowd.dirs[0] = tree_lookup(&crowd.tree, crowd.tree.root, "d0");
    crowd.dirs[1] = tree_lookup(&crowd.tree, crowd.tree.root, "d1");
    for (guint32 i = 0; i < N_THREADS; i++) {
        members[i] = (Member){.crowd = &crowd, .seed = i * 7919};
        assert_int_equal(pthread_create(&members[i].thread, NULL, run_member, &members[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(members[i].thread, NULL);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    assert_int_equal(node_table_count(crowd.tree.table), 1 + 2);
    node_forget(crowd.tree.table, crowd.dirs[0], 1);
    node_forget(crowd.tree.table, crowd.dirs[1], 1);
    assert_int_equal(node_table_count(crowd.tree.table), 1);
    assert_int_equal(node_table_fd_count(crowd.tree.table), 1);
    tree_clear(&crowd.tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_descriptors_are_bounded),
        cmocka_unit_test(descriptor_used_last_is_evicted_last),
        cmocka_unit_test(descriptors_in_use_are_never_closed),
        cmocka_unit_test(descriptor_is_closed_with_its_last_user),
        cmocka_unit_test(descriptor_outlives_its_forgotten_node),
        cmocka_unit_test(directories_on_the_way_are_kept),
        cmocka_unit_test(symbolic_link_itself_is_opened),
        cmocka_unit_test(directory_replaced_by_a_link_is_not_followed),
        cmocka_unit_test(path_longer_than_path_max_is_reopened),
        cmocka_unit_test(idle_descriptors_make_room_when_there_are_none_left),
        cmocka_unit_test(no_descriptor_at_all_is_told_as_such),
        cmocka_unit_test(many_threads_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

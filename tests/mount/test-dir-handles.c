/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a listing costs, with the kernel's handles of directories and without, and that those which
 * stay open below are given back.
 */
#include "request-stage.h"
#include <linux/magic.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Whether the kernel needs no handle of a directory: root's daemon, over ext4 or XFS. */
static gboolean spares_handles(const Stage *stage)
{
    const char *without = g_getenv("LEASEFS_WITHOUT");

    return geteuid() == 0 && (!without || strcmp(without, "no_opendir_support") != 0) &&
           (scene_is_on(stage->scene, EXT4_SUPER_MAGIC) ||
            scene_is_on(stage->scene, XFS_SUPER_MAGIC));
}

static int task_list_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int seen = 0;

    for (int d = 0; d < DIRS; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        seen += list(dir);
    }
    return seen == DIRS * FILES ? 0 : -EIO;
}

/* LOOKUP, READDIRPLUS and READDIR; OPENDIR before each, or once for all. */
static void small_directory_is_listed_with_as_few_as_can_be(void **state)
{
    Stage *stage = *state;
    gboolean spares = spares_handles(stage);

    if (!spares)
        print_message("# not root, or neither ext4 nor XFS: the kernel has handles\n");
    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_list_tree), DIRS * 3, spares ? DIRS * 3 + 2 : DIRS * 4);
    /* the access time, once after it was read */
    assert_in_range(requests_of(stage, task_list_tree), 0, spares ? DIRS : DIRS * 2);
    assert_int_equal(requests_of(stage, task_list_tree), spares ? 0 : DIRS);
}

#define NESTED 20

static int task_make_nested(void *state, const char *argument)
{
    int r = task_make_tree(state, argument);

    for (int i = 0; i < NESTED && r == 0; i++) {
        g_autofree char *dir = g_strdup_printf("nest/%d", i);
        g_autofree char *file = g_strdup_printf("nest/%d/file", i);

        r = g_mkdir_with_parents(dir, 0755) == 0 ? create(file) : -errno;
    }
    return r;
}

/* As somebody who has never looked at a file that he has listed. */
static int task_walk_nested(void *state, const char *argument)
{
    int r = task_list_tree(state, argument);
    int seen = list("nest");

    for (int i = 0; i < NESTED; i++) {
        g_autofree char *dir = g_strdup_printf("nest/%d", i);

        seen += list(dir);
    }
    return r == 0 && seen == NESTED * 2 ? 0 : -EIO;
}

/* READDIRPLUS and READDIR, and perhaps OPENDIR: the LOOKUP is of its parent's listing. */
static void directory_that_was_listed_is_not_looked_up(void **state)
{
    Stage *stage = *state;
    gboolean spares = spares_handles(stage);
    gint64 above = (DIRS + 1) * (spares ? 3 : 4);

    assert_int_equal(agent_do(stage->agent, task_make_nested, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_walk_nested), above,
                    above + NESTED * (spares ? 2 : 3) + 2);
}

#define MANY         2000
#define SMALL_BUFFER 4096 /* also what older kernels ask for at once */
#define WITH_NAME    176  /* of 17 to 24 characters, with attributes: linux/fuse.h */

static int task_make_many(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    if (mkdir("many", 0755) != 0 || create("many/one") != 0)
        return -errno;
    for (int i = 1; i < MANY; i++) {
        g_autofree char *name = g_strdup_printf("many/name-of-18-ch-%04d", i);

        if (link("many/one", name) != 0)
            return -errno;
    }
    return 0;
}

static int task_list_in_small_parts(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    _Alignas(8) char buffer[SMALL_BUFFER];
    int fd = open("many", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int seen = 0;
    long n;

    while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n; seen++)
            at += ((struct dirent64 *)(buffer + at))->d_reclen;
    close(fd);
    return seen == MANY + 2 ? 0 : -EIO;
}

/* What was read below and does not fit has to be read again, and less than fits is asked for more
 * often. */
static void parts_of_a_listing_are_filled(void **state)
{
    Stage *stage = *state;
    gint64 parts = MANY / (SMALL_BUFFER / WITH_NAME) + 1;

    assert_int_equal(agent_do(stage->agent, task_make_many, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_list_in_small_parts), 1, parts * 11 / 10 + 4);
}

/* --- handles of directories, while somebody reaches past the mount ---------------------------- */

/* Stands in a directory until it is killed, and has told so. */
static pid_t stand_in(const char *directory)
{
    int told[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(told), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        byte = chdir(directory) == 0;
        (void)!write(told[1], &byte, 1);
        for (;;)
            pause();
    }
    close(told[1]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    close(told[0]);
    assert_true(byte);
    return pid;
}

/* How many descriptors the daemon has by which a directory can be read: proc_pid_fdinfo(5). */
static guint count_open_directories(Scene *scene)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fdinfo", scene->daemon);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    guint n = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *info = g_build_filename(path, name, NULL);
        g_autofree char *text = NULL;
        const char *flags = NULL;

        if (g_file_get_contents(info, &text, NULL, NULL))
            flags = strstr(text, "flags:\t");
        if (flags)
            n += (g_ascii_strtoull(flags + strlen("flags:\t"), NULL, 8) & (O_DIRECTORY | O_PATH)) ==
                 O_DIRECTORY;
    }
    return n;
}

typedef struct Holding {
    DIR *dir;
} Holding;

static int task_hold(void *state, const char *directory)
{
    Holding *holding = state;

    holding->dir = opendir(directory);
    return holding->dir && readdir(holding->dir) ? 0 : -errno;
}

static int task_let_go(void *state, const char *argument G_GNUC_UNUSED)
{
    Holding *holding = state;
    int seen = 1;

    while (readdir(holding->dir))
        seen++;
    if (closedir(holding->dir) != 0)
        return -errno;
    return seen == FILES + 2 ? 0 : -EIO;
}

/* Whether listing again comes to cost so much, or less: the first time it is not in the kernel's
 * memory, the second time the access time is asked for, and what was looked up before the mount was
 * alone is looked up again after a second. FALSE after ten seconds. */
static gboolean comes_to_cost(Stage *stage, gint64 requests)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    gint64 last;

    while ((last = requests_of(stage, task_list_tree)) > requests &&
           g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return last <= requests;
}

/* The kernel does not wait for RELEASEDIR. FALSE after ten seconds. */
static gboolean comes_to_open_directories(Scene *scene, guint count)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (count_open_directories(scene) != count && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return count_open_directories(scene) == count;
}

/* As long as the kernel may not keep listings it has handles, and when it need not have any more it
 * does not forget to give back the last one. */
static void handles_go_with_the_last_who_reaches_past(void **state)
{
    Stage *stage = *state;
    pid_t insider;
    guint before;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_with(stage, "ttl=1h");
    if (!has_cache(stage, "long")) {
        print_message("# not seen: a process of another mount namespace reaches past any mount\n");
        return;
    }
    unmount(stage);
    insider = stand_in(stage->scene->mountpoint);
    mount_with(stage, "ttl=1h");
    assert_true(has_cache(stage, "short"));
    before = count_open_directories(stage->scene);
    assert_int_equal(agent_do(stage->agent, task_hold, "tree0"), 0);
    assert_int_equal(agent_do(stage->agent, task_list_tree, ""), 0);
    assert_in_range(requests_of(stage, task_list_tree), DIRS * 2, DIRS * 5);
    kill(insider, SIGKILL);
    assert_int_equal(waitpid(insider, NULL, 0), insider);
    assert_true(wait_for_cache(stage, "long"));
    assert_true(comes_to_cost(stage, DIRS));
    /* OPENDIR: one is still held */
    assert_int_equal(requests_of(stage, task_list_tree), DIRS);
    assert_int_equal(agent_do(stage->agent, task_let_go, ""), 0);
    assert_true(comes_to_cost(stage, spares_handles(stage) ? 0 : DIRS));
    assert_true(comes_to_open_directories(stage->scene, before));
}

/* Reads the first part alone, then removes the directory, or renames another over it. */
static int task_give_up_and_remove(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    static const char *const names[] = {"tree0", "tree1"};

    for (guint d = 0; d < G_N_ELEMENTS(names); d++) {
        DIR *dir = opendir(names[d]);

        if (!dir || !readdir(dir) || closedir(dir) != 0)
            return -errno;
        for (int f = 0; f < FILES; f++) {
            g_autofree char *file = g_strdup_printf("%s/f%d", names[d], f);

            if (unlink(file) != 0)
                return -errno;
        }
    }
    return rmdir(names[0]) == 0 && rename("tree2", names[1]) == 0 ? 0 : -errno;
}

static void listing_that_was_given_up_lets_the_directory_go(void **state)
{
    Stage *stage = *state;
    guint before;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    before = count_open_directories(stage->scene);
    assert_int_equal(agent_do(stage->agent, task_give_up_and_remove, ""), 0);
    assert_true(comes_to_open_directories(stage->scene, before));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_directory_is_listed_with_as_few_as_can_be, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(directory_that_was_listed_is_not_looked_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_listing_are_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(handles_go_with_the_last_who_reaches_past, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(listing_that_was_given_up_lets_the_directory_go, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("dir-handles", tests, NULL, NULL);
}

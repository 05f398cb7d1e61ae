/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many files, with few descriptors: each limit is set for the daemon and for who works in the
 * mount.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

#define USUAL_LIMIT 20000u
#define SMALL_LIMIT 1024u
#define OPEN_FILES  15000u
#define DIRS        20u
#define FILES_EACH  150u

static void limit_descriptors(rlim_t most)
{
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void name_of(char *name_out, guint i)
{
    snprintf(name_out, 32, "%u", i);
}

static int make_files(const char *directory, guint count)
{
    int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[32];
    int r = dir_fd < 0 ? -errno : 0;

    for (guint i = 0; i < count && r == 0; i++) {
        int fd;

        name_of(name, i);
        fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, name, strlen(name)) < 0)
            r = -errno;
        if (fd >= 0)
            close(fd);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return r;
}

/* --- many files open at once ------------------------------------------------------------------ */

/* Whether the open file is the one that was made as number i. */
static gboolean is_number(int fd, guint i)
{
    char wanted[32], text[32] = "";
    struct stat st;

    name_of(wanted, i);
    return pread(fd, text, sizeof text - 1, 0) > 0 && strcmp(text, wanted) == 0 &&
           fstat(fd, &st) == 0 && st.st_size == (off_t)strlen(wanted);
}

/* All are open; the first third is deleted, the second renamed, and everything still works. */
static int task_open_all(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree int *fds = g_new(int, OPEN_FILES);
    guint wrong = 0;
    char name[32];

    for (guint i = 0; i < OPEN_FILES; i++) {
        name_of(name, i);
        fds[i] = open(name, O_RDONLY | O_CLOEXEC);
        if (fds[i] < 0)
            return -errno;
    }
    for (guint i = 0; i < OPEN_FILES / 3; i++) {
        name_of(name, i);
        wrong += unlink(name) != 0;
    }
    for (guint i = OPEN_FILES / 3; i < 2 * (OPEN_FILES / 3); i++) {
        g_autofree char *renamed = g_strdup_printf("renamed-%u", i);

        name_of(name, i);
        wrong += rename(name, renamed) != 0;
    }
    for (guint i = 0; i < OPEN_FILES; i++) {
        wrong += !is_number(fds[i], i);
        wrong += fchmod(fds[i], 0600) != 0;
        close(fds[i]);
    }
    return wrong == 0 ? 0 : -EIO;
}

static void many_files_are_open_at_once(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new_in_memory();
    Agent *alice;

    limit_descriptors(USUAL_LIMIT);
    alice = scene_add_agent(scene);
    assert_int_equal(make_files(scene->backing, OPEN_FILES), 0);
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_open_all, NULL), 0);
    assert_int_equal(agent_do(alice, task_touch, "new"), 0);
    assert_true(scene_free(scene));
}

/* --- the table of descriptors ----------------------------------------------------------------- */

#define MANY_DIRS 300u

/* Each directory is kept with a descriptor. */
static int task_make_directories(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (guint d = 0; d < MANY_DIRS; d++) {
        g_autofree char *inside = g_strdup_printf("d%u/inside", d);
        g_autofree char *directory = g_path_get_dirname(inside);

        if (g_mkdir(directory, 0755) != 0 || g_mkdir(inside, 0755) != 0)
            return -errno;
    }
    return 0;
}

/* How many entries the kernel's table of the daemon has: proc_pid_status(5). */
static guint64 table_size(Scene *scene)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", scene->daemon);
    g_autofree char *text = NULL;
    const char *line;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "\nFDSize:");
    assert_non_null(line);
    return g_ascii_strtoull(line + strlen("\nFDSize:"), NULL, 10);
}

/* 0 where only root may look. */
static guint count_descriptors(Scene *scene)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", scene->daemon);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (dir && g_dir_read_name(dir))
        n++;
    return n;
}

/* While it grows, in a process with threads, a request waits for ten milliseconds and more. */
static void the_table_of_descriptors_need_not_grow(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new_in_memory();
    Agent *alice = scene_add_agent(scene);
    guint64 before;

    assert_true(scene_mount(scene, "ttl=1h"));
    before = table_size(scene);
    assert_int_equal(agent_do(alice, task_make_directories, NULL), 0);
    if (geteuid() == 0)
        assert_true(count_descriptors(scene) > MANY_DIRS);
    else
        print_message("# not root: it is not seen that each directory has a descriptor\n");
    assert_int_equal(table_size(scene), before);
    assert_true(scene_free(scene));
}

/* --- many files known, few descriptors -------------------------------------------------------- */

static int look_at_all(const char *directory, gboolean to_open)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const char *name;
    int n = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_autofree char *text = NULL;
        struct stat st;

        n += to_open ? g_file_get_contents(path, &text, NULL, NULL) && strcmp(text, name) == 0
                     : stat(path, &st) == 0;
    }
    return n;
}

/* The number of files found. The second walk meets what the first has left. */
static int task_walk(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int n = 0;

    for (int again = 0; again < 2; again++) {
        for (guint d = 0; d < DIRS; d++) {
            g_autofree char *directory = g_strdup_printf("d%u", d);

            n += look_at_all(directory, again);
        }
    }
    return n;
}

static void a_large_tree_is_walked_with_few_descriptors(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new_in_memory();
    Agent *alice;

    limit_descriptors(SMALL_LIMIT);
    alice = scene_add_agent(scene);
    for (guint d = 0; d < DIRS; d++) {
        g_autofree char *directory = g_strdup_printf("%s/d%u", scene->backing, d);

        assert_int_equal(g_mkdir(directory, 0755), 0);
        assert_int_equal(make_files(directory, FILES_EACH), 0);
    }
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_walk, NULL), 2 * DIRS * FILES_EACH);
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_files_are_open_at_once),
        cmocka_unit_test(the_table_of_descriptors_need_not_grow),
        cmocka_unit_test(a_large_tree_is_walked_with_few_descriptors),
    };

    return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}

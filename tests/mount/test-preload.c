/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that the kernel is given at a file's first open are those of the file, and giving them is
 * no reading. How many requests that saves: test-requests.c. That no change of the file comes
 * between: test-io-mode.c.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define DAY_S      (24 * 60 * 60)
#define MOST_BYTES 70000

/* --- what stands in a file -------------------------------------------------------------------- */

static const size_t sizes[] = {1, 4095, 4096, 4097, 65535, 65536, 65537, MOST_BYTES};

static void fill(char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)('a' + (i / 3 + size) % 23);
}

static char *path_of(const char *directory, const char *prefix, size_t number)
{
    return g_strdup_printf("%s/%s%zu", directory, prefix, number);
}

/* As long ago read, and changed before: relatime leaves the time alone for a day from now on. */
static void make_file(const char *path, const char *bytes, size_t size, time_t accessed)
{
    const struct timespec times[2] = {{.tv_sec = accessed}, {.tv_nsec = UTIME_OMIT}};

    assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* By read(2) and by a mapping, and that it ends where it should. */
static int compare(const char *path, const char *bytes, size_t size)
{
    char read_bytes[MOST_BYTES + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, read_bytes, sizeof read_bytes) : -1;
    void *map = fd >= 0 && size > 0 ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    gboolean same = n == (ssize_t)size && memcmp(read_bytes, bytes, size) == 0 &&
                    (size == 0 || (map != MAP_FAILED && memcmp(map, bytes, size) == 0));

    if (map != MAP_FAILED)
        munmap(map, size);
    close(fd);
    return same ? 0 : -EIO;
}

static int write_at(const char *path, int flags, const char *bytes, size_t size, off_t off)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags);
    ssize_t n = fd >= 0 ? pwrite(fd, bytes, size, off) : -1;

    return close(fd) == 0 && n == (ssize_t)size ? 0 : -EIO;
}

/* Read first or not, then changed in each way, then read again. */
static int task_change_and_compare(void *state G_GNUC_UNUSED, const char *argument)
{
    gboolean read_first = strcmp(argument, "read") == 0;

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *path = path_of(".", argument, i);
        char bytes[MOST_BYTES + 1];
        size_t size = sizes[i];

        fill(bytes, size);
        if (read_first && compare(path, bytes, size) != 0)
            return -EIO;
        bytes[size / 2] = 'X';
        if (write_at(path, 0, "X", 1, (off_t)size / 2) != 0 || compare(path, bytes, size) != 0)
            return -EILSEQ;
        size = size / 2;
        if (truncate(path, (off_t)size) != 0 || compare(path, bytes, size) != 0)
            return -EFBIG;
        if (write_at(path, O_TRUNC, "Y", 1, 0) != 0 || compare(path, "Y", 1) != 0)
            return -EPIPE;
    }
    return 0;
}

static void contents_are_those_of_the_file(void **state)
{
    static const char *const kinds[] = {"read", "unread"};
    Scene *scene = *state;
    char bytes[MOST_BYTES];
    Agent *agent;

    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++)
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            g_autofree char *path = path_of(scene->mountpoint, kinds[k], i);

            fill(bytes, sizes[i]);
            make_file(path, bytes, sizes[i], time(NULL) + DAY_S);
        }
    agent = scene_add_agent(scene);
    assert_true(scene_mount(scene, "ttl=1h,cache=always"));
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++)
        assert_int_equal(agent_do(agent, task_change_and_compare, kinds[k]), 0);
}

/* --- the access time -------------------------------------------------------------------------- */

static time_t accessed(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_atim.tv_sec : -1;
}

static int task_open(void *state G_GNUC_UNUSED, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && close(fd) == 0 ? 0 : -errno;
}

static int task_read(void *state G_GNUC_UNUSED, const char *path)
{
    return compare(path, "text", 4);
}

static void open_is_no_reading(void **state)
{
    Scene *scene = *state;
    time_t long_ago = time(NULL) - 3 * DAY_S;
    g_autofree char *below = path_of(scene->mountpoint, "f", 0);
    g_autofree char *opened = path_of(scene->mountpoint, "f", 1);
    g_autofree char *read = path_of(scene->mountpoint, "f", 2);
    gboolean is_set_below;
    Agent *agent;

    make_file(below, "text", 4, long_ago);
    make_file(opened, "text", 4, long_ago);
    make_file(read, "text", 4, long_ago);
    assert_int_equal(task_read(NULL, below), 0);
    is_set_below = accessed(below) != long_ago;
    agent = scene_add_agent(scene);
    assert_true(scene_mount(scene, "ttl=1h,cache=always"));
    assert_int_equal(agent_do(agent, task_open, "f1"), 0);
    assert_int_equal(accessed(opened), long_ago);
    assert_int_equal(agent_do(agent, task_read, "f2"), 0);
    assert_int_equal(accessed(read) != long_ago, is_set_below);
}

/* --- all of it -------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    *state = scene_new(TRUE);
    return 0;
}

static int tear_down(void **state)
{
    return scene_free(*state) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(contents_are_those_of_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(open_is_no_reading, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("preload", tests, NULL, NULL);
}

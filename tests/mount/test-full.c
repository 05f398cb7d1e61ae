/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A full disk says so to who writes, and loses nothing that was acknowledged before. The disk is a
 * small filesystem in memory, mounted where the workspace is.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE "size=2m,nr_inodes=100"

/* What a file has to hold at a place. */
static char byte_at(off_t off)
{
    return (char)(off % 251);
}

/* Writes until it is refused: how many bytes were acknowledged, or -errno of anything but ENOSPC.
 */
static off_t fill(const char *name, int flags, gsize piece)
{
    int fd = open(name, flags | O_CREAT | O_CLOEXEC, 0644);
    g_autofree char *bytes = g_malloc(piece);
    off_t done = 0;
    ssize_t n;

    if (fd < 0)
        return -errno;
    do {
        for (gsize i = 0; i < piece; i++)
            bytes[i] = byte_at(done + (off_t)i);
        n = write(fd, bytes, piece);
        done += MAX(n, 0);
    } while (n > 0);
    if (errno != ENOSPC)
        return -errno;
    return fsync(fd) == 0 && close(fd) == 0 ? done : -errno;
}

static gboolean is_whole(const char *name, off_t size)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(name, &text, &length, NULL) || length != (gsize)size)
        return FALSE;
    for (gsize i = 0; i < length; i++) {
        if (text[i] != byte_at((off_t)i))
            return FALSE;
    }
    return TRUE;
}

static const struct {
    const char *name;
    int flags;
    gsize piece;
} ways[] = {
    {"large", O_WRONLY, 100003},
    {"read too", O_RDWR, 4096},
    {"appended", O_WRONLY | O_APPEND, 1000},
};

static int task_fill(void *state, const char *argument G_GNUC_UNUSED)
{
    off_t *sizes = state;

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        sizes[i] = fill(ways[i].name, ways[i].flags, ways[i].piece);
        if (sizes[i] < 0)
            return (int)sizes[i];
    }
    return 0;
}

static int task_check(void *state, const char *argument G_GNUC_UNUSED)
{
    const off_t *sizes = state;

    for (guint i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (!is_whole(ways[i].name, sizes[i]))
            return -EIO;
    }
    return 0;
}

static int task_make_names(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (int i = 0; i < 1000; i++) {
        g_autofree char *name = g_strdup_printf("name-%d", i);

        if (mkdir(name, 0755) != 0)
            return -errno;
    }
    return 0;
}

/* The store itself cannot be refused; msync and fsync tell of it. */
static int task_store_into_a_hole(void *state G_GNUC_UNUSED, const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    char *bytes;
    int r;

    if (fd < 0 || ftruncate(fd, 4 << 20) != 0)
        return -errno;
    bytes = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    memset(bytes, 'x', 4 << 20);
    r = msync(bytes, 4 << 20, MS_SYNC) == 0 ? 0 : -errno;
    munmap(bytes, 4 << 20);
    close(fd);
    return unlink(name) == 0 ? r : -errno;
}

#define HOLE (1 << 20) /* not more than one request writes back */

static gssize count_stored(int fd)
{
    g_autofree char *bytes = g_malloc(HOLE);
    gssize n_stored = 0;

    if (pread(fd, bytes, HOLE, 0) != HOLE)
        return -1;
    for (gsize i = 0; i < HOLE; i++)
        n_stored += bytes[i] == 'x';
    return n_stored;
}

/* A part of it fits: that the rest is lost is told, and it is not read either, as if it were there.
 * The kernel is told a moment later. */
static int task_store_more_than_fits(void *state G_GNUC_UNUSED, const char *name)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct statvfs vfs;
    gssize free_bytes;
    char *bytes;

    if (fd < 0 || ftruncate(fd, HOLE) != 0 || fstatvfs(fd, &vfs) != 0)
        return -errno;
    free_bytes = (gssize)(vfs.f_bfree * vfs.f_frsize);
    bytes = mmap(NULL, HOLE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    memset(bytes, 'x', HOLE);
    if (msync(bytes, HOLE, MS_SYNC) == 0)
        return -EILSEQ;
    if (errno != ENOSPC)
        return -errno;
    munmap(bytes, HOLE);
    while (count_stored(fd) > free_bytes && g_get_monotonic_time() < limit_us)
        g_usleep(1000);
    return count_stored(fd) <= free_bytes ? 0 : -EIO;
}

static int task_fill_but_half_a_hole(void *state G_GNUC_UNUSED, const char *name)
{
    struct statvfs vfs;
    off_t filled = fill(name, O_WRONLY, 65536);

    if (filled < 0 || truncate(name, filled - HOLE / 2) != 0 || statvfs(name, &vfs) != 0)
        return -errno;
    return vfs.f_bfree * vfs.f_frsize >= HOLE / 4 && vfs.f_bfree * vfs.f_frsize < HOLE ? 0
                                                                                       : -ERANGE;
}

static int task_remove(void *state G_GNUC_UNUSED, const char *name)
{
    return unlink(name) == 0 ? 0 : -errno;
}

/* The kernel tells of the end of a file a moment after it, and only then its blocks are free. */
static gboolean comes_to_fit(Agent *agent, const char *name)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (agent_do(agent, task_touch, name) != 0) {
        if (g_get_monotonic_time() > limit_us)
            return FALSE;
        g_usleep(1000);
    }
    return TRUE;
}

static int set_up(void **state, gboolean in_place)
{
    *state = scene_new(in_place);
    return 0;
}

static int set_up_in_place(void **state)
{
    return set_up(state, TRUE);
}

static int set_up_elsewhere(void **state)
{
    return set_up(state, FALSE);
}

/* The disk, which lies below the mount, goes when nobody has files open on it. */
static int tear_down(void **state)
{
    Scene *scene = *state;
    gboolean well;

    umount2(scene->mountpoint, MNT_DETACH);
    umount2(scene->backing, MNT_DETACH);
    well = scene_free(scene);
    return well ? 0 : -1;
}

static void a_full_disk_loses_nothing_that_was_acknowledged(void **state)
{
    Scene *scene = *state;
    Agent *alice = scene_add_agent(scene);

    assert_int_equal(mount("none", scene->backing, "tmpfs", 0, SIZE), 0);
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_fill, NULL), 0);
    assert_int_equal(agent_do(alice, task_check, NULL), 0);
    assert_int_equal(agent_do(alice, task_make_names, NULL), -ENOSPC);
    assert_int_equal(agent_do(alice, task_store_into_a_hole, "read too"), -ENOSPC);
    assert_int_equal(agent_do(alice, task_remove, "large"), 0);
    assert_true(comes_to_fit(alice, "new"));
    assert_true(agent_end(alice));
    assert_int_equal(scene_umount(scene), 0);
}

static void a_store_that_fits_in_part_is_told(void **state)
{
    Scene *scene = *state;
    Agent *alice = scene_add_agent(scene);

    assert_int_equal(mount("none", scene->backing, "tmpfs", 0, SIZE), 0);
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_fill_but_half_a_hole, "filler"), 0);
    assert_int_equal(agent_do(alice, task_store_more_than_fits, "hole"), 0);
    assert_true(agent_end(alice));
    assert_int_equal(scene_umount(scene), 0);
}

/* --- what is kept for root ---------------------------------------------------------------------
 */

static gboolean run(const char *const argv[])
{
    g_autoptr(GError) error = NULL;
    int status;

    if (g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                     NULL, &status, &error) &&
        g_spawn_check_wait_status(status, &error))
        return TRUE;
    print_message("%s: %s\n", argv[0], error->message);
    return FALSE;
}

/* A disk of 16 MiB, a third of which is kept for root. */
static gboolean mount_disk(const Scene *scene, const char *where)
{
    g_autofree char *image = g_build_filename(scene->dir, "image", NULL);
    const char *const make[] = {"mkfs.ext4", "-q", "-F", "-m", "33", image, NULL};
    const char *const attach[] = {"mount", "-o", "loop", image, where, NULL};
    int fd = open(image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    gboolean made = fd >= 0 && ftruncate(fd, 16 << 20) == 0;

    if (fd >= 0)
        close(fd);
    return made && run(make) && run(attach);
}

static int task_fill_as(void *state G_GNUC_UNUSED, const char *user)
{
    const uid_t uid = (uid_t)atoi(user);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        off_t filled = setgid(uid) == 0 && setuid(uid) == 0 ? fill(user, O_WRONLY, 65536) : -EPERM;

        _exit(filled < 0 ? (int)-filled : 0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -ECHILD;
    return -WEXITSTATUS(status);
}

/* Per cent of the disk. */
static guint get_free(const char *where)
{
    struct statvfs vfs;

    assert_int_equal(statvfs(where, &vfs), 0);
    return (guint)(100 * vfs.f_bfree / vfs.f_blocks);
}

static void what_is_kept_for_root_is_not_for_users(void **state)
{
    Scene *scene = *state;
    Agent *alice = scene_add_agent(scene);

    assert_true(mount_disk(scene, scene->backing));
    assert_int_equal(chmod(scene->backing, 0777), 0);
    assert_true(scene_mount(scene, "ttl=1h,allow_other"));
    assert_int_equal(agent_do(alice, task_fill_as, "12345"), 0);
    assert_in_range(get_free(scene->mountpoint), 25, 40);
    assert_int_equal(agent_do(alice, task_fill_as, "0"), 0);
    assert_in_range(get_free(scene->mountpoint), 0, 5);
    assert_true(agent_end(alice));
    assert_int_equal(scene_umount(scene), 0);
}

static int task_allocate_too_much(void *state, const char *name)
{
    off_t *size_out = state;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size != 0)
        return -EIO;
    r = fallocate(fd, 0, 0, 64 << 20) == 0 ? 0 : -errno;
    if (stat(name, &st) != 0)
        return -errno;
    *size_out = st.st_size;
    close(fd);
    return r;
}

static int task_compare_size(void *state, const char *size)
{
    return *(off_t *)state == g_ascii_strtoll(size, NULL, 10) ? 0 : -ERANGE;
}

/* ext4 makes the file as long as it can before it fails. */
static void size_after_a_failed_fallocate_is_that_below(void **state)
{
    Scene *scene = *state;
    Agent *alice = scene_add_agent(scene);
    g_autofree char *below = g_build_filename(scene->backing, "file", NULL);
    g_autofree char *size = NULL;
    struct stat st;

    assert_true(mount_disk(scene, scene->backing));
    assert_true(scene_mount(scene, "ttl=1h,cache=always"));
    assert_int_equal(agent_do(alice, task_allocate_too_much, "file"), -ENOSPC);
    assert_int_equal(stat(below, &st), 0);
    size = g_strdup_printf("%lld", (long long)st.st_size);
    assert_int_equal(agent_do(alice, task_compare_size, size), 0);
    assert_true(agent_end(alice));
    assert_int_equal(scene_umount(scene), 0);
}

#define SOURCE_BYTES 1000000
#define WAIT_US      5000000

/* -ENOSPC, and the times of `target`, which were old, have been looked at before. */
static int task_copy_onto_full_disk(void *state G_GNUC_UNUSED, const char *name)
{
    const struct timespec old[] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    g_autofree char *bytes = g_malloc0(SOURCE_BYTES);
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int source_fd;
    struct stat st;
    ssize_t n;

    if (fd < 0 || !g_file_set_contents("source", bytes, SOURCE_BYTES, NULL) ||
        fill("filler", O_WRONLY, 4096) < 0 || futimens(fd, old) != 0 || stat(name, &st) != 0)
        return -EIO;
    source_fd = open("source", O_RDONLY | O_CLOEXEC);
    n = copy_file_range(source_fd, NULL, fd, NULL, SOURCE_BYTES, 0);
    return n >= 0 ? 0 : -errno;
}

/* In nanoseconds, as the argument. */
static int task_wait_for_mtime(void *state G_GNUC_UNUSED, const char *argument)
{
    g_auto(GStrv) words = g_strsplit(argument, " ", 2);
    gint64 wanted_ns = g_ascii_strtoll(words[1], NULL, 10);
    gint64 until_us = g_get_monotonic_time() + WAIT_US;
    struct stat st;

    do {
        if (stat(words[0], &st) != 0)
            return -errno;
        if (st.st_mtim.tv_sec * G_GINT64_CONSTANT(1000000000) + st.st_mtim.tv_nsec == wanted_ns)
            return 0;
        g_usleep(1000);
    } while (g_get_monotonic_time() < until_us);
    return -ETIME;
}

/* ext4 sets them before it finds no room. */
static void times_after_a_failed_copy_are_those_below(void **state)
{
    Scene *scene = *state;
    Agent *alice = scene_add_agent(scene);
    g_autofree char *below = g_build_filename(scene->backing, "target", NULL);
    g_autofree char *wanted = NULL;
    struct stat st;

    assert_true(mount_disk(scene, scene->backing));
    assert_true(scene_mount(scene, "ttl=1h,cache=always"));
    assert_int_equal(agent_do(alice, task_copy_onto_full_disk, "target"), -ENOSPC);
    assert_int_equal(stat(below, &st), 0);
    assert_int_not_equal(st.st_mtim.tv_sec, 1000000);
    wanted =
        g_strdup_printf("target %" G_GINT64_FORMAT,
                        st.st_mtim.tv_sec * G_GINT64_CONSTANT(1000000000) + st.st_mtim.tv_nsec);
    assert_int_equal(agent_do(alice, task_wait_for_mtime, wanted), 0);
    assert_true(agent_end(alice));
    assert_int_equal(scene_umount(scene), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing_that_was_acknowledged,
                                        set_up_in_place, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_loses_nothing_that_was_acknowledged,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_fits_in_part_is_told, set_up_in_place,
                                        tear_down),
        cmocka_unit_test_setup_teardown(size_after_a_failed_fallocate_is_that_below,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(times_after_a_failed_copy_are_those_below, set_up_elsewhere,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_kept_for_root_is_not_for_users, set_up_in_place,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}

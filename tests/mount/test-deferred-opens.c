/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file that is opened to be read from the kernel's pages is not opened below, and does all that
 * other open files do nonetheless, whatever becomes of its name.
 */
#include "request-stage.h"
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define LENGTH 10000

typedef struct Held {
    int fd;
} Held;

static char byte_of(const char *name, size_t i)
{
    return (char)('a' + (i / 7 + strlen(name)) % 23);
}

/* Its pages come to the kernel with the second open at the latest; what is opened then is put
 * off. */
static int make_known(const char *name)
{
    g_autofree char *bytes = g_malloc(LENGTH);
    gboolean read_all = TRUE;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    for (size_t i = 0; i < LENGTH; i++)
        bytes[i] = byte_of(name, i);
    if (fd < 0 || write(fd, bytes, LENGTH) != LENGTH || close(fd) != 0)
        return -errno;
    for (int n = 0; n < 2 && read_all; n++) {
        fd = open(name, O_RDONLY | O_CLOEXEC);
        read_all = fd >= 0 && read(fd, bytes, LENGTH) == LENGTH && close(fd) == 0;
    }
    return read_all ? 0 : -errno;
}

static int open_known(const char *name)
{
    int r = make_known(name);
    int fd = r == 0 ? open(name, O_RDONLY | O_CLOEXEC) : r;

    return r == 0 && fd < 0 ? -errno : fd;
}

/* Not from the kernel's pages. */
static gboolean reads_below(int fd, const char *name)
{
    char bytes[LENGTH + 1];
    gboolean same;

    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        return FALSE;
    same = pread(fd, bytes, sizeof bytes, 0) == LENGTH;
    for (size_t i = 0; same && i < LENGTH; i++)
        same = bytes[i] == byte_of(name, i);
    return same;
}

/* --- when it is opened below ------------------------------------------------------------------ */

static int task_hold(void *state, const char *name)
{
    Held *held = state;

    held->fd = open_known(name);
    return MIN(held->fd, 0);
}

static int task_read_from_pages(void *state, const char *name)
{
    const Held *held = state;
    char byte;

    return pread(held->fd, &byte, 1, LENGTH - 1) == 1 && byte == byte_of(name, LENGTH - 1) ? 0
                                                                                           : -EIO;
}

static int task_read_below(void *state, const char *name)
{
    const Held *held = state;

    return reads_below(held->fd, name) ? 0 : -EIO;
}

static int task_let_go(void *state, const char *name G_GNUC_UNUSED)
{
    const Held *held = state;

    return close(held->fd) == 0 ? 0 : -errno;
}

/* How many descriptors the daemon has of files of that name. */
static guint count_open_below(const Scene *scene, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", scene->daemon);
    g_autofree char *end = g_strdup_printf("/%s", name);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *number;
    guint n = 0;

    while (dir && (number = g_dir_read_name(dir))) {
        g_autofree char *link = g_build_filename(path, number, NULL);
        g_autofree char *file = g_file_read_link(link, NULL);

        n += file && g_str_has_suffix(file, end);
    }
    return n;
}

/* The kernel does not wait for RELEASE. FALSE after ten seconds. */
static gboolean comes_to_open_below(const Scene *scene, const char *name, guint n)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (count_open_below(scene, name) != n && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return count_open_below(scene, name) == n;
}

/* Of root's daemon alone may be seen what it has open. */
static Stage *stage_of(void **state)
{
    if (geteuid() != 0)
        skip();
    return *state;
}

/* In place, over ext4 or XFS. */
static guint open_while_held(const Stage *stage)
{
    const Scene *scene = stage->scene;

    return scene->in_place && (scene_is_on(stage->scene, EXT4_SUPER_MAGIC) ||
                               scene_is_on(stage->scene, XFS_SUPER_MAGIC))
               ? 0
               : 1;
}

static void hold(Stage *stage, const char *name)
{
    assert_int_equal(agent_do(stage->agent, task_hold, name), 0);
    assert_true(comes_to_open_below(stage->scene, name, open_while_held(stage)));
}

static void file_is_opened_below_when_its_pages_do_not_suffice(void **state)
{
    Stage *stage = stage_of(state);
    const Scene *scene = stage->scene;

    hold(stage, "held");
    assert_int_equal(agent_do(stage->agent, task_read_from_pages, "held"), 0);
    assert_int_equal(count_open_below(scene, "held"), open_while_held(stage));
    assert_int_equal(agent_do(stage->agent, task_read_below, "held"), 0);
    assert_int_equal(count_open_below(scene, "held"), 1);
    assert_int_equal(agent_do(stage->agent, task_let_go, "held"), 0);
    assert_true(comes_to_open_below(scene, "held", 0));
}

/* --- what is done with it --------------------------------------------------------------------- */

static gboolean has_status(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_size == LENGTH;
}

static gboolean has_no_hole(int fd)
{
    return lseek(fd, 1, SEEK_HOLE) == LENGTH && lseek(fd, LENGTH, SEEK_DATA) == -1 &&
           errno == ENXIO;
}

static gboolean can_be_synced(int fd)
{
    return fsync(fd) == 0 && fdatasync(fd) == 0;
}

/* As one that is open below: not all filesystems have flags. */
static gboolean has_flags(int fd)
{
    int other = open("f-flags", O_RDWR | O_CLOEXEC);
    long flags = 0, other_flags = 0;
    int r = ioctl(fd, FS_IOC_GETFLAGS, &flags);
    int other_r = ioctl(other, FS_IOC_GETFLAGS, &other_flags);

    close(other);
    return other >= 0 && r == other_r && flags == other_flags;
}

static gboolean can_be_copied(int fd)
{
    int copy = open("copy", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    gboolean copied = copy >= 0 && copy_file_range(fd, NULL, copy, NULL, LENGTH, 0) == LENGTH &&
                      reads_below(copy, "f-copied");

    return close(copy) == 0 && copied;
}

static gboolean can_be_mapped(int fd)
{
    char *map = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);
    gboolean same = map != MAP_FAILED && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;

    for (size_t i = 0; same && i < LENGTH; i++)
        same = map[i] == byte_of("f-mapped", i);
    return map != MAP_FAILED && munmap(map, LENGTH) == 0 && same;
}

typedef struct Use {
    const char *name;
    gboolean (*use)(int fd);
} Use;

static const Use uses[] = {
    {"f-status", has_status}, {"f-hole", has_no_hole},     {"f-synced", can_be_synced},
    {"f-flags", has_flags},   {"f-copied", can_be_copied}, {"f-mapped", can_be_mapped},
};

static int task_use(void *state, const char *name)
{
    const Held *held = state;

    for (size_t i = 0; i < G_N_ELEMENTS(uses); i++)
        if (strcmp(uses[i].name, name) == 0)
            return uses[i].use(held->fd) && reads_below(held->fd, name) ? 0 : -EIO;
    return -ENOENT;
}

static void all_can_be_done_that_can_with_others(void **state)
{
    Stage *stage = stage_of(state);

    for (size_t i = 0; i < G_N_ELEMENTS(uses); i++) {
        hold(stage, uses[i].name);
        assert_int_equal(agent_do(stage->agent, task_use, uses[i].name), 0);
        assert_int_equal(agent_do(stage->agent, task_let_go, ""), 0);
    }
}

/* --- what becomes of its name ----------------------------------------------------------------- */

static int make_other(const char *name)
{
    return create(name);
}

static int delete_it(const char *name)
{
    return unlink(name) == 0 ? make_other(name) : -errno;
}

static int rename_it(const char *name)
{
    return rename(name, "away") == 0 ? make_other(name) : -errno;
}

static int replace_it(const char *name)
{
    return make_other("other") == 0 && rename("other", name) == 0 ? 0 : -errno;
}

static int rename_its_directory(const char *name G_GNUC_UNUSED)
{
    return rename("d", "d-away") == 0 && mkdir("d", 0755) == 0 ? make_other("d/f") : -errno;
}

static int delete_all(const char *name)
{
    return unlink(name) == 0 && rmdir("e") == 0 ? 0 : -errno;
}

static int change_it(const char *name)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    char byte = byte_of(name, 0);
    gboolean changed = fd >= 0 && pwrite(fd, "X", 1, 0) == 1 && pwrite(fd, &byte, 1, 0) == 1;

    return close(fd) == 0 && changed ? 0 : -errno;
}

typedef struct Way {
    const char *name;
    int (*lose)(const char *name);
} Way;

static const Way ways[] = {
    {"deleted", delete_it},        {"renamed", rename_it}, {"replaced", replace_it},
    {"d/f", rename_its_directory}, {"e/f", delete_all},    {"changed", change_it},
};

static int task_make_directories(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return mkdir("d", 0755) == 0 && mkdir("e", 0755) == 0 ? 0 : -errno;
}

static int task_lose_name(void *state, const char *name)
{
    const Held *held = state;

    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
        if (strcmp(ways[i].name, name) == 0) {
            int r = ways[i].lose(name);

            return r == 0 && !reads_below(held->fd, name) ? -EIO : r;
        }
    return -ENOENT;
}

static void file_stays_the_same_whatever_becomes_of_its_name(void **state)
{
    Stage *stage = stage_of(state);

    assert_int_equal(agent_do(stage->agent, task_make_directories, ""), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        hold(stage, ways[i].name);
        assert_int_equal(agent_do(stage->agent, task_lose_name, ways[i].name), 0);
        assert_int_equal(agent_do(stage->agent, task_let_go, ""), 0);
    }
}

/* --- past the mount --------------------------------------------------------------------------- */

static int task_read_a_byte_below(void *state, const char *name G_GNUC_UNUSED)
{
    const Held *held = state;
    char byte;

    if (posix_fadvise(held->fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        return -EIO;
    return pread(held->fd, &byte, 1, 0) < 0 ? -errno : 0;
}

static int task_read_new(void *state G_GNUC_UNUSED, const char *name)
{
    char text[8];
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;

    return close(fd) == 0 && n == 4 && memcmp(text, "text", 4) == 0 ? 0 : -EIO;
}

/* As docs/fidelity.md has it. */
static void file_that_was_replaced_past_the_mount_is_stale(void **state)
{
    Stage *stage = stage_of(state);
    int below;

    if (open_while_held(stage) > 0)
        skip();
    unmount(stage);
    below = open(stage->scene->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(below >= 0);
    mount_again(stage);
    hold(stage, "f");
    {
        int fd = openat(below, "other", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, "text", 4), 4);
        close(fd);
    }
    assert_int_equal(renameat(below, "other", below, "f"), 0);
    close(below);
    assert_int_equal(agent_do(stage->agent, task_read_new, "f"), 0);
    assert_int_equal(agent_do(stage->agent, task_read_a_byte_below, "f"), -ESTALE);
    assert_int_equal(agent_do(stage->agent, task_let_go, "f"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(file_is_opened_below_when_its_pages_do_not_suffice),
        cmocka_unit_test_setup_teardown(file_is_opened_below_when_its_pages_do_not_suffice,
                                        set_up_elsewhere, tear_down),
        TEST(all_can_be_done_that_can_with_others),
        TEST(file_stays_the_same_whatever_becomes_of_its_name),
        TEST(file_that_was_replaced_past_the_mount_is_stale),
    };

    return cmocka_run_group_tests_name("deferred-opens", tests, NULL, NULL);
}

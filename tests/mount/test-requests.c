/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many requests reach the daemon: each is a round trip that somebody waits for. What is counted
 * is in the status; the least numbers are those of the kernel's protocol.
 */
#include "request-stage.h"
#include <linux/capability.h>
#include <linux/xattr.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>

#define TIMES 20 /* each deed, on as many files */

#define LARGE_BYTES (8 * 1024 * 1024)
#define PART_BYTES  (128 * 1024)
#define WHOLE_KIB   1024 /* of one read, at most */

typedef int (*Deed)(const char *name);

static int do_often(Deed deed, const char *prefix)
{
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *name = g_strdup_printf("%s%d", prefix, i);

        if (deed(name) != 0)
            return -errno;
    }
    return 0;
}

static int read_once(const char *name)
{
    char text[16];
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && read(fd, text, sizeof text) == 4 && close(fd) == 0 ? 0 : -1;
}

static int rename_away(const char *name)
{
    g_autofree char *to = g_strconcat("renamed-", name, NULL);

    return rename(name, to);
}

static int make_directory(const char *name)
{
    return mkdir(name, 0755);
}

static int task_create(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(create, "f");
}

static int task_read(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(read_once, "f");
}

static int task_rename(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(rename_away, "f");
}

static int task_unlink(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(unlink, "renamed-f");
}

static int task_mkdir(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(make_directory, "d");
}

/* The directory that they stand in may have to be looked at anew once. */
static void expect_each(Stage *stage, AgentTask task, gint64 each)
{
    assert_in_range(requests_of(stage, task), each * TIMES, each * TIMES + 2);
}

static void changes_cost_what_the_protocol_asks_for(void **state)
{
    Stage *stage = *state;

    expect_each(stage, task_create, 3); /* LOOKUP, CREATE, WRITE */
    assert_int_equal(agent_do(stage->agent, task_read, ""), 0);
    expect_each(stage, task_read, 1);   /* OPEN */
    expect_each(stage, task_rename, 2); /* LOOKUP, RENAME */
    expect_each(stage, task_unlink, 1); /* UNLINK */
    expect_each(stage, task_mkdir, 2);  /* LOOKUP, MKDIR */
}

static int walk(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    struct stat st;
    int seen = 0;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            seen += fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    closedir(dir);
    return seen == FILES ? 0 : -EIO;
}

static int task_walk(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int r = 0;

    for (int d = 0; d < DIRS && r == 0; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        r = walk(dir);
    }
    return r;
}

static int task_stat(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    struct stat st;

    for (int i = 0; i < DIRS * FILES; i++) {
        g_autofree char *file = g_strdup_printf("tree%d/f%d", i / FILES, i % FILES);

        if (stat(file, &st) != 0)
            return -errno;
    }
    return 0;
}

static void what_was_seen_costs_nothing_to_see_again(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    /* what was written has other attributes than those that the kernel has seen */
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
    assert_int_equal(requests_of(stage, task_stat), 0);
    assert_in_range(requests_of(stage, task_walk), 0, DIRS * FILES / 25);
}

/* Entries of a new mount: attributes come with the listing where they are looked at, a request for
 * a file where they are not asked for would be ten times as many. */
static void cold_walk_costs_less_than_a_request_a_file(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
    assert_int_equal(requests_of(stage, task_stat), 0);
}

/* Reads each file, and has the kernel forget its listings. */
static int task_read_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (int i = 0; i < DIRS * FILES; i++) {
        g_autofree char *file = g_strdup_printf("tree%d/f%d", i / FILES, i % FILES);

        if (read_once(file) != 0)
            return -errno;
    }
    for (int d = 0; d < DIRS; d++) {
        g_autofree char *file = g_strdup_printf("tree%d/new", d);

        if (create(file) != 0 || unlink(file) != 0)
            return -errno;
    }
    return 0;
}

/* After a READ the kernel asks for the access time. */
static void files_that_were_read_are_listed_with_attributes(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_int_equal(agent_do(stage->agent, task_walk, ""), 0);
    assert_int_equal(agent_do(stage->agent, task_read_tree, ""), 0);
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
}

/* How many of the files are still shown as they were when they were looked up: 4 bytes long. */
static int task_count_old(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int old = 0;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *name = g_strdup_printf("f%d", i);
        struct stat st;

        if (stat(name, &st) != 0)
            return -errno;
        old += st.st_size == 4;
    }
    return old;
}

static int task_list(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return list(".");
}

/* As git does: it looks up all files, then it lists. That no file is looked at once more is seen by
 * what nobody should do, a change past a mount with cache=always. */
static void what_was_looked_up_is_listed_without_another_look(void **state)
{
    Stage *stage = *state;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_true(g_file_set_contents(path, "text", 4, NULL));
    }
    assert_int_equal(agent_do(stage->agent, task_count_old, ""), TIMES);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_int_equal(truncate(path, 5), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_list, ""), TIMES);
    assert_in_range(agent_do(stage->agent, task_count_old, ""), TIMES - 1, TIMES);
}

/* How many files have the attribute that is set below. */
static int task_count_attributes(void *state G_GNUC_UNUSED, const char *name)
{
    int having = 0;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("f%d", i);

        having += getxattr(path, name, NULL, 0) >= 0;
    }
    return having;
}

/* Seen by what nobody should do, as above. */
static void attribute_that_was_absent_is_not_looked_for_again(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_create, ""), 0);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_int_equal(setxattr(path, "user.early", "v", 1, 0), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.early"), TIMES);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, XATTR_NAME_CAPS), 0);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.late"), 0);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);
        struct vfs_cap_data caps = {.magic_etc = GUINT32_TO_LE(VFS_CAP_REVISION_2)};

        assert_int_equal(setxattr(path, "user.late", "v", 1, 0), 0);
        if (geteuid() == 0)
            assert_int_equal(setxattr(path, XATTR_NAME_CAPS, &caps, sizeof caps, 0), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.late"), TIMES);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, XATTR_NAME_CAPS), 0);
}

#define SMALL_TEXT "text"

/* With access times that a reading would not set, relatime or not. FALSE where the filesystem below
 * cannot tell what is in memory, or where each reading sets them. */
static gboolean make_small_files(const char *directory)
{
    const struct timespec times[2] = {
        {.tv_sec = time(NULL) + 60 * 60},
        {.tv_nsec = UTIME_OMIT},
    };
    struct statvfs fs;
    gboolean tells = FALSE;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", directory, i);
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, SMALL_TEXT, strlen(SMALL_TEXT)), strlen(SMALL_TEXT));
        tells = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
    }
    assert_int_equal(statvfs(directory, &fs), 0);
    return tells && (fs.f_flag & (ST_NOATIME | ST_RELATIME));
}

static int look_and_read(const char *name)
{
    char text[16];
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    gboolean well = fd >= 0 && fstat(fd, &st) == 0 && read(fd, text, sizeof text) == st.st_size &&
                    memcmp(text, SMALL_TEXT, strlen(SMALL_TEXT)) == 0;

    return close(fd) == 0 && well ? 0 : -1;
}

static int task_look_and_read(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(look_and_read, "f");
}

static void small_file_comes_with_its_open(void **state)
{
    Stage *stage = *state;
    gboolean comes;

    unmount(stage);
    comes = make_small_files(stage->scene->mountpoint);
    mount_again(stage);
    expect_each(stage, task_look_and_read, comes ? 2 : 3); /* LOOKUP, OPEN; READ */
    expect_each(stage, task_look_and_read, comes ? 1 : 2); /* OPEN; GETATTR after a READ */
    expect_each(stage, task_look_and_read, 1);
}

static int task_make_large(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree char *text = g_malloc0(LARGE_BYTES);

    return g_file_set_contents("large", text, LARGE_BYTES, NULL) ? 0 : -EIO;
}

static int task_read_large(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree char *part = g_malloc(PART_BYTES);
    int fd = open("large", O_RDONLY | O_CLOEXEC);
    ssize_t n, all = 0;

    while ((n = read(fd, part, PART_BYTES)) > 0)
        all += n;
    close(fd);
    return all == LARGE_BYTES ? 0 : -EIO;
}

/* In KiB; 0 where the system does not show it. */
static guint64 read_ahead_of(const char *directory, gboolean *may_write_out)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    struct stat st;

    assert_int_equal(stat(directory, &st), 0);
    path =
        g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
    *may_write_out = access(path, W_OK) == 0;
    return g_file_get_contents(path, &text, NULL, NULL) ? g_ascii_strtoull(text, NULL, 10) : 0;
}

/* A daemon that may not say how large reads them in smaller ones. */
static void large_file_is_read_in_large_parts(void **state)
{
    Stage *stage = *state;
    gboolean may_write;
    guint64 part_kib;

    assert_int_equal(agent_do(stage->agent, task_make_large, ""), 0);
    unmount(stage);
    mount_again(stage);
    part_kib = read_ahead_of(stage->scene->mountpoint, &may_write);
    /* a rule of udev may have chosen another size than the kernel's or ours */
    if (may_write)
        assert_int_not_equal(part_kib, PART_BYTES / 1024);
    else
        part_kib = PART_BYTES / 1024;
    part_kib = CLAMP(part_kib, 4, WHOLE_KIB);
    /* the window opens by and by; open and the like */
    assert_in_range(requests_of(stage, task_read_large), 1, LARGE_BYTES / 1024 / part_kib + 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_cost_what_the_protocol_asks_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_seen_costs_nothing_to_see_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(cold_walk_costs_less_than_a_request_a_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(files_that_were_read_are_listed_with_attributes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_looked_up_is_listed_without_another_look,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(attribute_that_was_absent_is_not_looked_for_again,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(small_file_comes_with_its_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_file_is_read_in_large_parts, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}

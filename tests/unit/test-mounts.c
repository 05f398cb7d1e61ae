/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounts.h"

#include <gio/gio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define ROOT_LINE "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
#define LEASEFS   " - fuse.leasefs "

static void assert_mount(GPtrArray *mounts, guint i, const char *mountpoint, const char *workspace,
                         guint minor)
{
    const LeasefsMount *mount;

    assert_true(i < mounts->len);
    mount = mounts->pdata[i];
    assert_string_equal(mount->mountpoint, mountpoint);
    assert_string_equal(mount->workspace, workspace);
    assert_int_equal(mount->minor, minor);
}

static void assert_within(GPtrArray *mounts, const char *path, const char *mountpoint)
{
    const LeasefsMount *mount = leasefs_mounts_containing(mounts, path);

    if (mount == NULL && mountpoint != NULL)
        fail_msg("%s is in none", path);
    if (mount != NULL && mountpoint == NULL)
        fail_msg("%s is in %s", path, mount->mountpoint);
    if (mount != NULL)
        assert_string_equal(mount->mountpoint, mountpoint);
}

static void only_leasefs_mounts_are_listed(void **state)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse(
        ROOT_LINE "30 20 0:40 / /ws rw,nosuid,nodev - fuse.leasefs /ws rw,user_id=0,group_id=0\n"
                  "31 20 0:41 / /mnt/sshfs rw - fuse.sshfs leasefs rw\n"
                  "32 20 0:42 / /mnt/b rw - fuse.leasefs /home/u/b rw");

    (void)state;
    assert_int_equal(mounts->len, 2);
    assert_mount(mounts, 0, "/ws", "/ws", 40);
    assert_mount(mounts, 1, "/mnt/b", "/home/u/b", 42);
    assert_string_equal(((const LeasefsMount *)mounts->pdata[0])->root, "/");
}

static void optional_fields_may_be_none_or_many(void **state)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse(
        "30 20 0:40 / /a rw - fuse.leasefs /a rw\n"
        "31 20 0:41 / /b rw shared:1 - fuse.leasefs /b rw\n"
        "32 20 0:42 / /c rw shared:1 master:2 propagate_from:3 unbindable - fuse.leasefs /c rw\n");

    (void)state;
    assert_int_equal(mounts->len, 3);
    assert_mount(mounts, 2, "/c", "/c", 42);
}

static void escapes_are_undone(void **state)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse(
        "30 20 0:40 / /a\\040b\\011c\\012d\\134e\\043f rw" LEASEFS "/w\\040s\\134040 rw\n"
        "31 20 0:41 / /x\\ rw" LEASEFS "/y\\04\\999\\777 rw\n");

    (void)state;
    assert_int_equal(mounts->len, 2);
    assert_mount(mounts, 0, "/a b\tc\nd\\e#f", "/w s\\040", 40);
    assert_mount(mounts, 1, "/x\\", "/y\\04\\999\\777", 41);
}

static void broken_lines_are_left_out(void **state)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse("\n \ngarbage\n"
                                                       "30 20 0:40 / /a rw\n"
                                                       "30 20 0:40 / /a rw -\n"
                                                       "30 20 0:40 / /a rw - fuse.leasefs\n"
                                                       "x 20 0:40 / /a rw - fuse.leasefs /a rw\n"
                                                       "30 20 40 / /a rw - fuse.leasefs /a rw\n"
                                                       "30 20 0:-1 / /a rw - fuse.leasefs /a rw\n"
                                                       "30 20 0:40 / a rw - fuse.leasefs /a rw\n"
                                                       "31 20 0:41 / /ok rw - fuse.leasefs /ok rw\n"
                                                       "32 20 0:42 / /cut rw - fuse.lea");
    g_autoptr(GPtrArray) none = leasefs_mounts_parse("");

    (void)state;
    assert_int_equal(mounts->len, 1);
    assert_mount(mounts, 0, "/ok", "/ok", 41);
    assert_int_equal(none->len, 0);
}

static void mounts_that_name_each_other_as_parents_end(void **state)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse("30 31 0:40 / /a rw" LEASEFS "/a rw\n"
                                                       "31 30 0:41 / /a rw" LEASEFS "/b rw\n"
                                                       "32 32 0:42 / /c rw" LEASEFS "/c rw\n");

    (void)state;
    assert_within(mounts, "/c/x", "/c");
}

static void last_of_stacked_mounts_wins(void **state)
{
    g_autoptr(GPtrArray) mounts =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /ws rw" LEASEFS "/one rw\n"
                                       "31 30 0:41 / /ws rw" LEASEFS "/two rw\n");
    g_autoptr(GPtrArray) siblings =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /ws rw" LEASEFS "/one rw\n"
                                       "31 20 0:41 / /ws rw" LEASEFS "/two rw\n");

    (void)state;
    assert_int_equal(mounts->len, 1);
    assert_mount(mounts, 0, "/ws", "/two", 41);
    assert_int_equal(siblings->len, 1);
    assert_mount(siblings, 0, "/ws", "/two", 41);
}

static void mount_under_another_filesystem_is_hidden(void **state)
{
    g_autoptr(GPtrArray) same =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /d/ws rw" LEASEFS "/d/ws rw\n"
                                       "31 30 0:41 / /d/ws rw - tmpfs t rw\n");
    g_autoptr(GPtrArray) above =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /d/ws rw" LEASEFS "/d/ws rw\n"
                                       "31 20 0:41 / /d rw - tmpfs t rw\n");

    (void)state;
    assert_int_equal(same->len, 0);
    assert_int_equal(above->len, 0);
}

static void order_of_lines_does_not_hide_a_mount(void **state)
{
    /* As after an initramfs: moved mounts stand before the root that they were moved to. */
    g_autoptr(GPtrArray) mounts = leasefs_mounts_parse("30 40 0:40 / /run/ws rw" LEASEFS "/ws rw\n"
                                                       "40 50 0:41 / /run rw - tmpfs t rw\n"
                                                       "50 1 8:1 / / rw - ext4 /dev/sda1 rw\n");

    (void)state;
    assert_int_equal(mounts->len, 1);
    assert_within(mounts, "/run/ws/a", "/run/ws");
}

static void path_lies_in_the_innermost_mount(void **state)
{
    g_autoptr(GPtrArray) mounts =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /ws rw" LEASEFS "/back rw\n"
                                       "31 30 0:41 / /ws/tmp rw - tmpfs t rw\n"
                                       "32 31 0:42 / /ws/tmp/in rw" LEASEFS "/other rw\n"
                                       "33 30 0:43 / /ws/sub rw" LEASEFS "/third rw\n");

    (void)state;
    assert_int_equal(mounts->len, 3);
    assert_within(mounts, "/ws", "/ws");
    assert_within(mounts, "/ws/a/b", "/ws");
    assert_within(mounts, "/wsx", NULL);
    assert_within(mounts, "/", NULL);
    assert_within(mounts, "/ws/tmp", NULL);
    assert_within(mounts, "/ws/tmp/x", NULL);
    assert_within(mounts, "/ws/tmpx", "/ws");
    assert_within(mounts, "/ws/tmp/in/x", "/ws/tmp/in");
    assert_within(mounts, "/ws/sub/x", "/ws/sub");
}

static void bind_mount_of_a_part_tells_which(void **state)
{
    g_autoptr(GPtrArray) mounts =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /ws rw" LEASEFS "/ws rw\n"
                                       "31 20 0:40 /src /elsewhere rw" LEASEFS "/ws rw\n");

    (void)state;
    assert_int_equal(mounts->len, 2);
    assert_mount(mounts, 1, "/elsewhere", "/ws", 40);
    assert_string_equal(((const LeasefsMount *)mounts->pdata[1])->root, "/src");
    assert_within(mounts, "/elsewhere/a", "/elsewhere");
}

static void assert_other(const char *mountinfo, const char *directory, const char *expected)
{
    g_autofree char *shown = leasefs_mounts_find_other(mountinfo, directory);

    if (expected == NULL)
        assert_null(shown);
    else
        assert_string_equal(shown, expected);
}

static void bind_mounts_that_show_a_directory_are_found(void **state)
{
    (void)state;
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n", "/data/ws", NULL);
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 / /below rw - ext4 /dev/sdb1 rw\n",
                 "/data/ws", "/below/ws");
    /* that very directory, one above it, a part of it */
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 /a/ws /below rw - ext4 /dev/sdb1 rw\n",
                 "/data/a/ws", "/below");
    assert_other(ROOT_LINE "30 20 8:17 /home /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 /home/a /below rw - ext4 /dev/sdb1 rw\n",
                 "/data/a/ws", "/below/ws");
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 /ws/src /below rw - ext4 /dev/sdb1 rw\n",
                 "/data/ws", "/below");
    /* the same with the directory's own mount there already */
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 / /below rw - ext4 /dev/sdb1 rw\n"
                           "32 30 0:40 / /data/ws rw" LEASEFS "/data/ws rw\n",
                 "/data/ws", "/below/ws");
}

static void mounts_that_do_not_show_a_directory_are_not_taken_for_it(void **state)
{
    (void)state;
    /* beside it; of another filesystem; within itself; under another mount */
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 /wsx /below rw - ext4 /dev/sdb1 rw\n",
                 "/data/ws", NULL);
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:18 / /below rw - ext4 /dev/sdb2 rw\n",
                 "/data/ws", NULL);
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 30 8:17 /ws/a /data/ws/b rw - ext4 /dev/sdb1 rw\n",
                 "/data/ws", NULL);
    assert_other(ROOT_LINE "30 20 8:17 / /data rw - ext4 /dev/sdb1 rw\n"
                           "31 20 8:17 / /below rw - ext4 /dev/sdb1 rw\n"
                           "32 31 0:40 / /below rw - tmpfs t rw\n",
                 "/data/ws", NULL);
}

static void mount_may_join_only_apart_from_others(void **state)
{
    static const struct {
        const char *workspace;
        const char *mountpoint;
        int code; /* -1: allowed */
        const char *names;
    } cases[] = {
        {"/ws2", "/ws2", -1, NULL},
        {"/wsx", "/wsx", -1, NULL},
        {"/w", "/w", -1, NULL},
        {"/ws2", "/mnt/c", -1, NULL},
        {"/ws2", "/ws/inside", -1, NULL},
        {"/ws", "/ws", G_IO_ERROR_ALREADY_MOUNTED, "/ws"},
        {"/ws", "/mnt/c", G_IO_ERROR_ALREADY_MOUNTED, "/ws"},
        {"/back", "/mnt/c", G_IO_ERROR_ALREADY_MOUNTED, "/mnt/b"},
        {"/ws/sub", "/ws/sub", G_IO_ERROR_BUSY, "/ws"},
        {"/back/sub", "/back/sub", G_IO_ERROR_BUSY, "/mnt/b"},
        {"/", "/", G_IO_ERROR_BUSY, "/ws"},
        {"/mnt", "/mnt", G_IO_ERROR_BUSY, "/mnt/b"},
        {"/mnt/b", "/mnt/b", G_IO_ERROR_BUSY, "/mnt/b"},
        {"/mnt/b/sub", "/mnt/c", G_IO_ERROR_BUSY, "/mnt/b"},
        {"/ws2", "/mnt/b", G_IO_ERROR_BUSY, "/back"},
        {"/ws2", "/ws2/mnt", G_IO_ERROR_INVALID_ARGUMENT, "/ws2/mnt"},
        {"/a/ws2", "/a", G_IO_ERROR_INVALID_ARGUMENT, "/a/ws2"},
    };
    g_autoptr(GPtrArray) mounts =
        leasefs_mounts_parse(ROOT_LINE "30 20 0:40 / /ws rw" LEASEFS "/ws rw\n"
                                       "31 20 0:41 / /mnt/b rw" LEASEFS "/back rw\n");

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        gboolean ok = leasefs_mounts_check(mounts, cases[i].workspace, cases[i].mountpoint, &error);

        if (ok != (cases[i].code < 0))
            fail_msg("%s at %s: %s", cases[i].workspace, cases[i].mountpoint,
                     ok ? "allowed" : error->message);
        if (ok)
            continue;
        assert_true(g_error_matches(error, G_IO_ERROR, cases[i].code));
        assert_non_null(strstr(error->message, cases[i].names));
    }
}

static void paths_are_compared_by_components(void **state)
{
    (void)state;
    assert_true(leasefs_path_is_within("/a", "/a"));
    assert_true(leasefs_path_is_within("/a/b", "/a"));
    assert_true(leasefs_path_is_within("/a/b", "/a/"));
    assert_true(leasefs_path_is_within("/a", "/"));
    assert_true(leasefs_path_is_within("/", "/"));
    assert_false(leasefs_path_is_within("/ab", "/a"));
    assert_false(leasefs_path_is_within("/", "/a"));
    assert_false(leasefs_path_is_within("/b/a", "/a"));
}

static void own_mountinfo_can_be_read(void **state)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(&error);

    (void)state;
    assert_non_null(mounts);
    assert_null(error);
}

static void ordinary_and_missing_directories_are_no_dead_mounts(void **state)
{
    (void)state;
    assert_false(leasefs_mount_is_dead("/"));
    assert_false(leasefs_mount_is_dead("/nonexistent-leasefs-mountpoint"));
}

static void what_is_mounted_inside_is_found(void **state)
{
    static const char mountinfo[] = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                    "30 22 8:2 / /work/a rw - ext4 /dev/sda2 rw\n"
                                    "31 30 0:40 / /work/a/in\\040side rw - tmpfs none rw\n";

    (void)state;
    assert_true(leasefs_mounts_find_inside(mountinfo, "/work"));
    assert_true(leasefs_mounts_find_inside(mountinfo, "/work/a"));
    assert_true(leasefs_mounts_find_inside(mountinfo, "/"));
    /* over it, beside it, and of a longer name */
    assert_false(leasefs_mounts_find_inside(mountinfo, "/work/a/in side"));
    assert_false(leasefs_mounts_find_inside(mountinfo, "/work/a/in"));
    assert_false(leasefs_mounts_find_inside(mountinfo, "/work/b"));
    assert_false(leasefs_mounts_find_inside("", "/work"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_leasefs_mounts_are_listed),
        cmocka_unit_test(optional_fields_may_be_none_or_many),
        cmocka_unit_test(escapes_are_undone),
        cmocka_unit_test(broken_lines_are_left_out),
        cmocka_unit_test(mounts_that_name_each_other_as_parents_end),
        cmocka_unit_test(last_of_stacked_mounts_wins),
        cmocka_unit_test(mount_under_another_filesystem_is_hidden),
        cmocka_unit_test(order_of_lines_does_not_hide_a_mount),
        cmocka_unit_test(path_lies_in_the_innermost_mount),
        cmocka_unit_test(bind_mount_of_a_part_tells_which),
        cmocka_unit_test(mount_may_join_only_apart_from_others),
        cmocka_unit_test(paths_are_compared_by_components),
        cmocka_unit_test(bind_mounts_that_show_a_directory_are_found),
        cmocka_unit_test(mounts_that_do_not_show_a_directory_are_not_taken_for_it),
        cmocka_unit_test(own_mountinfo_can_be_read),
        cmocka_unit_test(ordinary_and_missing_directories_are_no_dead_mounts),
        cmocka_unit_test(what_is_mounted_inside_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

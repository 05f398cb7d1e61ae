/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filesystems that are mounted below the workspace are passed through or refused, and never confuse
 * two files.
 */
#include "scene.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

/* Two filesystems that number their files alike, and directories of the workspace that are bound
 * to further places in it. */
static const char *const nested[] = {"one", "two", "bound", "whole"};

static char *below(Scene *scene, const char *name)
{
    return g_build_filename(scene->backing, name, NULL);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static void mount_nested(Scene *scene, guint first, guint count)
{
    g_autofree char *plain = below(scene, "plain");

    for (guint i = first; i < first + count; i++) {
        g_autofree char *at = below(scene, nested[i]);

        g_mkdir(at, 0755);
        if (i < 2) {
            g_autofree char *link_name = g_build_filename(at, "link", NULL);
            g_autofree char *name = g_build_filename(at, "file", NULL);

            assert_int_equal(mount("none", at, "tmpfs", 0, "size=1m"), 0);
            write_file(at, "file", nested[i]);
            assert_int_equal(link(name, link_name), 0);
        } else {
            assert_int_equal(mount(i == 2 ? plain : scene->backing, at, NULL, MS_BIND, NULL), 0);
        }
    }
}

static void unmount_nested(Scene *scene)
{
    for (guint i = G_N_ELEMENTS(nested); i-- > 0;) {
        g_autofree char *at = below(scene, nested[i]);

        while (umount2(at, MNT_DETACH) == 0)
            ;
    }
}

static void set_up(Scene *scene)
{
    g_autofree char *plain = below(scene, "plain");

    g_mkdir(plain, 0755);
    write_file(plain, "file", "plain");
}

/* The mount goes first, where it stands above the others. */
static void tear_down(Scene *scene, Agent *agent)
{
    assert_true(agent_end(agent));
    assert_int_equal(scene_umount(scene), 0);
    unmount_nested(scene);
    assert_true(scene_free(scene));
}

/* --- what an agent sees ----------------------------------------------------------------------- */

static int task_holds(void *state G_GNUC_UNUSED, const char *argument)
{
    g_auto(GStrv) words = g_strsplit(argument, " ", 2);
    g_autofree char *text = NULL;

    errno = 0;
    if (!g_file_get_contents(words[0], &text, NULL, NULL))
        return errno != 0 ? -errno : -ENOENT;
    return strcmp(text, words[1]) == 0 ? 0 : -EIO;
}

static ino_t listed_ino(const char *path, const char *name)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    ino_t ino = 0;

    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, name) == 0)
            ino = entry->d_ino;
    }
    if (dir)
        closedir(dir);
    return ino;
}

/* The files of both filesystems, and one of the workspace: a number for each. */
static int task_has_distinct_numbers(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    static const char *const dirs[] = {"one", "two", "plain"};
    ino_t inos[G_N_ELEMENTS(dirs)];
    struct statx stx;
    struct stat st;

    for (guint i = 0; i < G_N_ELEMENTS(dirs); i++) {
        g_autofree char *file = g_build_filename(dirs[i], "file", NULL);
        g_autofree char *other = g_build_filename(dirs[i], "link", NULL);

        if (stat(file, &st) != 0)
            return -errno;
        inos[i] = st.st_ino;
        if (listed_ino(dirs[i], "file") != st.st_ino)
            return -ERANGE;
        if (statx(AT_FDCWD, file, 0, STATX_INO | STATX_BTIME, &stx) != 0 || stx.stx_ino != inos[i])
            return -EINVAL;
        if (i < 2 && (stat(other, &st) != 0 || st.st_ino != inos[i] || st.st_nlink != 2))
            return -EMLINK;
        for (guint k = 0; k < i; k++) {
            if (inos[k] == inos[i])
                return -EEXIST;
        }
    }
    return 0;
}

static int task_stays_apart(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    struct statvfs whole, small;

    if (rename("one/file", "two/file") == 0 || errno != EXDEV)
        return -EIO;
    if (link("one/file", "new") == 0 || errno != EXDEV)
        return -EIO;
    if (rmdir("one") == 0 || errno != EBUSY)
        return -EIO;
    if (statvfs(".", &whole) != 0 || statvfs("one", &small) != 0)
        return -errno;
    return whole.f_blocks != small.f_blocks && small.f_blocks * small.f_frsize == 1 << 20 ? 0
                                                                                          : -EIO;
}

/* Every directory stays where it is, though another name leads to it. */
static int task_goes_through_bound_directories(void *state G_GNUC_UNUSED,
                                               const char *argument G_GNUC_UNUSED)
{
    int fd = open("plain", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char before[4096], after[4096];
    struct stat plain, bound;
    int r = 0;

    if (fd < 0 || fchdir(fd) != 0 || !getcwd(before, sizeof before) || chdir("..") != 0)
        return -errno;
    for (int i = 0; i < 3; i++) {
        if (stat("plain/file", &plain) != 0 || stat("bound/file", &bound) != 0)
            return -errno;
        r += plain.st_ino != bound.st_ino;
        if (stat("whole/plain", &plain) != 0 || stat("whole/bound", &bound) != 0)
            return -errno;
        r += plain.st_ino == bound.st_ino; /* in `whole` nothing is mounted */
    }
    if (fchdir(fd) != 0 || !getcwd(after, sizeof after) || close(fd) != 0)
        return -errno;
    return r == 0 && strcmp(before, after) == 0 ? 0 : -EIO;
}

static void expect_holds(Agent *agent, const char *path, const char *text)
{
    g_autofree char *argument = g_strdup_printf("%s %s", path, text);

    assert_int_equal(agent_do(agent, task_holds, argument), 0);
}

static int task_write(void *state G_GNUC_UNUSED, const char *path)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    int r = fd >= 0 && write(fd, "new", 3) == 3 ? 0 : -errno;

    if (fd >= 0)
        close(fd);
    return r;
}

/* --- the tests -------------------------------------------------------------------------------- */

static void pass_through(gboolean in_place)
{
    Scene *scene = scene_new(in_place);
    Agent *alice = scene_add_agent(scene);
    Agent *bob = scene_add_agent(scene);

    set_up(scene);
    mount_nested(scene, 0, G_N_ELEMENTS(nested));
    assert_true(scene_mount(scene, "ttl=1h"));
    expect_holds(alice, "one/file", "one");
    expect_holds(alice, "two/file", "two");
    expect_holds(alice, "bound/file", "plain");
    assert_int_equal(agent_do(alice, task_has_distinct_numbers, NULL), 0);
    assert_int_equal(agent_do(alice, task_stays_apart, NULL), 0);
    assert_int_equal(agent_do(alice, task_goes_through_bound_directories, NULL), 0);
    assert_int_equal(agent_do(alice, task_write, "one/file"), 0);
    expect_holds(alice, "one/link", "new");
    expect_holds(bob, "two/file", "two");
    assert_int_equal(agent_do(bob, task_write, "two/file"), -EROFS);
    assert_int_equal(agent_do(alice, task_write, "bound/file"), 0);
    expect_holds(alice, "plain/file", "new");
    assert_true(agent_end(bob));
    tear_down(scene, alice);
}

static void what_is_mounted_below_is_passed_through(void **state G_GNUC_UNUSED)
{
    pass_through(FALSE);
}

static void it_is_so_in_place(void **state G_GNUC_UNUSED)
{
    pass_through(TRUE);
}

static gboolean comes_to_hold(Agent *agent, const char *path, const char *text)
{
    g_autofree char *argument = g_strdup_printf("%s %s", path, text);
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (agent_do(agent, task_holds, argument) != 0) {
        if (g_get_monotonic_time() > limit_us)
            return FALSE;
        g_usleep(10000);
    }
    return TRUE;
}

/* The daemon closes what the kernel closed, but nobody waits for that. */
static gboolean comes_to_be_unmounted(const char *at)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (umount2(at, 0) != 0) {
        if (g_get_monotonic_time() > limit_us)
            return FALSE;
        g_usleep(10000);
    }
    return TRUE;
}

static void what_comes_and_goes_below_is_seen(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    Agent *alice = scene_add_agent(scene);
    g_autofree char *at = below(scene, "one");

    set_up(scene);
    g_mkdir(at, 0755);
    write_file(at, "file", "covered");
    assert_true(scene_mount(scene, "ttl=1h"));
    expect_holds(alice, "one/file", "covered");
    mount_nested(scene, 0, 1);
    assert_true(comes_to_hold(alice, "one/file", "one"));
    assert_true(comes_to_be_unmounted(at)); /* nothing of the mount keeps it busy */
    assert_true(comes_to_hold(alice, "one/file", "covered"));
    tear_down(scene, alice);
}

/* In place it stands on the mount, as it would on any filesystem. */
static void what_is_mounted_onto_the_mount_is_the_kernels(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(TRUE);
    Agent *alice = scene_add_agent(scene);

    set_up(scene);
    assert_true(scene_mount(scene, "ttl=1h"));
    mount_nested(scene, 0, 2);
    expect_holds(alice, "one/file", "one");
    expect_holds(alice, "plain/file", "plain");
    unmount_nested(scene);
    assert_int_equal(agent_do(alice, task_holds, "one/file one"), -ENOENT);
    tear_down(scene, alice);
}

static int task_look(void *state G_GNUC_UNUSED, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? 0 : -errno;
}

static int task_list(void *state G_GNUC_UNUSED, const char *name)
{
    return listed_ino(".", name) != 0 ? 0 : -ENOENT;
}

static void it_is_refused_where_the_mount_says_so(void **state G_GNUC_UNUSED)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        Scene *scene = scene_new(in_place);
        Agent *alice = scene_add_agent(scene);

        set_up(scene);
        mount_nested(scene, 0, G_N_ELEMENTS(nested));
        assert_true(scene_mount(scene, "ttl=1h,nested=refuse"));
        for (guint i = 0; i < G_N_ELEMENTS(nested); i++) {
            assert_int_equal(agent_do(alice, task_list, nested[i]), 0);
            assert_int_equal(agent_do(alice, task_look, nested[i]), -EXDEV);
        }
        assert_int_equal(agent_do(alice, task_look, "one/file"), -EXDEV);
        expect_holds(alice, "plain/file", "plain");
        tear_down(scene, alice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_mounted_below_is_passed_through),
        cmocka_unit_test(it_is_so_in_place),
        cmocka_unit_test(what_comes_and_goes_below_is_seen),
        cmocka_unit_test(what_is_mounted_onto_the_mount_is_the_kernels),
        cmocka_unit_test(it_is_refused_where_the_mount_says_so),
    };

    return cmocka_run_group_tests_name("nested", tests, NULL, NULL);
}

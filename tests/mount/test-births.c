/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When files were born, as statx(2) tells it: the same through the mount as below it.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <cmocka.h>

/* Kernels before 6.6 have no way to ask a FUSE filesystem for it. */
static gboolean kernel_asks_for_birth_times(void)
{
    struct utsname name;
    int major = 0, minor = 0;

    return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 6));
}

static void assert_same_birth(const char *below, const char *above, const char *name)
{
    g_autofree char *below_path = g_build_filename(below, name, NULL);
    g_autofree char *above_path = g_build_filename(above, name, NULL);
    struct statx disk, mount;

    assert_int_equal(statx(AT_FDCWD, below_path, 0, STATX_BTIME, &disk), 0);
    assert_int_equal(statx(AT_FDCWD, above_path, 0, STATX_BTIME, &mount), 0);
    assert_int_equal(mount.stx_mask & STATX_BTIME, disk.stx_mask & STATX_BTIME);
    assert_int_equal(mount.stx_btime.tv_sec, disk.stx_btime.tv_sec);
    assert_int_equal(mount.stx_btime.tv_nsec, disk.stx_btime.tv_nsec);
}

static int task_rename(void *state G_GNUC_UNUSED, const char *names)
{
    g_auto(GStrv) words = g_strsplit(names, " ", 2);

    return rename(words[0], words[1]) == 0 ? 0 : -errno;
}

static int task_mkdir(void *state G_GNUC_UNUSED, const char *name)
{
    return mkdir(name, 0755) == 0 ? 0 : -errno;
}

static void births_are_those_below(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_touch, "f"), 0);
    assert_int_equal(agent_do(alice, task_mkdir, "d"), 0);
    if (kernel_asks_for_birth_times()) {
        assert_same_birth(scene->backing, scene->mountpoint, "");
        assert_same_birth(scene->backing, scene->mountpoint, "f");
        assert_same_birth(scene->backing, scene->mountpoint, "d");
        /* another file under a name whose birth the kernel remembers */
        assert_int_equal(agent_do(alice, task_touch, "g"), 0);
        assert_int_equal(agent_do(alice, task_rename, "g f"), 0);
        assert_same_birth(scene->backing, scene->mountpoint, "f");
    }
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(births_are_those_below),
    };

    return cmocka_run_group_tests_name("births", tests, NULL, NULL);
}

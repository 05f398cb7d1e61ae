/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

/* libfuse refuses a mount where it does not know a word, or was not told one twice. */
static void options_of_fuse_and_mount_8_are_taken(void **state G_GNUC_UNUSED)
{
    static const char *const options[] = {"max_read=4096", "noatime,nodiratime", "atime,diratime",
                                          "nosuid,nodev,noexec,sync,dirsync", "relatime,lazytime"};

    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        Scene *scene = scene_new(FALSE);
        g_autofree char *below = g_build_filename(scene->backing, "f", NULL);
        g_autofree char *path = g_build_filename(scene->mountpoint, "f", NULL);
        g_autofree char *text = NULL;

        assert_true(g_file_set_contents(below, "text", 4, NULL));
        assert_true(scene_mount(scene, options[i]));
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_string_equal(text, "text");
        assert_true(scene_free(scene));
    }
}

static void link_is_not_followed_where_none_shall_be(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    g_autofree char *below = g_build_filename(scene->backing, "f", NULL);
    g_autofree char *link = g_build_filename(scene->backing, "l", NULL);
    g_autofree char *path = g_build_filename(scene->mountpoint, "l", NULL);

    assert_true(g_file_set_contents(below, "text", 4, NULL));
    assert_int_equal(symlink("f", link), 0);
    assert_true(scene_mount(scene, "nosymfollow"));
    assert_false(g_file_get_contents(path, &(char *){NULL}, NULL, NULL));
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_fuse_and_mount_8_are_taken),
        cmocka_unit_test(link_is_not_followed_where_none_shall_be),
    };

    return cmocka_run_group_tests_name("mount-options", tests, NULL, NULL);
}

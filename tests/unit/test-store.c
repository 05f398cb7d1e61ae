/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"
#include "util.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static int set_up(void **state)
{
    g_unsetenv("LEASEFS_STATE_DIR");
    g_unsetenv("XDG_STATE_HOME");
    *state = g_dir_make_tmp("leasefs-state-XXXXXX", NULL);
    return *state != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    static const char *const below[] = {"a/b/sessions", "a/b", "a", "file", "sessions"};

    for (gsize i = 0; i < G_N_ELEMENTS(below); i++) {
        g_autofree char *path = g_build_filename(*state, below[i], NULL);

        g_remove(path);
    }
    g_rmdir(*state);
    g_free(*state);
    return 0;
}

static void assert_default(const char *override, const char *expected)
{
    g_autofree char *path = store_default_directory(override);

    assert_string_equal(path, expected);
}

static void what_is_asked_for_comes_before_the_environment(void **state)
{
    (void)state;
    g_setenv("LEASEFS_STATE_DIR", "/from/env", TRUE);
    g_setenv("XDG_STATE_HOME", "/xdg", TRUE);
    assert_default("/asked/for", "/asked/for");
    assert_default("", "/from/env");
    assert_default(NULL, "/from/env");
}

static void default_is_the_systems_for_root_and_the_homes_for_users(void **state)
{
    g_autofree char *home = g_build_filename(g_get_home_dir(), ".local/state/leasefs", NULL);
    gboolean root = geteuid() == 0;

    (void)state;
    g_setenv("LEASEFS_STATE_DIR", "", TRUE);
    assert_default(NULL, root ? "/var/lib/leasefs" : home);
    g_setenv("XDG_STATE_HOME", "/xdg", TRUE);
    assert_default(NULL, root ? "/var/lib/leasefs" : "/xdg/leasefs");
    g_setenv("XDG_STATE_HOME", "relative", TRUE);
    assert_default(NULL, root ? "/var/lib/leasefs" : home);
}

static void directory_is_made_with_its_parents_for_its_owner_only(void **state)
{
    g_autofree char *path = g_build_filename(*state, "a", "b", NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    autofd fd = store_open_directory(path, NULL);
    autofd again_fd = store_open_directory(path, NULL);
    struct stat st;

    assert_true(fd >= 0);
    assert_true(again_fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(parent, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void assert_directory_refused(const char *path, gint code)
{
    g_autoptr(GError) error = NULL;

    assert_int_equal(store_open_directory(path, &error), -1);
    if (!g_error_matches(error, G_IO_ERROR, code))
        fail_msg("error %d, not %d: %s", error->code, code, error->message);
    assert_non_null(strstr(error->message, path));
    assert_non_null(strstr(error->message, "--state-dir"));
}

static void file_in_the_directorys_place_is_an_error(void **state)
{
    g_autofree char *path = g_build_filename(*state, "file", NULL);
    g_autofree char *below = g_build_filename(path, "below", NULL);

    assert_true(g_file_set_contents(path, "", 0, NULL));
    assert_directory_refused(path, G_IO_ERROR_NOT_DIRECTORY);
    assert_directory_refused(below, G_IO_ERROR_NOT_DIRECTORY);
}

static void directory_that_everyone_may_write_to_is_refused(void **state)
{
    autofd fd = -1;

    assert_int_equal(g_chmod(*state, 0777), 0);
    assert_directory_refused(*state, G_IO_ERROR_PERMISSION_DENIED);
    assert_int_equal(g_chmod(*state, 01777), 0);
    fd = store_open_directory(*state, NULL);
    assert_true(fd >= 0);
}

static void sessions_directory_is_made_for_its_owner_only(void **state)
{
    g_autofree char *path = g_build_filename(*state, "a", "b", NULL);
    autofd state_fd = store_open_directory(path, NULL);
    autofd fd = store_open_sessions_directory(state_fd, NULL);
    autofd again_fd = store_open_sessions_directory(state_fd, NULL);
    struct stat st;

    assert_true(fd >= 0);
    assert_true(again_fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void sessions_directory_is_not_followed_elsewhere(void **state)
{
    g_autofree char *path = g_build_filename(*state, "sessions", NULL);
    autofd state_fd = store_open_directory(*state, NULL);
    g_autoptr(GError) error = NULL;

    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(store_open_sessions_directory(state_fd, &error), -1);
    assert_non_null(error);
    assert_non_null(strstr(error->message, path));
}

static void freeing_no_store_is_fine(void **state)
{
    (void)state;
    store_free(NULL);
}

#define state_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        state_test(what_is_asked_for_comes_before_the_environment),
        state_test(default_is_the_systems_for_root_and_the_homes_for_users),
        state_test(directory_is_made_with_its_parents_for_its_owner_only),
        state_test(file_in_the_directorys_place_is_an_error),
        state_test(directory_that_everyone_may_write_to_is_refused),
        state_test(sessions_directory_is_made_for_its_owner_only),
        state_test(sessions_directory_is_not_followed_elsewhere),
        state_test(freeing_no_store_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

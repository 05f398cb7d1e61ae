/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "record.h"
#include "store-fixture.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void missing_record_loads_as_none(void **state)
{
    gsize size = 7;
    gint64 mtime_ms;

    assert_null(load(*state, &size, &mtime_ms));
    assert_int_equal(size, 0);
}

static void saved_record_loads_with_its_mtime(void **state)
{
    Fixture *fixture = *state;
    const struct timespec times[2] = {{.tv_sec = 1700000000, .tv_nsec = 123456789},
                                      {.tv_sec = 1700000000, .tv_nsec = 123456789}};
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(utimensat(AT_FDCWD, fixture->record_path, times, 0), 0);
    text = load(fixture, &size, &mtime_ms);
    assert_string_equal(text, NEW_TEXT);
    assert_int_equal(size, strlen(NEW_TEXT));
    assert_int_equal(mtime_ms, G_GINT64_CONSTANT(1700000000123));
}

static void saved_record_is_for_its_owner_only(void **state)
{
    Fixture *fixture = *state;
    struct stat st;

    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(stat(fixture->record_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(fixture->lock_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void short_writes_and_reads_make_a_whole_record(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    assert_saves(fixture, OLD_TEXT);
    fault_limit_bytes(3);
    assert_saves(fixture, NEW_TEXT);
    text = load(fixture, &size, &mtime_ms);
    assert_string_equal(text, NEW_TEXT);
}

static void interrupted_writes_and_reads_are_made_again(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    fault_inject(FAULT_WRITE, 1, 2, EINTR);
    assert_saves(fixture, NEW_TEXT);
    fault_inject(FAULT_READ, 1, 2, EINTR);
    text = load(fixture, &size, &mtime_ms);
    assert_string_equal(text, NEW_TEXT);
    fault_inject(FAULT_PWRITE, 1, 2, EINTR);
    note_epoch(fixture, 4);
    fault_inject(FAULT_PREAD, 1, 2, EINTR);
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 4);
}

/* Whichever system call fails, the old record is whole, or the new one is. */
static void save_that_fails_at_any_step_leaves_a_whole_record(void **state)
{
    Fixture *fixture = *state;
    gboolean reached = TRUE;
    guint failed = 0;

    for (guint nth = 1; reached; nth++) {
        g_autoptr(GError) error = NULL;
        gboolean saved;

        fault_reset();
        assert_saves(fixture, OLD_TEXT);
        note_epoch(fixture, nth);
        fault_reset();
        fault_inject(FAULT_ANY, nth, 1, EIO);
        saved = save(fixture, NEW_TEXT, &error);
        reached = fault_count(FAULT_ANY) >= nth;
        assert_int_equal(saved, error == NULL);
        assert_only_record(fixture, saved ? NEW_TEXT : OLD_TEXT);
        assert_int_equal(load_epoch(fixture), nth);
        failed += !saved;
        fault_reset();
        assert_saves(fixture, NEW_TEXT);
        assert_only_record(fixture, NEW_TEXT);
    }
    /* lock, sync, make, write, close, rename */
    assert_true(failed >= 6);
}

static void save_fails_where_no_file_can_be_made(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_OPENAT, 1, 1, EACCES);
    assert_save_fails(*state, G_IO_ERROR_PERMISSION_DENIED);
}

static void save_tries_another_name_where_one_is_taken(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_OPENAT, 1, 2, EEXIST);
    assert_saves(*state, NEW_TEXT);
    assert_only_record(*state, NEW_TEXT);
    fault_reset();
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_OPENAT, 1, 1000, EEXIST);
    assert_save_fails(*state, G_IO_ERROR_EXISTS);
}

static void save_fails_on_a_full_disk(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_WRITE, 1, 1, ENOSPC);
    assert_save_fails(*state, G_IO_ERROR_NO_SPACE);
}

static void save_fails_on_a_disk_that_fills_up_while_it_writes(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_limit_bytes(5);
    fault_inject(FAULT_WRITE, 3, 1, ENOSPC);
    assert_save_fails(*state, G_IO_ERROR_NO_SPACE);
}

static void save_fails_where_close_reports_a_lost_write(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_CLOSE, 1, 1, ENOSPC);
    assert_save_fails(*state, G_IO_ERROR_NO_SPACE);
}

static void save_fails_where_the_new_file_cannot_get_its_name(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_RENAMEAT2, 1, 1, EROFS);
    assert_save_fails(*state, G_IO_ERROR_READ_ONLY);
}

static void load_fails_at_each_step(void **state)
{
    Fixture *fixture = *state;

    put_file(fixture->record_path, OLD_TEXT);
    fault_inject(FAULT_OPENAT, 1, 1, EACCES);
    assert_load_fails(fixture, G_IO_ERROR_PERMISSION_DENIED);
    fault_inject(FAULT_FSTAT, 1, 1, EIO);
    assert_load_fails(fixture, G_IO_ERROR_FAILED);
    fault_limit_bytes(5);
    fault_inject(FAULT_READ, 2, 1, EIO);
    assert_load_fails(fixture, G_IO_ERROR_FAILED);
}

static void only_a_regular_file_is_read(void **state)
{
    Fixture *fixture = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autofd socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(mkfifo(fixture->record_path, 0600), 0);
    assert_load_fails(fixture, G_IO_ERROR_NOT_REGULAR_FILE);
    assert_int_equal(g_remove(fixture->record_path), 0);
    assert_int_equal(symlink("/etc/passwd", fixture->record_path), 0);
    assert_load_fails(fixture, G_IO_ERROR_NOT_REGULAR_FILE);
    assert_int_equal(g_remove(fixture->record_path), 0);
    assert_int_equal(mkdir(fixture->record_path, 0700), 0);
    assert_load_fails(fixture, G_IO_ERROR_NOT_REGULAR_FILE);
    assert_int_equal(g_remove(fixture->record_path), 0);
    g_strlcpy(address.sun_path, fixture->record_path, sizeof(address.sun_path));
    assert_int_equal(bind(socket_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_load_fails(fixture, G_IO_ERROR_NOT_REGULAR_FILE);
}

static void too_large_a_record_is_cut_where_it_can_no_longer_be_understood(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *large = g_strnfill(300000, ' ');
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    LeaseRecord record;
    gsize size;
    gint64 mtime_ms;

    memcpy(large, "{}", 2);
    put_file(fixture->record_path, large);
    text = load(fixture, &size, &mtime_ms);
    assert_int_equal(size, 65537);
    assert_int_equal(strlen(text), size);
    assert_false(lease_record_parse(text, size, &record, &error));
    assert_true(g_error_matches(error, LEASE_RECORD_ERROR, LEASE_RECORD_ERROR_SYNTAX));
}

static gboolean set_aside(Fixture *fixture, char **moved_to_out, GError **error)
{
    return fixture->store->ops->set_aside(fixture->store, moved_to_out, error);
}

static void record_set_aside_keeps_its_content_under_another_name(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *expected =
        g_strconcat(fixture->record_path, ".unreadable-1700000000123", NULL);
    g_autofree char *moved_to = NULL;
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    put_file(fixture->record_path, "garbage");
    fault_set_wall_us(G_GINT64_CONSTANT(1700000000123456));
    text = load(fixture, &size, &mtime_ms);
    assert_true(set_aside(fixture, &moved_to, NULL));
    path = g_build_filename(fixture->directory, moved_to, NULL);
    assert_string_equal(path, expected);
    assert_file(path, "garbage");
    assert_false(g_file_test(fixture->record_path, G_FILE_TEST_EXISTS));
}

static void record_set_aside_replaces_no_earlier_one(void **state)
{
    Fixture *fixture = *state;
    static const int missing_flag[] = {0, EINVAL};

    for (gsize i = 0; i < G_N_ELEMENTS(missing_flag); i++) {
        g_autofree char *first = NULL;
        g_autofree char *second = NULL;

        fault_reset();
        put_file(fixture->record_path, "one");
        assert_true(set_aside(fixture, &first, NULL));
        put_file(fixture->record_path, "two");
        if (missing_flag[i] != 0)
            fault_inject(FAULT_RENAMEAT2, 1, 1, missing_flag[i]);
        assert_true(set_aside(fixture, &second, NULL));
        assert_string_not_equal(first, second);
    }
}

static void file_system_that_cannot_rename_without_replacing_is_served(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *moved_to = NULL;

    put_file(fixture->record_path, "one");
    fault_inject(FAULT_RENAMEAT2, 1, 1, EINVAL);
    assert_true(set_aside(fixture, &moved_to, NULL));
    assert_false(g_file_test(fixture->record_path, G_FILE_TEST_EXISTS));
}

static void assert_set_aside_fails(Fixture *fixture, gint code)
{
    g_autoptr(GError) error = NULL;
    char *moved_to = NULL;

    assert_false(set_aside(fixture, &moved_to, &error));
    if (!g_error_matches(error, G_IO_ERROR, code))
        fail_msg("error %d, not %d: %s", error->code, code, error->message);
    assert_null(moved_to);
}

static void setting_aside_fails_at_each_step(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    assert_set_aside_fails(fixture, G_IO_ERROR_NOT_FOUND);
    put_file(fixture->record_path, "garbage");
    text = load(fixture, &size, &mtime_ms);
    fault_inject(FAULT_FLOCK, 1, 1, ENOLCK);
    assert_set_aside_fails(fixture, G_IO_ERROR_FAILED);
    fault_inject(FAULT_FSTATAT, 2, 1, EIO);
    assert_set_aside_fails(fixture, G_IO_ERROR_FAILED);
    fault_inject(FAULT_RENAMEAT2, 1, 1, EACCES);
    assert_set_aside_fails(fixture, G_IO_ERROR_PERMISSION_DENIED);
    assert_only_record(fixture, "garbage");
}

static void record_written_since_it_was_read_is_not_set_aside(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *text = NULL;
    gsize size;
    gint64 mtime_ms;

    put_file(fixture->record_path, "");
    text = load(fixture, &size, &mtime_ms);
    put_file(fixture->record_path, "good");
    assert_set_aside_fails(fixture, G_IO_ERROR_BUSY);
    assert_only_record(fixture, "good");
}

static void directory_in_the_records_place_can_be_set_aside(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *moved_to = NULL;

    assert_int_equal(mkdir(fixture->record_path, 0700), 0);
    assert_load_fails(fixture, G_IO_ERROR_NOT_REGULAR_FILE);
    assert_true(set_aside(fixture, &moved_to, NULL));
    assert_saves(fixture, NEW_TEXT);
}

static void files_left_by_a_killed_store_are_swept_away(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *left = g_strconcat(fixture->record_path, ".tmp-0123456789abcdef", NULL);
    g_autofree char *aside = g_strconcat(fixture->record_path, ".unreadable-17", NULL);

    put_file(left, "half a rec");
    put_file(aside, "garbage");
    reopen(fixture);
    assert_false(g_file_test(left, G_FILE_TEST_EXISTS));
    assert_true(g_file_test(aside, G_FILE_TEST_EXISTS));
}

static void store_works_by_descriptor_when_its_directory_is_moved(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *moved = g_strconcat(fixture->directory, "-moved", NULL);

    assert_int_equal(rename(fixture->directory, moved), 0);
    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(rename(moved, fixture->directory), 0);
    assert_only_record(fixture, NEW_TEXT);
}

#define store_test(name) cmocka_unit_test_setup_teardown(name, store_set_up, store_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(missing_record_loads_as_none),
        store_test(saved_record_loads_with_its_mtime),
        store_test(saved_record_is_for_its_owner_only),
        store_test(short_writes_and_reads_make_a_whole_record),
        store_test(interrupted_writes_and_reads_are_made_again),
        store_test(save_that_fails_at_any_step_leaves_a_whole_record),
        store_test(save_fails_where_no_file_can_be_made),
        store_test(save_tries_another_name_where_one_is_taken),
        store_test(save_fails_on_a_full_disk),
        store_test(save_fails_on_a_disk_that_fills_up_while_it_writes),
        store_test(save_fails_where_close_reports_a_lost_write),
        store_test(save_fails_where_the_new_file_cannot_get_its_name),
        store_test(load_fails_at_each_step),
        store_test(only_a_regular_file_is_read),
        store_test(too_large_a_record_is_cut_where_it_can_no_longer_be_understood),
        store_test(record_set_aside_keeps_its_content_under_another_name),
        store_test(record_set_aside_replaces_no_earlier_one),
        store_test(file_system_that_cannot_rename_without_replacing_is_served),
        store_test(setting_aside_fails_at_each_step),
        store_test(record_written_since_it_was_read_is_not_set_aside),
        store_test(directory_in_the_records_place_can_be_set_aside),
        store_test(files_left_by_a_killed_store_are_swept_away),
        store_test(store_works_by_descriptor_when_its_directory_is_moved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-fixture.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/file.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void save_fails_where_the_lock_cannot_be_taken(void **state)
{
    assert_saves(*state, OLD_TEXT);
    fault_inject(FAULT_FLOCK, 1, 1, ENOLCK);
    assert_save_fails(*state, G_IO_ERROR_FAILED);
}

static void save_fails_where_the_epoch_cannot_be_synced(void **state)
{
    Fixture *fixture = *state;

    assert_saves(fixture, OLD_TEXT);
    note_epoch(fixture, 3);
    fault_inject(FAULT_FDATASYNC, 1, 1, EIO);
    assert_save_fails(fixture, G_IO_ERROR_FAILED);
}

static void epoch_is_written_again_after_a_failed_sync(void **state)
{
    Fixture *fixture = *state;

    assert_saves(fixture, OLD_TEXT);
    note_epoch(fixture, 3);
    fault_reset();
    fault_inject(FAULT_FDATASYNC, 1, 1, EIO);
    assert_save_fails(fixture, G_IO_ERROR_FAILED);
    assert_int_equal(fault_count(FAULT_PWRITE), 0);
    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(fault_count(FAULT_PWRITE), 1);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 2);
}

static void first_save_fails_where_the_lock_files_name_cannot_be_synced(void **state)
{
    Fixture *fixture = *state;

    put_file(fixture->record_path, OLD_TEXT);
    fault_inject(FAULT_FSYNC, 1, 1, EIO);
    assert_save_fails(fixture, G_IO_ERROR_FAILED);
    assert_saves(fixture, NEW_TEXT);
}

static void save_without_a_new_epoch_syncs_nothing(void **state)
{
    Fixture *fixture = *state;

    note_epoch(fixture, 1);
    assert_saves(fixture, OLD_TEXT);
    fault_reset();
    assert_saves(fixture, NEW_TEXT);
    note_epoch(fixture, 1);
    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(fault_count(FAULT_FDATASYNC), 0);
    assert_int_equal(fault_count(FAULT_FSYNC), 0);
    assert_int_equal(fault_count(FAULT_PWRITE), 0);
}

static void save_is_refused_while_another_program_holds_the_lock(void **state)
{
    Fixture *fixture = *state;
    autofd other_fd = -1;

    assert_saves(fixture, OLD_TEXT);
    other_fd = open(fixture->lock_path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
    assert_save_fails(fixture, G_IO_ERROR_BUSY);
    assert_true(fault_pauses() > 0);
}

static void unlock(gpointer fd)
{
    flock(*(int *)fd, LOCK_UN);
}

static void save_waits_a_moment_for_another_program(void **state)
{
    Fixture *fixture = *state;
    autofd other_fd = open(fixture->lock_path, O_RDWR | O_CLOEXEC);

    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
    fault_on_pause(unlock, &other_fd);
    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(fault_pauses(), 1);
}

static void lock_is_let_go_after_every_save(void **state)
{
    Fixture *fixture = *state;
    autofd other_fd = open(fixture->lock_path, O_RDWR | O_CLOEXEC);

    assert_saves(fixture, OLD_TEXT);
    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(flock(other_fd, LOCK_UN), 0);
    fault_inject(FAULT_WRITE, 1, 1, EIO);
    assert_save_fails(fixture, G_IO_ERROR_FAILED);
    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
}

static void removed_lock_file_is_made_again_with_its_epoch(void **state)
{
    Fixture *fixture = *state;

    note_epoch(fixture, 41);
    assert_int_equal(g_remove(fixture->lock_path), 0);
    note_epoch(fixture, 42);
    assert_false(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
    assert_saves(fixture, NEW_TEXT);
    assert_file(fixture->lock_path, "00000000000000000042\n");
    note_epoch(fixture, 43);
    assert_file(fixture->lock_path, "00000000000000000043\n");
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 43);
}

static void replaced_lock_file_is_the_one_that_is_locked(void **state)
{
    Fixture *fixture = *state;
    autofd other_fd = -1;

    note_epoch(fixture, 5);
    assert_saves(fixture, OLD_TEXT);
    assert_int_equal(g_remove(fixture->lock_path), 0);
    put_file(fixture->lock_path, "17\n");
    other_fd = open(fixture->lock_path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
    assert_save_fails(fixture, G_IO_ERROR_BUSY);
    unlock(&other_fd);
    assert_saves(fixture, NEW_TEXT);
    assert_int_equal(load_epoch(fixture), 17);
    assert_file(fixture->lock_path, "00000000000000000017\n");
}

static void note_fifty(gpointer fixture)
{
    note_epoch(fixture, 50);
}

/* The epoch goes to the old file, in the moment between opening the new one and using it. */
static void epoch_noted_while_the_lock_file_is_replaced_is_kept(void **state)
{
    Fixture *fixture = *state;

    note_epoch(fixture, 49);
    assert_int_equal(g_remove(fixture->lock_path), 0);
    fault_after(FAULT_PREAD, note_fifty, fixture);
    assert_saves(fixture, NEW_TEXT);
    assert_file(fixture->lock_path, "00000000000000000050\n");
}

static void note_sixty(gpointer fixture)
{
    note_epoch(fixture, 60);
}

/* The smaller one is about to be written, and lands last. */
static void epoch_noted_beside_a_write_of_a_smaller_one_is_kept(void **state)
{
    Fixture *fixture = *state;

    fault_before(FAULT_PWRITE, note_sixty, fixture);
    note_epoch(fixture, 59);
    assert_file(fixture->lock_path, "00000000000000000060\n");
}

static void save_fails_where_the_lock_file_cannot_be_made_again(void **state)
{
    static const struct {
        FaultStep step;
        guint nth;
    } faults[] = {{FAULT_OPENAT, 1}, {FAULT_FSTAT, 2},     {FAULT_PREAD, 1}, {FAULT_DUP3, 1},
                  {FAULT_PWRITE, 1}, {FAULT_FDATASYNC, 1}, {FAULT_FSYNC, 1}};
    Fixture *fixture = *state;

    assert_saves(fixture, OLD_TEXT);
    note_epoch(fixture, 8);
    for (gsize i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_remove(fixture->lock_path);
        fault_reset();
        fault_inject(faults[i].step, faults[i].nth, 1, EIO);
        assert_save_fails(fixture, G_IO_ERROR_FAILED);
    }
    assert_saves(fixture, NEW_TEXT);
    assert_file(fixture->lock_path, "00000000000000000008\n");
}

static void remove_file(gpointer path)
{
    g_remove(path);
}

static void lock_file_that_vanishes_once_locked_is_made_again(void **state)
{
    Fixture *fixture = *state;

    fault_after(FAULT_FLOCK, remove_file, fixture->lock_path);
    assert_saves(fixture, NEW_TEXT);
    assert_true(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
}

static void remove_each_time(gpointer path)
{
    g_remove(path);
    fault_after(FAULT_FLOCK, remove_each_time, path);
}

static void lock_file_that_vanishes_each_time_is_given_up(void **state)
{
    Fixture *fixture = *state;

    assert_saves(fixture, OLD_TEXT);
    fault_after(FAULT_FLOCK, remove_each_time, fixture->lock_path);
    assert_save_fails(fixture, G_IO_ERROR_BUSY);
}

static void epoch_survives_and_never_goes_back(void **state)
{
    Fixture *fixture = *state;

    assert_int_equal(load_epoch(fixture), 0);
    note_epoch(fixture, 7);
    note_epoch(fixture, 6);
    assert_int_equal(load_epoch(fixture), 7);
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 7);
    note_epoch(fixture, 3);
    assert_file(fixture->lock_path, "00000000000000000007\n");
}

static void noting_an_epoch_is_one_write_and_no_sync(void **state)
{
    Fixture *fixture = *state;

    fault_reset();
    note_epoch(fixture, 7);
    assert_int_equal(fault_count(FAULT_PWRITE), 1);
    assert_int_equal(fault_count(FAULT_ANY), 1);
}

static void epoch_that_could_not_be_noted_is_written_by_the_next_save(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GError) error = NULL;

    assert_saves(fixture, OLD_TEXT);
    fault_inject(FAULT_PWRITE, 1, 1, ENOSPC);
    assert_false(fixture->store->ops->note_epoch(fixture->store, 9, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE));
    assert_int_equal(load_epoch(fixture), 9);
    assert_saves(fixture, NEW_TEXT);
    assert_file(fixture->lock_path, "00000000000000000009\n");
}

static void epoch_written_in_part_is_an_error(void **state)
{
    Fixture *fixture = *state;
    g_autoptr(GError) error = NULL;

    fault_limit_bytes(4);
    assert_false(fixture->store->ops->note_epoch(fixture->store, 9, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE));
}

static void garbage_in_the_lock_file_counts_as_zero_and_is_logged(void **state)
{
    static const char *const garbage[] = {"what is this, and why is it so long\n",
                                          "-1\n",
                                          " 7\n",
                                          "7",
                                          "\n",
                                          "0x7\n",
                                          "99999999999999999999\n",
                                          "9223372036854775808\n",
                                          "123456789012345678901234\n"};
    Fixture *fixture = *state;

    for (gsize i = 0; i < G_N_ELEMENTS(garbage); i++) {
        put_file(fixture->lock_path, garbage[i]);
        *warnings() = 0;
        reopen(fixture);
        assert_int_equal(load_epoch(fixture), 0);
        assert_int_equal(*warnings(), 1);
    }
    note_epoch(fixture, 12);
    *warnings() = 0;
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 12);
    assert_int_equal(*warnings(), 0);
}

static void empty_lock_file_is_no_garbage(void **state)
{
    Fixture *fixture = *state;

    put_file(fixture->lock_path, "");
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 0);
    assert_int_equal(*warnings(), 0);
}

static void store_is_refused_without_a_usable_lock_file(void **state)
{
    Fixture *fixture = *state;
    static const FaultStep steps[] = {FAULT_OPENAT, FAULT_FSTAT, FAULT_PREAD};

    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autoptr(GError) error = NULL;

        fault_inject(steps[i], 1, 1, EACCES);
        assert_null(open_store(fixture, &error));
        assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED));
        assert_non_null(strstr(error->message, fixture->lock_path));
    }
    g_remove(fixture->lock_path);
    for (gsize i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;

        assert_int_equal(i == 0 ? mkfifo(fixture->lock_path, 0600)
                                : symlink("elsewhere", fixture->lock_path),
                         0);
        assert_null(open_store(fixture, &error));
        assert_int_equal(g_remove(fixture->lock_path), 0);
    }
}

static void lock_file_that_was_never_written_goes_with_the_store(void **state)
{
    Fixture *fixture = *state;

    assert_true(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
    g_clear_pointer(&fixture->store, store_free);
    assert_false(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
}

static void lock_file_with_an_epoch_stays(void **state)
{
    Fixture *fixture = *state;

    note_epoch(fixture, 1);
    g_clear_pointer(&fixture->store, store_free);
    assert_true(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
}

static void lock_file_that_another_program_holds_stays(void **state)
{
    Fixture *fixture = *state;
    autofd other_fd = open(fixture->lock_path, O_RDWR | O_CLOEXEC);

    assert_int_equal(flock(other_fd, LOCK_EX | LOCK_NB), 0);
    g_clear_pointer(&fixture->store, store_free);
    assert_true(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
}

static void lock_file_that_another_program_wrote_to_stays(void **state)
{
    Fixture *fixture = *state;

    put_file(fixture->lock_path, "not an epoch");
    g_clear_pointer(&fixture->store, store_free);
    assert_true(g_file_test(fixture->lock_path, G_FILE_TEST_EXISTS));
}

#define store_test(name) cmocka_unit_test_setup_teardown(name, store_set_up, store_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(save_fails_where_the_lock_cannot_be_taken),
        store_test(save_fails_where_the_epoch_cannot_be_synced),
        store_test(epoch_is_written_again_after_a_failed_sync),
        store_test(first_save_fails_where_the_lock_files_name_cannot_be_synced),
        store_test(save_without_a_new_epoch_syncs_nothing),
        store_test(save_is_refused_while_another_program_holds_the_lock),
        store_test(save_waits_a_moment_for_another_program),
        store_test(lock_is_let_go_after_every_save),
        store_test(removed_lock_file_is_made_again_with_its_epoch),
        store_test(replaced_lock_file_is_the_one_that_is_locked),
        store_test(epoch_noted_while_the_lock_file_is_replaced_is_kept),
        store_test(epoch_noted_beside_a_write_of_a_smaller_one_is_kept),
        store_test(save_fails_where_the_lock_file_cannot_be_made_again),
        store_test(lock_file_that_vanishes_once_locked_is_made_again),
        store_test(lock_file_that_vanishes_each_time_is_given_up),
        store_test(epoch_survives_and_never_goes_back),
        store_test(noting_an_epoch_is_one_write_and_no_sync),
        store_test(epoch_that_could_not_be_noted_is_written_by_the_next_save),
        store_test(epoch_written_in_part_is_an_error),
        store_test(garbage_in_the_lock_file_counts_as_zero_and_is_logged),
        store_test(empty_lock_file_is_no_garbage),
        store_test(store_is_refused_without_a_usable_lock_file),
        store_test(lock_file_that_was_never_written_goes_with_the_store),
        store_test(lock_file_with_an_epoch_stays),
        store_test(lock_file_that_another_program_holds_stays),
        store_test(lock_file_that_another_program_wrote_to_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

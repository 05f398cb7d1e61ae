/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fault-steps.h"
#include "record.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define WORKSPACE "/work/space"
#define OLD_TEXT  "the old record\n"
#define NEW_TEXT  "the new record, which is a good deal longer than the old one\n"

typedef struct Fixture {
    char *directory;
    char *record_path;
    char *lock_path;
    Store *store;
} Fixture;

static guint warnings;

static GLogWriterOutput count_warnings(GLogLevelFlags level, const GLogField *fields,
                                       gsize n_fields, gpointer data)
{
    (void)fields;
    (void)n_fields;
    (void)data;
    if (level & G_LOG_LEVEL_WARNING)
        warnings++;
    return G_LOG_WRITER_HANDLED;
}

static Store *open_store(Fixture *fixture, GError **error)
{
    int dir_fd = open(fixture->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(dir_fd >= 0);
    return store_file_new_with_steps(dir_fd, WORKSPACE, &fault_steps, error);
}

static void reopen(Fixture *fixture)
{
    store_free(fixture->store);
    fixture->store = open_store(fixture, NULL);
    assert_non_null(fixture->store);
}

static int set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);
    g_autofree char *hash = lease_record_workspace_hash(WORKSPACE);

    fault_reset();
    warnings = 0;
    fixture->directory = g_dir_make_tmp("leasefs-store-XXXXXX", NULL);
    fixture->record_path = g_strdup_printf("%s/session-lock-%s.json", fixture->directory, hash);
    fixture->lock_path = g_strdup_printf("%s/session-lock-%s.lock", fixture->directory, hash);
    fixture->store = open_store(fixture, NULL);
    *state = fixture;
    return fixture->store != NULL ? 0 : -1;
}

/* The names there but for the lock file, sorted, one a line. Owned. */
static char *list_files(Fixture *fixture)
{
    g_autoptr(GDir) dir = g_dir_open(fixture->directory, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(name, ".lock"))
            g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_set_free_func(names, g_free);
    g_ptr_array_sort(names, (GCompareFunc)(void (*)(void))g_strcmp0);
    g_ptr_array_add(names, NULL);
    return g_strjoinv("\n", (char **)names->pdata);
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    g_autofree char *listing = list_files(fixture);
    g_auto(GStrv) names = g_strsplit(listing, "\n", -1);

    store_free(fixture->store);
    for (char **name = names; *name != NULL; name++) {
        g_autofree char *path = g_build_filename(fixture->directory, *name, NULL);

        g_remove(path);
    }
    g_remove(fixture->lock_path);
    g_rmdir(fixture->directory);
    g_free(fixture->directory);
    g_free(fixture->record_path);
    g_free(fixture->lock_path);
    g_free(fixture);
    return 0;
}

static void put_file(const char *path, const char *text)
{
    autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static char *get_file(const char *path)
{
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static void assert_file(const char *path, const char *expected)
{
    g_autofree char *text = get_file(path);

    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* The record and no temporary file beside it. */
static void assert_only_record(Fixture *fixture, const char *expected)
{
    g_autofree char *listing = list_files(fixture);
    g_autofree char *name = g_path_get_basename(fixture->record_path);

    assert_string_equal(listing, name);
    assert_file(fixture->record_path, expected);
}

static gboolean save(Fixture *fixture, const char *text, GError **error)
{
    return fixture->store->ops->save(fixture->store, text, error);
}

static void assert_saves(Fixture *fixture, const char *text)
{
    g_autoptr(GError) error = NULL;

    if (!save(fixture, text, &error))
        fail_msg("%s", error->message);
}

static void assert_save_fails(Fixture *fixture, gint code)
{
    g_autoptr(GError) error = NULL;

    assert_false(save(fixture, NEW_TEXT, &error));
    if (!g_error_matches(error, G_IO_ERROR, code))
        fail_msg("error %d, not %d: %s", error->code, code, error->message);
    assert_non_null(strstr(error->message, fixture->directory));
    assert_only_record(fixture, OLD_TEXT);
}

static guint64 load_epoch(Fixture *fixture)
{
    guint64 epoch = 99;

    assert_true(fixture->store->ops->load_epoch(fixture->store, &epoch, NULL));
    return epoch;
}

static void note_epoch(Fixture *fixture, guint64 epoch)
{
    assert_true(fixture->store->ops->note_epoch(fixture->store, epoch, NULL));
}

static void assert_load_fails(Fixture *fixture, gint code)
{
    g_autoptr(GError) error = NULL;
    char *text;
    gsize size;
    gint64 mtime_ms;

    assert_false(fixture->store->ops->load(fixture->store, &text, &size, &mtime_ms, &error));
    if (!g_error_matches(error, G_IO_ERROR, code))
        fail_msg("error %d, not %d: %s", error->code, code, error->message);
    assert_non_null(strstr(error->message, fixture->record_path));
}

static char *load(Fixture *fixture, gsize *size_out, gint64 *mtime_ms_out)
{
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    if (!fixture->store->ops->load(fixture->store, &text, size_out, mtime_ms_out, &error))
        fail_msg("%s", error->message);
    return text;
}

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

static void epoch_noted_beside_a_write_of_a_smaller_one_is_kept(void **state)
{
    Fixture *fixture = *state;

    fault_after(FAULT_PWRITE, note_sixty, fixture);
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
        warnings = 0;
        reopen(fixture);
        assert_int_equal(load_epoch(fixture), 0);
        assert_int_equal(warnings, 1);
    }
    note_epoch(fixture, 12);
    warnings = 0;
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 12);
    assert_int_equal(warnings, 0);
}

static void empty_lock_file_is_no_garbage(void **state)
{
    Fixture *fixture = *state;

    put_file(fixture->lock_path, "");
    reopen(fixture);
    assert_int_equal(load_epoch(fixture), 0);
    assert_int_equal(warnings, 0);
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

#define store_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(missing_record_loads_as_none),
        store_test(saved_record_loads_with_its_mtime),
        store_test(saved_record_is_for_its_owner_only),
        store_test(short_writes_and_reads_make_a_whole_record),
        store_test(interrupted_writes_and_reads_are_made_again),
        store_test(save_that_fails_at_any_step_leaves_a_whole_record),
        store_test(save_fails_where_the_lock_cannot_be_taken),
        store_test(save_fails_where_the_epoch_cannot_be_synced),
        store_test(epoch_is_written_again_after_a_failed_sync),
        store_test(first_save_fails_where_the_lock_files_name_cannot_be_synced),
        store_test(save_fails_where_no_file_can_be_made),
        store_test(save_tries_another_name_where_one_is_taken),
        store_test(save_fails_on_a_full_disk),
        store_test(save_fails_on_a_disk_that_fills_up_while_it_writes),
        store_test(save_fails_where_close_reports_a_lost_write),
        store_test(save_fails_where_the_new_file_cannot_get_its_name),
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

    g_log_set_writer_func(count_warnings, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

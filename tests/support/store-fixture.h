/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A file store on fault steps, in a directory of its own: what the tests of the file store and of
 * its lock file share. Inline, for each of them uses only some of it.
 * Thread safety: none; one test at a time.
 */
#include "fault-steps.h"
#include "record.h"
#include "util.h"

#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>

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

/* How many warnings were logged since the set-up, or since the test put it back to 0. */
static inline guint *warnings(void)
{
    static guint count;

    return &count;
}

static inline GLogWriterOutput count_warnings(GLogLevelFlags level, const GLogField *fields,
                                              gsize n_fields, gpointer data)
{
    (void)fields;
    (void)n_fields;
    (void)data;
    if (level & G_LOG_LEVEL_WARNING)
        *warnings() += 1;
    return G_LOG_WRITER_HANDLED;
}

static inline Store *open_store(Fixture *fixture, GError **error)
{
    int dir_fd = open(fixture->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(dir_fd >= 0);
    return store_file_new_with_steps(dir_fd, WORKSPACE, &fault_steps, error);
}

static inline void reopen(Fixture *fixture)
{
    store_free(fixture->store);
    fixture->store = open_store(fixture, NULL);
    assert_non_null(fixture->store);
}

static inline int store_set_up(void **state)
{
    Fixture *fixture = g_new0(Fixture, 1);
    g_autofree char *hash = lease_record_workspace_hash(WORKSPACE);
    static gboolean counting;

    /* A process may set it once only. */
    if (!counting)
        g_log_set_writer_func(count_warnings, NULL, NULL);
    counting = TRUE;
    fault_reset();
    *warnings() = 0;
    fixture->directory = g_dir_make_tmp("leasefs-store-XXXXXX", NULL);
    fixture->record_path = g_strdup_printf("%s/session-lock-%s.json", fixture->directory, hash);
    fixture->lock_path = g_strdup_printf("%s/session-lock-%s.lock", fixture->directory, hash);
    fixture->store = open_store(fixture, NULL);
    *state = fixture;
    return fixture->store != NULL ? 0 : -1;
}

/* The names there but for the lock file, one a line. Owned. */
static inline char *list_files(Fixture *fixture)
{
    g_autoptr(GDir) dir = g_dir_open(fixture->directory, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        if (!g_str_has_suffix(name, ".lock"))
            g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_add(names, NULL);
    return g_strjoinv("\n", (char **)names->pdata);
}

static inline int store_tear_down(void **state)
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

static inline void put_file(const char *path, const char *text)
{
    autofd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static inline char *get_file(const char *path)
{
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text;
}

static inline void assert_file(const char *path, const char *expected)
{
    g_autofree char *text = get_file(path);

    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* The record and no temporary file beside it. */
static inline void assert_only_record(Fixture *fixture, const char *expected)
{
    g_autofree char *listing = list_files(fixture);
    g_autofree char *name = g_path_get_basename(fixture->record_path);

    assert_string_equal(listing, name);
    assert_file(fixture->record_path, expected);
}

static inline gboolean save(Fixture *fixture, const char *text, GError **error)
{
    return fixture->store->ops->save(fixture->store, text, error);
}

static inline void assert_saves(Fixture *fixture, const char *text)
{
    g_autoptr(GError) error = NULL;

    if (!save(fixture, text, &error))
        fail_msg("%s", error->message);
}

static inline void assert_save_fails(Fixture *fixture, gint code)
{
    g_autoptr(GError) error = NULL;

    assert_false(save(fixture, NEW_TEXT, &error));
    if (!g_error_matches(error, G_IO_ERROR, code))
        fail_msg("error %d, not %d: %s", error->code, code, error->message);
    assert_non_null(strstr(error->message, fixture->directory));
    assert_only_record(fixture, OLD_TEXT);
}

static inline guint64 load_epoch(Fixture *fixture)
{
    guint64 epoch = 99;

    assert_true(fixture->store->ops->load_epoch(fixture->store, &epoch, NULL));
    return epoch;
}

static inline void note_epoch(Fixture *fixture, guint64 epoch)
{
    assert_true(fixture->store->ops->note_epoch(fixture->store, epoch, NULL));
}

static inline void assert_load_fails(Fixture *fixture, gint code)
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

static inline char *load(Fixture *fixture, gsize *size_out, gint64 *mtime_ms_out)
{
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    if (!fixture->store->ops->load(fixture->store, &text, size_out, mtime_ms_out, &error))
        fail_msg("%s", error->message);
    return text;
}

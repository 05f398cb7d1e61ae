/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "io-mode.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void lone_writer_is_direct(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    assert_int_equal(io_mode_take(&modes, O_WRONLY | O_APPEND), IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    assert_int_equal(modes, 0);
}

static void writer_beside_a_reader_is_cached(void **state G_GNUC_UNUSED)
{
    static const int readers[] = {O_RDONLY, O_RDWR};

    for (guint i = 0; i < G_N_ELEMENTS(readers); i++) {
        IoModes modes = 0;

        assert_int_equal(io_mode_take(&modes, readers[i]), IO_CACHED);
        assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_CACHED);
        io_mode_drop(&modes, IO_CACHED);
        assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_CACHED);
        io_mode_drop(&modes, IO_CACHED);
        io_mode_drop(&modes, IO_CACHED);
        assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
    }
}

static void reader_beside_a_direct_writer_is_direct(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_DIRECT_READER);
    assert_int_equal(io_mode_take(&modes, O_RDWR), IO_DIRECT_WRITER);
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_DIRECT_READER); /* the other still writes */
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_CACHED); /* direct readers are in no way */
    io_mode_drop(&modes, IO_DIRECT_READER);
    io_mode_drop(&modes, IO_DIRECT_READER);
    io_mode_drop(&modes, IO_CACHED);
    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER); /* nobody is left */
}

static void pages_are_stored_once_for_a_lone_reader(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_CACHED);
    assert_true(io_mode_begin_store(&modes));
    io_mode_end_store(&modes);
    assert_false(io_mode_begin_store(&modes));
    io_mode_drop(&modes, IO_CACHED);
    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_CACHED);
    assert_false(io_mode_begin_store(&modes));
}

static void nothing_is_stored_beside_another_handle(void **state G_GNUC_UNUSED)
{
    static const int others[] = {O_RDONLY, O_WRONLY, O_RDWR};

    for (guint first = 0; first < 2; first++)
        for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
            IoModes modes = 0;

            io_mode_take(&modes, first ? others[i] : O_RDONLY);
            io_mode_take(&modes, first ? O_RDONLY : others[i]);
            assert_false(io_mode_begin_store(&modes));
        }
}

static void writer_who_has_gone_is_in_no_way_of_a_store(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    io_mode_drop(&modes, io_mode_take(&modes, O_WRONLY));
    io_mode_take(&modes, O_RDONLY);
    assert_true(io_mode_begin_store(&modes));
}

/* A mapping past the cache reads pages nonetheless, and keeps them locked while it does. */
static void nothing_is_stored_beside_a_direct_reader(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_DIRECT_READER);
    io_mode_drop(&modes, IO_DIRECT_WRITER);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_CACHED);
    assert_false(io_mode_begin_store(&modes));
}

/* What it has mapped may be dirty yet. */
static void nothing_is_stored_after_a_mapping_writer(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    io_mode_drop(&modes, io_mode_take(&modes, O_RDWR));
    io_mode_take(&modes, O_RDONLY);
    assert_false(io_mode_begin_store(&modes));
}

static void forbidden_store_does_not_begin(void **state G_GNUC_UNUSED)
{
    IoModes modes = 0;

    io_mode_forbid_store(&modes);
    assert_int_equal(io_mode_take(&modes, O_RDONLY), IO_CACHED);
    assert_false(io_mode_begin_store(&modes));
    io_mode_drop(&modes, IO_CACHED);
    assert_int_equal(io_mode_take(&modes, O_WRONLY), IO_DIRECT_WRITER);
}

typedef struct Waiting {
    IoModes modes;
    _Atomic gboolean done;
} Waiting;

static gpointer take(gpointer data)
{
    Waiting *waiting = data;
    IoMode mode = io_mode_take(&waiting->modes, O_WRONLY);

    atomic_store(&waiting->done, TRUE);
    return GINT_TO_POINTER(mode);
}

static gpointer forbid(gpointer data)
{
    Waiting *waiting = data;

    io_mode_forbid_store(&waiting->modes);
    atomic_store(&waiting->done, TRUE);
    return GINT_TO_POINTER(IO_CACHED);
}

/* The other threads have every opportunity, and no time tells the outcome. */
static void others_wait_for_a_store(void **state G_GNUC_UNUSED)
{
    static const GThreadFunc others[] = {take, forbid};

    for (guint i = 0; i < G_N_ELEMENTS(others); i++) {
        Waiting waiting = {0};
        GThread *thread;

        io_mode_take(&waiting.modes, O_RDONLY);
        assert_true(io_mode_begin_store(&waiting.modes));
        thread = g_thread_new("other", others[i], &waiting);
        for (int n = 0; n < 1000; n++) {
            g_thread_yield();
            assert_false(atomic_load(&waiting.done));
        }
        io_mode_end_store(&waiting.modes);
        assert_int_equal(GPOINTER_TO_INT(g_thread_join(thread)), IO_CACHED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_writer_is_direct),
        cmocka_unit_test(writer_beside_a_reader_is_cached),
        cmocka_unit_test(reader_beside_a_direct_writer_is_direct),
        cmocka_unit_test(pages_are_stored_once_for_a_lone_reader),
        cmocka_unit_test(nothing_is_stored_beside_another_handle),
        cmocka_unit_test(writer_who_has_gone_is_in_no_way_of_a_store),
        cmocka_unit_test(nothing_is_stored_beside_a_direct_reader),
        cmocka_unit_test(nothing_is_stored_after_a_mapping_writer),
        cmocka_unit_test(forbidden_store_does_not_begin),
        cmocka_unit_test(others_wait_for_a_store),
    };

    return cmocka_run_group_tests_name("io-mode", tests, NULL, NULL);
}

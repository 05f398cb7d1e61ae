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
    assert_int_equal(modes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_writer_is_direct),
        cmocka_unit_test(writer_beside_a_reader_is_cached),
        cmocka_unit_test(reader_beside_a_direct_writer_is_direct),
    };

    return cmocka_run_group_tests_name("io-mode", tests, NULL, NULL);
}

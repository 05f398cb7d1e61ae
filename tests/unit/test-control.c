/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define SIZE_MAX_BYTES 4096

static gboolean parse(const char *text, ControlMessage *message)
{
    return control_parse(text, strlen(text), message);
}

static void assert_refused(const char *text, gsize size_bytes)
{
    /* Of its exact size, so that a read past its end is seen. */
    g_autofree char *exact = g_memdup2(text, size_bytes);
    ControlMessage message = {.verb = CONTROL_UNMOUNT, .ttl_ms = 77, .for_ms = 78};

    if (control_parse(exact, size_bytes, &message))
        fail_msg("took \"%.*s\"", (int)size_bytes, text);
    assert_int_equal(message.verb, CONTROL_UNMOUNT);
    assert_int_equal(message.ttl_ms, 77);
    assert_int_equal(message.for_ms, 78);
    assert_null(message.dir);
}

static void every_verb_is_understood(void **state)
{
    static const struct {
        const char *text;
        ControlVerb verb;
    } cases[] = {
        {"acquire", CONTROL_ACQUIRE}, {"wait", CONTROL_WAIT},
        {"unwait", CONTROL_UNWAIT},   {"refresh", CONTROL_REFRESH},
        {"release", CONTROL_RELEASE}, {"inherit", CONTROL_INHERIT},
        {"unmount", CONTROL_UNMOUNT}, {"sessions dir=/s", CONTROL_SESSIONS},
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(ControlMessage) message = {0};

        assert_true(parse(cases[i].text, &message));
        assert_int_equal(message.verb, cases[i].verb);
        assert_int_equal(message.ttl_ms, -1);
        assert_int_equal(message.for_ms, -1);
    }
}

static void keys_are_read_in_any_order(void **state)
{
    g_auto(ControlMessage) message = {0};

    (void)state;
    assert_true(parse("wait for_ms=0 pid=2147483647 ttl_ms=31536000000", &message));
    assert_int_equal(message.pid, G_MAXINT32);
    assert_int_equal(message.ttl_ms, G_GINT64_CONSTANT(31536000000));
    assert_int_equal(message.for_ms, 0);
    assert_null(message.dir);
}

static void directory_runs_to_the_end_of_the_text(void **state)
{
    g_auto(ControlMessage) message = {0};

    (void)state;
    assert_true(parse("sessions dir=/a b/ttl_ms=1 =\xc3\xa9", &message));
    assert_string_equal(message.dir, "/a b/ttl_ms=1 =\xc3\xa9");
}

static void text_without_a_terminator_is_read_by_its_size(void **state)
{
    static const char text[] = {'a', 'c', 'q', 'u', 'i', 'r', 'e', ' ', 't',
                                't', 'l', '_', 'm', 's', '=', '1', '2', '3'};
    g_auto(ControlMessage) message = {0};

    (void)state;
    assert_true(control_parse(text, sizeof text - 1, &message));
    assert_int_equal(message.ttl_ms, 12);
}

static void garbage_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "acquir",
        "acquirea",
        "ACQUIRE",
        " acquire",
        "acquire ",
        "acquire\n",
        "acquire  ttl_ms=1",
        "acquire\tttl_ms=1",
        "acquire ttl_ms",
        "acquire ttl_ms=",
        "acquire ttl_ms=1 ",
        "acquire =1",
        "acquire ttl_ms =1",
        "acquire TTL_MS=1",
        "acquire ttl_ms=0",
        "acquire ttl_ms=-1",
        "acquire ttl_ms=+1",
        "acquire ttl_ms=1s",
        "acquire ttl_ms=0x10",
        "acquire ttl_ms=1.5",
        "acquire ttl_ms=31536000001",
        "acquire ttl_ms=9223372036854775808",
        "acquire ttl_ms=18446744073709551617",
        "acquire ttl_ms=99999999999999999999999999999999",
        "acquire ttl_ms=1 ttl_ms=1",
        "acquire for_ms=1",
        "acquire reason=because",
        "wait for_ms=-1",
        "wait pid=0",
        "wait pid=-1",
        "acquire pid=2147483648",
        "refresh pid=1",
        "release pid=1",
        "wait dir=/x",
        "release ttl_ms=1",
        "unwait for_ms=1",
        "sessions",
        "sessions dir",
        "sessions dir=",
        "sessions dir=relative",
        "sessions /x",
        "sessions ttl_ms=1 dir=/x",
        "unmount dir=/x",
        "acquire ttl_ms=\xff",
        "sessions dir=/\xc3",
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        assert_refused(texts[i], strlen(texts[i]));
}

static void zero_byte_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    assert_refused("acquire\0", 8);
    assert_refused("acquire\0ttl_ms=1", 16);
    assert_refused("\0acquire", 8);
    assert_refused("sessions dir=/x\0", 16);
    assert_refused("acquire ttl_ms=1\0002", 18);
}

static void size_is_limited_to_four_kibibytes(void **state)
{
    static const char start[] = "sessions dir=/";
    g_autofree char *text = g_strnfill(SIZE_MAX_BYTES + 1, 'x');
    g_auto(ControlMessage) message = {0};

    (void)state;
    memcpy(text, start, strlen(start));
    assert_true(control_parse(text, SIZE_MAX_BYTES, &message));
    assert_int_equal(strlen(message.dir), SIZE_MAX_BYTES - strlen("sessions dir="));
    assert_refused(text, SIZE_MAX_BYTES + 1);
}

static void clearing_twice_is_harmless(void **state)
{
    ControlMessage message = {0};

    (void)state;
    assert_true(parse("sessions dir=/x", &message));
    control_message_clear(&message);
    control_message_clear(&message);
    assert_null(message.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_is_understood),
        cmocka_unit_test(keys_are_read_in_any_order),
        cmocka_unit_test(directory_runs_to_the_end_of_the_text),
        cmocka_unit_test(text_without_a_terminator_is_read_by_its_size),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(zero_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(size_is_limited_to_four_kibibytes),
        cmocka_unit_test(clearing_twice_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registration.h"
#include "session-name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void name_is_the_commands_basename_a_dot_and_the_pid(void **state)
{
    g_autofree char *name = session_name_default("/usr/bin/make", 42);

    (void)state;
    assert_string_equal(name, "make.42");
}

static void other_bytes_become_underscores(void **state)
{
    g_autofree char *name = session_name_default("./a b\n\xc3\xa4", 1);

    (void)state;
    assert_string_equal(name, "a_b___.1");
}

static void name_does_not_look_like_an_unnamed_sessions_id(void **state)
{
    g_autofree char *versioned = session_name_default("python3.11", 42);
    g_autofree char *number = session_name_default("7", 42);
    g_autofree char *dot = session_name_default("a.", 42);

    (void)state;
    assert_string_equal(versioned, "python3_11.42");
    assert_string_equal(number, "7.42");
    assert_string_equal(dot, "a..42");
}

static void leading_dot_is_not_kept(void **state)
{
    g_autofree char *name = session_name_default(".hidden", 42);

    (void)state;
    assert_string_equal(name, "_hidden.42");
}

static void whatever_the_command_the_name_can_be_registered(void **state)
{
    g_autofree char *endless = g_strnfill(300, 'x');
    g_autofree char *cut_at_a_number = g_strdup(endless);
    const char *const commands[] = {"",      "/",  ".",  "..",    "...",  "1.2",
                                    "a.1.2", "-x", "a/", endless, "./.1", "\xff\xfe"};

    (void)state;
    memcpy(cut_at_a_number + 54, ".12", 3);
    for (gsize i = 0; i <= G_N_ELEMENTS(commands); i++) {
        const char *command = i < G_N_ELEMENTS(commands) ? commands[i] : cut_at_a_number;
        g_autofree char *name = session_name_default(command, 4194304);

        assert_true(registration_check_name(name, NULL));
        assert_int_not_equal(name[0], '.');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_is_the_commands_basename_a_dot_and_the_pid),
        cmocka_unit_test(other_bytes_become_underscores),
        cmocka_unit_test(name_does_not_look_like_an_unnamed_sessions_id),
        cmocka_unit_test(leading_dot_is_not_kept),
        cmocka_unit_test(whatever_the_command_the_name_can_be_registered),
    };

    return cmocka_run_group_tests_name("session name", tests, NULL, NULL);
}

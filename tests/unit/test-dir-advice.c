/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dir-advice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define LISTER 4711

static void first_listing_has_attributes(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    assert_true(dir_advice_begin(advice, LISTER, 10));
    assert_true(dir_advice_begin(advice, LISTER + 1, 10));
}

static void who_looks_at_nothing_gets_names(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    dir_advice_begin(advice, LISTER, 10);
    for (guint64 directory = 11; directory < 20; directory++) {
        assert_false(dir_advice_begin(advice, LISTER, directory));
        dir_advice_listed_files(advice, LISTER);
    }
}

static void who_looks_at_what_it_lists_gets_attributes(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    dir_advice_begin(advice, LISTER, 10);
    assert_false(dir_advice_begin(advice, LISTER, 11));
    dir_advice_listed_files(advice, LISTER);
    dir_advice_looked_up(advice, LISTER, 11);
    assert_true(dir_advice_begin(advice, LISTER, 12));
    assert_true(dir_advice_begin(advice, LISTER, 13));
}

static void look_into_another_directory_says_nothing(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    dir_advice_begin(advice, LISTER, 10);
    dir_advice_begin(advice, LISTER, 11);
    dir_advice_listed_files(advice, LISTER);
    dir_advice_looked_up(advice, LISTER, 10);
    dir_advice_looked_up(advice, LISTER + 1, 11);
    assert_false(dir_advice_begin(advice, LISTER, 12));
}

/* Directories are looked up to go down, whatever is wanted of the rest. */
static void directory_without_files_decides_nothing(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    dir_advice_begin(advice, LISTER, 10);
    assert_false(dir_advice_begin(advice, LISTER, 11));
    assert_false(dir_advice_begin(advice, LISTER, 12));
    dir_advice_listed_files(advice, LISTER);
    dir_advice_looked_up(advice, LISTER, 12);
    assert_true(dir_advice_begin(advice, LISTER, 13));
}

static void who_begins_to_look_gets_attributes_again(void **state G_GNUC_UNUSED)
{
    g_autoptr(DirAdvice) advice = dir_advice_new();

    dir_advice_begin(advice, LISTER, 10);
    for (guint64 directory = 11; directory < 20; directory++) {
        dir_advice_begin(advice, LISTER, directory);
        dir_advice_listed_files(advice, LISTER);
    }
    dir_advice_looked_up(advice, LISTER, 19);
    dir_advice_looked_up(advice, LISTER, 19);
    assert_true(dir_advice_begin(advice, LISTER, 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_listing_has_attributes),
        cmocka_unit_test(who_looks_at_nothing_gets_names),
        cmocka_unit_test(who_looks_at_what_it_lists_gets_attributes),
        cmocka_unit_test(look_into_another_directory_says_nothing),
        cmocka_unit_test(directory_without_files_decides_nothing),
        cmocka_unit_test(who_begins_to_look_gets_attributes_again),
    };

    return cmocka_run_group_tests_name("dir-advice", tests, NULL, NULL);
}

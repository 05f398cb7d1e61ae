/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"
#include "policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static MountOptions *parse(const char *text)
{
    g_autoptr(MountOptions) options = mount_options_new();
    g_autoptr(GError) error = NULL;

    if (!mount_options_parse(options, text, &error))
        fail_msg("%s: %s", text, error->message);
    return g_steal_pointer(&options);
}

static void assert_refused(const char *text, const char *message)
{
    g_autoptr(MountOptions) options = mount_options_new();
    g_autoptr(GError) error = NULL;

    if (mount_options_parse(options, text, &error))
        fail_msg("took %s", text);
    assert_string_equal(error->message, message);
}

static void assert_list(GStrv list, const char *expected)
{
    g_autofree char *joined = g_strjoinv("|", list);

    assert_string_equal(joined, expected);
}

static void assert_handed_on(const MountOptions *options, const char *expected)
{
    g_autoptr(GString) joined = g_string_new(NULL);

    for (guint i = 0; i < options->fuse->len; i++)
        g_string_append_printf(joined, "%s%s", i > 0 ? "," : "",
                               (const char *)options->fuse->pdata[i]);
    assert_string_equal(joined->str, expected);
}

static void defaults_are_the_documented_ones(void **state)
{
    g_autoptr(MountOptions) options = parse("");

    (void)state;
    assert_int_equal(options->ttl_ms, 300000);
    assert_int_equal(options->mode, GUARD_ENFORCE);
    assert_int_equal(options->cache, CACHE_AUTO);
    assert_false(options->unknown_allowed);
    assert_false(options->refuse_nested);
    assert_null(options->boundary);
    assert_null(options->state_dir);
    assert_true(g_strv_equal((const char *const *)options->passive, policy_default_passive));
    assert_list(options->shared, "");
    assert_false(options->allow_other);
    assert_false(options->read_only);
    assert_handed_on(options, "");
    mount_options_free(NULL);
}

static void every_option_of_ours_is_taken(void **state)
{
    g_autoptr(MountOptions) options =
        parse("ttl=90,mode=observe,cache=never,unknown=allow,nested=refuse,boundary=+foo:bar,"
              "passive=a:b,shared=build:*.log,state_dir=/var/x");

    (void)state;
    assert_int_equal(options->ttl_ms, 90000);
    assert_int_equal(options->mode, GUARD_OBSERVE);
    assert_int_equal(options->cache, CACHE_NEVER);
    assert_true(options->unknown_allowed);
    assert_true(options->refuse_nested);
    assert_string_equal(options->boundary, "+foo:bar");
    assert_list(options->passive, "a|b");
    assert_list(options->shared, "build|*.log");
    assert_string_equal(options->state_dir, "/var/x");
    assert_handed_on(options, "");
}

static void last_of_the_same_option_wins(void **state)
{
    g_autoptr(MountOptions) options = parse("ttl=1s,mode=observe,cache=always,unknown=allow,nested="
                                            "refuse,boundary=a,passive=a,shared=a,"
                                            "state_dir=/a,ro,nosuid,max_read=1");
    g_autoptr(GError) error = NULL;

    (void)state;
    assert_true(mount_options_parse(
        options,
        "ttl=2s,mode=enforce,cache=auto,unknown=deny,nested=pass,boundary=b,passive=b,shared=b,"
        "state_dir=/b,rw,suid,suid,max_read=2",
        &error));
    assert_int_equal(options->ttl_ms, 2000);
    assert_int_equal(options->mode, GUARD_ENFORCE);
    assert_int_equal(options->cache, CACHE_AUTO);
    assert_false(options->unknown_allowed);
    assert_string_equal(options->boundary, "b");
    assert_list(options->passive, "b");
    assert_list(options->shared, "b");
    assert_string_equal(options->state_dir, "/b");
    assert_false(options->read_only);
    assert_handed_on(options, "rw,suid,max_read=2");
}

static void plus_adds_to_the_passive_defaults(void **state)
{
    g_autoptr(MountOptions) options = parse("passive=+*.swp:,shared=+a");

    (void)state;
    assert_list(options->passive, "*/.git/index.lock|*/.git/*/index.lock|*.swp");
    assert_list(options->shared, "a");
}

static void empty_list_is_no_glob(void **state)
{
    g_autoptr(MountOptions) options = parse("passive=,shared=");

    (void)state;
    assert_list(options->passive, "");
    assert_list(options->shared, "");
}

static void comma_can_be_escaped(void **state)
{
    g_autoptr(MountOptions) options = parse("shared=a\\,b:c\\\\d:e\\*f,ro");

    (void)state;
    assert_list(options->shared, "a,b|c\\d|e\\*f");
    assert_true(options->read_only);
}

static void generic_options_are_handed_on(void **state)
{
    g_autoptr(MountOptions) options =
        parse("allow_other,ro,nosuid,nodev,noexec,sync,noatime,dirsync,auto_unmount,max_read=4096");

    (void)state;
    assert_true(options->allow_other);
    assert_true(options->read_only);
    assert_true(options->no_atime);
    assert_handed_on(options, "allow_other,ro,nosuid,nodev,noexec,sync,noatime,dirsync,"
                              "auto_unmount,max_read=4096");
}

static void last_of_opposites_is_handed_on(void **state)
{
    g_autoptr(MountOptions) options =
        parse("noatime,nodiratime,nosymfollow,max_read=1,atime,diratime,symfollow,max_read=08192");

    (void)state;
    assert_false(options->no_atime);
    assert_false(options->no_diratime);
    assert_int_equal(options->max_read_bytes, 8192);
    assert_handed_on(options, "symfollow,max_read=8192");
    assert_true(mount_options_parse(options, "nodiratime,nosymfollow", NULL));
    assert_true(options->no_diratime);
    assert_handed_on(options, "max_read=8192,nosymfollow");
}

static void words_of_fstab_are_dropped(void **state)
{
    g_autoptr(MountOptions) options =
        parse("defaults,auto,noauto,nofail,user,users,_netdev,x-systemd.requires=/a,"
              "x-gvfs-hide,default_permissions,,");

    (void)state;
    assert_handed_on(options, "");
}

static void how_access_times_are_kept_is_left_to_the_filesystem_below(void **state)
{
    g_autoptr(MountOptions) options =
        parse("relatime,norelatime,nostrictatime,diratime,lazytime,nolazytime,"
              "silent,loud,mand,nomand,iversion,noiversion");

    (void)state;
    assert_false(options->no_atime);
    assert_handed_on(options, "");
}

static void refusals_name_the_option_and_what_it_takes(void **state)
{
    (void)state;
    assert_refused("ttl=abc", "option ttl= takes a duration such as 30s or 5m, not \"abc\"");
    assert_refused("ttl", "option ttl= takes a duration such as 30s or 5m");
    assert_refused("ttl=", "option ttl= takes a duration such as 30s or 5m");
    assert_refused("ttl=0",
                   "option ttl= takes a duration of more than 0 and at most 365 days, not \"0\"");
    assert_refused("ttl=9999h", "option ttl= takes a duration of more than 0 and at most 365 days, "
                                "not \"9999h\"");
    assert_refused("mode=off", "option mode= takes enforce or observe, not \"off\"");
    assert_refused("cache=x", "option cache= takes auto, always or never, not \"x\"");
    assert_refused("unknown", "option unknown= takes deny or allow");
    assert_refused("nested=x", "option nested= takes pass or refuse, not \"x\"");
    assert_refused("boundary", "option boundary= takes process names separated by ':'");
    assert_refused("passive", "option passive= takes globs separated by ':'");
    assert_refused("shared", "option shared= takes globs separated by ':'");
    assert_refused("state_dir=a/b",
                   "option state_dir= takes a directory's path from the root, not \"a/b\"");
    assert_refused("max_read=-1",
                   "option max_read= takes a number of bytes such as 131072, not \"-1\"");
    assert_refused("ro=1", "option ro takes no value");
    assert_refused("allow_other=yes", "option allow_other takes no value");
    assert_refused("nofail=", "option nofail takes no value");
    assert_refused("fsname=x", "option fsname= cannot be set: other commands find the mount by it");
    assert_refused("strictatime", "option strictatime cannot be kept: access times are set by the "
                                  "filesystem below, which is to be mounted with it");
    assert_refused("nodiratime=1", "option nodiratime takes no value");
    assert_refused("allow_root",
                   "option allow_root is not supported; allow_other lets root in, too");
    assert_refused("ro,foo,rw", "unknown mount option \"foo\"; see leasefs mount --help");
    assert_refused("foo=1", "unknown mount option \"foo\"; see leasefs mount --help");
    assert_refused("=1", "unknown mount option \"\"; see leasefs mount --help");
    assert_refused("ro ", "unknown mount option \"ro \"; see leasefs mount --help");
}

static void durations_are_read_in_their_units(void **state)
{
    static const struct {
        const char *text;
        gint64 ms;
    } cases[] = {
        {"500ms", 500},
        {"1ms", 1},
        {"30s", 30000},
        {"30", 30000},
        {"5m", 300000},
        {"12h", 43200000},
        {"007s", 7000},
        {"8760h", G_GINT64_CONSTANT(31536000000)},
        {"31536000000ms", G_GINT64_CONSTANT(31536000000)},
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_int_equal(duration_parse_ms(cases[i].text, NULL), cases[i].ms);
}

static void no_durations_are_refused(void **state)
{
    static const char *const invalid[] = {"",    "s",   "abc",  "-1s", "+1s", "1.5s",  " 1s",
                                          "1s ", "1 s", "1sec", "1d",  "1S",  "1m30s", "0x1s"};
    static const char *const outside[] = {"0",
                                          "0ms",
                                          "8761h",
                                          "31536000001ms",
                                          "18446744073709551616s",
                                          "99999999999999999999999999h"};

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(invalid); i++) {
        g_autoptr(GError) error = NULL;

        assert_int_equal(duration_parse_ms(invalid[i], &error), -1);
        assert_true(g_error_matches(error, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_INVALID));
    }
    for (gsize i = 0; i < G_N_ELEMENTS(outside); i++) {
        g_autoptr(GError) error = NULL;

        assert_int_equal(duration_parse_ms(outside[i], &error), -1);
        assert_true(
            g_error_matches(error, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_OUT_OF_BOUNDS));
    }
}

static void durations_are_written_for_people(void **state)
{
    static const struct {
        gint64 ms;
        const char *text;
    } cases[] = {
        {G_MININT64, "0s"},  {-1, "0s"},           {0, "0s"},
        {1, "1ms"},          {999, "999ms"},       {1000, "1s"},
        {45999, "45s"},      {60000, "1m00s"},     {125000, "2m05s"},
        {3599999, "59m59s"}, {3720000, "1h02m"},   {86399999, "23h59m"},
        {86400000, "1d00h"}, {273600000, "3d04h"}, {G_MAXINT64, "106751991167d07h"},
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = duration_format(cases[i].ms);

        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(every_option_of_ours_is_taken),
        cmocka_unit_test(last_of_the_same_option_wins),
        cmocka_unit_test(plus_adds_to_the_passive_defaults),
        cmocka_unit_test(empty_list_is_no_glob),
        cmocka_unit_test(comma_can_be_escaped),
        cmocka_unit_test(generic_options_are_handed_on),
        cmocka_unit_test(last_of_opposites_is_handed_on),
        cmocka_unit_test(words_of_fstab_are_dropped),
        cmocka_unit_test(how_access_times_are_kept_is_left_to_the_filesystem_below),
        cmocka_unit_test(refusals_name_the_option_and_what_it_takes),
        cmocka_unit_test(durations_are_read_in_their_units),
        cmocka_unit_test(no_durations_are_refused),
        cmocka_unit_test(durations_are_written_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

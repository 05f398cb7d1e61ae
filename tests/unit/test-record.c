/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-text.h"
#include "record.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SHARED                                                                                     \
    "\"schema_version\":1,\"session_id\":\"agent\",\"pid\":42,\"acquired_at\":1700000000123,"      \
    "\"ttl_ms\":300000"
#define OWN                                                                                        \
    "\"epoch\":7,\"since\":1700000000000,\"pid_start\":9876,\"pid_ns\":4026531836,"                \
    "\"boot_id\":\"boot\",\"host\":\"box\",\"comm\":\"bash\",\"workspace\":\"/w\",\"mono_ns\":55"

static void assert_parses(const char *text, LeaseRecord *record_out)
{
    g_autoptr(GError) error = NULL;

    if (!lease_record_parse(text, strlen(text), record_out, &error))
        fail_msg("%s: %s", text, error->message);
}

static void assert_refused_bytes(const char *text, gsize size_bytes, LeaseRecordError code)
{
    g_autoptr(GError) error = NULL;
    LeaseRecord record;

    memset(&record, 0x5a, sizeof(record));
    if (lease_record_parse(text, size_bytes, &record, &error))
        fail_msg("accepted: %s", text);
    if (!g_error_matches(error, LEASE_RECORD_ERROR, (gint)code))
        fail_msg("%s: error %d, not %d: %s", text, error->code, (int)code, error->message);
    for (gsize i = 0; i < sizeof(record); i++)
        assert_int_equal(((const guchar *)&record)[i], 0x5a);
}

static void assert_refused(const char *text, LeaseRecordError code)
{
    assert_refused_bytes(text, strlen(text), code);
}

static void record_of_another_tool_is_read(void **state)
{
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses("{" SHARED "}", &record);
    assert_string_equal(record.session_id, "agent");
    assert_int_equal(record.pid, 42);
    assert_int_equal(record.acquired_at_ms, G_GINT64_CONSTANT(1700000000123));
    assert_int_equal(record.ttl_ms, 300000);
    assert_false(record.is_own);
    assert_null(record.boot_id);
    assert_false(lease_record_is_free(&record));
}

static void own_record_is_read_whole(void **state)
{
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses("{" SHARED "," OWN "}\n", &record);
    assert_true(record.is_own);
    assert_int_equal(record.epoch, 7);
    assert_int_equal(record.since_ms, G_GINT64_CONSTANT(1700000000000));
    assert_int_equal(record.pid_start, 9876);
    assert_int_equal(record.pid_ns, G_GUINT64_CONSTANT(4026531836));
    assert_string_equal(record.boot_id, "boot");
    assert_string_equal(record.host, "box");
    assert_string_equal(record.comm, "bash");
    assert_string_equal(record.workspace, "/w");
    assert_int_equal(record.mono_ns, 55);
}

/* Each own member in turn is renamed, and then given a type that none of them has. */
static void record_with_any_own_member_missing_or_mistyped_is_foreign(void **state)
{
    static const char *const names[] = {"epoch", "since", "pid_start", "pid_ns", "boot_id",
                                        "host",  "comm",  "workspace", "mono_ns"};

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *member = g_strdup_printf("\"%s\":", names[i]);
        g_autofree char *renamed = g_strdup_printf("\"other_%s\":", names[i]);
        g_autofree char *mistyped =
            g_strdup_printf("\"%s\":true,\"other_%s\":", names[i], names[i]);
        const char *const replacements[] = {renamed, mistyped};

        for (gsize j = 0; j < G_N_ELEMENTS(replacements); j++) {
            g_autoptr(GString) text = g_string_new("{" SHARED "," OWN "}");
            g_auto(LeaseRecord) record = {0};

            assert_int_equal(g_string_replace(text, member, replacements[j], 0), 1);
            assert_parses(text->str, &record);
            assert_false(record.is_own);
            assert_int_equal(record.epoch, 0);
            assert_int_equal(record.mono_ns, 0);
            assert_null(record.workspace);
            assert_int_equal(record.pid, 42);
        }
    }
}

static void negative_own_number_makes_a_record_foreign(void **state)
{
    g_auto(LeaseRecord) record = {0};
    g_autoptr(GString) text = g_string_new("{" SHARED "," OWN "}");

    (void)state;
    g_string_replace(text, "\"epoch\":7", "\"epoch\":-7", 1);
    assert_parses(text->str, &record);
    assert_false(record.is_own);
}

static void unknown_members_are_ignored(void **state)
{
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses(" { \"tool\" : {\"name\":[\"x\",1.5,null,{}]},\t" SHARED ",\"\":false}\r\n",
                  &record);
    assert_string_equal(record.session_id, "agent");
}

static void missing_or_null_ttl_reads_as_minus_one(void **state)
{
    g_auto(LeaseRecord) missing = {0};
    g_auto(LeaseRecord) null = {0};

    (void)state;
    assert_parses("{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5}", &missing);
    assert_int_equal(missing.ttl_ms, -1);
    assert_parses("{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"ttl_ms\":null}",
                  &null);
    assert_int_equal(null.ttl_ms, -1);
}

static void missing_or_null_pid_reads_as_zero(void **state)
{
    g_auto(LeaseRecord) missing = {0};
    g_auto(LeaseRecord) null = {0};

    (void)state;
    assert_parses("{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5}", &missing);
    assert_int_equal(missing.pid, 0);
    assert_parses("{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"pid\":null}",
                  &null);
    assert_int_equal(null.pid, 0);
}

static void integral_doubles_count_as_integers(void **state)
{
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses("{\"schema_version\":1.0,\"session_id\":\"a\",\"acquired_at\":1.7e12,"
                  "\"pid\":4.2E+1,\"ttl_ms\":60000.000}",
                  &record);
    assert_int_equal(record.acquired_at_ms, G_GINT64_CONSTANT(1700000000000));
    assert_int_equal(record.pid, 42);
    assert_int_equal(record.ttl_ms, 60000);
}

static void released_record_is_free(void **state)
{
    g_auto(LeaseRecord) record = {0};
    LeaseRecord none = {0};

    (void)state;
    assert_parses("{\"schema_version\":1,\"session_id\":\"\",\"acquired_at\":0,\"ttl_ms\":0}",
                  &record);
    assert_true(lease_record_is_free(&record));
    assert_int_equal(record.ttl_ms, 0);
    assert_true(lease_record_is_free(&none));
}

static void other_schema_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"schema_version\":2,\"session_id\":\"a\",\"acquired_at\":5}",
                   LEASE_RECORD_ERROR_SCHEMA);
    assert_refused("{\"schema_version\":0,\"session_id\":\"a\",\"acquired_at\":5}",
                   LEASE_RECORD_ERROR_SCHEMA);
    assert_refused("{\"schema_version\":-1}", LEASE_RECORD_ERROR_SCHEMA);
}

static void missing_mistyped_and_outlying_fields_are_refused(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":\"1\",\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":true,\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":1.5,\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":null,\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":[1],\"session_id\":\"a\",\"acquired_at\":5}",
        "{\"schema_version\":1,\"acquired_at\":5}",
        "{\"schema_version\":1,\"session_id\":null,\"acquired_at\":5}",
        "{\"schema_version\":1,\"session_id\":7,\"acquired_at\":5}",
        "{\"schema_version\":1,\"session_id\":{},\"acquired_at\":5}",
        "{\"schema_version\":1,\"session_id\":\"a\"}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":null}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":-1}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":\"5\"}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5.5}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":1e300}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":1e999}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"pid\":-1}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"pid\":2147483648}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"pid\":\"42\"}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"pid\":4.5}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"ttl_ms\":-1}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"ttl_ms\":4611686018428}",
        "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":5,\"ttl_ms\":\"1s\"}",
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        assert_refused(texts[i], LEASE_RECORD_ERROR_FIELD);
}

static void error_names_the_member(void **state)
{
    g_autoptr(GError) error = NULL;
    LeaseRecord record;
    const char *text = "{\"schema_version\":1,\"session_id\":\"a\",\"acquired_at\":\"x\"}";

    (void)state;
    assert_false(lease_record_parse(text, strlen(text), &record, &error));
    assert_non_null(strstr(error->message, "acquired_at"));
}

static void largest_usable_values_are_read(void **state)
{
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses("{\"schema_version\":1,\"session_id\":\"a\",\"pid\":2147483647,"
                  "\"acquired_at\":9223372036854775807,\"ttl_ms\":4611686018427}",
                  &record);
    assert_int_equal(record.pid, G_MAXINT32);
    assert_int_equal(record.acquired_at_ms, G_MAXINT64);
    assert_int_equal(record.ttl_ms, G_GINT64_CONSTANT(4611686018427));
}

static void text_that_is_not_one_json_object_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " \n",
        "null",
        "[]",
        "\"{}\"",
        "[{" SHARED "}]",
        "{" SHARED,
        "{" SHARED ",",
        "{" SHARED ",}",
        "{" SHARED ",\"x\":\"",
        "{" SHARED ",\"x\":\"\\",
        "{" SHARED ",\"x\":\"\\u00",
        "{" SHARED ",\"x\":-",
        "{" SHARED ",\"x\":1.",
        "{" SHARED ",\"x\":1e",
        "{" SHARED ",\"x\":1e+}",
        "{" SHARED ",\"x\":tru}",
        "{" SHARED ",\"x\":True}",
        "{" SHARED ",\"x\":NaN}",
        "{" SHARED ",\"x\":012}",
        "{" SHARED ",\"x\":0x10}",
        "{" SHARED ",\"x\":+1}",
        "{" SHARED ",\"x\":.5}",
        "{" SHARED ",\"x\":--1}",
        "{" SHARED ",\"x\":1-2}",
        "{" SHARED ",\"x\":1,,\"y\":2}",
        "{" SHARED ",\"x\" 1}",
        "{" SHARED ",x:1}",
        "{" SHARED ",'x':1}",
        "{" SHARED ",1:1}",
        "{" SHARED "]",
        "{" SHARED ",\"x\":[1}",
        "{" SHARED ",\"x\":[1 2]}",
        "{" SHARED "}}",
        "{" SHARED "}{" SHARED "}",
        "{" SHARED "};",
        "{" SHARED "}x",
        "var x = {" SHARED "}",
        "{" SHARED "} // why not",
        "{" SHARED "} # why not",
        "/* \" */{" SHARED "}",
        "{" SHARED ",\"x\":\"\\q\"}",
        "{" SHARED ",\"x\":\"tab\there\"}",
        "{" SHARED ",\"x\":\"line\nhere\"}",
        "\xef\xbb\xbf{" SHARED "}",
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        assert_refused(texts[i], LEASE_RECORD_ERROR_SYNTAX);
}

static void every_torn_beginning_is_refused(void **state)
{
    const char *text = "{" SHARED "," OWN "}";

    (void)state;
    for (gsize size = 0; size < strlen(text); size++)
        assert_refused_bytes(text, size, LEASE_RECORD_ERROR_SYNTAX);
}

static void duplicate_members_are_refused(void **state)
{
    (void)state;
    assert_refused("{" SHARED ",\"pid\":43}", LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{" SHARED ",\"\\u0070id\":43}", LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{" SHARED ",\"x\":{\"a\":1,\"a\":1}}", LEASE_RECORD_ERROR_SYNTAX);
}

static void binary_and_broken_utf8_are_refused(void **state)
{
    static const char nul[] = "{" SHARED "}\0";
    static const char nul_inside[] =
        "{\"schema_version\":1,\"session_id\":\"\0\",\"acquired_at\":1}";
    static const char binary[] = "\x7f"
                                 "ELF\x02\x01\x01\0\0\0";

    (void)state;
    assert_refused_bytes(nul, sizeof(nul) - 1, LEASE_RECORD_ERROR_SYNTAX);
    assert_refused_bytes(nul_inside, sizeof(nul_inside) - 1, LEASE_RECORD_ERROR_SYNTAX);
    assert_refused_bytes(binary, sizeof(binary) - 1, LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{\"schema_version\":1,\"session_id\":\"\xff\",\"acquired_at\":1}",
                   LEASE_RECORD_ERROR_SYNTAX);
}

/* Read as a C string it would be "", which is a released lease. */
static void escaped_nul_does_not_pass_for_a_free_lease(void **state)
{
    (void)state;
    assert_refused("{\"schema_version\":1,\"session_id\":\"\\u0000x\",\"acquired_at\":1}",
                   LEASE_RECORD_ERROR_SYNTAX);
}

static void lone_surrogate_is_refused_and_a_pair_is_read(void **state)
{
    g_auto(LeaseRecord) record = {0};
    g_autoptr(GError) error = NULL;
    LeaseRecord none;
    const char *lone = "{\"schema_version\":1,\"session_id\":\"\\ud800\",\"acquired_at\":1}";

    (void)state;
    assert_false(lease_record_parse(lone, strlen(lone), &none, &error));
    assert_parses("{\"schema_version\":1,\"session_id\":\"\\ud83d\\ude00\",\"acquired_at\":1}",
                  &record);
    assert_string_equal(record.session_id, "\xf0\x9f\x98\x80");
}

/* json-glib would wrap the first to -1 and the last to a positive number. */
static void integers_beyond_64_bits_are_refused(void **state)
{
    (void)state;
    assert_refused("{" SHARED ",\"x\":18446744073709551615}", LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{" SHARED ",\"x\":9223372036854775808}", LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{" SHARED ",\"x\":99999999999999999999999}", LEASE_RECORD_ERROR_SYNTAX);
    assert_refused("{" SHARED ",\"x\":-18446744073709551614}", LEASE_RECORD_ERROR_SYNTAX);
}

static char *nested(guint depth, const char *open, const char *close)
{
    GString *text = g_string_new("{" SHARED ",\"x\":");

    for (guint i = 0; i < depth; i++)
        g_string_append(text, open);
    g_string_append(text, "1");
    for (guint i = 0; i < depth; i++)
        g_string_append(text, close);
    g_string_append_c(text, '}');
    return g_string_free(text, FALSE);
}

static void deep_nesting_is_refused_without_recursing(void **state)
{
    g_autofree char *deepest = nested(JSON_TEXT_MAX_DEPTH - 1, "[", "]");
    g_autofree char *deeper = nested(JSON_TEXT_MAX_DEPTH, "[", "]");
    g_autofree char *arrays = nested(30000, "[", "]");
    g_autofree char *objects = nested(10000, "{\"x\":", "}");
    g_auto(LeaseRecord) record = {0};

    (void)state;
    assert_parses(deepest, &record);
    assert_refused(deeper, LEASE_RECORD_ERROR_SYNTAX);
    assert_refused(arrays, LEASE_RECORD_ERROR_SYNTAX);
    assert_refused(objects, LEASE_RECORD_ERROR_SYNTAX);
}

static void brackets_inside_strings_do_not_nest(void **state)
{
    g_autoptr(GString) text = g_string_new("{" SHARED ",\"x\":\"\\\"");
    g_auto(LeaseRecord) record = {0};

    (void)state;
    for (guint i = 0; i < 1000; i++)
        g_string_append(text, "[{");
    g_string_append(text, "\\\\\"}");
    assert_parses(text->str, &record);
}

static void record_of_64_kib_is_read_and_a_larger_one_refused(void **state)
{
    g_autofree char *text = g_malloc(JSON_TEXT_MAX_BYTES + 1);
    const char *body = "{" SHARED "}";
    g_auto(LeaseRecord) record = {0};

    (void)state;
    memset(text, ' ', JSON_TEXT_MAX_BYTES + 1);
    memcpy(text, body, strlen(body));
    assert_true(lease_record_parse(text, JSON_TEXT_MAX_BYTES, &record, NULL));
    assert_refused_bytes(text, JSON_TEXT_MAX_BYTES + 1, LEASE_RECORD_ERROR_SYNTAX);
}

static LeaseRecord sample_record(void)
{
    return (LeaseRecord){
        .session_id = g_strdup("agent \"one\"\n\x01\xc3\xa4"),
        .pid = 42,
        .acquired_at_ms = G_GINT64_CONSTANT(1700000000123),
        .ttl_ms = 300000,
        .is_own = TRUE,
        .epoch = G_MAXINT64,
        .since_ms = 17,
        .pid_start = 123456789,
        .pid_ns = G_GUINT64_CONSTANT(4026531836),
        .boot_id = g_strdup("0f0e"),
        .host = g_strdup("box"),
        .comm = g_strdup("a/b\\c"),
        .workspace = g_strdup("/work/\x7f/\xf0\x9f\x98\x80"),
        .mono_ns = G_GINT64_CONSTANT(1) << 62,
    };
}

static void formatted_record_reads_back_the_same(void **state)
{
    g_auto(LeaseRecord) record = sample_record();
    g_auto(LeaseRecord) back = {0};
    g_autofree char *text = lease_record_format(&record);
    g_autofree char *again = NULL;

    (void)state;
    assert_parses(text, &back);
    assert_true(back.is_own);
    assert_string_equal(back.session_id, record.session_id);
    assert_int_equal(back.pid, record.pid);
    assert_int_equal(back.acquired_at_ms, record.acquired_at_ms);
    assert_int_equal(back.ttl_ms, record.ttl_ms);
    assert_int_equal(back.epoch, record.epoch);
    assert_int_equal(back.since_ms, record.since_ms);
    assert_int_equal(back.pid_start, record.pid_start);
    assert_int_equal(back.pid_ns, record.pid_ns);
    assert_string_equal(back.boot_id, record.boot_id);
    assert_string_equal(back.host, record.host);
    assert_string_equal(back.comm, record.comm);
    assert_string_equal(back.workspace, record.workspace);
    assert_int_equal(back.mono_ns, record.mono_ns);
    again = lease_record_format(&back);
    assert_string_equal(text, again);
}

static void formatted_record_is_one_line(void **state)
{
    g_auto(LeaseRecord) record = sample_record();
    g_autofree char *text = lease_record_format(&record);

    (void)state;
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_true(g_str_has_prefix(text, "{\"schema_version\":1,"));
}

static void foreign_record_is_formatted_without_own_members(void **state)
{
    LeaseRecord record = {.acquired_at_ms = 5, .ttl_ms = -1};
    g_autofree char *text = lease_record_format(&record);

    (void)state;
    assert_string_equal(text,
                        "{\"schema_version\":1,\"session_id\":\"\",\"pid\":0,\"acquired_at\":5}\n");
}

/* A comm is cut by bytes, and a path is any bytes. */
static void bytes_that_are_not_utf8_are_formatted_readable(void **state)
{
    g_auto(LeaseRecord) record = sample_record();
    g_auto(LeaseRecord) back = {0};
    g_autofree char *text = NULL;

    (void)state;
    g_free(record.comm);
    record.comm = g_strdup("abcdefghijklmn\xc3");
    g_free(record.workspace);
    record.workspace = g_strdup("/work/\xff\xfe");
    text = lease_record_format(&record);
    assert_parses(text, &back);
    assert_true(back.is_own);
    assert_true(g_str_has_prefix(back.comm, "abcdefghijklmn"));
}

static void workspace_hash_is_twelve_digits_of_the_md5(void **state)
{
    g_autofree char *hash = lease_record_workspace_hash("/home/user/project");

    (void)state;
    assert_string_equal(hash, "90722f263800");
}

static void clearing_takes_null_and_twice(void **state)
{
    LeaseRecord record = sample_record();

    (void)state;
    lease_record_clear(NULL);
    lease_record_clear(&record);
    lease_record_clear(&record);
    assert_null(record.session_id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_of_another_tool_is_read),
        cmocka_unit_test(own_record_is_read_whole),
        cmocka_unit_test(record_with_any_own_member_missing_or_mistyped_is_foreign),
        cmocka_unit_test(negative_own_number_makes_a_record_foreign),
        cmocka_unit_test(unknown_members_are_ignored),
        cmocka_unit_test(missing_or_null_ttl_reads_as_minus_one),
        cmocka_unit_test(missing_or_null_pid_reads_as_zero),
        cmocka_unit_test(integral_doubles_count_as_integers),
        cmocka_unit_test(released_record_is_free),
        cmocka_unit_test(other_schema_is_refused),
        cmocka_unit_test(missing_mistyped_and_outlying_fields_are_refused),
        cmocka_unit_test(error_names_the_member),
        cmocka_unit_test(largest_usable_values_are_read),
        cmocka_unit_test(text_that_is_not_one_json_object_is_refused),
        cmocka_unit_test(every_torn_beginning_is_refused),
        cmocka_unit_test(duplicate_members_are_refused),
        cmocka_unit_test(binary_and_broken_utf8_are_refused),
        cmocka_unit_test(escaped_nul_does_not_pass_for_a_free_lease),
        cmocka_unit_test(lone_surrogate_is_refused_and_a_pair_is_read),
        cmocka_unit_test(integers_beyond_64_bits_are_refused),
        cmocka_unit_test(deep_nesting_is_refused_without_recursing),
        cmocka_unit_test(brackets_inside_strings_do_not_nest),
        cmocka_unit_test(record_of_64_kib_is_read_and_a_larger_one_refused),
        cmocka_unit_test(formatted_record_reads_back_the_same),
        cmocka_unit_test(formatted_record_is_one_line),
        cmocka_unit_test(foreign_record_is_formatted_without_own_members),
        cmocka_unit_test(bytes_that_are_not_utf8_are_formatted_readable),
        cmocka_unit_test(workspace_hash_is_twelve_digits_of_the_md5),
        cmocka_unit_test(clearing_takes_null_and_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "status-text.h"

#include <gio/gio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define NOW_MS G_GINT64_CONSTANT(1700000000000) /* 2023-11-14 22:13:20 UTC */

#define MOUNT "\"workspace\":\"/w\",\"mountpoint\":\"/w\",\"in_place\":true,\"daemon_pid\":9,"
#define HELD                                                                                       \
    "\"state\":\"fresh\",\"holder\":\"agent\",\"holder_pid\":41,\"holder_comm\":\"node\","         \
    "\"epoch\":7,\"ttl_ms\":300000,\"since_ms\":1699999900000,\"remaining_ms\":125000,"
#define ASKER                                                                                      \
    "\"session\":\"bash.12.34\",\"session_rule\":\"terminal\",\"session_root_pid\":12,"            \
    "\"session_root_comm\":\"bash\","
#define BLOCKED                                                                                    \
    "\"writable\":false,\"reason\":\"held by agent (pid 41, node) for 2m05s more; wait, or work "  \
    "read-only\""

static MountStatus *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    MountStatus *status = mount_status_parse(text, strlen(text), &error);

    assert_null(error);
    assert_non_null(status);
    return status;
}

static char *format(const char *text)
{
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(MountStatus) status = parse(text);

    return status_text_format(status, NOW_MS, utc);
}

static void blocked_session_is_told_who_how_long_and_what_next(void **state)
{
    g_autofree char *text = format("{" MOUNT HELD ASKER BLOCKED "}");

    (void)state;
    assert_string_equal(
        text,
        "/w: held by agent (pid 41, node), fresh for 2m05s more\n"
        "you are bash.12.34 (the leader of the outermost terminal session): may read, not write\n"
        "  why:  held by agent (pid 41, node) for 2m05s more; wait, or work read-only\n"
        "  next: leasefs acquire --wait /w   waits for its turn and takes the lease;\n"
        "        or go on reading, which is never blocked\n"
        "lease: since 22:11:40, epoch 7, stale after 5m00s without a change\n"
        "mount: /w, in place, daemon pid 9\n");
}

static void free_lease_says_that_the_next_writer_gets_it(void **state)
{
    g_autofree char *text =
        format("{" MOUNT ASKER "\"state\":\"free\",\"holder\":null,\"epoch\":3,\"ttl_ms\":1000,"
               "\"writable\":true,\"reason\":null}");

    (void)state;
    assert_true(g_str_has_prefix(text, "/w: free, the next session that writes gets it\n"));
    assert_non_null(strstr(text, "may write\n"));
    assert_null(strstr(text, "since"));
    assert_null(strstr(text, "next:"));
}

static void holder_is_told_that_it_is_the_holder(void **state)
{
    g_autofree char *text = format("{" MOUNT HELD "\"session\":\"agent\",\"session_rule\":"
                                   "\"registered\",\"writable\":true}");

    (void)state;
    assert_true(g_str_has_prefix(text, "/w: held by you (agent), fresh for 2m05s more\n"));
    assert_non_null(strstr(text, "you are agent (the outermost registered ancestor): may write\n"));
}

static void lease_that_can_be_taken_over_says_so(void **state)
{
    g_autofree char *stale = format("{" MOUNT ASKER "\"state\":\"stale\",\"holder\":\"agent\","
                                    "\"holder_pid\":41,\"writable\":true}");
    g_autofree char *orphaned = format("{" MOUNT ASKER "\"state\":\"orphaned\","
                                       "\"holder\":\"agent\",\"writable\":true}");

    (void)state;
    assert_non_null(strstr(stale, "held by agent (pid 41), but stale: the next session"));
    assert_non_null(strstr(orphaned, "held by agent, which has ended: the next session"));
}

static void process_that_cannot_be_identified_is_told_why_it_cannot_write(void **state)
{
    g_autofree char *text =
        format("{" MOUNT "\"state\":\"free\",\"session\":null,\"writable\":false}");

    (void)state;
    assert_non_null(strstr(text, "you are not identified: may read, not write\n  why:  this "
                                 "process cannot be identified"));
    assert_null(strstr(text, "next:"));
}

static void blocked_session_gets_a_reason_even_without_the_daemons(void **state)
{
    g_autoptr(MountStatus) status = parse("{" MOUNT HELD ASKER "\"writable\":false}");
    g_autofree char *reason = status_text_reason(status);

    (void)state;
    assert_string_equal(reason, "held by agent (pid 41, node), fresh for 2m05s more; wait, or work "
                                "read-only");
}

static void everything_that_is_odd_is_listed(void **state)
{
    g_autofree char *text =
        format("{" MOUNT HELD ASKER BLOCKED ",\"mode\":\"observe\",\"degraded\":\"disk full\","
               "\"bypass\":[{\"pid\":5,\"comm\":\"zsh\",\"how\":\"working directory\"},"
               "{\"pid\":6,\"comm\":\"vim\",\"how\":\"open file /w/a\"}],"
               "\"queue\":[{\"session\":\"q\",\"pid\":8}],"
               "\"sessions\":[{\"id\":\"agent\",\"pid\":41,\"comm\":\"node\",\"holder\":true,"
               "\"refused\":0},{\"id\":\"s\",\"pid\":4,\"comm\":\"sh\",\"refused\":1}],"
               "\"open_elsewhere\":[{\"session\":\"db\",\"files\":2}]}");

    (void)state;
    assert_non_null(strstr(text, "mode:  observe, nothing is refused"));
    assert_non_null(strstr(text, "waiting:\n  1. q (pid 8)\n"));
    assert_non_null(strstr(text, "refused:\n  s (pid 4, sh), 1 change\n"));
    assert_null(strstr(text, "  agent (pid 41, node), 0"));
    assert_non_null(strstr(text, "  db, 2 files\n"));
    assert_non_null(strstr(text, "warning: zsh (pid 5) reaches the files past the mount: its "
                                 "working directory is from before; type there: cd \"$PWD\"\n"));
    assert_non_null(strstr(text, "warning: vim (pid 6) reaches the files past the mount: open "
                                 "file /w/a; end it, or start it again\n"));
    assert_non_null(strstr(text, "warning: degraded, the lease is kept in memory only: disk full"));
}

static void names_cannot_reach_the_terminal_as_control_characters(void **state)
{
    g_autofree char *text = format("{\"workspace\":\"/w\",\"mountpoint\":\"/w\","
                                   "\"state\":\"fresh\",\"holder\":\"a\",\"holder_pid\":1,"
                                   "\"holder_comm\":\"\\u001b[2J\\n\",\"writable\":false}");

    (void)state;
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "(pid 1, ?[2J?)"));
}

static void path_in_a_command_to_type_is_quoted(void **state)
{
    g_autofree char *text =
        format("{\"workspace\":\"/a b\",\"mountpoint\":\"/a b\"," HELD ASKER BLOCKED "}");

    (void)state;
    assert_non_null(strstr(text, "leasefs acquire --wait '/a b' "));
}

static void tenure_of_another_day_is_told_with_its_date(void **state)
{
    g_autofree char *text = format("{" MOUNT "\"state\":\"fresh\",\"holder\":\"a\","
                                   "\"since_ms\":1699900000000,\"epoch\":1}");

    (void)state;
    assert_non_null(strstr(text, "since 2023-11-13 18:26:40, epoch 1\n"));
}

static void long_list_is_cut(void **state)
{
    g_autoptr(GString) document = g_string_new("{" MOUNT "\"state\":\"free\",\"queue\":[");
    g_autofree char *text = NULL;

    (void)state;
    for (guint i = 0; i < 20; i++)
        g_string_append_printf(document, "%s{\"session\":\"s%u\",\"pid\":%u}", i > 0 ? "," : "", i,
                               i + 1);
    g_string_append(document, "]}");
    text = format(document->str);
    assert_non_null(strstr(text, "  8. s7 (pid 8)\n  and 12 more; all of them: leasefs status "
                                 "--json\n"));
}

static void member_of_the_wrong_type_counts_as_missing(void **state)
{
    g_autoptr(MountStatus) status =
        parse("{" MOUNT "\"state\":\"free\",\"holder\":5,\"epoch\":\"x\",\"writable\":\"yes\","
              "\"queue\":{},\"sessions\":[1,null,{\"id\":3}],\"holder_pid\":-4}");

    (void)state;
    assert_null(status->holder);
    assert_int_equal(status->epoch, 0);
    assert_int_equal(status->holder_pid, 0);
    assert_false(status->writable);
    assert_int_equal(status->queue->len, 0);
    assert_int_equal(status->sessions->len, 1);
    assert_null(g_array_index(status->sessions, StatusRow, 0).session);
}

static void document_without_what_is_needed_is_refused(void **state)
{
    static const char *const texts[] = {
        "",   "{}",
        "[]", "{\"workspace\":\"/w\",\"mountpoint\":\"/w\"}",
        "{",  "{\"workspace\":1,\"mountpoint\":\"/w\",\"state\":\"free\"}",
    };

    (void)state;
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;

        assert_null(mount_status_parse(texts[i], strlen(texts[i]), &error));
        assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocked_session_is_told_who_how_long_and_what_next),
        cmocka_unit_test(free_lease_says_that_the_next_writer_gets_it),
        cmocka_unit_test(holder_is_told_that_it_is_the_holder),
        cmocka_unit_test(lease_that_can_be_taken_over_says_so),
        cmocka_unit_test(process_that_cannot_be_identified_is_told_why_it_cannot_write),
        cmocka_unit_test(blocked_session_gets_a_reason_even_without_the_daemons),
        cmocka_unit_test(everything_that_is_odd_is_listed),
        cmocka_unit_test(names_cannot_reach_the_terminal_as_control_characters),
        cmocka_unit_test(path_in_a_command_to_type_is_quoted),
        cmocka_unit_test(tenure_of_another_day_is_told_with_its_date),
        cmocka_unit_test(long_list_is_cut),
        cmocka_unit_test(member_of_the_wrong_type_counts_as_missing),
        cmocka_unit_test(document_without_what_is_needed_is_refused),
    };

    return cmocka_run_group_tests_name("status text", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any text is either refused with an error of the record's, or read into a record that satisfies
 * the header's promises and comes back the same from its own text.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address -DFUZZ_WITH_LIBFUZZER. Without: the program runs
 * the files that it is given, to try a found input again.
 */
#include "record.h"

#include <stdlib.h>
#include <string.h>

/* g_assert can be compiled out. */
static void must(gboolean holds, const char *what)
{
    if (!holds)
        g_error("broken: %s", what);
}

static void check_record(const LeaseRecord *record)
{
    must(record->session_id != NULL, "session_id");
    must(g_utf8_validate(record->session_id, -1, NULL), "session_id is UTF-8");
    must(record->pid >= 0, "pid");
    must(record->acquired_at_ms >= 0, "acquired_at");
    must(record->ttl_ms >= -1 && record->ttl_ms <= G_MAXINT64 / 1000000, "ttl_ms");
    must(lease_record_is_free(record) == (record->session_id[0] == '\0'), "free");
    must(record->is_own == (record->boot_id != NULL), "boot_id");
    must(record->is_own == (record->workspace != NULL), "workspace");
    must(record->is_own || (record->epoch == 0 && record->mono_ns == 0), "foreign");
    must(record->since_ms >= 0 && record->mono_ns >= 0, "times");
}

static void check_round_trip(const LeaseRecord *record)
{
    g_autofree char *text = lease_record_format(record);
    g_autofree char *again = NULL;
    g_auto(LeaseRecord) back = {0};
    g_autoptr(GError) error = NULL;

    /* Escapes make the text longer than what was read. */
    if (strlen(text) > 64 * 1024)
        return;
    must(lease_record_parse(text, strlen(text), &back, &error), "own text is read");
    again = lease_record_format(&back);
    must(strcmp(text, again) == 0, "the same text comes back");
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);
int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_auto(LeaseRecord) record = {0};
    g_autoptr(GError) error = NULL;

    if (!lease_record_parse((const char *)data, size, &record, &error)) {
        must(error != NULL && error->domain == LEASE_RECORD_ERROR, "an error of the record's");
        return 0;
    }
    must(error == NULL, "no error");
    check_record(&record);
    check_round_trip(&record);
    return 0;
}

#ifndef FUZZ_WITH_LIBFUZZER
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        g_autofree char *data = NULL;
        g_autoptr(GError) error = NULL;
        gsize size;

        if (!g_file_get_contents(argv[i], &data, &size, &error)) {
            g_printerr("%s\n", error->message);
            return EXIT_FAILURE;
        }
        LLVMFuzzerTestOneInput((const guint8 *)data, size);
    }
    return EXIT_SUCCESS;
}
#endif

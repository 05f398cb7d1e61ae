/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "usage.h"
#include "cmd.h"
#include "options.h"
#include "print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int usage_error(const Usage *usage, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    if (strstr(message, "--help") != NULL)
        print_failure(usage->command, "%s", message);
    else
        print_failure(usage->command, "%s; see: leasefs %s --help", message, usage->command);
    return EXIT_USAGE;
}

static gboolean takes_value(const GOptionEntry *entry)
{
    return entry->arg != G_OPTION_ARG_NONE;
}

static gboolean value_is_optional(const GOptionEntry *entry)
{
    return entry->arg_description != NULL && entry->arg_description[0] == '[';
}

static const GOptionEntry *find_long(const GOptionEntry *entries, const char *name, gsize length)
{
    for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++) {
        if (strlen(entry->long_name) == length && strncmp(entry->long_name, name, length) == 0)
            return entry;
    }
    return NULL;
}

static const GOptionEntry *find_short(const GOptionEntry *entries, char name)
{
    for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++) {
        if (entry->short_name == name)
            return entry;
    }
    return NULL;
}

/* GOption lets `--json=x` pass, takes the word after an optional value's option for its value, and
 * does not know `-oVALUE`. So every option is brought into the one form that it reads rightly.
 * Returns how many words of `argv` were used, 0 on error. */
static guint normalise_long(const GOptionEntry *entries, char **argv, GPtrArray *words,
                            char **error_out)
{
    const char *name = argv[0] + 2;
    gsize length = strcspn(name, "=");
    gboolean has_value = name[length] == '=';
    const GOptionEntry *entry = find_long(entries, name, length);

    if (entry == NULL) {
        *error_out = g_strdup_printf("unknown option --%.*s", (int)length, name);
        return 0;
    }
    if (!takes_value(entry) && has_value) {
        *error_out = g_strdup_printf("--%s takes no value", entry->long_name);
        return 0;
    }
    if (takes_value(entry) &&
        (has_value ? name[length + 1] == '\0' : !value_is_optional(entry) && argv[1] == NULL)) {
        *error_out = g_strdup_printf("--%s needs a value", entry->long_name);
        return 0;
    }
    if (!takes_value(entry) || has_value) {
        g_ptr_array_add(words, g_strdup(argv[0]));
        return 1;
    }
    if (value_is_optional(entry)) {
        if (argv[1] != NULL && duration_parse_ms(argv[1], NULL) > 0) {
            *error_out = g_strdup_printf("--%s takes its value with a `=`: --%s=%s",
                                         entry->long_name, entry->long_name, argv[1]);
            return 0;
        }
        g_ptr_array_add(words, g_strconcat(argv[0], "=", NULL));
        return 1;
    }
    g_ptr_array_add(words, g_strconcat(argv[0], "=", argv[1], NULL));
    return 2;
}

static guint normalise_short(const GOptionEntry *entries, char **argv, GPtrArray *words,
                             char **error_out)
{
    for (const char *at = argv[0] + 1; *at != '\0'; at++) {
        const GOptionEntry *entry = find_short(entries, *at);
        const char *value;

        if (entry == NULL) {
            *error_out = g_strdup_printf("unknown option -%c", *at);
            return 0;
        }
        if (!takes_value(entry)) {
            g_ptr_array_add(words, g_strconcat("--", entry->long_name, NULL));
            continue;
        }
        value = at[1] != '\0' ? at + 1 : argv[1];
        if (value == NULL) {
            *error_out = g_strdup_printf("-%c needs a value", *at);
            return 0;
        }
        g_ptr_array_add(words, g_strconcat("--", entry->long_name, "=", value, NULL));
        return at[1] != '\0' ? 1 : 2;
    }
    return 1;
}

/* Options into `words`, operands into `operands`. FALSE and *error_out (owned) where it is wrong.
 */
static gboolean split(const Usage *usage, const GOptionEntry *entries, char **argv,
                      GPtrArray *words, GPtrArray *operands, char **error_out)
{
    gboolean options_over = FALSE;

    while (*argv != NULL) {
        guint used = 1;

        if (options_over || argv[0][0] != '-' || argv[0][1] == '\0') {
            g_ptr_array_add(operands, g_strdup(argv[0]));
            options_over = options_over || usage->options_come_first;
        } else if (strcmp(argv[0], "--") == 0) {
            options_over = TRUE;
        } else if (argv[0][1] == '-') {
            used = normalise_long(entries, argv, words, error_out);
        } else {
            used = normalise_short(entries, argv, words, error_out);
        }
        if (used == 0)
            return FALSE;
        argv += used;
    }
    g_ptr_array_add(words, NULL);
    return TRUE;
}

static int print_usage(const Usage *usage, GOptionContext *context)
{
    g_autofree char *program = g_strconcat("leasefs ", usage->command, NULL);
    g_autofree char *notes = g_strchomp(g_strdup(usage->notes));
    g_autofree char *text = NULL;
    g_autoptr(GString) help = NULL;

    g_set_prgname(program);
    g_option_context_set_summary(context, usage->summary);
    g_option_context_set_description(context, notes);
    text = g_option_context_get_help(context, TRUE, NULL);
    help = g_string_new(text);
    /* An optional value is only taken with its `=`, which GOption shows as if it always were. */
    g_string_replace(help, "=[DUR]", "[=DUR]", 0);
    fputs(help->str, stdout);
    g_set_prgname("leasefs");
    return EXIT_DONE;
}

static int check_operands(const Usage *usage, GPtrArray *operands)
{
    if (operands->len < usage->min_operands)
        return usage_error(usage, "%s is missing", usage->needed);
    if (operands->len > usage->max_operands)
        return usage_error(usage, "one argument too many: %s",
                           (const char *)operands->pdata[usage->max_operands]);
    /* Of a variable that is not set: as a path it would be the working directory. */
    for (guint i = 0; i < operands->len && i < usage->max_operands; i++) {
        if (*(const char *)operands->pdata[i] == '\0' && !(usage->options_come_first && i > 0))
            return usage_error(usage, "an argument is empty, which names nothing");
    }
    return EXIT_DONE;
}

gboolean usage_parse(const Usage *usage, const GOptionEntry *entries, char **argv,
                     GStrv *operands_out, int *status_out)
{
    g_autoptr(GOptionContext) context = g_option_context_new(usage->operands);
    g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) operands = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) all = g_array_new(TRUE, TRUE, sizeof(GOptionEntry));
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) parsed = NULL;
    g_autofree char *wrong = NULL;
    gboolean help = FALSE;
    GOptionEntry help_entry = {"help", 'h', 0, G_OPTION_ARG_NONE, &help, "Show this help", NULL};

    for (const GOptionEntry *entry = entries; entry->long_name != NULL; entry++)
        g_array_append_val(all, *entry);
    g_array_append_val(all, help_entry);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_add_main_entries(context, (GOptionEntry *)(void *)all->data, NULL);

    g_ptr_array_add(words, g_strdup(argv[0]));
    if (!split(usage, (GOptionEntry *)(void *)all->data, argv + 1, words, operands, &wrong)) {
        *status_out = usage_error(usage, "%s", wrong);
        return FALSE;
    }
    parsed = g_strdupv((char **)words->pdata);
    if (!g_option_context_parse_strv(context, &parsed, &error)) {
        *status_out = usage_error(usage, "%s", error->message);
        return FALSE;
    }
    if (help) {
        *status_out = print_usage(usage, context);
        return FALSE;
    }
    *status_out = check_operands(usage, operands);
    if (*status_out != EXIT_DONE)
        return FALSE;
    g_ptr_array_add(operands, NULL);
    *operands_out = (GStrv)g_ptr_array_free(g_steal_pointer(&operands), FALSE);
    return TRUE;
}

gboolean usage_duration(const Usage *usage, const char *option, const char *text,
                        gint64 *duration_ms_out)
{
    g_autoptr(GError) error = NULL;
    gint64 duration_ms = -1;

    if (text != NULL && text[0] != '\0') {
        duration_ms = duration_parse_ms(text, &error);
        if (duration_ms < 0) {
            usage_error(usage, "--%s: %s", option, error->message);
            return FALSE;
        }
    }
    *duration_ms_out = duration_ms;
    return TRUE;
}

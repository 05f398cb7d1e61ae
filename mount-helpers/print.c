/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT_CHARACTER 0xfffd /* what g_utf8_make_valid puts */

char *print_clean(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text != NULL ? text : "", -1);
    GString *clean = g_string_new(NULL);

    for (char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);

        if (c == REPLACEMENT_CHARACTER || g_unichar_iscntrl(c) ||
            g_unichar_type(c) == G_UNICODE_FORMAT)
            g_string_append_c(clean, '?');
        else
            g_string_append_unichar(clean, c);
    }
    return g_string_free(clean, FALSE);
}

void print_failure(const char *command, const char *format, ...)
{
    g_autofree char *message = NULL;
    g_autofree char *clean = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    clean = print_clean(message);
    fflush(stdout);
    if (command != NULL)
        fprintf(stderr, "leasefs %s: %s\n", command, clean);
    else
        fprintf(stderr, "leasefs: %s\n", clean);
}

char *print_quote_path(const char *path)
{
    g_autofree char *clean = print_clean(path);

    for (const char *at = clean; *at != '\0'; at++) {
        if (!g_ascii_isalnum(*at) && strchr("/._-+,:@%", *at) == NULL)
            return g_shell_quote(clean);
    }
    return g_steal_pointer(&clean);
}

void print_json(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;

    json_node_set_object(node, object);
    text = json_to_string(node, FALSE);
    puts(text);
}

void print_set_string(JsonObject *object, const char *name, const char *value)
{
    g_autofree char *valid = value != NULL ? g_utf8_make_valid(value, -1) : NULL;

    if (valid != NULL)
        json_object_set_string_member(object, name, valid);
    else
        json_object_set_null_member(object, name);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-text.h"

#include <gio/gio.h>
#include <string.h>

/* The largest integer up to which a double holds every one. */
#define DOUBLE_EXACT_MAX 9007199254740992.0

/* A position in the text, and the first thing that was wrong. The scan judges the tokens (what is
 * a string, a number, a literal) and the nesting; that they follow each other as they should is
 * left to json-glib. Its view of where a string ends must be this one: else brackets could hide
 * from the depth count. So nothing passes here that the two could read differently. */
typedef struct Scan {
    const char *start;
    const char *at;
    const char *end;
    const char *wrong;
} Scan;

static gboolean scan_fail(Scan *scan, const char *wrong)
{
    scan->wrong = wrong;
    return FALSE;
}

static gboolean scan_escape(Scan *scan)
{
    guint code = 0;

    if (scan->at == scan->end || strchr("\"\\/bfnrtu", *scan->at) == NULL)
        return scan_fail(scan, "unknown escape in a string");
    if (*scan->at++ != 'u')
        return TRUE;
    for (int i = 0; i < 4; i++, scan->at++) {
        if (scan->at == scan->end || !g_ascii_isxdigit(*scan->at))
            return scan_fail(scan, "torn escape in a string");
        code = code << 4 | (guint)g_ascii_xdigit_value(*scan->at);
    }
    /* It would end a C string early: "\u0000" must not pass for "". */
    if (code == 0)
        return scan_fail(scan, "a NUL in a string");
    return TRUE;
}

/* Behind the opening quote. */
static gboolean scan_string(Scan *scan)
{
    while (scan->at < scan->end) {
        guchar c = (guchar)*scan->at++;

        if (c == '"')
            return TRUE;
        if (c < 0x20)
            return scan_fail(scan, "a control character in a string");
        if (c == '\\' && !scan_escape(scan))
            return FALSE;
    }
    return scan_fail(scan, "a string that does not end");
}

static gboolean scan_digits(Scan *scan)
{
    const char *first = scan->at;

    while (scan->at < scan->end && g_ascii_isdigit(*scan->at))
        scan->at++;
    return scan->at > first || scan_fail(scan, "a torn number");
}

static gboolean scan_integer_fits(const char *at, const char *end)
{
    gint64 value = 0;

    for (; at < end; at++) {
        if (!g_ascii_isdigit(*at))
            continue;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *at - '0', &value))
            return FALSE;
    }
    return TRUE;
}

static gboolean scan_number(Scan *scan)
{
    const char *first = scan->at;

    if (*scan->at == '-')
        scan->at++;
    if (scan->at + 1 < scan->end && scan->at[0] == '0' && g_ascii_isdigit(scan->at[1]))
        return scan_fail(scan, "a number with a leading zero");
    if (!scan_digits(scan))
        return FALSE;
    if (!scan_integer_fits(first, scan->at))
        return scan_fail(scan, "a number that is too large");
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        if (!scan_digits(scan))
            return FALSE;
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        return scan_digits(scan);
    }
    return TRUE;
}

static gboolean scan_literal(Scan *scan)
{
    static const char *const literals[] = {"true", "false", "null"};
    const char *first = scan->at;

    while (scan->at < scan->end && (g_ascii_isalnum(*scan->at) || *scan->at == '_'))
        scan->at++;
    for (gsize i = 0; i < G_N_ELEMENTS(literals); i++) {
        if (strlen(literals[i]) == (gsize)(scan->at - first) &&
            memcmp(literals[i], first, strlen(literals[i])) == 0)
            return TRUE;
    }
    return scan_fail(scan, "an unknown word");
}

/* Exactly one object, balanced, with nothing but blanks around it. */
static gboolean scan_document(Scan *scan)
{
    guint depth = 0;
    gboolean seen = FALSE;

    while (scan->at < scan->end) {
        char c = *scan->at;
        gboolean ok = TRUE;

        if (strchr(" \t\r\n", c) != NULL) {
            scan->at++;
            continue;
        }
        if (depth == 0 && (seen || c != '{'))
            return scan_fail(scan, seen ? "more than one object" : "no object");
        seen = TRUE;
        if (c == '{' || c == '[') {
            if (++depth > JSON_TEXT_MAX_DEPTH)
                return scan_fail(scan, "nested too deeply");
            scan->at++;
        } else if (c == '}' || c == ']') {
            depth--;
            scan->at++;
        } else if (c == ':' || c == ',') {
            scan->at++;
        } else if (c == '"') {
            scan->at++;
            ok = scan_string(scan);
        } else if (c == '-' || g_ascii_isdigit(c)) {
            ok = scan_number(scan);
        } else {
            ok = scan_literal(scan);
        }
        if (!ok)
            return FALSE;
    }
    if (!seen)
        return scan_fail(scan, "no object");
    return depth == 0 || scan_fail(scan, "an object that does not end");
}

static gboolean check_text(const char *text, gsize size_bytes, GError **error)
{
    Scan scan = {.start = text, .at = text, .end = text + size_bytes};

    if (size_bytes > JSON_TEXT_MAX_BYTES) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "larger than %d bytes",
                    JSON_TEXT_MAX_BYTES);
        return FALSE;
    }
    if (size_bytes == 0) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "empty");
        return FALSE;
    }
    /* A NUL is refused as well. */
    if (!g_utf8_validate_len(text, size_bytes, NULL)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "not UTF-8 text");
        return FALSE;
    }
    if (!scan_document(&scan)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "no JSON: %s at byte %" G_GSIZE_FORMAT, scan.wrong,
                    (gsize)(scan.at - scan.start));
        return FALSE;
    }
    return TRUE;
}

/* Names are counted as they are read and taken off again with each finished object, which keeps
 * one of each name: what is left over are the duplicates. */
static void count_member(JsonParser *parser, JsonObject *object, const char *name, guint *surplus)
{
    (void)parser;
    (void)object;
    (void)name;
    *surplus += 1;
}

static void uncount_members(JsonParser *parser, JsonObject *object, guint *surplus)
{
    (void)parser;
    *surplus -= json_object_get_size(object);
}

JsonObject *json_text_parse(const char *text, gsize size_bytes, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) reason = NULL;
    JsonNode *root;
    guint surplus = 0;

    if (!check_text(text, size_bytes, error))
        return NULL;
    parser = json_parser_new_immutable();
    g_signal_connect(parser, "object-member", G_CALLBACK(count_member), &surplus);
    g_signal_connect(parser, "object-end", G_CALLBACK(uncount_members), &surplus);
    if (!json_parser_load_from_data(parser, text, (gssize)size_bytes, &reason)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "no JSON: %s", reason->message);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "no JSON: no object");
        return NULL;
    }
    if (surplus != 0) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "no JSON: a member that stands there twice");
        return NULL;
    }
    return json_node_dup_object(root);
}

static JsonNode *find_value(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

gboolean json_text_has(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node != NULL && !JSON_NODE_HOLDS_NULL(node);
}

gboolean json_text_get_integer(JsonObject *object, const char *name, gint64 min, gint64 max,
                               gint64 *value_out)
{
    JsonNode *node = find_value(object, name);
    gint64 value;

    if (node == NULL)
        return FALSE;
    if (json_node_get_value_type(node) == G_TYPE_INT64) {
        value = json_node_get_int(node);
    } else if (json_node_get_value_type(node) == G_TYPE_DOUBLE) {
        double number = json_node_get_double(node);

        if (!(number >= -DOUBLE_EXACT_MAX && number <= DOUBLE_EXACT_MAX))
            return FALSE;
        value = (gint64)number;
        if (number < (double)value || number > (double)value)
            return FALSE;
    } else {
        return FALSE;
    }
    if (value < min || value > max)
        return FALSE;
    *value_out = value;
    return TRUE;
}

const char *json_text_get_string(JsonObject *object, const char *name)
{
    JsonNode *node = find_value(object, name);
    const char *value;

    if (node == NULL || json_node_get_value_type(node) != G_TYPE_STRING)
        return NULL;
    value = json_node_get_string(node);
    return value != NULL && g_utf8_validate(value, -1, NULL) ? value : NULL;
}

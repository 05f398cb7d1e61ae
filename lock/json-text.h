/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides whether text that anybody may have written is one JSON object (RFC 8259), and reads
 * members of it by type.
 *
 * json-glib alone takes more than JSON (comments, `var x = {}`, octal numbers, several documents,
 * duplicate names), wraps large integers, and recurses once per nesting level: what it is given is
 * checked first.
 * Thread safety: pure functions.
 */
#include <json-glib/json-glib.h>

#define JSON_TEXT_MAX_BYTES (64 * 1024)
#define JSON_TEXT_MAX_DEPTH 32

/* The object, owned (json_object_unref). NULL and G_IO_ERROR_INVALID_DATA where the text is torn,
 * too large, nested deeper than JSON_TEXT_MAX_DEPTH, not UTF-8, has a NUL in it, names a member
 * twice, or holds an integer that does not fit 64 bits. */
JsonObject *json_text_parse(const char *text, gsize size_bytes, GError **error);

/* Whether the member is there and not null. */
gboolean json_text_has(JsonObject *object, const char *name);
/* FALSE where the member is missing, no integer (1.0 and 1e3 are, as they are to JavaScript), or
 * outside min..max. */
gboolean json_text_get_integer(JsonObject *object, const char *name, gint64 min, gint64 max,
                               gint64 *value_out);
/* NULL where the member is missing or no string. Borrowed from the object. */
const char *json_text_get_string(JsonObject *object, const char *name);

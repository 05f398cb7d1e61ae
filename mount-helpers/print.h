/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How the command speaks: errors in one line, text that cannot move a terminal's cursor, JSON.
 * Thread safety: none; the command has one thread.
 */
#include <json-glib/json-glib.h>

/* `leasefs COMMAND: message` on standard error, in one line. command NULL: `leasefs: message`. */
void print_failure(const char *command, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The text with control characters and what is not UTF-8 shown as `?`: names of processes and
 * files are anybody's to choose. NULL gives "". Owned. */
char *print_clean(const char *text);
/* A path as it is typed in a shell: quoted only where it needs to be, and clean. Owned. */
char *print_quote_path(const char *path);
/* The object in one line on standard output. */
void print_json(JsonObject *object);
/* Sets a member to a string, or to null where value is NULL. */
void print_set_string(JsonObject *object, const char *name, const char *value);

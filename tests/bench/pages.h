/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A large file whose pages tell which they are, so that a read can see that it got the right one.
 * Thread safety: one thread.
 */
#include "bench.h"

#define PAGES_SIZE 4096u

/* Writes pages `first` to `first + count - 1` into `buffer`, each with `stamp` at its end. */
void pages_fill(char *buffer, guint64 first, guint count, guint64 stamp);
/* Whether a page's beginning says that it is page `index`. */
gboolean pages_is(const char *page, guint64 index);
guint64 pages_stamp(const char *page);

gboolean pages_make(const char *path, gsize size, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Lays out what a workload works on, in a target's backing directory, past any mount.
 * Thread safety: one thread.
 */
#include "bench.h"

typedef struct FixtureMaker {
    const char *scratch;
    const char *first; /* the backing directory that was made first; later ones may copy it */
    guint percent;
    gsize big_size;
} FixtureMaker;

#define DATABASE_ROWS 100000

/* Empties `dir` and makes it anew. */
gboolean fixture_make(const FixtureMaker *maker, Fixture fixture, const char *dir, GError **error);

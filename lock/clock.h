/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What time it is, handed in so that tests own it.
 * Thread safety: a Clock may be read from any thread.
 */
#include <glib.h>

typedef struct Clock Clock;

struct Clock {
    gint64 (*mono_ns)(Clock *clock); /* CLOCK_MONOTONIC, nanoseconds */
    gint64 (*wall_ms)(Clock *clock); /* Unix time, milliseconds: for people and the record */
};

/* The machine's clock. Borrowed, static. */
Clock *clock_system(void);

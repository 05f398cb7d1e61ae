/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Runs one workload once, in a process of its own whose working directory is the target.
 * Thread safety: one thread.
 */
#include "bench.h"

typedef struct ClientTimes {
    guint64 wall_ns;
    guint64 cpu_ns; /* of the client and all that it waited for */
} ClientTimes;

/* Called in the benchmark itself right before and right after what is timed. */
typedef void (*ClientMark)(gboolean begins, gpointer data);

gboolean client_run(const Job *job, const char *path, ClientMark mark, gpointer data,
                    ClientTimes *times_out, GError **error);

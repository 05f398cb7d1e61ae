/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Runs workloads on targets, interleaved over the rounds.
 * Thread safety: one thread.
 */
#include "bench.h"
#include "report.h"
#include "target.h"

typedef struct RunnerSettings {
    guint rounds;
    guint percent;
    guint64 big_size;
    guint settle_ms; /* from mounting to the work that is timed */
    TargetSettings target;
    FILE *progress; /* gets each workload's block when it is done */
} RunnerSettings;

/* Workloads and targets are borrowed. FALSE with an error at the first wrong result of the bare
 * directory or of leasefs. What a peer fails at goes on without it, and `results` say so. */
gboolean runner_run(const RunnerSettings *settings, Place *place, GArray *workloads,
                    GPtrArray *targets, Results *results, GError **error);

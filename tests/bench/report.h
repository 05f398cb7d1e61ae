/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Results in the forms in which people and programs read them.
 * Thread safety: one thread.
 */
#include "result.h"

#include <stdio.h>

void report_header(FILE *to, const Results *results);
/* One block: a line for each target. */
void report_row(FILE *to, const ResultRow *row);
/* One line for each workload: the ratios to the bare directory. */
void report_summary(FILE *to, const Results *results);

void report_json(FILE *to, const Results *results);
/* Adds what report_json has written into `path`; its header too, if `results` has none. */
gboolean report_read_json(Results *results, const char *path, GError **error);

/* A picture of leasefs and the best peer, as ratios to the bare directory. */
gboolean report_svg(const char *path, const Results *results, GError **error);

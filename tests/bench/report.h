/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Results in the forms in which people and programs read them.
 * Thread safety: one thread.
 */
#include "result.h"

#include <stdio.h>

/* One block: a line for each target. */
void report_row(FILE *to, const ResultRow *row);
/* One line for each workload: the ratios to the bare directory. */
void report_summary(FILE *to, const Results *results);

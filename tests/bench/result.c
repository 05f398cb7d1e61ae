/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "result.h"

#include <stdlib.h>
#include <string.h>

static void row_free(gpointer data)
{
    ResultRow *row = data;

    g_free(row->workload);
    g_free(row->summary);
    g_free(row);
}

Results *results_new(void)
{
    Results *results = g_new0(Results, 1);

    results->header = g_ptr_array_new_with_free_func(g_free);
    results->rows = g_ptr_array_new_with_free_func(row_free);
    return results;
}

void results_free(Results *results)
{
    if (results == NULL)
        return;
    g_ptr_array_unref(results->header);
    g_ptr_array_unref(results->rows);
    g_free(results);
}

ResultRow *results_add(Results *results, const char *workload, const char *summary)
{
    ResultRow *row = g_new0(ResultRow, 1);

    row->workload = g_strdup(workload);
    row->summary = g_strdup(summary);
    for (guint i = 0; i < TARGET_KINDS; i++)
        row->cells[i].requests = -1;
    g_ptr_array_add(results->rows, row);
    return row;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;

    return (left > right) - (left < right);
}

double result_median(const double *values, guint count)
{
    double sorted[RESULT_MAX_ROUNDS];

    if (count == 0)
        return 0;
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double result_min(const double *values, guint count)
{
    double least = count > 0 ? values[0] : 0;

    for (guint i = 1; i < count; i++)
        least = MIN(least, values[i]);
    return least;
}

double result_wall_ns(const ResultRow *row, TargetKind kind)
{
    return result_median(row->cells[kind].wall_ns, row->cells[kind].rounds);
}

double result_ratio(const ResultRow *row, TargetKind kind)
{
    double bare = result_wall_ns(row, TARGET_BARE);

    return bare > 0 ? result_wall_ns(row, kind) / bare : 0;
}

TargetKind result_best_peer(const ResultRow *row, gboolean refusing)
{
    TargetKind best = TARGET_BARE;

    for (TargetKind kind = TARGET_BINDFS; kind < TARGET_KINDS; kind++) {
        if (row->cells[kind].rounds == 0 || (refusing && target_cannot_refuse(kind)))
            continue;
        if (best == TARGET_BARE || result_wall_ns(row, kind) < result_wall_ns(row, best))
            best = kind;
    }
    return best;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <math.h>

static double best_wall_ns(const ResultRow *row, gboolean refusing)
{
    TargetKind best = result_best_peer(row, refusing);

    return best != TARGET_BARE ? result_wall_ns(row, best) : 0;
}

/* A number of `width`, or a dash. */
static void print_number(FILE *to, int width, int digits, double value)
{
    if (value > 0 || (value == 0 && digits > 2))
        fprintf(to, " %*.*f", width, digits, value);
    else
        fprintf(to, " %*s", width, "-");
}

static void report_cell(FILE *to, const ResultRow *row, TargetKind kind)
{
    const ResultCell *cell = &row->cells[kind];
    double wall_ns = result_wall_ns(row, kind);
    double best_ns = best_wall_ns(row, FALSE);
    double each = 1e3 * row->operations;

    fprintf(to, "  %-15s", target_kind_name(kind));
    print_number(to, 9, 1, wall_ns / 1e6);
    print_number(to, 9, 1, result_min(cell->wall_ns, cell->rounds) / 1e6);
    print_number(to, 9, 2, wall_ns / each);
    print_number(to, 7, 2, result_ratio(row, kind));
    print_number(to, 7, 2, best_ns > 0 ? wall_ns / best_ns : 0);
    print_number(to, 9, 2, result_median(cell->client_ns, cell->rounds) / each);
    print_number(to, 9, 2, result_median(cell->daemon_ns, cell->rounds) / each);
    print_number(to, 9, 3, cell->requests >= 0 ? cell->requests / row->operations : -1);
    fputc('\n', to);
}

void report_header(FILE *to, const Results *results)
{
    for (guint i = 0; i < results->header->len; i++)
        fprintf(to, "%s\n", (const char *)results->header->pdata[i]);
    fflush(to);
}

void report_row(FILE *to, const ResultRow *row)
{
    fprintf(to, "\n%s: %s, %.0f operations\n", row->workload, row->summary, row->operations);
    fprintf(to, "  %-15s %9s %9s %9s %7s %7s %9s %9s %9s\n", "", "median ms", "min ms", "us/op",
            "x bare", "x best", "client us", "daemon us", "requests");
    for (TargetKind kind = TARGET_BARE; kind < TARGET_KINDS; kind++) {
        if (row->cells[kind].rounds > 0)
            report_cell(to, row, kind);
    }
    fflush(to);
}

static gboolean was_run(const Results *results, TargetKind kind)
{
    for (guint i = 0; i < results->rows->len; i++) {
        const ResultRow *row = results->rows->pdata[i];

        if (row->cells[kind].rounds > 0)
            return TRUE;
    }
    return FALSE;
}

static void report_line(FILE *to, const Results *results, const ResultRow *row)
{
    double best_ns = best_wall_ns(row, FALSE);
    double refusing_ns = best_wall_ns(row, row->moves_data);
    double leasefs_ns = result_wall_ns(row, TARGET_LEASEFS);

    fprintf(to, "%-18s", row->workload);
    print_number(to, 10, 2, result_wall_ns(row, TARGET_BARE) / 1e3 / row->operations);
    for (TargetKind kind = TARGET_LEASEFS; kind < TARGET_KINDS; kind++) {
        if (was_run(results, kind))
            print_number(to, 14, 2, result_ratio(row, kind));
    }
    print_number(to, 9, 2, best_ns > 0 ? leasefs_ns / best_ns : 0);
    print_number(to, 9, 2, refusing_ns > 0 ? leasefs_ns / refusing_ns : 0);
    fputc('\n', to);
}

/* Of leasefs to the best peer, over all workloads where both were run. */
static void report_mean(FILE *to, const Results *results, gboolean refusing, const char *what)
{
    double logarithms = 0;
    guint count = 0;

    for (guint i = 0; i < results->rows->len; i++) {
        const ResultRow *row = results->rows->pdata[i];
        double best_ns = best_wall_ns(row, refusing && row->moves_data);
        double leasefs_ns = result_wall_ns(row, TARGET_LEASEFS);

        if (best_ns <= 0 || leasefs_ns <= 0)
            continue;
        logarithms += log(leasefs_ns / best_ns);
        count++;
    }
    if (count > 0)
        fprintf(to, "geometric mean, leasefs to the best %s for each of %u workloads: %.3f\n", what,
                count, exp(logarithms / count));
}

void report_summary(FILE *to, const Results *results)
{
    fprintf(to,
            "\nRatios of wall time to the bare directory, medians; the last columns: leasefs to "
            "the best peer,\nand to the best that could refuse a writer.\n\n");
    fprintf(to, "%-18s %10s", "workload", "bare us/op");
    for (TargetKind kind = TARGET_LEASEFS; kind < TARGET_KINDS; kind++) {
        if (was_run(results, kind))
            fprintf(to, " %14s", target_kind_name(kind));
    }
    fprintf(to, " %9s %9s\n", "/ best", "/ refuser");
    for (guint i = 0; i < results->rows->len; i++)
        report_line(to, results, results->rows->pdata[i]);
    fputc('\n', to);
    report_mean(to, results, FALSE, "peer");
    report_mean(to, results, TRUE, "peer that could refuse a writer");
}

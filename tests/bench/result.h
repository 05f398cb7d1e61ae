/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What was measured, and what follows from it: medians and ratios.
 * Thread safety: values; no shared state.
 */
#include "target.h"

#define RESULT_MAX_ROUNDS 99

/* One workload on one target. */
typedef struct ResultCell {
    guint rounds;    /* 0: not run there */
    gboolean failed; /* a peer: the header says how */
    double wall_ns[RESULT_MAX_ROUNDS];
    double client_ns[RESULT_MAX_ROUNDS]; /* processor time */
    double daemon_ns[RESULT_MAX_ROUNDS];
    double requests; /* that reached the daemon, in one run; negative: not known */
} ResultCell;

typedef struct ResultRow {
    char *workload;
    char *summary;
    double operations; /* of one run */
    gboolean moves_data;
    ResultCell cells[TARGET_KINDS];
} ResultRow;

typedef struct Results {
    GPtrArray *header; /* lines that say where and with what */
    GPtrArray *rows;   /* of ResultRow */
} Results;

Results *results_new(void);
void results_free(Results *results);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Results, results_free)
/* The row is the results'. */
ResultRow *results_add(Results *results, const char *workload, const char *summary);

double result_median(const double *values, guint count);
double result_min(const double *values, guint count);
double result_wall_ns(const ResultRow *row, TargetKind kind); /* the median; 0: not run */
/* To the bare directory; 0 where one of the two was not run. */
double result_ratio(const ResultRow *row, TargetKind kind);
/* The quickest peer; without those that could refuse nobody, if `refusing`. TARGET_BARE: none. */
TargetKind result_best_peer(const ResultRow *row, gboolean refusing);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the parts of the benchmark share: a workload, and one run of it as its client sees it.
 * Thread safety: one thread.
 */
#include <glib.h>

/* What a workload finds in its directory. Made below the mounts, in every target alike. */
typedef enum Fixture {
    FIXTURE_EMPTY,
    FIXTURE_TREE,     /* tree/: 15,000 small files in 150 directories */
    FIXTURE_GIT,      /* repo/: as many files, tracked, with two branches */
    FIXTURE_SOURCES,  /* sources/: a C program in many files */
    FIXTURE_DATABASE, /* lookups.db */
    FIXTURE_BIG,      /* big: one file, 1 GiB unless said, the same inode in every target */
    FIXTURES,
} Fixture;

enum {
    WORK_CHANGES = 1 << 0, /* not for a blocked reader */
    WORK_WARM = 1 << 1,    /* once untimed before it is timed */
    WORK_DATA = 1 << 2,    /* moves file contents: where passthrough and write-back caches play */
};

typedef struct Job Job;
typedef gboolean (*JobStep)(Job *job, GError **error);

typedef struct Workload {
    const char *name;
    const char *summary;
    Fixture fixture;
    guint flags;
    guint count;     /* operations at full scale; 0: as many as `size` fits into the big file */
    gsize size;      /* bytes of one operation, where it means something */
    JobStep prepare; /* through the mount, untimed; NULL: nothing to do. So are check and clean */
    JobStep work;
    JobStep check;
    JobStep clean;
} Workload;

/* One run. The client's working directory is the workload's directory, as mounted. */
struct Job {
    const Workload *workload;
    const char *below;   /* the same directory, past the mount */
    const char *scratch; /* in memory, for scripts, archives and outputs; outside every mount */
    guint percent;       /* of the full scale */
    gsize big_size;      /* bytes */
    gpointer buffer;     /* of JOB_BUFFER_SIZE, page aligned */
    int fd;              /* for the steps: what prepare opened for work, or -1 */
    gboolean second;     /* of two clients at once, the second */
    guint64 seen;        /* for the steps: what work counted, for check */
};

#define JOB_BUFFER_SIZE (1u << 20)

guint job_count(const Job *job);

#define BENCH_ERROR bench_error_quark()
GQuark bench_error_quark(void);

/* Both return FALSE. bench_fail_errno adds what errno says. */
gboolean bench_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
gboolean bench_fail_errno(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Runs a program to its end, its output into `output` (NULL: nowhere). FALSE with its last words
 * unless it exits 0. */
gboolean bench_spawn(const char *const *argv, const char *output, GError **error);
#define bench_run(output, error, ...)                                                              \
    bench_spawn((const char *const[]){__VA_ARGS__, NULL}, output, error)

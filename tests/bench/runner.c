/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every run has a fresh mount: what a run finds does not depend on what ran before it, and a mount
 * whose caches nobody has filled is what "cold" means. The files below are warm in either case:
 * they are read past the mounts first. Warm workloads run once untimed before they are timed.
 *
 * The scheduler takes a thread that was just made for one that always runs. Halved every 32 ms,
 * that weighs on where it puts the others and on what share a daemon gets; a mount is to be
 * measured as it is most of the time, so it rests first.
 *
 * Round 0 takes no times. It counts the requests, for a tracepoint that counts costs time itself.
 */
#include "runner.h"
#include "client.h"
#include "fixture.h"
#include "requests.h"

#include <string.h>
#include <sys/stat.h>

typedef struct Run {
    const RunnerSettings *settings;
    Place *place;
    Target *target;
    ResultCell *cell;
    Requests *requests; /* NULL: a timed round, or nothing to count with */
    guint64 daemon_ns;
} Run;

/* What the client has prepared is on the disk by then: written back meanwhile, it would cost the
 * quick targets less than the slow ones. */
static void mark(gboolean begins, gpointer data)
{
    Run *run = data;
    guint64 daemon_ns;

    if (begins)
        place_settle(run->place);
    daemon_ns = target_daemon_ns(run->target);
    run->daemon_ns = begins ? daemon_ns : daemon_ns - run->daemon_ns;
    if (run->requests == NULL)
        return;
    if (begins)
        run->cell->requests = (double)requests_read(run->requests);
    else
        run->cell->requests = (double)requests_read(run->requests) - run->cell->requests;
}

static void keep_times(Run *run, const ClientTimes *times)
{
    ResultCell *cell = run->cell;

    cell->wall_ns[cell->rounds] = (double)times->wall_ns;
    cell->client_ns[cell->rounds] = (double)times->cpu_ns;
    cell->daemon_ns[cell->rounds] = (double)run->daemon_ns;
    cell->rounds++;
}

static gboolean run_mounted(Run *run, const Workload *workload, gboolean counts, GError **error)
{
    g_autoptr(Requests) requests = NULL;
    ClientTimes times;
    struct stat st;
    Job job = {
        .workload = workload,
        .below = run->target->below,
        .scratch = run->place->scratch,
        .percent = run->settings->percent,
        .big_size = run->settings->big_size,
    };

    if (counts && run->target->kind != TARGET_BARE && stat(run->target->path, &st) == 0)
        requests = requests_new(run->place, st.st_dev);
    run->requests = requests;
    if (!client_run(&job, run->target->path, mark, run, &times, error))
        return FALSE;
    if (!counts)
        keep_times(run, &times);
    return TRUE;
}

static gboolean fail_at(const Run *run, const Workload *workload, GError **error)
{
    g_prefix_error(error, "%s on %s: ", workload->name, run->target->name);
    return FALSE;
}

static gboolean run_once(Run *run, const Workload *workload, gboolean counts, GError **error)
{
    Target *target = run->target;
    const TargetSettings *settings = &run->settings->target;

    if (!bench_run(NULL, error, "find", target->below, "-type", "f", "-exec", "cat", "{}", "+"))
        return FALSE;
    if (!target_mount(target, run->place, settings, error))
        return fail_at(run, workload, error);
    if (!counts)
        g_usleep(run->settings->settle_ms * 1000u);
    if (!run_mounted(run, workload, counts, error))
        return fail_at(run, workload, error);
    return target_unmount(target, settings, error);
}

static gboolean takes_part(const Target *target, const Workload *workload)
{
    return target->kind != TARGET_BLOCKED || !(workload->flags & WORK_CHANGES);
}

static gboolean lay_out(const RunnerSettings *settings, const Place *place, GPtrArray *targets,
                        const Target *target, Fixture fixture, GError **error)
{
    const Target *first = targets->pdata[0];
    FixtureMaker maker = {place->scratch, first->below, settings->percent, settings->big_size};

    if (fixture_make(&maker, fixture, target->below, error))
        return TRUE;
    g_prefix_error(error, "cannot lay out the files of %s: ", target->name);
    return FALSE;
}

/* A peer that cannot do the work is left out of it, and the others go on. */
static gboolean leave_out(const Run *run, GPtrArray *targets, const Workload *workload,
                          Results *results, const GError *reason, GError **error)
{
    char *line = g_strdup_printf("failed: %s", reason->message);

    g_ptr_array_add(results->header, line);
    fprintf(run->settings->progress, "%s\n", line);
    run->cell->failed = TRUE;
    run->cell->rounds = 0;
    target_abandon(run->target);
    return lay_out(run->settings, run->place, targets, run->target, workload->fixture, error);
}

/* Each round begins with another target, for none shall always follow the same one. */
static gboolean run_workload(const RunnerSettings *settings, Place *place, GPtrArray *targets,
                             const Workload *workload, Results *results, ResultRow *row,
                             GError **error)
{
    for (guint round = 0; round <= settings->rounds; round++) {
        for (guint i = 0; i < targets->len; i++) {
            Target *target = targets->pdata[(i + round) % targets->len];
            Run run = {settings, place, target, &row->cells[target->kind], NULL, 0};
            g_autoptr(GError) reason = NULL;

            if (!takes_part(target, workload) || run.cell->failed ||
                run_once(&run, workload, round == 0, &reason))
                continue;
            if (!target_is_peer(target->kind)) {
                g_propagate_error(error, g_steal_pointer(&reason));
                return FALSE;
            }
            if (!leave_out(&run, targets, workload, results, reason, error))
                return FALSE;
        }
    }
    return TRUE;
}

static gboolean make_fixtures(const RunnerSettings *settings, Place *place, GPtrArray *targets,
                              Fixture fixture, GError **error)
{
    for (guint i = 0; i < targets->len; i++) {
        if (!lay_out(settings, place, targets, targets->pdata[i], fixture, error))
            return FALSE;
    }
    place_trim(place);
    return TRUE;
}

gboolean runner_run(const RunnerSettings *settings, Place *place, GArray *workloads,
                    GPtrArray *targets, Results *results, GError **error)
{
    for (guint i = 0; i < workloads->len; i++) {
        const Workload *workload = g_array_index(workloads, const Workload *, i);
        const Workload *before = i > 0 ? g_array_index(workloads, const Workload *, i - 1) : NULL;
        Job job = {
            .workload = workload, .percent = settings->percent, .big_size = settings->big_size};
        ResultRow *row;

        if ((before == NULL || before->fixture != workload->fixture) &&
            !make_fixtures(settings, place, targets, workload->fixture, error))
            return FALSE;
        row = results_add(results, workload->name, workload->summary);
        row->operations = job_count(&job);
        row->moves_data = (workload->flags & WORK_DATA) != 0;
        if (!run_workload(settings, place, targets, workload, results, row, error))
            return FALSE;
        report_row(settings->progress, row);
    }
    return TRUE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "place.h"
#include "runner.h"
#include "workloads.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define QUICK_PERCENT 4
#define QUICK_ROUNDS  2
#define QUICK_BIG     "64M"
#define SETTLE_MS     250
#define MAX_SETTLE_MS 10000
#define UNSET         G_MININT

typedef struct Arguments {
    char *leasefs;
    char *leasefs_opts;
    char *passthrough_hp;
    char *image_dir;
    char *size;
    char *big;
    char **only;
    char **targets;
    char **from;
    char *svg;
    int rounds;
    int percent;
    int settle_ms; /* UNSET: the default */
    gboolean elsewhere;
    gboolean quick;
    gboolean list;
    gboolean json;
} Arguments;

static const char help_summary[] =
    "Runs the same work on a bare directory, through leasefs as holder of the lease and as "
    "blocked\n"
    "reader, and through the other FUSE filesystems that are installed, in turn over several\n"
    "rounds, on an ext4 image of its own. Checks the results of each run. Root only.";

static const char help_notes[] =
    "GLOBs and TARGETs may be repeated, or separated by commas. Targets: bare, leasefs, blocked,\n"
    "bindfs, fuse-overlayfs, mergerfs, passthrough_hp. Sizes: 4096, 64M, 3G.\n"
    "\n"
    "Columns: median and least wall time of a run; microseconds an operation; ratios to the bare\n"
    "directory and to the quickest peer; processor time of the client with its children and of "
    "all\n"
    "threads of the daemon, an operation; requests that reached the daemon, an operation.\n"
    "docs/benchmark.md says more.\n"
    "\n"
    "Exit status: 0 done; 1 something failed, or gave a wrong result; 2 wrong usage.";

static int fail(int status, const char *message)
{
    fprintf(stderr, "bench: %s\n", message);
    return status;
}

/* `3G`, `64M`, `4096`; 0 where it is no size. */
static guint64 parse_size(const char *text)
{
    char *end;
    guint64 value = g_ascii_strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

    if (unit != NULL) {
        value <<= 10 * (unit - units + 1);
        end++;
    }
    return *end == '\0' ? value : 0;
}

/* Words that were separated by commas become words of their own. Owned; NULL stays NULL. */
static GStrv split_lists(char **lists)
{
    g_autofree char *joined = lists != NULL ? g_strjoinv(",", lists) : NULL;

    return joined != NULL ? g_strsplit(joined, ",", -1) : NULL;
}

static GPtrArray *make_targets(const Arguments *arguments, const TargetSettings *settings,
                               Place *place, GError **error)
{
    g_autoptr(GPtrArray) targets = g_ptr_array_new_with_free_func((GDestroyNotify)target_free);
    g_auto(GStrv) wanted = split_lists(arguments->targets);

    for (TargetKind kind = TARGET_BARE; kind < TARGET_KINDS; kind++) {
        const char *name = target_kind_name(kind);
        Target *target;

        if ((wanted != NULL && !g_strv_contains((const char *const *)wanted, name)) ||
            !target_is_there(kind, settings))
            continue;
        target = target_new(kind, place, settings, error);
        if (target == NULL)
            return NULL;
        g_ptr_array_add(targets, target);
    }
    return g_steal_pointer(&targets);
}

static void add_header(Results *results, const Arguments *arguments, GPtrArray *targets)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    struct utsname system;

    uname(&system);
    g_ptr_array_add(results->header, g_date_time_format(now, "%Y-%m-%d %H:%M UTC"));
    g_ptr_array_add(results->header,
                    g_strdup_printf("%s %s %s, %ld processors", system.sysname, system.release,
                                    system.machine, sysconf(_SC_NPROCESSORS_ONLN)));
    g_ptr_array_add(results->header,
                    g_strdup_printf("%d rounds at %d %% of the full scale, big file %s, mounts "
                                    "rest for %d ms",
                                    arguments->rounds, arguments->percent, arguments->big,
                                    arguments->settle_ms));
    g_ptr_array_add(
        results->header,
        g_strdup_printf("leasefs %s%s%s", arguments->elsewhere ? "elsewhere" : "in place",
                        arguments->leasefs_opts != NULL ? ", -o " : "",
                        arguments->leasefs_opts != NULL ? arguments->leasefs_opts : ""));
    for (guint i = 0; i < targets->len; i++) {
        const Target *target = targets->pdata[i];

        if (target->version != NULL && target->kind != TARGET_BLOCKED)
            g_ptr_array_add(results->header, g_strdup(target->version));
    }
}

static void set_environment(const Place *place)
{
    g_setenv("HOME", place->scratch, TRUE);
    g_setenv("LC_ALL", "C.UTF-8", TRUE);
    g_setenv("LEASEFS_STATE_DIR", place->state, TRUE);
    g_setenv("GIT_CONFIG_NOSYSTEM", "1", TRUE);
    g_unsetenv("GIT_DIR");
    signal(SIGPIPE, SIG_IGN);
}

static gboolean measure(const Arguments *arguments, GArray *workloads, Results *results,
                        GError **error)
{
    g_autoptr(Place) place = NULL;
    g_autoptr(GPtrArray) targets = NULL;
    RunnerSettings settings = {
        .rounds = (guint)arguments->rounds,
        .percent = (guint)arguments->percent,
        .big_size = parse_size(arguments->big),
        .settle_ms = (guint)arguments->settle_ms,
        .target = {arguments->leasefs, arguments->leasefs_opts, arguments->elsewhere,
                   arguments->passthrough_hp},
        .progress = arguments->json ? stderr : stdout,
    };

    place = place_new(arguments->image_dir, parse_size(arguments->size), error);
    if (place == NULL)
        return FALSE;
    set_environment(place);
    targets = make_targets(arguments, &settings.target, place, error);
    if (targets == NULL)
        return FALSE;
    add_header(results, arguments, targets);
    report_header(settings.progress, results);
    return runner_run(&settings, place, workloads, targets, results, error);
}

static gboolean read_results(const Arguments *arguments, Results *results, GError **error)
{
    for (char **path = arguments->from; *path != NULL; path++) {
        if (!report_read_json(results, *path, error))
            return FALSE;
    }
    if (arguments->json)
        return TRUE;
    report_header(stdout, results);
    for (guint i = 0; i < results->rows->len; i++)
        report_row(stdout, results->rows->pdata[i]);
    return TRUE;
}

static int run(const Arguments *arguments, GArray *workloads)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Results) results = results_new();
    gboolean done;

    if (arguments->from == NULL && geteuid() != 0)
        return fail(1, "only root can make the image and mount it");
    done = arguments->from != NULL ? read_results(arguments, results, &error)
                                   : measure(arguments, workloads, results, &error);
    /* What was measured before a failure is worth having nonetheless. */
    if (results->rows->len > 0)
        report_summary(arguments->json ? stderr : stdout, results);
    if (results->rows->len > 0 && arguments->json)
        report_json(stdout, results);
    if (!done)
        return fail(1, error->message);
    if (arguments->svg != NULL && !report_svg(arguments->svg, results, &error))
        return fail(1, error->message);
    return 0;
}

static gboolean parse(Arguments *arguments, int *argc, char ***argv, GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    const GOptionEntry entries[] = {
        {"only", 0, 0, G_OPTION_ARG_STRING_ARRAY, &arguments->only, "Workloads to run", "GLOB"},
        {"list", 0, 0, G_OPTION_ARG_NONE, &arguments->list, "List the workloads", NULL},
        {"targets", 0, 0, G_OPTION_ARG_STRING_ARRAY, &arguments->targets, "Where to run them",
         "TARGET"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &arguments->rounds, "Timed rounds (5)", "N"},
        {"scale", 0, 0, G_OPTION_ARG_INT, &arguments->percent, "Per cent of the work (100)", "N"},
        {"big", 0, 0, G_OPTION_ARG_STRING, &arguments->big, "Size of the big file (1G)", "SIZE"},
        {"settle", 0, 0, G_OPTION_ARG_INT, &arguments->settle_ms,
         "How long a mount rests before it is timed (250; quick: 0)", "MS"},
        {"quick", 0, 0, G_OPTION_ARG_NONE, &arguments->quick, "A smoke run of a minute", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &arguments->json, "JSON on stdout, the tables on stderr",
         NULL},
        {"svg", 0, 0, G_OPTION_ARG_FILENAME, &arguments->svg, "Draw the ratios", "FILE"},
        {"from", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arguments->from,
         "Run nothing, report what --json wrote; may be repeated", "FILE"},
        {"image-dir", 0, 0, G_OPTION_ARG_FILENAME, &arguments->image_dir,
         "Where the image is made (/dev/shm)", "DIR"},
        {"size", 0, 0, G_OPTION_ARG_STRING, &arguments->size, "Size of the image (3G)", "SIZE"},
        {"leasefs", 0, 0, G_OPTION_ARG_FILENAME, &arguments->leasefs, "The program", "PATH"},
        {"leasefs-opts", 0, 0, G_OPTION_ARG_STRING, &arguments->leasefs_opts,
         "More options for `leasefs mount -o`", "OPTS"},
        {"elsewhere", 0, 0, G_OPTION_ARG_NONE, &arguments->elsewhere,
         "Do not mount leasefs in place", NULL},
        {"passthrough-hp", 0, 0, G_OPTION_ARG_FILENAME, &arguments->passthrough_hp,
         "libfuse's example, a peer too", "PATH"},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_set_summary(context, help_summary);
    g_option_context_set_description(context, help_notes);
    g_option_context_add_main_entries(context, entries, NULL);
    return g_option_context_parse(context, argc, argv, error);
}

static void fill_in(char **option, const char *value)
{
    if (*option == NULL)
        *option = g_strdup(value);
}

static void set_defaults(Arguments *arguments)
{
    if (arguments->rounds == 0)
        arguments->rounds = arguments->quick ? QUICK_ROUNDS : 5;
    if (arguments->percent == 0)
        arguments->percent = arguments->quick ? QUICK_PERCENT : 100;
    if (arguments->settle_ms == UNSET)
        arguments->settle_ms = arguments->quick ? 0 : SETTLE_MS;
    fill_in(&arguments->big, arguments->quick ? QUICK_BIG : "1G");
    fill_in(&arguments->size, "3G");
    fill_in(&arguments->image_dir, "/dev/shm");
    fill_in(&arguments->leasefs, "leasefs");
}

static const char *find_fault(const Arguments *arguments, int argc)
{
    if (argc > 1)
        return "no operands are taken; see --help";
    if (arguments->rounds < 1 || arguments->rounds > RESULT_MAX_ROUNDS)
        return "--rounds is from 1 to 99";
    if (arguments->percent < 1 || arguments->percent > 100)
        return "--scale is from 1 to 100";
    if (arguments->settle_ms < 0 || arguments->settle_ms > MAX_SETTLE_MS)
        return "--settle is from 0 to 10000";
    if (parse_size(arguments->big) < (1 << 20) || parse_size(arguments->size) < (64 << 20))
        return "--big is at least 1M, --size at least 64M";
    return NULL;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) workloads = NULL;
    g_auto(GStrv) only = NULL;
    Arguments arguments = {.settle_ms = UNSET};
    const char *fault;

    if (!parse(&arguments, &argc, &argv, &error))
        return fail(2, error->message);
    set_defaults(&arguments);
    fault = find_fault(&arguments, argc);
    if (fault != NULL)
        return fail(2, fault);
    only = split_lists(arguments.only);
    workloads = workloads_select((const char *const *)only);
    if (workloads->len == 0)
        return fail(2, "no such workload; see --list");
    for (guint i = 0; arguments.list && i < workloads->len; i++) {
        const Workload *workload = g_array_index(workloads, const Workload *, i);

        printf("%-18s %s\n", workload->name, workload->summary);
    }
    if (arguments.list)
        return 0;
    return run(&arguments, workloads);
}

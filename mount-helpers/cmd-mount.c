/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bounded.h"
#include "bypass.h"
#include "client.h"
#include "cmd.h"
#include "daemonize.h"
#include "log-output.h"
#include "mount.h"
#include "print.h"
#include "remount.h"
#include "status-text.h"
#include "unmount.h"
#include "usage.h"
#include "util.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ANSWER_LIMIT_MS 10000
#define END_LIMIT_MS    5000

static const Usage usage = {
    .command = "mount",
    .operands = "WORKSPACE [MOUNTPOINT]",
    .summary = "Protects the directory WORKSPACE: one session at a time writes in it. Mounts in\n"
               "place, or at MOUNTPOINT. Returns when the mount answers.",
    .notes = "Options of -o, separated by commas:\n"
             "  ttl=DUR                 how long a lease stays fresh (5m): 500ms, 30s, 5m, 12h\n"
             "  mode=enforce|observe    observe refuses nothing and logs what it would refuse\n"
             "  boundary=[+]COMM:...    where the walk to a session's root ends\n"
             "  passive=GLOB:...        changes that never take the lease (index.lock of git)\n"
             "  shared=GLOB:...         what every session may change at any time\n"
             "  unknown=deny|allow      writes of processes that cannot be identified\n"
             "  nested=pass|refuse      what is mounted below WORKSPACE: shown, or EXDEV\n"
             "  state_dir=DIR           where lease records are kept\n"
             "  cache=auto|always|never how long the kernel remembers names and attributes\n"
             "  allow_other, ro, ...    FUSE's own\n\n"
             "EXIT STATUS\n"
             "  0  the mount answers (with -f: it has ended in order)\n"
             "  1  failed, and nothing is left behind\n"
             "  2  wrong usage\n",
    .needed = "WORKSPACE",
    .min_operands = 1,
    .max_operands = 2,
};

/* Absolute, for the daemon leaves the working directory. Symbolic links are mount_serve's to
 * resolve, so `..` stays. NULL stays NULL; FALSE where the working directory has no path. */
static gboolean make_absolute(char **path)
{
    g_autofree char *relative = NULL;
    g_autofree char *here = NULL;

    if (*path == NULL || (*path)[0] == '/')
        return TRUE;
    here = getcwd(NULL, 0);
    if (here == NULL || here[0] != '/')
        return FALSE;
    relative = *path;
    *path = g_build_filename(here, relative, NULL);
    return TRUE;
}

/* One line for each process that reaches past the mount. */
static char *format_notice(const MountNotice *notice)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; notice->past != NULL && i < notice->past->len; i++) {
        const BypassProcess *process = notice->past->pdata[i];
        g_autofree char *line = status_text_past(process->comm, process->id.pid, process->how);

        g_string_append_printf(text, "leasefs mount: %s\n", line);
    }
    return g_string_free(text, FALSE);
}

static void ready_in_foreground(const MountNotice *notice, gpointer data)
{
    g_autofree char *text = format_notice(notice);

    (void)data;
    fputs(text, stderr);
}

static void ready_in_background(const MountNotice *notice, gpointer data)
{
    int *report_fd = data;
    g_autofree char *text = format_notice(notice);

    log_output_to_system();
    daemonize_report_ready(fd_steal(report_fd), text);
}

static int fail(const char *message)
{
    print_failure(usage.command, "%s", message);
    return EXIT_FAILED;
}

static int serve_in_foreground(const MountRequest *request)
{
    g_autoptr(GError) error = NULL;

    daemonize_prepare();
    if (!mount_serve(request, ready_in_foreground, NULL, &error))
        return fail(error->message);
    return EXIT_DONE;
}

static G_NORETURN void serve_in_background(const MountRequest *request, int report_fd)
{
    g_autoptr(GError) error = NULL;

    daemonize_prepare();
    if (mount_serve(request, ready_in_background, &report_fd, &error))
        _exit(EXIT_DONE);
    if (report_fd >= 0)
        daemonize_report_failure(report_fd, error->message);
    else
        g_warning("%s", error->message);
    _exit(EXIT_FAILED);
}

/* In a process of its own: 0 where the mount answers as one. */
static int probe(gpointer data)
{
    const char *mountpoint = data;
    g_autoptr(Client) client = client_new(mountpoint, NULL);
    g_autofree char *state = NULL;
    int code;

    if (client == NULL)
        return 1;
    state = client_read(client, "state", &code);
    return state != NULL ? 0 : 1;
}

/* A mount that was reported ready and does not answer is worth nothing to anybody. */
static int give_up(pid_t daemon, const char *mountpoint)
{
    autofd pidfd = bounded_open_pidfd(daemon);
    g_autofree char *message = NULL;

    kill(daemon, SIGTERM);
    if (pidfd >= 0 && !bounded_wait_end(pidfd, END_LIMIT_MS)) {
        kill(daemon, SIGKILL);
        unmount_path(mountpoint, TRUE, NULL);
    }
    message = g_strdup_printf("the mount at %s does not answer; it was ended again", mountpoint);
    return fail(message);
}

static int serve(const MountRequest *request, gboolean foreground)
{
    g_autofree char *mountpoint =
        g_strdup(request->mountpoint != NULL ? request->mountpoint : request->workspace);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    autofd report_fd = -1;
    pid_t daemon;

    if (foreground)
        return serve_in_foreground(request);
    fflush(NULL);
    daemon = daemonize_fork(&report_fd, &error);
    if (daemon < 0)
        return fail(error->message);
    if (daemon == 0)
        serve_in_background(request, fd_steal(&report_fd));
    text = daemonize_wait(daemon, report_fd, &error);
    if (text == NULL)
        return fail(error->message);
    fputs(text, stderr);
    if (bounded_call(probe, mountpoint, ANSWER_LIMIT_MS) != 0)
        return give_up(daemon, mountpoint);
    return EXIT_DONE;
}

/* FALSE and an error where an option is wrong. */
static gboolean parse_options(MountOptions *options, char **texts, GError **error)
{
    for (guint i = 0; texts != NULL && texts[i] != NULL; i++) {
        if (!mount_options_parse(options, texts[i], error))
            return FALSE;
    }
    return TRUE;
}

static int mount_workspace(const char *workspace, const char *mountpoint, MountOptions *options,
                           gboolean foreground)
{
    g_autofree char *workspace_path = g_strdup(workspace);
    g_autofree char *mountpoint_path = g_strdup(mountpoint);
    MountRequest request = {.options = options};

    if (!make_absolute(&workspace_path) || !make_absolute(&mountpoint_path) ||
        !make_absolute(&options->state_dir))
        return fail("the working directory is gone; name the paths from / on, or cd elsewhere");
    /* Else we ourselves, waiting for the daemon, would reach the workspace past the mount. */
    if (chdir("/") != 0)
        return fail("cannot change to the directory /");
    request.workspace = workspace_path;
    request.mountpoint = mountpoint_path;
    return serve(&request, foreground);
}

int cmd_mount(int argc, char **argv)
{
    g_autoptr(MountOptions) options = mount_options_new();
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) texts = NULL;
    g_auto(GStrv) operands = NULL;
    g_autofree char *state_dir = NULL;
    g_autofree char *ttl = NULL;
    gboolean foreground = FALSE;
    gint64 ttl_ms;
    int status;
    const GOptionEntry entries[] = {
        {"options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &texts, "Mount options", "OPTS"},
        {"foreground", 'f', 0, G_OPTION_ARG_NONE, &foreground, "Stay in the foreground", NULL},
        {"ttl", 0, 0, G_OPTION_ARG_FILENAME, &ttl, "As -o ttl=DUR", "DUR"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &state_dir, "As -o state_dir=DIR", "DIR"},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &status))
        return status;
    if (!parse_options(options, texts, &error))
        return usage_error(&usage, "%s", error->message);
    if (!usage_duration(&usage, "ttl", ttl, &ttl_ms))
        return EXIT_USAGE;
    if (ttl != NULL)
        options->ttl_ms = ttl_ms;
    if (state_dir != NULL) {
        g_free(options->state_dir);
        options->state_dir = g_steal_pointer(&state_dir);
    }
    return mount_workspace(operands[0], operands[1], options, foreground);
}

/* mount(8) calls its helpers with the source, the target and -sfnv, -N, -o, -t. */
static const Usage helper_usage = {
    .command = "mount",
    .operands = "SOURCE TARGET [-sfnv] [-o OPTS]",
    .summary = "The mount(8) helper for leasefs; see leasefs mount --help.",
    .notes = "EXIT STATUS\n"
             "  0   the mount answers\n"
             "  1   wrong usage\n"
             "  32  failed\n",
    .needed = "SOURCE or TARGET",
    .min_operands = 2,
    .max_operands = 2,
};
#define HELPER_EXIT_USAGE  1
#define HELPER_EXIT_FAILED 32

int cmd_mount_helper(int argc, char **argv)
{
    g_autoptr(MountOptions) options = mount_options_new();
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) texts = NULL;
    g_auto(GStrv) operands = NULL;
    g_autofree char *type = NULL;
    gboolean fake = FALSE;
    gboolean ignored = FALSE;
    int status;
    const GOptionEntry entries[] = {
        {"options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &texts, "Mount options", "OPTS"},
        {"fake", 'f', 0, G_OPTION_ARG_NONE, &fake, "Check only, mount nothing", NULL},
        {"sloppy", 's', 0, G_OPTION_ARG_NONE, &ignored, "Accepted and ignored", NULL},
        {"no-mtab", 'n', 0, G_OPTION_ARG_NONE, &ignored, "Accepted and ignored", NULL},
        {"verbose", 'v', 0, G_OPTION_ARG_NONE, &ignored, "Accepted and ignored", NULL},
        {"types", 't', 0, G_OPTION_ARG_FILENAME, &type, "Accepted and ignored", "TYPE"},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&helper_usage, entries, argv, &operands, &status))
        return status == EXIT_DONE ? EXIT_DONE : HELPER_EXIT_USAGE;
    if (remount_is_asked(texts)) {
        if (remount(operands[1], texts, &error))
            return EXIT_DONE;
        print_failure(usage.command, "%s", error->message);
        return HELPER_EXIT_FAILED;
    }
    /* mount(8) leaves these out where they are given: with it they are the default. */
    if (geteuid() == 0 && !mount_options_parse(options, "dev,suid", &error))
        return HELPER_EXIT_USAGE;
    if (!parse_options(options, texts, &error)) {
        usage_error(&helper_usage, "%s", error->message);
        return HELPER_EXIT_USAGE;
    }
    if (fake)
        return EXIT_DONE;
    status = mount_workspace(operands[0], operands[1], options, FALSE);
    return status == EXIT_DONE ? EXIT_DONE : HELPER_EXIT_FAILED;
}

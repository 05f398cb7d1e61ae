/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cmd.h"
#include "lease-wait.h"
#include "local-rules.h"
#include "print.h"
#include "run-child.h"
#include "session-mounts.h"
#include "session-name.h"
#include "status-text.h"
#include "usage.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RELEASE_LIMIT_MS 5000

static const Usage usage = {
    .command = "run",
    .operands = "-- COMMAND [ARGUMENT]...",
    .summary = "Runs COMMAND as a session of its own: with everything that it starts it counts\n"
               "as one writer. The session and its lease end with COMMAND. Inside a registered\n"
               "session COMMAND just runs there.",
    .notes = "COMMAND gets GIT_OPTIONAL_LOCKS=0 and LEASEFS_SESSION=NAME in its environment.\n"
             "DUR is 500ms, 30s, 5m, 12h, or seconds.\n\n"
             "EXIT STATUS\n"
             "  that of COMMAND; killed by a signal, leasefs run dies of the same signal\n"
             "  1    failed before COMMAND was started\n"
             "  2    wrong usage\n"
             "  75   --wait: the lease is held by another session\n"
             "  126  COMMAND is not executable\n"
             "  127  COMMAND was not found\n",
    .needed = "COMMAND",
    .min_operands = 1,
    .max_operands = G_MAXUINT,
    .options_come_first = TRUE,
};

typedef struct Run {
    const char *name;      /* --name, or NULL */
    const char *workspace; /* --workspace, or NULL */
    const char *state_dir;
    gboolean wait;
    gint64 wait_ms;
    gint64 ttl_ms;
    char **command;

    Signals signals;
    LocalRules *rules;
    Client *client; /* the mount that is meant; NULL where we are in none */
    int end_signal; /* came while waiting for the lease */
} Run;

static void run_clear(Run *run)
{
    g_clear_pointer(&run->client, client_free);
    g_clear_pointer(&run->rules, local_rules_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static int fail(const GError *error)
{
    print_failure(usage.command, "%s", error->message);
    return EXIT_FAILED;
}

/* A working directory from before an in-place mount lies below it: everything done in it would go
 * past the mount. Its path leads into the mount. */
static void enter_working_directory(void)
{
    /* Not g_get_current_dir, which says `/` for a directory that has no path any more. */
    g_autofree char *path = getcwd(NULL, 0);
    const char *shell_path = g_getenv("PWD");

    if (path != NULL && path[0] == '/' && chdir(path) == 0)
        return;
    if (shell_path != NULL && shell_path[0] == '/' && chdir(shell_path) != 0)
        g_debug("cannot enter %s anew", shell_path);
}

/* The mount that --workspace or the working directory names. Without either of the options that
 * need one, there may be none. */
static gboolean find_client(Run *run, GError **error)
{
    g_autoptr(GError) reason = NULL;

    run->client = client_new(run->workspace != NULL ? run->workspace : ".", &reason);
    if (run->client != NULL || (run->workspace == NULL && !run->wait))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&reason));
    return FALSE;
}

/* The id of the registered session that this process is in already, or NULL. Owned. */
static char *find_outer_session(Run *run)
{
    g_autoptr(Session) session = local_rules_resolve(run->rules, getpid());
    g_autoptr(MountStatus) status = NULL;

    if (session != NULL && session_rule(session) == SESSION_RULE_REGISTERED)
        return session_dup_id(session);
    if (run->client != NULL)
        status = client_status(run->client, NULL, NULL);
    if (status != NULL && g_strcmp0(status->rule, "registered") == 0)
        return g_strdup(status->session);
    return NULL;
}

static int wait_for_lease(Run *run)
{
    g_autoptr(MountStatus) status = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *reason = NULL;
    const LeaseClaim claim = {.ttl_ms = run->ttl_ms};

    if (!run->wait)
        return EXIT_DONE;
    switch (
        lease_wait(run->client, &claim, run->wait_ms, &run->signals, &run->end_signal, &error)) {
    case LEASE_WAIT_GRANTED:
        return EXIT_DONE;
    case LEASE_WAIT_INTERRUPTED:
        return EXIT_FAILED;
    case LEASE_WAIT_FAILED:
        return fail(error);
    case LEASE_WAIT_OVER:
        break;
    }
    status = client_status(run->client, NULL, &error);
    if (status == NULL)
        return fail(error);
    reason = status_text_reason(status);
    print_failure(usage.command, "the lease did not come in time: %s", reason);
    return EXIT_HELD;
}

static void set_environment(const char *session)
{
    g_setenv("GIT_OPTIONAL_LOCKS", "0", TRUE);
    g_setenv("LEASEFS_SESSION", session, TRUE);
}

static int fail_exec(const char *command, int code)
{
    print_failure(usage.command, "%s: %s", command, g_strerror(code));
    return run_exec_status(code);
}

/* Nested: the outer session goes on being the writer, so this process has nothing left to do. */
static int run_inside(Run *run, const char *outer)
{
    int status = wait_for_lease(run);

    if (status != EXIT_DONE)
        return status;
    print_failure(usage.command, "already in session %s; %s runs in it", outer, run->command[0]);
    set_environment(outer);
    return fail_exec(run->command[0], run_exec(run->command, &run->signals));
}

/* Whether the mount that is meant takes this process for the new session. Where nobody asked for
 * that mount by name, the command runs all the same: it will be judged as an unnamed session. */
static gboolean check_seen(Run *run, const char *name, GError **error)
{
    g_autoptr(MountStatus) status = NULL;
    g_autoptr(GError) reason = NULL;

    if (run->client == NULL)
        return TRUE;
    if (session_mount_tell(run->client, run->rules->sessions_path, &reason)) {
        status = client_status(run->client, NULL, &reason);
        if (status != NULL && g_strcmp0(status->session, name) == 0)
            return TRUE;
        if (status != NULL)
            g_set_error(&reason, G_IO_ERROR, G_IO_ERROR_FAILED,
                        "the mount at %s does not see the registration in %s; does its daemon run "
                        "as another user, or in another pid namespace?",
                        run->client->mountpoint, run->rules->sessions_path);
    }
    if (run->workspace != NULL || run->wait) {
        g_propagate_error(error, g_steal_pointer(&reason));
        return FALSE;
    }
    print_failure(usage.command, "warning: %s", reason->message);
    return TRUE;
}

static RegistrationFile *register_self(Run *run, const char *name, GError **error)
{
    ProcessInfo self;

    if (!local_rules_read_process(run->rules, getpid(), &self, error))
        return NULL;
    return registration_file_create(run->rules->sessions_fd, name, &self.id, &run->rules->host,
                                    TRUE, run->rules->processes, error);
}

static void tell_mounts(Run *run, GPtrArray *mounts)
{
    for (guint i = 0; i < mounts->len; i++) {
        g_autoptr(GError) error = NULL;

        if (!session_mount_tell(mounts->pdata[i], run->rules->sessions_path, &error))
            g_debug("%s", error->message);
    }
}

/* The mounts are looked for again: they may have changed since the session began. */
static void end_session(Run *run, const char *name, RegistrationFile **file)
{
    g_autoptr(GPtrArray) mounts = session_mounts_find();

    for (guint i = 0; i < mounts->len; i++)
        session_mount_release(mounts->pdata[i], name, RELEASE_LIMIT_MS);
    g_clear_pointer(file, registration_file_free);
    tell_mounts(run, mounts);
}

static int run_command(Run *run, const char *name)
{
    int wait_status = 0;
    int code;

    /* Somebody may have pressed ^C while the session was being set up. */
    run->end_signal = signals_wait_end(&run->signals, 0);
    if (run->end_signal != 0)
        return EXIT_FAILED;
    set_environment(name);
    code = run_child(run->command, &run->signals, &wait_status);
    if (code != 0)
        return fail_exec(run->command[0], code);
    if (WIFSIGNALED(wait_status)) {
        run->end_signal = WTERMSIG(wait_status);
        return EXIT_FAILED;
    }
    return WEXITSTATUS(wait_status);
}

static int run_session(Run *run)
{
    g_autofree char *name =
        run->name != NULL ? g_strdup(run->name) : session_name_default(run->command[0], getpid());
    g_autoptr(RegistrationFile) file = NULL;
    g_autoptr(GPtrArray) mounts = NULL;
    g_autoptr(GError) error = NULL;
    int status;

    file = register_self(run, name, &error);
    if (file == NULL)
        return fail(error);
    mounts = session_mounts_find();
    tell_mounts(run, mounts);
    if (check_seen(run, name, &error)) {
        /* Only where the work is going to be: what the starter holds elsewhere stays its own. */
        if (run->client != NULL)
            session_mount_inherit(run->client);
        status = wait_for_lease(run);
        if (status == EXIT_DONE)
            status = run_command(run, name);
    } else {
        status = fail(error);
    }
    end_session(run, name, &file);
    return status;
}

static int run_prepared(Run *run)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *outer = NULL;

    if (!signals_take(&run->signals, &error))
        return fail(error);
    enter_working_directory();
    /* First what may be refused: the rules make the directory of registrations. */
    if (!find_client(run, &error))
        return fail(error);
    run->rules = local_rules_new(run->state_dir, TRUE, &error);
    if (run->rules == NULL)
        return fail(error);
    outer = find_outer_session(run);
    if (outer != NULL)
        return run_inside(run, outer);
    /* Daemons that the command starts stay below this process, and so in its session. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        print_failure(usage.command, "cannot become a subreaper: %s", g_strerror(errno));
        return EXIT_FAILED;
    }
    return run_session(run);
}

int cmd_run(int argc, char **argv)
{
    g_autofree char *name = NULL;
    g_autofree char *workspace = NULL;
    g_autofree char *state_dir = NULL;
    g_autofree char *ttl = NULL;
    g_autofree char *wait = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    g_auto(Run) run = {.signals = {.fd = -1}};
    int status;
    const GOptionEntry entries[] = {
        {"name", 0, 0, G_OPTION_ARG_FILENAME, &name, "Name of the session", "NAME"},
        {"workspace", 0, 0, G_OPTION_ARG_FILENAME, &workspace,
         "The mount that is meant, if not the working directory's", "DIR"},
        {"wait", 0, 0, G_OPTION_ARG_FILENAME, &wait, "Start COMMAND when the session has the lease",
         "[DUR]"},
        {"ttl", 0, 0, G_OPTION_ARG_FILENAME, &ttl, "With --wait: how long the lease stays fresh",
         "DUR"},
        {"state-dir", 0, 0, G_OPTION_ARG_FILENAME, &state_dir,
         "Where registrations are kept, if not as usual", "DIR"},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &status))
        return status;
    if (name != NULL && !registration_check_name(name, &error))
        return usage_error(&usage, "%s", error->message);
    if (ttl != NULL && wait == NULL)
        return usage_error(&usage, "--ttl needs --wait");
    if (!usage_duration(&usage, "ttl", ttl, &run.ttl_ms) ||
        !usage_duration(&usage, "wait", wait, &run.wait_ms))
        return EXIT_USAGE;
    run.name = name;
    run.workspace = workspace;
    run.state_dir = state_dir;
    run.wait = wait != NULL;
    run.command = operands;

    status = run_prepared(&run);
    if (run.end_signal != 0)
        signals_die_by(run.end_signal);
    return status;
}

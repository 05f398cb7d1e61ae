/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "cmd.h"
#include "lease-wait.h"
#include "narrow.h"
#include "print.h"
#include "status-text.h"
#include "usage.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const Usage usage = {
    .command = "acquire",
    .operands = "[PATH]",
    .summary = "Takes the lease of the mount that PATH (default: the working directory) lies in,\n"
               "for the caller's session, ahead of writing. With --session, first makes the\n"
               "process PID and what it starts a session of that name: PID must be of the\n"
               "caller's own session, which must not be a registered one.",
    .notes = "DUR is 500ms, 30s, 5m, 12h, or seconds.\n\n"
             "EXIT STATUS\n"
             "  0   the session has the lease\n"
             "  1   failed; also where the session would end with this command: see --pid\n"
             "  2   wrong usage\n"
             "  75  the lease is held by another session\n",
    .max_operands = 1,
};

typedef struct Acquire {
    const char *session; /* --session, or NULL */
    pid_t pid;           /* --pid, or 0 */
    gboolean wait;
    gint64 wait_ms;
    gint64 ttl_ms;
    LeaseClaim claim;
    gboolean json;
    Client *client;
    Narrowing *narrowing; /* the registration made for this, or NULL */
    Signals signals;
    int end_signal;
} Acquire;

static int fail(const GError *error)
{
    print_failure(usage.command, "%s", error->message);
    return EXIT_FAILED;
}

static int print_granted(const Acquire *acquire)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountStatus) status = client_status(acquire->client, NULL, &error);
    g_autofree char *left = NULL;

    if (status == NULL)
        return fail(error);
    left = status_text_left(status);
    if (!acquire->json) {
        printf("acquired: epoch %" G_GINT64_FORMAT ", fresh for %s\n", status->epoch, left);
    } else {
        g_autoptr(JsonObject) object = json_object_new();

        json_object_set_boolean_member(object, "acquired", TRUE);
        print_set_string(object, "session",
                         acquire->claim.pid != 0 ? acquire->claim.session : status->session);
        json_object_set_int_member(object, "epoch", status->epoch);
        json_object_set_int_member(object, "ttl_ms", status->ttl_ms);
        json_object_set_int_member(object, "expires_ms", status->expires_ms);
        json_object_set_int_member(object, "remaining_ms", status->remaining_ms);
        print_json(object);
    }
    return EXIT_DONE;
}

static int refuse(const Acquire *acquire)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountStatus) status = client_status(acquire->client, NULL, &error);
    g_autofree char *reason = NULL;

    if (status == NULL)
        return fail(error);
    reason = acquire->claim.pid != 0 && mount_status_is_mine(status)
                 ? g_strdup_printf("held by the session that this command is of, %s; it gives it "
                                   "back with: leasefs release",
                                   status->holder)
                 : status_text_reason(status);
    if (acquire->json) {
        g_autoptr(JsonObject) object = json_object_new();

        json_object_set_boolean_member(object, "acquired", FALSE);
        print_set_string(object, "session", status->session);
        print_set_string(object, "holder", status->holder);
        json_object_set_int_member(object, "epoch", status->epoch);
        json_object_set_int_member(object, "remaining_ms", status->remaining_ms);
        print_set_string(object, "reason", reason);
        print_json(object);
    }
    print_failure(usage.command, "%s", reason);
    return EXIT_HELD;
}

static int take_now(const Acquire *acquire)
{
    g_autoptr(MountStatus) status = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;
    int code;

    code = lease_acquire(acquire->client, &acquire->claim);
    if (code == 0)
        return print_granted(acquire);
    /* EROFS is also what the kernel says of a mount with -o ro. */
    if (code == EROFS) {
        status = client_status(acquire->client, NULL, &error);
        if (status == NULL)
            return fail(error);
        if (status->reason != NULL || mount_status_is_held_fast(status))
            return refuse(acquire);
    }
    why = lease_explain_errno(acquire->client, code);
    print_failure(usage.command, "%s", why);
    return EXIT_FAILED;
}

static int take_in_turn(Acquire *acquire)
{
    g_autoptr(GError) error = NULL;

    switch (lease_wait(acquire->client, &acquire->claim, acquire->wait_ms, &acquire->signals,
                       &acquire->end_signal, &error)) {
    case LEASE_WAIT_GRANTED:
        return print_granted(acquire);
    case LEASE_WAIT_OVER:
        return refuse(acquire);
    case LEASE_WAIT_INTERRUPTED:
        return EXIT_FAILED;
    case LEASE_WAIT_FAILED:
        break;
    }
    return fail(error);
}

/* A session that ends with this command would give the lease back at once. */
static int check_session(const Acquire *acquire)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountStatus) status = client_status(acquire->client, NULL, &error);

    if (status == NULL)
        return fail(error);
    if (status->session == NULL) {
        g_autofree char *reason = status_text_reason(status);

        print_failure(usage.command, "%s", reason);
        return EXIT_FAILED;
    }
    if (acquire->pid == 0 && status->root_pid == getpid()) {
        print_failure(
            usage.command,
            "the session is this command alone, and its lease would end with it; name the "
            "process that is to hold it: --session NAME --pid PID");
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int acquire_lease(Acquire *acquire)
{
    g_autoptr(GError) error = NULL;
    int status = check_session(acquire);

    if (status != EXIT_DONE)
        return status;
    acquire->claim = (LeaseClaim){.ttl_ms = acquire->ttl_ms};
    if (acquire->session != NULL && !narrow_session(acquire->client, acquire->session, acquire->pid,
                                                    &acquire->claim, &acquire->narrowing, &error))
        return fail(error);
    status = acquire->wait ? take_in_turn(acquire) : take_now(acquire);
    if (status != EXIT_DONE)
        narrowing_undo(acquire->narrowing, acquire->client);
    return status;
}

static gboolean parse_pid(const char *text, pid_t *pid_out)
{
    guint64 pid = 0;

    if (text != NULL && !g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT32, &pid, NULL)) {
        usage_error(&usage, "--pid: %s is no process id", text);
        return FALSE;
    }
    *pid_out = (pid_t)pid;
    return TRUE;
}

int cmd_acquire(int argc, char **argv)
{
    g_autofree char *session = NULL;
    g_autofree char *pid = NULL;
    g_autofree char *ttl = NULL;
    g_autofree char *wait = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    Acquire acquire = {.signals = {.fd = -1}};
    int status;
    const GOptionEntry entries[] = {
        {"session", 0, 0, G_OPTION_ARG_FILENAME, &session, "Make it a session of this name first",
         "NAME"},
        {"pid", 0, 0, G_OPTION_ARG_FILENAME, &pid,
         "With --session: its root (default: this command's parent)", "PID"},
        {"ttl", 0, 0, G_OPTION_ARG_FILENAME, &ttl, "How long the lease stays fresh", "DUR"},
        {"wait", 0, 0, G_OPTION_ARG_FILENAME, &wait, "Wait for it, at most DUR", "[DUR]"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &acquire.json, "Print a JSON object", NULL},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &status))
        return status;
    if (session != NULL && !registration_check_name(session, &error))
        return usage_error(&usage, "%s", error->message);
    if (pid != NULL && session == NULL)
        return usage_error(&usage, "--pid needs --session");
    if (!parse_pid(pid, &acquire.pid) || !usage_duration(&usage, "ttl", ttl, &acquire.ttl_ms) ||
        !usage_duration(&usage, "wait", wait, &acquire.wait_ms))
        return EXIT_USAGE;
    acquire.session = session;
    acquire.wait = wait != NULL;

    acquire.client = client_new(operands[0] != NULL ? operands[0] : ".", &error);
    if (acquire.client == NULL || (acquire.wait && !signals_take(&acquire.signals, &error)))
        status = fail(error);
    else
        status = acquire_lease(&acquire);
    narrowing_free(acquire.narrowing);
    client_free(acquire.client);
    if (acquire.end_signal != 0)
        signals_die_by(acquire.end_signal);
    return status;
}

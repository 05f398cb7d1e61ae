/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "cmd.h"
#include "lease-wait.h"
#include "print.h"
#include "status-text.h"
#include "usage.h"

#include <errno.h>
#include <stdio.h>

/* The verbs that only the holder's session may use. */

#define RELEASE_LIMIT_MS 5000
#define RELEASE_POLL_MS  10

static const Usage refresh_usage = {
    .command = "refresh",
    .operands = "[PATH]",
    .summary = "Renews the lease of the mount that PATH (default: the working directory) lies\n"
               "in, for the session that holds it. Changes renew it by themselves.",
    .notes = "EXIT STATUS\n"
             "  0   done\n"
             "  1   failed: nobody holds it, or PATH is in no leasefs mount\n"
             "  2   wrong usage\n"
             "  75  another session holds it; nothing was changed\n",
    .max_operands = 1,
};

static const Usage release_usage = {
    .command = "release",
    .operands = "[PATH]",
    .summary = "Gives back the lease of the mount that PATH (default: the working directory)\n"
               "lies in, for the session that holds it.",
    .notes = "EXIT STATUS\n"
             "  0   done, or it was free\n"
             "  1   failed: PATH is in no leasefs mount, or changes are still on their way\n"
             "  2   wrong usage\n"
             "  75  another session holds it; nothing was changed\n",
    .max_operands = 1,
};

typedef struct Holder {
    const Usage *usage;
    Client *client;
    MountStatus *before;
    gboolean json;
} Holder;

static void holder_clear(Holder *holder)
{
    g_clear_pointer(&holder->before, mount_status_free);
    g_clear_pointer(&holder->client, client_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Holder, holder_clear)

static int fail(const Holder *holder, const GError *error)
{
    print_failure(holder->usage->command, "%s", error->message);
    return EXIT_FAILED;
}

static int fail_errno(const Holder *holder, int code)
{
    g_autofree char *why = lease_explain_errno(holder->client, code);

    print_failure(holder->usage->command, "%s", why);
    return EXIT_FAILED;
}

/* FALSE: there is nothing left to do, and *status_out is the exit status. */
static gboolean prepare(Holder *holder, char **argv, int *status_out)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &holder->json, "Print a JSON object", NULL},
        G_OPTION_ENTRY_NULL,
    };

    if (!usage_parse(holder->usage, entries, argv, &operands, status_out))
        return FALSE;
    holder->client = client_new(operands[0] != NULL ? operands[0] : ".", &error);
    if (holder->client != NULL)
        holder->before = client_status(holder->client, NULL, &error);
    if (holder->before == NULL) {
        *status_out = fail(holder, error);
        return FALSE;
    }
    return TRUE;
}

static gboolean is_free(const MountStatus *status)
{
    return status->holder == NULL;
}

static void print_lease_json(const MountStatus *status, const char *what, gboolean done)
{
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_boolean_member(object, what, done);
    json_object_set_string_member(object, "state", status->state);
    print_set_string(object, "holder", status->holder);
    json_object_set_int_member(object, "epoch", status->epoch);
    json_object_set_int_member(object, "ttl_ms", status->ttl_ms);
    if (status->holder != NULL)
        json_object_set_int_member(object, "remaining_ms", status->remaining_ms);
    print_json(object);
}

static int refuse(const Holder *holder, const MountStatus *status, const char *what)
{
    g_autofree char *lease = status_text_lease(status);

    if (holder->json)
        print_lease_json(status, what, FALSE);
    print_failure(holder->usage->command, "%s: %s; nothing was changed", status->mountpoint, lease);
    return EXIT_HELD;
}

int cmd_refresh(int argc, char **argv)
{
    g_auto(Holder) holder = {.usage = &refresh_usage};
    g_autoptr(MountStatus) after = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *left = NULL;
    int status;
    int code;

    (void)argc;
    if (!prepare(&holder, argv, &status))
        return status;
    code = client_control(holder.client, "refresh");
    if (code != 0 && code != EPERM)
        return fail_errno(&holder, code);
    after = client_status(holder.client, NULL, &error);
    if (after == NULL)
        return fail(&holder, error);
    if (code == EPERM && is_free(after)) {
        print_failure(holder.usage->command,
                      "nobody holds the lease of %s; take it with: leasefs acquire",
                      after->mountpoint);
        return EXIT_FAILED;
    }
    if (code == EPERM)
        return refuse(&holder, after, "refreshed");
    left = status_text_left(after);
    if (holder.json)
        print_lease_json(after, "refreshed", TRUE);
    else
        printf("refreshed: epoch %" G_GINT64_FORMAT ", fresh for %s\n", after->epoch, left);
    return EXIT_DONE;
}

/* Until the lease is no longer this session's. NULL and an error where the mount failed. */
static MountStatus *wait_until_released(const Holder *holder, GError **error)
{
    gint64 deadline_us = g_get_monotonic_time() + RELEASE_LIMIT_MS * G_GINT64_CONSTANT(1000);

    for (;;) {
        g_autoptr(MountStatus) status = client_status(holder->client, NULL, error);

        if (status == NULL || !mount_status_is_mine(status) ||
            status->epoch != holder->before->epoch || g_get_monotonic_time() >= deadline_us)
            return g_steal_pointer(&status);
        g_usleep(RELEASE_POLL_MS * 1000);
    }
}

int cmd_release(int argc, char **argv)
{
    g_auto(Holder) holder = {.usage = &release_usage};
    g_autoptr(MountStatus) after = NULL;
    g_autoptr(GError) error = NULL;
    gboolean was_free;
    int status;
    int code;

    (void)argc;
    if (!prepare(&holder, argv, &status))
        return status;
    was_free = is_free(holder.before);
    code = client_control(holder.client, "release");
    if (code != 0 && code != EPERM)
        return fail_errno(&holder, code);
    after = code == 0 ? wait_until_released(&holder, &error)
                      : client_status(holder.client, NULL, &error);
    if (after == NULL)
        return fail(&holder, error);
    if (code == EPERM && !is_free(after))
        return refuse(&holder, after, "released");
    if (code == 0 && mount_status_is_mine(after) && after->epoch == holder.before->epoch) {
        print_failure(holder.usage->command,
                      "%s: changes of this session are still being written back; the lease is free "
                      "when they are",
                      after->mountpoint);
        return EXIT_FAILED;
    }
    if (holder.json)
        print_lease_json(after, "released", TRUE);
    else
        puts(was_free || code == EPERM ? "free: there was nothing to release" : "released");
    return EXIT_DONE;
}

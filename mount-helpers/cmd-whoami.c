/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "cmd.h"
#include "local-rules.h"
#include "print.h"
#include "status-text.h"
#include "usage.h"

#include <gio/gio.h>
#include <stdio.h>

static const Usage usage = {
    .command = "whoami",
    .operands = "[PATH]",
    .summary = "Tells which session the caller belongs to, as the mount that PATH (default: the\n"
               "working directory) lies in sees it; outside of any, by the rules applied here.",
    .notes = "EXIT STATUS\n"
             "  0  done\n"
             "  1  failed, or the caller cannot be identified\n"
             "  2  wrong usage\n",
    .max_operands = 1,
};

/* What is told, from whichever side. */
typedef struct Whoami {
    char *session; /* NULL: not identified */
    char *rule;    /* the document's word */
    gint64 root_pid;
    char *root_comm;
    char *mountpoint; /* NULL: by the rules applied here */
    gboolean writable;
} Whoami;

static void whoami_clear(Whoami *whoami)
{
    g_free(whoami->session);
    g_free(whoami->rule);
    g_free(whoami->root_comm);
    g_free(whoami->mountpoint);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Whoami, whoami_clear)

static gboolean ask_mount(const Client *client, Whoami *whoami, GError **error)
{
    g_autoptr(MountStatus) status = client_status(client, NULL, error);

    if (status == NULL)
        return FALSE;
    whoami->session = g_strdup(status->session);
    whoami->rule = g_strdup(status->rule);
    whoami->root_pid = status->root_pid;
    whoami->root_comm = g_strdup(status->root_comm);
    whoami->mountpoint = g_strdup(client->mountpoint);
    whoami->writable = status->writable;
    return TRUE;
}

static const char *rule_word(SessionRule rule)
{
    switch (rule) {
    case SESSION_RULE_REGISTERED:
        return "registered";
    case SESSION_RULE_TERMINAL:
        return "terminal";
    case SESSION_RULE_OUTERMOST:
        return "outermost";
    }
    return NULL;
}

static gboolean apply_rules(Whoami *whoami, GError **error)
{
    g_autoptr(LocalRules) rules = local_rules_new(NULL, FALSE, error);
    g_autoptr(Session) session = NULL;
    ProcessId root;

    if (rules == NULL)
        return FALSE;
    session = local_rules_resolve(rules, getpid());
    if (session == NULL)
        return TRUE;
    session_get_root(session, &root);
    whoami->session = session_dup_id(session);
    whoami->rule = g_strdup(rule_word(session_rule(session)));
    whoami->root_pid = root.pid;
    whoami->root_comm = g_strdup(session_comm(session));
    return TRUE;
}

static void print_whoami_json(const Whoami *whoami)
{
    g_autoptr(JsonObject) object = json_object_new();

    print_set_string(object, "session", whoami->session);
    print_set_string(object, "session_rule", whoami->rule);
    if (whoami->root_pid > 0)
        json_object_set_int_member(object, "session_root_pid", whoami->root_pid);
    else
        json_object_set_null_member(object, "session_root_pid");
    print_set_string(object, "session_root_comm", whoami->root_comm);
    print_set_string(object, "mountpoint", whoami->mountpoint);
    print_json(object);
}

static void print_whoami(const Whoami *whoami)
{
    g_autofree char *session = print_clean(whoami->session);
    g_autofree char *comm = print_clean(whoami->root_comm);
    g_autofree char *mountpoint = print_clean(whoami->mountpoint);

    printf("%s\n", session);
    printf("  root: pid %" G_GINT64_FORMAT " (%s), %s\n", whoami->root_pid, comm,
           status_text_rule(whoami->rule));
    if (whoami->mountpoint != NULL)
        printf("  as the mount at %s sees it\n", mountpoint);
    else
        puts("  by the rules applied here: this is not in a leasefs mount");
}

int cmd_whoami(int argc, char **argv)
{
    g_autoptr(Client) client = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    g_auto(Whoami) whoami = {0};
    gboolean json = FALSE;
    gboolean ok;
    int exit_status;
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &json, "Print a JSON object", NULL},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &exit_status))
        return exit_status;
    client = client_new(operands[0] != NULL ? operands[0] : ".", &error);
    if (client != NULL) {
        ok = ask_mount(client, &whoami, &error);
    } else if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_MOUNTED)) {
        g_clear_error(&error);
        ok = apply_rules(&whoami, &error);
    } else {
        ok = FALSE;
    }
    if (!ok) {
        print_failure(usage.command, "%s", error->message);
        return EXIT_FAILED;
    }
    if (json)
        print_whoami_json(&whoami);
    else if (whoami.session != NULL)
        print_whoami(&whoami);
    if (whoami.session == NULL) {
        print_failure(usage.command,
                      "this process cannot be identified: it is in a pid namespace "
                      "that the daemon cannot see into, or /proc is not readable; it %s",
                      whoami.writable ? "may write, but hold no lease" : "can read, not write");
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "narrow.h"
#include "session-mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <unistd.h>

struct Narrowing {
    LocalRules *rules;
    RegistrationFile *file; /* not held: it counts as long as its process lives */
    ProcessId root;
    gboolean is_above; /* this process is of the new session */
    char *file_name;
};

void narrowing_free(Narrowing *narrowing)
{
    if (narrowing == NULL)
        return;
    registration_file_free(narrowing->file);
    g_free(narrowing->file_name);
    local_rules_free(narrowing->rules);
    g_free(narrowing);
}

/* While its process lives, nobody else can have given the name away; if it has died, the
 * registration counts no more. */
void narrowing_undo(Narrowing *narrowing, const Client *client)
{
    g_autoptr(GError) error = NULL;

    if (narrowing == NULL || !process_is_alive(narrowing->rules->processes, &narrowing->root))
        return;
    if (unlinkat(narrowing->rules->sessions_fd, narrowing->file_name, 0) != 0)
        g_warning("the registration %s/%s stays: %s", narrowing->rules->sessions_path,
                  narrowing->file_name, g_strerror(errno));
    if (!session_mount_tell(client, narrowing->rules->sessions_path, &error))
        g_debug("%s", error->message);
}

/* Already in a registered session: fine where it is the very one that is asked for. */
static gboolean check_registered(const char *own_id, gint64 own_root, const char *name, pid_t pid,
                                 GError **error)
{
    if (g_strcmp0(own_id, name) == 0 && (pid == 0 || own_root == pid))
        return TRUE;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                "this is inside the registered session %s, which cannot be divided; acquire "
                "without --session",
                own_id);
    return FALSE;
}

static gboolean check_process(LocalRules *rules, const ProcessInfo *process, GError **error)
{
    g_autoptr(Session) own = local_rules_resolve(rules, getpid());
    g_autoptr(Session) named = NULL;
    g_autoptr(Session) parent = NULL;
    int pid = (int)process->id.pid;

    if (pid == 1 || boundaries_contain(rules->boundaries, process->comm)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "process %d (%s) cannot be a session's root, all sessions end below it; name "
                    "another with --pid",
                    pid, process->comm);
        return FALSE;
    }
    named = local_rules_resolve(rules, process->id.pid);
    if (own == NULL || named != own) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    "process %d (%s) is not of this command's session; name one that is with --pid",
                    pid, process->comm);
        return FALSE;
    }
    /* The daemon believes who speaks for a session of which it is not from the parents alone. */
    parent = local_rules_resolve(rules, process->ppid);
    if (parent != own && !process_descends_from(rules->processes, getpid(), &process->id)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "process %d (%s) was not started by this command's session; run leasefs "
                    "acquire from a process that it started",
                    pid, process->comm);
        return FALSE;
    }
    return TRUE;
}

/* Whether the mount, which may have other boundaries and another state directory, agrees. */
static gboolean check_seen(const Client *client, const char *name, const char *sessions_path,
                           GError **error)
{
    g_autoptr(MountStatus) status = NULL;

    if (!session_mount_tell(client, sessions_path, error))
        return FALSE;
    status = client_status(client, NULL, error);
    if (status == NULL)
        return FALSE;
    if (g_strcmp0(status->session, name) == 0)
        return TRUE;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                "the mount at %s does not see the registration in %s; does its daemon run as "
                "another user?",
                client->mountpoint, sessions_path);
    return FALSE;
}

static gboolean register_process(Narrowing *narrowing, const char *name, pid_t pid, GError **error)
{
    LocalRules *rules = narrowing->rules;
    ProcessInfo process;

    /* The start time is read first: what is checked and registered is this process, not a later one
     * of its pid. */
    if (!local_rules_read_process(rules, pid, &process, error) ||
        !check_process(rules, &process, error))
        return FALSE;
    narrowing->root = process.id;
    narrowing->is_above = process_descends_from(rules->processes, getpid(), &process.id);
    narrowing->file = registration_file_create(rules->sessions_fd, name, &process.id, &rules->host,
                                               FALSE, rules->processes, error);
    return narrowing->file != NULL;
}

gboolean narrow_session(const Client *client, const char *name, pid_t pid, LeaseClaim *claim,
                        Narrowing **narrowing_out, GError **error)
{
    g_autoptr(Narrowing) narrowing = g_new0(Narrowing, 1);
    g_autoptr(MountStatus) status = client_status(client, NULL, error);
    g_autoptr(Session) own = NULL;
    gboolean seen;

    if (status == NULL)
        return FALSE;
    if (g_strcmp0(status->rule, "registered") == 0)
        return check_registered(status->session, status->root_pid, name, pid, error);
    narrowing->rules = local_rules_new(NULL, TRUE, error);
    if (narrowing->rules == NULL)
        return FALSE;
    own = local_rules_resolve(narrowing->rules, getpid());
    if (own != NULL && session_rule(own) == SESSION_RULE_REGISTERED) {
        g_autofree char *own_id = session_dup_id(own);
        ProcessId root;

        session_get_root(own, &root);
        return check_registered(own_id, root.pid, name, pid, error) &&
               check_seen(client, name, narrowing->rules->sessions_path, error);
    }
    narrowing->file_name = g_strconcat(name, ".json", NULL);
    if (!register_process(narrowing, name, pid != 0 ? pid : getppid(), error))
        return FALSE;
    if (!narrowing->is_above) {
        *claim = (LeaseClaim){.session = name, .pid = pid, .ttl_ms = claim->ttl_ms};
        seen = session_mount_tell(client, narrowing->rules->sessions_path, error);
    } else {
        seen = check_seen(client, name, narrowing->rules->sessions_path, error);
    }
    if (!seen) {
        narrowing_undo(narrowing, client);
        return FALSE;
    }
    *narrowing_out = g_steal_pointer(&narrowing);
    return TRUE;
}

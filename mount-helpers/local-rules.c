/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "local-rules.h"
#include "store.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>

static gboolean open_sessions(LocalRules *rules, const char *state_path, gboolean create,
                              GError **error)
{
    autofd state_fd = -1;

    if (!create) {
        rules->sessions_fd = open(rules->sessions_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (rules->sessions_fd >= 0 || errno == ENOENT || errno == EACCES)
            return TRUE;
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s: %s", rules->sessions_path,
                    g_strerror(errno));
        return FALSE;
    }
    state_fd = store_open_directory(state_path, error);
    if (state_fd < 0)
        return FALSE;
    rules->sessions_fd = store_open_sessions_directory(state_fd, error);
    return rules->sessions_fd >= 0;
}

/* A daemon with another working directory is told where the directory is. */
static void make_path_absolute(LocalRules *rules)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", rules->sessions_fd);
    char *path = rules->sessions_fd >= 0 ? g_file_read_link(link, NULL) : NULL;

    if (path == NULL)
        return;
    g_free(rules->sessions_path);
    rules->sessions_path = path;
}

static gboolean read_registrations(LocalRules *rules, GError **error)
{
    autofd dir_fd = -1;

    if (rules->sessions_fd < 0)
        return TRUE;
    dir_fd = fcntl(rules->sessions_fd, F_DUPFD_CLOEXEC, 3);
    if (dir_fd < 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s: %s", rules->sessions_path,
                    g_strerror(errno));
        return FALSE;
    }
    return registry_add_directory(rules->registry, fd_steal(&dir_fd), error);
}

LocalRules *local_rules_new(const char *state_dir, gboolean create, GError **error)
{
    g_autoptr(LocalRules) rules = g_new0(LocalRules, 1);
    g_autofree char *state_path = store_default_directory(state_dir);

    rules->sessions_fd = -1;
    rules->sessions_path = g_build_filename(state_path, "sessions", NULL);
    if (!host_identity_init(&rules->host, error))
        return NULL;
    rules->processes = process_table_new_proc(error);
    if (rules->processes == NULL || !open_sessions(rules, state_path, create, error))
        return NULL;
    make_path_absolute(rules);
    rules->boundaries = boundaries_new(NULL);
    rules->registry = registry_new(&rules->host, rules->processes);
    if (!read_registrations(rules, error))
        return NULL;
    registry_refresh(rules->registry, TRUE);
    rules->sessions = session_table_new(rules->processes, rules->registry, rules->boundaries);
    return g_steal_pointer(&rules);
}

void local_rules_free(LocalRules *rules)
{
    if (rules == NULL)
        return;
    g_clear_pointer(&rules->sessions, session_table_free);
    g_clear_pointer(&rules->registry, registry_free);
    g_clear_pointer(&rules->boundaries, boundaries_free);
    g_clear_pointer(&rules->processes, process_table_free);
    host_identity_clear(&rules->host);
    autofd_clear(&rules->sessions_fd);
    g_free(rules->sessions_path);
    g_free(rules);
}

Session *local_rules_resolve(LocalRules *rules, pid_t pid)
{
    Session *session = NULL;

    if (session_table_resolve(rules->sessions, pid, &session) != CALLER_SESSION)
        return NULL;
    return session;
}

gboolean local_rules_read_process(LocalRules *rules, pid_t pid, ProcessInfo *info_out,
                                  GError **error)
{
    ProcessInfo info;
    int r;

    r = rules->processes->ops->read(rules->processes, pid, &info);
    if (r < 0 && r != -ESRCH) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "process %d: %s", (int)pid,
                    g_strerror(-r));
        return FALSE;
    }
    if (r < 0 || info.dead) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "there is no process %d", (int)pid);
        return FALSE;
    }
    *info_out = info;
    return TRUE;
}

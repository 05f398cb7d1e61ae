/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Applies the session rules from here, without a daemon: the default boundaries and the
 * registrations of this user's state directory.
 * Thread safety: none; the command has one thread.
 */
#include "session-table.h"

typedef struct LocalRules {
    ProcessTable *processes;
    HostIdentity host;
    Boundaries *boundaries;
    Registry *registry;
    SessionTable *sessions;
    char *sessions_path; /* `<state>/sessions`, absolute */
    int sessions_fd;     /* -1 where the directory does not exist */
} LocalRules;

/* state_dir NULL: the default one. With `create` the directories are made, else a missing one just
 * means no registrations. NULL and an error that names the thing. */
LocalRules *local_rules_new(const char *state_dir, gboolean create, GError **error);
void local_rules_free(LocalRules *rules);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LocalRules, local_rules_free)

/* The session of a process; NULL where it cannot be identified. Owned. */
Session *local_rules_resolve(LocalRules *rules, pid_t pid);
/* Who the process is now; G_IO_ERROR_NOT_FOUND where there is none (a zombie is none). */
gboolean local_rules_read_process(LocalRules *rules, pid_t pid, ProcessInfo *info_out,
                                  GError **error);

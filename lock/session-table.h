/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Remembers which process belongs to which session, and notices when a session ends.
 * Thread safety: every function may be called from any thread. One mutex, never held over
 * anything that blocks; the callback runs without it, and never inside adopt or covers, which may
 * be called with locks held that the callback takes.
 */
#include "session.h"

/* One writer: a root process and what descends from it. There is one object per root identity, so
 * two are the same session exactly when they are the same object. Reference counted. */
typedef struct Session Session;

Session *session_ref(Session *session);
void session_unref(Session *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_unref)

guint64 session_serial(const Session *session); /* never 0, never used twice */
/* Registered: its name; else COMM.PID.START, frozen at first sight. Owned. */
char *session_dup_id(Session *session);
void session_get_root(const Session *session, ProcessId *root_out);
const char *session_comm(const Session *session); /* of the root; borrowed */
SessionRule session_rule(Session *session);
/* Every known process of it is dead, or its registration was ended. One atomic load. */
gboolean session_has_ended(Session *session);

typedef enum CallerKind {
    CALLER_SESSION, /* belongs to a session */
    CALLER_KERNEL,  /* a kernel thread: judged by the file */
    CALLER_UNKNOWN, /* cannot be identified (pid 0: another pid namespace) */
} CallerKind;

typedef struct SessionTable SessionTable;

/* All arguments are borrowed for the table's life; `registry` is used only under the table's lock
 * from now on. */
SessionTable *session_table_new(ProcessTable *processes, Registry *registry,
                                const Boundaries *boundaries);
void session_table_free(SessionTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SessionTable, session_table_free)

/* The session that a thread's process belongs to. A hit costs a hash look-up and one poll of the
 * held process; a miss walks /proc. `session_out` (owned) is set for CALLER_SESSION only. */
CallerKind session_table_resolve(SessionTable *table, pid_t tid, Session **session_out);

/* The session of a stored holder: its root may be alive (then it is held) or dead (then the
 * session has ended already). Owned. */
Session *session_table_adopt(SessionTable *table, const char *id, const ProcessId *root,
                             const char *comm);

/* Whether the session is that of `pid` or stands below it: how a hook-based tool's record, which
 * knows only a pid, is matched to a session. */
gboolean session_table_covers(SessionTable *table, Session *session, pid_t pid);

/* Adds a directory of registrations (dir_fd is taken) and reads it. */
gboolean session_table_add_directory(SessionTable *table, int dir_fd, GError **error);

/* Takes in what changed among the registrations: processes below a new one and of an ended one are
 * resolved anew; the sessions whose registration was removed have ended. */
void session_table_reload(SessionTable *table);

/* Takes in which processes died. */
void session_table_reap(SessionTable *table);

/* Called, without the lock, by resolve, add_directory, reload and reap, once for each session that
 * ended. */
typedef void (*SessionEnded)(Session *session, gpointer data);
void session_table_on_ended(SessionTable *table, SessionEnded ended, gpointer data);

/* The live sessions, oldest first: GPtrArray of Session, owned with its references. */
GPtrArray *session_table_list(SessionTable *table);
guint session_table_process_count(SessionTable *table);

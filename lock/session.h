/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which process is the root of a process's session: the rules of docs/sessions.md, one
 * function each. Pure over the process table and the registry.
 * Thread safety: none of its own; callers serialise access to the registry.
 */
#include "registration.h"

typedef enum SessionRule {
    SESSION_RULE_REGISTERED, /* the outermost registered ancestor */
    SESSION_RULE_TERMINAL,   /* the outermost leader of a terminal session below the boundary */
    SESSION_RULE_OUTERMOST,  /* the outermost process below the boundary */
} SessionRule;

/* The comms that no session but a registered one reaches beyond. */
typedef struct Boundaries Boundaries;
/* `spec` is a `boundary=` value: NULL for the default list, `a:b:c` to replace it, `+a:b` to add
 * to it. A colon followed by a blank belongs to the name (`tmux: server`). Longer names are cut to
 * 15 characters, as the kernel cuts a comm. */
Boundaries *boundaries_new(const char *spec);
void boundaries_free(Boundaries *boundaries);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Boundaries, boundaries_free)
gboolean boundaries_contain(const Boundaries *boundaries, const char *comm);

typedef enum SessionWalkEnd {
    SESSION_WALK_TOP,    /* every ancestor was seen that can be */
    SESSION_WALK_KNOWN,  /* it ended at an ancestor whose session is known already */
    SESSION_WALK_KERNEL, /* the chain reaches a kernel thread */
    SESSION_WALK_LOST,   /* the process itself cannot be read */
    SESSION_WALK_SHORT,  /* no descriptors are left to walk with */
} SessionWalkEnd;

/* Tells whether the session of an ancestor is known already (and remembers which). `past_boundary`:
 * a boundary lies between, or the ancestor is one, so that only a registered session counts.
 * `read` is NULL where nothing was read of it yet: then the callee finds out whether it is a
 * boundary, and after that whether it lives, which shows that the pid is that ancestor's. */
typedef gboolean (*SessionKnown)(pid_t pid, const ProcessInfo *read, gboolean past_boundary,
                                 gpointer data);

/* A list of ProcessLink that session_walk can fill. */
GArray *session_chain_new(void);
/* Releases what is still held. */
void session_chain_clear(ProcessTable *processes, GArray *chain);

/* Fills `chain` with the process itself and its ancestors, inside out, up to but without the known
 * ancestor, pid 1, or one that cannot be read. Boundaries are left out; `below_out` of the
 * processes stand below the nearest. A parent that died while it was read is not mistaken for a
 * later process of its pid. Where the process's own parent is known, nothing is read of the process
 * but its pid and ppid (start_time 0). */
SessionWalkEnd session_walk(ProcessTable *processes, const Boundaries *boundaries, pid_t pid,
                            SessionKnown known, gpointer data, GArray *chain, guint *below_out);

/* Whether the process at the chain's start, below a known ancestor of a session found by
 * `known_rule`, may be the root of a session of its own: only then need more of it be read. */
gboolean session_may_be_inner_root(const GArray *chain, SessionRule known_rule, Registry *registry,
                                   ProcessTable *processes);

/* Where the walk met nothing known: index into chain of the root, and the rule that named it.
 * chain is not empty. A registered process counts wherever it stands, others below the boundary. */
guint session_find_root(const GArray *chain, guint below, Registry *registry,
                        SessionRule *rule_out);

/* Where the walk ended at a known ancestor of a session found by `known_rule`: the index of a root
 * inside chain that outranks it (a registered process below an unregistered session, the leader of
 * a terminal below a session without one), or -1 where the known session holds for all of chain. */
gint session_find_inner_root(const GArray *chain, SessionRule known_rule, Registry *registry,
                             SessionRule *rule_out);

/* Its own session leader, with a controlling terminal. */
gboolean session_is_terminal_leader(const ProcessInfo *process);

/* `COMM.PID.STARTTIME`, bytes outside [A-Za-z0-9._@:-] shown as `_`. */
char *session_format_id(const ProcessInfo *root);
const char *session_rule_describe(SessionRule rule); /* a phrase for people */

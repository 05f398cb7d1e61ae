/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one gate through which every mutation passes: decides whether a change is admitted before its
 * backing call, counts it as in flight during the call, and accounts for it afterwards.
 *
 * Every function of the daemon that changes the backing tree takes the Change that admits it, so
 * that an operation cannot reach one without having passed here.
 *
 * Thread safety: every function may be called from any thread.
 */
#include "handle.h"
#include "keeper.h"
#include "options.h"

typedef struct Guard Guard;

typedef struct GuardCounters {
    guint64 changes, refused, fenced, stores_lost, passive, shared;
} GuardCounters;

/* The process that asks: a request's thread, or a page of a mapping written back. */
typedef struct Caller {
    pid_t tid;          /* 0: not known */
    gboolean from_page; /* a store through a mapping: nobody knows whose, judged by the file */
} Caller;

/* What an admitted change is: valid from guard_begin_* to guard_end, in one thread. */
typedef struct Change {
    Session *session; /* who; owned; NULL where not identified */
    KeeperSlot *slot; /* NULL: does not count for the lease */
    PathClass path_class;
    Handle *handle;   /* through which, or NULL */
    Node *touched[2]; /* whose data, attributes or entries change; borrowed */
    gboolean of_data;
    gboolean of_names; /* of entries in `touched` */
    guint64 epoch;
} Change;

/* All arguments are borrowed for the guard's life. */
Guard *guard_new(Keeper *keeper, SessionTable *sessions, NodeTable *nodes, const Policy *policy,
                 const MountOptions *options, Clock *clock);
void guard_free(Guard *guard);

/*
 * Each of these answers 0 and fills *change_out, which guard_end ends, or says -EROFS (another
 * session holds the lease) or -ESTALE (through a handle: another session changed the file since).
 */
/* A name in a directory: create, unlink, mkdir, symlink, link... */
int guard_begin_name(Guard *guard, const Caller *caller, Node *parent, const char *name,
                     Change *change_out);
/* One more name for a file: shared or passive only where the file is so already, else a link would
 * open a way past the lease. */
int guard_begin_link(Guard *guard, const Caller *caller, Node *node, Node *parent, const char *name,
                     Change *change_out);
/* A rename: both names. */
int guard_begin_rename(Guard *guard, const Caller *caller, Node *parent, const char *name,
                       Node *new_parent, const char *new_name, Change *change_out);
/* Attributes (of_data FALSE) or size (TRUE) of a file by itself. */
int guard_begin_node(Guard *guard, const Caller *caller, Node *node, gboolean of_data,
                     Change *change_out);
/* Data or size through a handle: fenced. */
int guard_begin_handle(Guard *guard, const Caller *caller, Handle *handle, Change *change_out);
/* Ends it; `result` is what the backing call returned (negative: nothing changed). */
void guard_end(Guard *guard, Change *change, gssize result);
/* For a creation: the file that came into being, so that it remembers who made it. */
void guard_created(Guard *guard, const Change *change, Node *node);

/* What every worker that changes the backing tree says first. */
static inline void guard_assert_admitted(const Change *change)
{
    g_assert(change->touched[0]);
}

/* Whether a file may be opened for writing: takes nothing, renews nothing. 0 or -EROFS.
 * *class_out and *session_out (owned; NULL where not identified) are for the handle. */
int guard_check_open(Guard *guard, const Caller *caller, Node *node, PathClass *class_out,
                     Session **session_out);
/* Whether a change of this file, or (NULL) of an ordinary one, would be admitted now. */
gboolean guard_permits_on(Guard *guard, const Caller *caller, Node *node);

/* The class of a file by its present name. */
PathClass guard_classify(Guard *guard, Node *node, const char *name);

/* Called by guard_end, before the operation is answered, for a directory in which names changed
 * and whose attributes the kernel may have, or be about to get: `forget` makes it ask anew. It
 * drops them by itself when that answer comes, but takes those of a listing for new ones that were
 * read before the change and arrive afterwards. */
typedef void (*GuardNamesChanged)(Node *directory, gpointer data);
void guard_on_names_changed(Guard *guard, GuardNamesChanged forget, gpointer data);

void guard_read_counters(Guard *guard, GuardCounters *counters_out);
/* How often a session was refused in the daemon's life. */
guint guard_refusals_of(Guard *guard, Session *session);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the parts of the session table share: session-object.c (one session), session-members.c
 * (which processes are known, and their watches), session-table.c (resolving). Nobody else's.
 *
 * Thread safety: `_locked` means that the caller holds the table's lock. Lock order: the table's,
 * then a session's.
 */
#include "util.h"
#include "session-table.h"
#include "mutex.h"

struct Session {
    RefCount refs;
    guint64 serial;
    ProcessId root;
    char *comm;
    gint ended;

    Mutex lock; /* guards the next two */
    char *id;
    SessionRule rule;

    /* Guarded by the table's lock. */
    guint member_count;
    GQueue members;         /* of Member, the first known first */
    struct Member *watched; /* one of them; NULL: the session is an orphan */
};

#define MEMBER_COOKIE_PID_BITS 32

/* A process whose session is known. Reference counted, because the hot path polls the hold without
 * the table's lock: the descriptor must not be closed, and its number reused, under it.
 *
 * One member of each session is watched. Its end tells that the session may have ended: then the
 * others are looked at, and one that lives is watched from then on. The end of any other changes
 * nothing but that its descriptor can be closed, which is done for many at a time (sweep): a thread
 * that wakes at the exit of each short command has the scheduler move the next one to another
 * processor. */
typedef struct Member {
    RefCount refs;
    ProcessTable *processes;
    pid_t pid;
    gboolean is_root; /* of its session */
    Session *session;
    guint64 cookie; /* a serial number << MEMBER_COOKIE_PID_BITS | pid */
    int hold;
    gboolean watched;
    GList link; /* in `recent` */
    GList link_in_session;
} Member;

struct SessionTable {
    ProcessTable *processes;
    Registry *registry;
    const Boundaries *boundaries;

    Mutex lock;
    GHashTable *members;  /* pid -> Member, owned */
    GQueue recent;        /* members, the last used first */
    GHashTable *sessions; /* root -> Session, owned: those that have not ended */
    GHashTable *taken_in; /* set of registrations (as text) that were looked at */
    GArray *chain;        /* of the walk under way: ProcessLink */
    guint64 next_serial;
    guint64 next_cookie;
    guint max_members;
    guint n_left;        /* members, when the dead were looked for last */
    guint n_added;       /* since then */
    GPtrArray *orphans;  /* of Session, borrowed: whose watched member was dropped */
    gboolean complained; /* that processes cannot be watched */

    /* Until the lock is released. Members stay here, with their watches, over a call that does not
     * tell: the descriptor to poll stays readable, and so reap is called. */
    GPtrArray *dropped;
    GPtrArray *just_ended;
    SessionEnded on_ended;
    gpointer on_ended_data;
};

Session *session_new(guint64 serial, const ProcessId *root, const char *comm, const char *id,
                     SessionRule rule);
/* From now on it bears the registration's name, if it bore none before. */
void session_set_registered(Session *session, const char *name);
/* Set once, never taken back. */
void session_set_ended(Session *session);

void member_unref(Member *member);
gboolean member_has_ended(const Member *member);

Member *session_table_find_locked(SessionTable *table, pid_t pid);
/* The member while it lives. One that died is dropped: its pid may be another's by now. */
Member *session_table_find_live_locked(SessionTable *table, pid_t pid);
/* Used just now: the last to be evicted. */
void session_table_touch_locked(SessionTable *table, Member *member);
/* 0, and the link's hold is taken or no more needed; or -errno where the process died or cannot be
 * watched: then it is resolved anew each time. A session that is left without any member has ended.
 */
int session_table_remember_locked(SessionTable *table, Session *session, ProcessLink *link);
/* Forgets a few members and closes their descriptors. FALSE where none may be forgotten. */
gboolean session_table_make_room_locked(SessionTable *table);
/* Forgets the member; its session ends if it was the last. */
void session_table_drop_locked(SessionTable *table, Member *member);
/* Forgets the dead, but for watched ones: so no session ends by it that is no orphan. */
void session_table_sweep_locked(SessionTable *table);
/* Has a member of each orphan watched, a living one; an orphan that has none ends. Where nobody may
 * be told of that now, the first one at hand: if it is dead, its watch brings about a reap. */
void session_table_adopt_orphans_locked(SessionTable *table, gboolean may_end);

/* Once: that a process cannot be watched, and what to do. */
void session_table_complain_locked(SessionTable *table, pid_t pid, int error);

typedef gboolean (*MemberTest)(SessionTable *table, const Member *member, gconstpointer data);
void session_table_drop_all_locked(SessionTable *table, MemberTest test, gconstpointer data);

/* Nobody resolves to this object any more. */
void session_table_end_locked(SessionTable *table, Session *session);

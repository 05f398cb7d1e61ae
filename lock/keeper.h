/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Keeps one lease: decides in memory who may change the workspace, counts what is in flight, and
 * has a thread of its own that writes the record. Lease, store, clock and sessions meet here.
 *
 * Thread safety: every function may be called from any thread. Lock order: the keeper's lock, then
 * the session table's. No lock of the keeper's is held over a call of the store or of a hook other
 * than may_be_dirty.
 */
#include "clock.h"
#include "lease.h"
#include "session-table.h"
#include "store.h"

typedef struct Keeper Keeper;

typedef enum KeeperEventKind {
    KEEPER_EVENT_ACQUIRED,
    KEEPER_EVENT_TAKEN_OVER, /* a stale or orphaned lease; `other` had it */
    KEEPER_EVENT_RELEASED,
    KEEPER_EVENT_ENDED,               /* released because the last process of the holder died */
    KEEPER_EVENT_HANDED_ON,           /* from `other`, to the session it started with leasefs run */
    KEEPER_EVENT_EXPIRED,             /* went stale */
    KEEPER_EVENT_BLOCKED,             /* a session was refused for the first time in this tenure */
    KEEPER_EVENT_FOREIGN_OVERWRITTEN, /* another tool had written over the record of a fresh lease
                                       */
    KEEPER_EVENT_UNREADABLE, /* a record that nobody understands was moved aside: `detail` */
    KEEPER_EVENT_DEGRADED,   /* the store fails: `detail` */
    KEEPER_EVENT_RECOVERED,
    KEEPER_EVENT_FENCED,         /* a handle met the change of `other`: ESTALE */
    KEEPER_EVENT_STORE_LOST,     /* a mapping's late store was refused: `detail` names the file */
    KEEPER_EVENT_OPEN_ELSEWHERE, /* acquired while `other` has files open for reading and writing */
} KeeperEventKind;

typedef struct KeeperEvent {
    KeeperEventKind kind;
    guint64 sequence; /* from 1, in the order of what happened */
    gint64 wall_ms;
    guint64 epoch;
    char *session; /* ids; NULL where there is none */
    char *other;
    char *detail;
} KeeperEvent;

const char *keeper_event_name(KeeperEventKind kind);
void keeper_event_free(KeeperEvent *event);

typedef struct KeeperHooks {
    /* Whether mappings of the session may hold dirty pages: it has handles open for reading and
     * writing. Called with the keeper's lock held: quick, and calls nothing of the keeper. */
    gboolean (*may_be_dirty)(gpointer data, Session *holder);
    /* keeper_tick has something to do now. Never blocks; called from any thread. */
    void (*wake)(gpointer data);
    gpointer data;
} KeeperHooks;

typedef struct KeeperOptions {
    const char *workspace; /* resolved path */
    gint64 ttl_ms;
} KeeperOptions;

/* `store` is taken; clock, sessions, host and processes are borrowed for the keeper's life. */
Keeper *keeper_new(const KeeperOptions *options, Store *store, Clock *clock, SessionTable *sessions,
                   ProcessTable *processes, const HostIdentity *host, const KeeperHooks *hooks);
/* Reads the record and the noted epoch: call once, before anything else. Never fails: a store that
 * cannot be read makes the keeper degraded, a record that nobody understands is moved aside and
 * counts as held by an unknown session until one TTL after its mtime. */
void keeper_load(Keeper *keeper);
/* Starts and stops the thread that writes the record. stop releases the lease if `release`, and
 * writes a last time. */
void keeper_start(Keeper *keeper);
void keeper_stop(Keeper *keeper, gboolean release);
void keeper_free(Keeper *keeper); /* stopped before */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Keeper, keeper_free)
/* One round of the writing thread, for tests: TRUE where something was written. */
gboolean keeper_persist(Keeper *keeper);

/* A change on its way: opaque, one per request, valid between begin and end in one thread. */
typedef struct KeeperSlot KeeperSlot;

/* The gate. Admits a change of `session`, acquiring or taking over where that is due: the slot
 * counts as in flight until keeper_end. NULL where another session holds the lease. Comparisons in
 * memory and no system call while the session is the holder of a fresh lease. */
KeeperSlot *keeper_begin(Keeper *keeper, Session *session);
/* The change returned: renews the lease. */
void keeper_end(Keeper *keeper, KeeperSlot *slot);
/* The tenure that an admitted change belongs to. */
guint64 keeper_slot_epoch(const KeeperSlot *slot);
/* Whether a change of the session would be admitted now; takes nothing (passive changes, opens for
 * writing, `writable`). session NULL: a caller that cannot be identified, admitted while nobody
 * else holds it. */
gboolean keeper_permits(Keeper *keeper, Session *session);
/* The holder while the lease is held, in whichever state, else NULL. Owned. */
Session *keeper_holder(Keeper *keeper);

/* Explicit verbs. ttl_ms -1: as it was, or the mount's. */
LeaseVerdict keeper_acquire(Keeper *keeper, Session *session, gint64 ttl_ms);
/* FALSE where the session is not the holder. */
gboolean keeper_refresh(Keeper *keeper, Session *session);

typedef enum KeeperRelease {
    KEEPER_RELEASE_DONE,    /* given away now (or it was free) */
    KEEPER_RELEASE_PENDING, /* something is in flight or to be written back first: keeper_tick */
    KEEPER_RELEASE_NOT_HOLDER,
} KeeperRelease;
KeeperRelease keeper_release(Keeper *keeper, Session *session);

/* `to` takes over the lease of `from`, which started it: one more epoch. While it is pending,
 * nothing of `from` is admitted any more; if `to` ends first, all is as before. */
KeeperRelease keeper_hand_on(Keeper *keeper, Session *from, Session *to);

/* The queue. The lease goes to its head as soon as it is free, stale or orphaned, if the waiting
 * process still lives. FALSE where granted at once (no need to wait). for_ms -1: no limit. */
gboolean keeper_enqueue(Keeper *keeper, Session *session, pid_t waiter, gint64 ttl_ms,
                        gint64 for_ms);
void keeper_dequeue(Keeper *keeper, pid_t waiter);

/* What is due: orphans, releases that wait, expiry, the queue. Called from the one thread that may
 * write back mappings, never inside a request. */
typedef struct KeeperDue {
    Session
        *flush; /* write back what this session's mappings dirtied, then keeper_flushed; owned */
    guint64 flush_epoch;
    gint64 next_ms; /* call again after this long at the latest; -1: when woken */
} KeeperDue;
void keeper_tick(Keeper *keeper, KeeperDue *due_out);
void keeper_flushed(Keeper *keeper, guint64 epoch, gint64 started_ns);
/* Something that the layer above saw happen: joins the events in their order. */
void keeper_report(Keeper *keeper, KeeperEventKind kind, const char *session, const char *other,
                   const char *detail);
/* Events since the last call: GPtrArray of KeeperEvent, owned. */
GPtrArray *keeper_take_events(Keeper *keeper);

typedef struct KeeperWaiter {
    char *session;
    pid_t pid;
} KeeperWaiter;

/* A consistent look at all of it, for inspection. */
typedef struct KeeperView {
    LeaseState state;
    char *holder; /* NULL while free */
    pid_t holder_pid;
    char *holder_comm;
    gboolean foreign; /* held through the record of another tool, or by an unknown session */
    guint64 epoch;
    gint64 ttl_ms;
    gint64 since_ms;     /* Unix ms; 0 while free */
    gint64 expires_ms;   /* Unix ms; 0 while free */
    gint64 remaining_ms; /* until it is stale; 0 where it is not fresh */
    char *degraded;      /* why the store fails; NULL where it does not */
    GPtrArray *waiters;  /* of KeeperWaiter */
} KeeperView;
void keeper_view(Keeper *keeper, KeeperView *view_out);
void keeper_view_clear(KeeperView *view);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(KeeperView, keeper_view_clear)

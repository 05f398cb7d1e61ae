/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What the keeper's files share: keeper.c (the gate and the verbs), keeper-tick.c (what is due, the
 * queue), keeper-record.c (the record, from and to the store), keeper-view.c (inspection, events).
 * Thread safety: fields marked (lock) need keeper->lock; the others say.
 */
#include "keeper.h"
#include "mutex.h"
#include "record.h"
#include <pthread.h>
#include <stdatomic.h>

#define KEEPER_CACHE_LINE 64

/*
 * In flight, without a lock.
 *
 * A worker that wants to change something reads the open epoch, publishes it in its own slot, and
 * reads the open epoch again. If it still stands, the change is admitted and counts as in flight
 * until the slot is cleared. Whoever wants to change the tenure first closes (stores 0 into the
 * open epoch) and then scans the slots. Both sides store before they load, sequentially consistent:
 * either the worker sees the closed door, or the taker sees the slot (Dekker). So no change of the
 * old tenure can return after the new one began, and no request ever waits: a taker that finds a
 * slot busy opens the door again and refuses. Whoever gives the lease away (release, handing on)
 * leaves the door closed instead, so that a holder who never pauses cannot put that off for ever,
 * and keeper_tick completes it.
 *
 * An epoch stands for one holder, so a worker that read the same open epoch twice also read the
 * holder that belongs to it in between.
 *
 * The stamp of the last renewal is written by the holder's workers only, when a change begins and
 * when it ends. A worker that finds it older than the TTL leaves the fast path: the slow one, under
 * the lock, looks for another tool's record first.
 */
struct KeeperSlot {
    _Alignas(KEEPER_CACHE_LINE) _Atomic guint64 epoch; /* 0: nothing in flight */
    _Atomic gboolean free;                             /* belongs to no thread */
};

typedef struct Waiter {
    Session *session;
    ProcessId process;
    gint64 ttl_ms;
    gint64 deadline_ns; /* G_MAXINT64: none */
} Waiter;

/* A record on disk that memory did not write, as it was last looked at. */
typedef struct ForeignLease {
    gboolean held;    /* fresh at the time of looking */
    gboolean unknown; /* nobody understands it */
    gint64 until_ns;  /* monotonic: fresh until then */
    char *session_id;
    pid_t pid;
    gint64 ttl_ms;
    gint64 acquired_at_ms;
} ForeignLease;

struct Keeper {
    /* hot: read by every worker, written at a change of tenure, except `renewed_ns` */
    _Alignas(KEEPER_CACHE_LINE) _Atomic guint64 open_epoch; /* 0: closed */
    _Atomic guint64 holder_serial;
    _Atomic gint64 ttl_ns;
    _Alignas(KEEPER_CACHE_LINE) _Atomic gint64 renewed_ns;

    _Alignas(KEEPER_CACHE_LINE) Mutex lock;
    pthread_key_t slot_key;
    GPtrArray *slots; /* (lock) of KeeperSlot */

    Session *holder;        /* (lock) NULL: free */
    guint64 epoch;          /* (lock) of the current tenure, or of the last one while free */
    gboolean epoch_unknown; /* (lock) the noted epoch could not be read at the start */
    guint64 least_epoch;   /* (lock) the next tenure's is larger: noted, and read after the start */
    gint64 since_ms;       /* (lock) */
    gboolean releasing;    /* (lock) the holder asked; completed by keeper_tick */
    Session *heir;         /* (lock) to whom it is being handed on; completed by keeper_tick */
    gboolean draining;     /* (lock) the door stays closed until nothing is in flight */
    gint64 releasing_ns;   /* (lock) since when: a flush begun later has all that it has to */
    gboolean expired_told; /* (lock) the expiry of this tenure's idle spell was logged */
    guint64 flushed_epoch; /* (lock) what keeper_flushed said last */
    gint64 flushed_ns;     /* (lock) */
    GQueue queue;          /* (lock) of Waiter */
    GHashTable *blocked;   /* (lock) serials refused in this tenure */

    GQueue events;         /* (lock) */
    guint64 next_sequence; /* (lock) */

    /* the record */
    Store *store;
    Mutex epoch_lock;          /* orders note_epoch; taken without `lock` */
    guint64 noted_epoch;       /* (epoch_lock) */
    gint64 unknown_until_ns;   /* (lock) an unreadable record's lease */
    char *saved_text;          /* (lock) what the record says if nobody wrote over it */
    char *first_seen_text;     /* (lock) a record from the future, and since when it is known */
    gint64 first_seen_ns;      /* (lock) */
    guint64 overwritten_epoch; /* (lock) the tenure in which another tool's record was told of */
    char *degraded;            /* (lock) */

    /* the writer thread */
    GThread *writer;
    pthread_cond_t writer_cond; /* (lock) */
    gboolean dirty;             /* (lock) tenure changed since the last write */
    gboolean stopping;          /* (lock) */

    char *workspace;
    gint64 default_ttl_ms;
    Clock *clock;
    SessionTable *sessions;
    ProcessTable *processes;
    const HostIdentity *host;
    KeeperHooks hooks;
};

static inline gint64 keeper_now(Keeper *keeper)
{
    return keeper->clock->mono_ns(keeper->clock);
}

/* keeper.c */
gboolean keeper_in_flight_locked(Keeper *keeper);
LeaseState keeper_state_locked(Keeper *keeper, gint64 now_ns);
void keeper_facts_locked(Keeper *keeper, gint64 now_ns, LeaseFacts *facts_out);
/* Tenure of `session` (referenced) begins with one more epoch and the door open. The door was
 * closed and nothing is in flight. */
void keeper_begin_tenure_locked(Keeper *keeper, Session *session, gint64 ttl_ms, gint64 now_ns);
/* The lease is free; the door stays closed. */
void keeper_end_tenure_locked(Keeper *keeper);
/* Closes the door and tells whether nothing is in flight; opens it again where something is. */
gboolean keeper_close_locked(Keeper *keeper);
/* Closes the door for good, and tells whether nothing is in flight. */
gboolean keeper_drain_locked(Keeper *keeper);
/* The lease passes to the heir: closed, and nothing in flight. */
void keeper_complete_hand_on_locked(Keeper *keeper);
/* The heir is gone: all is as if nobody had asked. */
void keeper_forget_heir_locked(Keeper *keeper);
void keeper_note_epoch(Keeper *keeper); /* without the lock */

/* keeper-record.c */
/* Looks at the record on disk, without the lock. Clear with foreign_lease_clear. */
void keeper_look_at_foreign(Keeper *keeper, ForeignLease *foreign_out);
void foreign_lease_clear(ForeignLease *foreign);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ForeignLease, foreign_lease_clear)

/* keeper-view.c */
void keeper_tell_locked(Keeper *keeper, KeeperEventKind kind, const char *session,
                        const char *other, const char *detail);
void keeper_wake(Keeper *keeper);

/* keeper-tick.c */
void waiter_free(Waiter *waiter);
/* Gives the lease to the head of the queue where it is free, stale or orphaned. Without the lock.
 */
void keeper_serve_queue(Keeper *keeper);

/* keeper.c: acquires without letting the queue go first. */
LeaseVerdict keeper_acquire_in_turn(Keeper *keeper, Session *session, gint64 ttl_ms);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides on which processor a thread answers requests, and whether it gives way to its caller.
 *
 * A request that is answered on another processor costs an interrupt each way: the caller's
 * processor has gone to sleep meanwhile. On the caller's own it costs a switch, less than half of
 * it. But the scheduler wakes a caller on a processor that idles, and the one where the reply is
 * made does not: the thread that replies runs there. Only one that runs nothing but SCHED_IDLE
 * counts as idle. In the same way it wakes the thread that answers away from the caller, who still
 * runs when he asks. So, while one caller asks again and again, its thread is *beside* it: it has
 * that policy, and may run on the caller's processor only. (The policy alone does not suffice:
 * where caller and daemon are in different groups, as two terminals or services are, it counts for
 * nothing between them. A caller who computes more than the daemon then does not take the processor
 * from the thread when that has replied, and so has to wake it for each request.)
 *
 * Such a thread gets no time where anything else of its group wants to run there. So it comes
 * beside only where each other that wants to run has a processor of its own, and the lookout
 * (workers.c) calls it back, by giving it its policy and the other processors again, when requests
 * come slowly or others want to run. It leaves before it takes a lock that the lookout takes. Where
 * a thread could not leave again (that needs CAP_SYS_NICE, or RLIMIT_NICE of 20), none comes
 * beside.
 *
 * Callers are moved, too, and nothing tells of it. A thread that has to be woken again and again
 * looks for its caller, the less often the more often it has found him where he was; and once each
 * time the lookout has looked. It does so while the caller waits for the answer, and without a
 * lock: who looks at a process that exits may be the last to hold its memory, and then has to write
 * back what that mapped, through this mount.
 *
 * What it costs others: a request of somebody else waits for the lookout, up to twice the time from
 * one look to the next, where the caller who was asking often goes on computing instead.
 *
 * Thread safety: a placement is its thread's; placement_is_beside and placement_look_after may be
 * used by another one, the lookout. That only releases: so a thread that is away is never left
 * settled, and one that it has released is settled again by itself, if it is beside at all.
 */
#include <stdatomic.h>
#include <sys/types.h>
#include "process.h"

/* The scheduler, as far as it matters here; handed in so that tests own it. */
typedef struct PlacementHost PlacementHost;
struct PlacementHost {
    guint n_cpus; /* that the daemon may use */
    gint64 (*now_ns)(PlacementHost *host);
    /* How many threads of the machine run or want to, the calling one among them; or -errno. */
    int (*count_runnable)(PlacementHost *host);
    /* The processor on which a thread runs, or ran last; or -errno. */
    int (*cpu_of)(PlacementHost *host, pid_t tid);
    /* Once for each thread, by itself. */
    void (*prepare)(PlacementHost *host);
    /* The thread is to run there only, and to give way to all others. 0; -EINVAL: not there; or
     * another -errno: nowhere. */
    int (*settle)(PlacementHost *host, pid_t tid, int cpu);
    /* It is like any other again, whether or not it was settled: 0 or -errno. */
    int (*release)(PlacementHost *host, pid_t tid);
};

typedef enum PlacementState {
    PLACEMENT_AWAY,
    PLACEMENT_BESIDE,  /* settled, or about to be */
    PLACEMENT_LEAVING, /* not yet released */
} PlacementState;

typedef enum PlacementCall {
    PLACEMENT_NOT_CALLED,
    PLACEMENT_CALLED,
    PLACEMENT_CALLED_STARVED, /* a request waited meanwhile */
} PlacementCall;

typedef struct Placement {
    PlacementHost *host; /* NULL: never beside */
    gboolean refused;    /* never again */
    pid_t tid;
    guint in_a_row; /* of the caller's requests */
    gboolean slept; /* since the caller's last request */
    gint64 not_before_ns;
    gint64 ban_ns;  /* for how long, after it has starved the next time, if that comes soon */
    int cpu;        /* where it was settled last */
    guint n_ahead;  /* requests in a row for which nobody waited yet */
    guint n_slept;  /* requests that it had to be woken for, since it looked where the caller is */
    guint patience; /* so many, and it looks again */
    guint32 caller;
    _Atomic gboolean seek; /* the lookout asks for one look at where the caller is */
    _Atomic int state;     /* PlacementState */
    _Atomic int called;    /* PlacementCall */
    _Atomic guint taken;   /* requests */
    guint taken_before;    /* the lookout's: when it looked last */
} Placement;

/* By the thread itself, which may be placed no more than once. */
void placement_init(Placement *placement, PlacementHost *host);
/* To be told of each request before it is answered. `caller`: its thread, 0 where nobody waits;
 * `slept`: whether the thread had to be woken for it. */
void placement_follow(Placement *placement, guint32 caller, gboolean slept);
/* The same for a request during which its caller goes on, as the kernel reads ahead for him. Where
 * these follow each other, two processors do more than one. */
void placement_follow_ahead(Placement *placement, guint32 caller, gboolean slept);
/* The calling thread is no longer beside anybody. Also for threads that never were. */
void placement_leave(void);

/* Or still on its way there or back. */
gboolean placement_is_beside(const Placement *placement);
/* By the lookout, at each look, with whether a request waits (if the thread is beside). Calls the
 * thread back where it should not be beside any more. */
void placement_look_after(Placement *placement, gboolean waiting);

/* How many processors this process may use. */
guint placement_count_cpus(void);

/* The real one; NULL where no thread can come beside and leave again, or there is one processor. */
PlacementHost *placement_host_new(ProcessTable *processes);
void placement_host_free(PlacementHost *host);
/* How many threads run or want to, of a line of /proc/loadavg (proc_loadavg(5)); or -EBADMSG. */
int placement_parse_runnable(const char *line);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Waits in a mount's queue until the lease is the caller's. The queue itself lives in the daemon.
 * Thread safety: none; the command has one thread.
 */
#include "client.h"
#include "signals.h"

typedef enum LeaseWait {
    LEASE_WAIT_GRANTED,
    LEASE_WAIT_OVER,        /* for_ms went by: another session still holds it */
    LEASE_WAIT_INTERRUPTED, /* *signal_out asks this process to end */
    LEASE_WAIT_FAILED,      /* error is set */
} LeaseWait;

/* For whom a lease is asked. */
typedef struct LeaseClaim {
    const char *session; /* NULL: the caller's own */
    pid_t pid;           /* the root of `session`, where that is another one; else 0 */
    gint64 ttl_ms;       /* -1: as the mount has it */
} LeaseClaim;

/* One try, now: 0 or an errno. */
int lease_acquire(const Client *client, const LeaseClaim *claim);

/* for_ms -1: no limit. Out of the queue again in any case but the
 * first. `signals` are taken. */
LeaseWait lease_wait(const Client *client, const LeaseClaim *claim, gint64 for_ms, Signals *signals,
                     int *signal_out, GError **error);

/* What a verb answered with this errno means for people. Owned. */
char *lease_explain_errno(const Client *client, int code);

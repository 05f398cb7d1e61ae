/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What workers.c (the pool) and worker.c (one thread of it) share. Nobody else's.
 *
 * One thread reads, as long as that suffices. It is awake when the next request comes, has its data
 * in the processor's cache, and the kernel wakes nobody; of several that wait the kernel wakes
 * another one each time. What costs most is the waking: so a thread comes beside its caller
 * (placement.h). Where the daemon has no right to that, it looks for the next request a few times
 * before it sleeps, if that has paid of late.
 *
 * While it answers, nobody reads. That is made good in three ways. An operation that will wait for
 * a disk calls another thread first (workers_will_block). Where a thread finds one request after
 * the other waiting, several read, one less than there are processors. And the lookout, the thread
 * of workers_run, looks every few milliseconds as long as there is something to do: where nobody
 * reads and nothing was taken since, it calls another thread. So a request that hangs keeps none
 * waiting for longer than that, and a notification that waits for requests is never waited for
 * itself.
 *
 * Nobody takes `lock` while beside a caller (placement.h): the lookout, which helps there, wants
 * it.
 */
#include "mutex.h"
#include "placement.h"
#include "workers.h"

#define WORKERS_REQUEST_SIZE (WORKERS_MAX_WRITE + 4096)

typedef struct Worker {
    Workers *pool;
    pthread_t thread;
    int fd;                   /* of /dev/fuse */
    int quick_fd;             /* the same, but does not wait; -1: there is none */
    gboolean own_fd;          /* else `fd` is the session's */
    _Atomic gboolean reading; /* may be kicked out of read(2) */
    int luck;                 /* how often looking again was worth it of late */
    guint unlucky;            /* how often it was not tried since */
    guint32 caller;           /* whom it has answered last; 0: nobody, or the kernel itself */
    gboolean slept;           /* before it had the last request */
    guint at_once;            /* requests in a row that were there at once */
    Placement placement;
    void *memory;
    void *request; /* in `memory`, placed so that the data of a write begins a page */
} Worker;

struct Workers {
    Fs *fs;
    WorkersTake take;
    PlacementHost *host; /* NULL: threads stay as they are */
    guint n_cpus;
    _Atomic guint64 awaited; /* requests, ever, that somebody waited for */
    _Atomic guint taken;     /* requests, ever */
    _Atomic int readers;     /* that read, or will before they do anything else */
    _Atomic int wanted;      /* how many shall */
    _Atomic gboolean dozing; /* the lookout: wakes only when told */
    _Atomic gboolean ended;
    Mutex lock;
    pthread_cond_t changed; /* (lock) for the lookout */
    pthread_cond_t called;  /* (lock) for the idle */
    GPtrArray *live;        /* (lock) of Worker */
    GPtrArray *left;        /* (lock) of Worker: to be joined */
    guint n_idle;           /* (lock) live ones that wait to be called */
    guint n_called;         /* (lock) of these: how many are to go on */
    gboolean clones;        /* (lock) the kernel gives each worker a descriptor */
    int error;              /* (lock) */
};

/* workers.c */
/* One more thread will read. */
void workers_call_another(Workers *pool);
/* Waits to be called: FALSE where the caller is to leave instead. */
gboolean workers_rest(Workers *pool);
void workers_fail(Workers *pool, int error);
void workers_wake_lookout(Workers *pool);

/* worker.c */
Worker *worker_new(Workers *pool, gboolean clone);
void worker_free(Worker *worker);
/* Serves until the end, or until nobody needs it. The caller counts as a reader. */
void worker_serve(Worker *worker);
/* Ends a read(2) that waits; to be repeated, for it may come just before one. */
void worker_kick(Worker *worker);
/* What libfuse calls to send a reply, and to read. */
extern const struct fuse_custom_io worker_io;

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "workers-private.h"
#include <poll.h>
#include <signal.h>
#include <time.h>

#define MAX_IDLE      4
#define MAX_THREADS   64
#define MAX_READERS   16
#define KICK_MS       10
#define LOOK_MS       4
#define LOOKS_TO_DOZE 25 /* so many without anything to see */

static void end_locked(Workers *pool, int error)
{
    if (error != 0 && pool->error == 0)
        pool->error = error;
    atomic_store(&pool->ended, TRUE);
    pthread_cond_signal(&pool->changed);
    pthread_cond_broadcast(&pool->called);
}

void workers_fail(Workers *pool, int error)
{
    placement_leave();
    MUTEX_GUARD(&pool->lock);

    end_locked(pool, error);
}

void workers_end(Workers *pool)
{
    workers_fail(pool, 0);
}

/* --- who reads -------------------------------------------------------------------------------- */

static void *worker_main(void *data)
{
    Worker *worker = data;
    Workers *pool = worker->pool;

    pthread_setname_np(pthread_self(), "leasefs-worker");
    placement_init(&worker->placement, pool->host);
    worker_serve(worker);
    placement_leave();
    mutex_lock(&pool->lock);
    g_ptr_array_remove_fast(pool->live, worker);
    g_ptr_array_add(pool->left, worker);
    pthread_cond_signal(&pool->changed);
    mutex_unlock(&pool->lock);
    return NULL;
}

/* Where no thread can be had, those that are there go on; without any the mount ends. */
static void start_locked(Workers *pool)
{
    Worker *worker = worker_new(pool, pool->clones);
    int r;

    pool->clones = worker->own_fd;
    atomic_fetch_add(&pool->readers, 1);
    g_ptr_array_add(pool->live, worker);
    r = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (r == 0)
        return;
    g_message("cannot start another thread: %s", g_strerror(r));
    g_ptr_array_remove_fast(pool->live, worker);
    atomic_fetch_sub(&pool->readers, 1);
    worker_free(worker);
    if (pool->live->len == 0)
        end_locked(pool, -r);
}

static void call_another_locked(Workers *pool)
{
    if (atomic_load(&pool->ended))
        return;
    if (pool->n_called < pool->n_idle) {
        pool->n_called++;
        atomic_fetch_add(&pool->readers, 1);
        pthread_cond_signal(&pool->called);
    } else if (pool->live->len < MAX_THREADS) {
        start_locked(pool);
    }
}

void workers_call_another(Workers *pool)
{
    placement_leave();
    MUTEX_GUARD(&pool->lock);

    call_another_locked(pool);
}

guint64 workers_count_requests(Workers *pool)
{
    return atomic_load(&pool->awaited);
}

void workers_will_block(Workers *pool)
{
    if (atomic_load(&pool->readers) == 0)
        workers_call_another(pool);
}

gboolean workers_rest(Workers *pool)
{
    placement_leave();
    MUTEX_GUARD(&pool->lock);

    if (pool->n_idle >= MAX_IDLE)
        return FALSE;
    pool->n_idle++;
    while (pool->n_called == 0 && !atomic_load(&pool->ended))
        pthread_cond_wait(&pool->called, &pool->lock);
    pool->n_idle--;
    if (pool->n_called > 0)
        pool->n_called--;
    return TRUE;
}

/* --- the lookout ------------------------------------------------------------------------------ */

static void join_those_who_left(Workers *pool)
{
    while (pool->left->len > 0) {
        Worker *worker = g_ptr_array_remove_index_fast(pool->left, pool->left->len - 1);

        mutex_unlock(&pool->lock);
        pthread_join(worker->thread, NULL);
        worker_free(worker);
        mutex_lock(&pool->lock);
    }
}

static void wait_a_moment_locked(Workers *pool, long ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ms * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
}

void workers_wake_lookout(Workers *pool)
{
    placement_leave();
    MUTEX_GUARD(&pool->lock);

    pthread_cond_signal(&pool->changed);
}

/* Whoever takes a request first counts it and then looks whether the lookout sleeps; the lookout
 * does the same the other way round. So either it is woken, or it sees the request. */
static void doze_locked(Workers *pool, guint taken)
{
    atomic_store(&pool->dozing, TRUE);
    while (atomic_load(&pool->taken) == taken && !atomic_load(&pool->ended)) {
        pthread_cond_wait(&pool->changed, &pool->lock);
        join_those_who_left(pool);
    }
    atomic_store(&pool->dozing, FALSE);
}

static gboolean is_request_waiting(Workers *pool)
{
    struct pollfd request = {.fd = fuse_session_fd(pool->fs->se), .events = POLLIN};

    return atomic_load(&pool->readers) == 0 || poll(&request, 1, 0) > 0;
}

static void look_after_placements_locked(Workers *pool)
{
    for (guint i = 0; i < pool->live->len; i++) {
        Placement *placement = &((Worker *)g_ptr_array_index(pool->live, i))->placement;

        placement_look_after(placement, placement_is_beside(placement) && is_request_waiting(pool));
    }
}

/* Threads that hang are made up for; when they no longer hang, one suffices again. */
static void look_after_locked(Workers *pool, gboolean any_taken)
{
    int wanted = atomic_load(&pool->wanted);

    if (atomic_load(&pool->readers) == 0 && !any_taken) {
        if (wanted < MAX_READERS)
            atomic_store(&pool->wanted, wanted + 1);
        call_another_locked(pool);
    } else if (wanted > 1) {
        atomic_store(&pool->wanted, wanted - 1);
    }
}

static void look_out_locked(Workers *pool)
{
    guint taken = atomic_load(&pool->taken);
    guint quiet = 0;

    while (!atomic_load(&pool->ended)) {
        guint now;

        wait_a_moment_locked(pool, LOOK_MS);
        join_those_who_left(pool);
        now = atomic_load(&pool->taken);
        look_after_placements_locked(pool); /* first: what follows may wait for one of them */
        look_after_locked(pool, now != taken);
        quiet = now == taken && atomic_load(&pool->readers) > 0 ? quiet + 1 : 0;
        taken = now;
        if (quiet >= LOOKS_TO_DOZE)
            doze_locked(pool, taken);
    }
}

static void kick_locked(Workers *pool)
{
    for (guint i = 0; i < pool->live->len; i++)
        worker_kick(g_ptr_array_index(pool->live, i));
}

static void ignore_kick(int signal_number G_GNUC_UNUSED)
{
}

int workers_run(Workers *pool)
{
    struct sigaction kick = {.sa_handler = ignore_kick};
    int error;

    sigaction(SIGUSR1, &kick, NULL);
    mutex_lock(&pool->lock);
    if (!atomic_load(&pool->ended))
        start_locked(pool);
    look_out_locked(pool);
    fuse_session_exit(pool->fs->se);
    while (pool->live->len > 0) {
        look_after_placements_locked(pool);
        kick_locked(pool);
        wait_a_moment_locked(pool, KICK_MS);
        join_those_who_left(pool);
    }
    join_those_who_left(pool);
    error = pool->error;
    mutex_unlock(&pool->lock);
    return error;
}

/* --- lifetime --------------------------------------------------------------------------------- */

Workers *workers_new(Fs *fs, WorkersTake take, int *error_out)
{
    pthread_condattr_t monotonic;
    Workers *pool;
    int r = fuse_session_custom_io(fs->se, &worker_io, sizeof worker_io, fuse_session_fd(fs->se));

    if (r != 0) {
        *error_out = -r;
        return NULL;
    }
    pool = g_new0(Workers, 1);
    pool->fs = fs;
    pool->take = take;
    pool->clones = TRUE;
    pool->n_cpus = placement_count_cpus();
    pool->host = placement_host_new(fs->processes);
    atomic_init(&pool->wanted, 1);
    pool->live = g_ptr_array_new();
    pool->left = g_ptr_array_new();
    mutex_init(&pool->lock);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &monotonic);
    pthread_cond_init(&pool->called, NULL);
    pthread_condattr_destroy(&monotonic);
    return pool;
}

void workers_free(Workers *pool)
{
    if (!pool)
        return;
    g_assert(pool->live->len == 0 && pool->left->len == 0);
    placement_host_free(pool->host);
    g_ptr_array_unref(pool->live);
    g_ptr_array_unref(pool->left);
    pthread_cond_destroy(&pool->changed);
    pthread_cond_destroy(&pool->called);
    mutex_clear(&pool->lock);
    g_free(pool);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "workers.h"
#include "mutex.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>

#define MAX_IDLE     4
#define MAX_THREADS  64
#define KICK_MS      10
#define REQUEST_SIZE (WORKERS_MAX_WRITE + 4096)
#define WRITE_HEADER (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

typedef struct Worker {
    Workers *pool;
    pthread_t thread;
    int fd;                   /* of /dev/fuse */
    gboolean own_fd;          /* else the session's */
    _Atomic gboolean reading; /* may be kicked out of read(2) */
    void *memory;
    void *request; /* in `memory`, placed so that the data of a write begins a page */
} Worker;

struct Workers {
    Fs *fs;
    WorkersTake take;
    _Atomic int readers; /* that read, or will before they do anything else */
    _Atomic gboolean ended;
    Mutex lock;
    pthread_cond_t changed; /* (lock) */
    GPtrArray *live;        /* (lock) of Worker */
    GPtrArray *left;        /* (lock) of Worker: to be joined */
    gboolean clones;        /* (lock) the kernel gives each worker a descriptor */
    int error;              /* (lock) */
};

/* The kernel takes a reply only through the descriptor that its request was read from. */
static _Thread_local int reply_fd = -1;

static ssize_t send_reply(int fd, struct iovec *iov, int count, void *data G_GNUC_UNUSED)
{
    return writev(reply_fd >= 0 ? reply_fd : fd, iov, count);
}

/* Asked for by libfuse, called by its own loop alone. */
static ssize_t read_request(int fd, void *buffer, size_t size, void *data G_GNUC_UNUSED)
{
    return read(fd, buffer, size);
}

static void end_locked(Workers *pool, int error)
{
    if (error != 0 && pool->error == 0)
        pool->error = error;
    atomic_store(&pool->ended, TRUE);
    pthread_cond_signal(&pool->changed);
}

static void end(Workers *pool, int error)
{
    MUTEX_GUARD(&pool->lock);

    end_locked(pool, error);
}

void workers_end(Workers *pool)
{
    end(pool, 0);
}

static void worker_free(Worker *worker)
{
    if (worker->own_fd)
        close(worker->fd);
    free(worker->memory);
    g_free(worker);
}

/* --- one worker --- */

static void start_locked(Workers *pool);

static void start_another(Workers *pool)
{
    MUTEX_GUARD(&pool->lock);

    if (!atomic_load(&pool->ended) && pool->live->len < MAX_THREADS)
        start_locked(pool);
}

/* The size of the request taken; 0: try again; -errno: the end. ENOENT is a request that was
 * interrupted before it was read. */
static ssize_t take_request(Worker *worker)
{
    ssize_t n;

    atomic_store(&worker->reading, TRUE);
    n = read(worker->fd, worker->request, REQUEST_SIZE);
    atomic_store(&worker->reading, FALSE);
    if (n >= (ssize_t)sizeof(struct fuse_in_header))
        return n;
    if (n >= 0)
        return -EIO;
    return errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0 : -errno;
}

static void answer(Worker *worker, size_t size)
{
    Fs *fs = worker->pool->fs;
    struct fuse_buf buffer = {.mem = worker->request, .size = size};

    if (!worker->pool->take(fs, worker->request, worker->fd))
        fuse_session_process_buf(fs->se, &buffer);
}

/* Forgets come in bursts, and none takes long. */
static gboolean is_forget(const struct fuse_in_header *request)
{
    return request->opcode == FUSE_FORGET || request->opcode == FUSE_BATCH_FORGET;
}

/* FALSE where enough others read, and this one is to end. */
static gboolean read_again(Workers *pool)
{
    if (atomic_fetch_add(&pool->readers, 1) < MAX_IDLE)
        return TRUE;
    if (atomic_fetch_sub(&pool->readers, 1) > 1)
        return FALSE;
    atomic_fetch_add(&pool->readers, 1); /* meanwhile the others have all found something to do */
    return TRUE;
}

static void serve(Worker *worker)
{
    Workers *pool = worker->pool;

    while (!atomic_load(&pool->ended)) {
        ssize_t n = take_request(worker);

        if (n == 0)
            continue;
        if (n < 0) {
            end(pool, n == -ENODEV || n == -ECONNABORTED ? 0 : (int)n);
            return;
        }
        if (is_forget(worker->request)) {
            answer(worker, (size_t)n);
            continue;
        }
        if (atomic_fetch_sub(&pool->readers, 1) == 1)
            start_another(pool);
        answer(worker, (size_t)n);
        if (!read_again(pool))
            return;
    }
}

static void *worker_main(void *data)
{
    Worker *worker = data;
    Workers *pool = worker->pool;

    pthread_setname_np(pthread_self(), "leasefs-worker");
    reply_fd = worker->fd;
    serve(worker);
    mutex_lock(&pool->lock);
    g_ptr_array_remove_fast(pool->live, worker);
    g_ptr_array_add(pool->left, worker);
    pthread_cond_signal(&pool->changed);
    mutex_unlock(&pool->lock);
    return NULL;
}

/* --- all of them --- */

/* -1 where there is none to be had: the session's own serves all then. */
static int clone_descriptor(int session_fd)
{
    autofd fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    uint32_t source = (uint32_t)session_fd;

    if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &source) != 0)
        return -1;
    return fd_steal(&fd);
}

static Worker *worker_new(Workers *pool)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    Worker *worker = g_new0(Worker, 1);

    worker->pool = pool;
    worker->memory = aligned_alloc(page, page + (REQUEST_SIZE + page - 1) / page * page);
    if (!worker->memory)
        g_error("out of memory for a buffer of requests");
    worker->request = (char *)worker->memory + page - WRITE_HEADER;
    worker->fd = pool->clones ? clone_descriptor(fuse_session_fd(pool->fs->se)) : -1;
    worker->own_fd = pool->clones = worker->fd >= 0;
    if (!worker->own_fd)
        worker->fd = fuse_session_fd(pool->fs->se);
    return worker;
}

/* Where no thread can be had, those that are there go on; without any the mount ends. */
static void start_locked(Workers *pool)
{
    Worker *worker = worker_new(pool);
    int r = pthread_create(&worker->thread, NULL, worker_main, worker);

    if (r != 0) {
        g_message("cannot start another thread: %s", g_strerror(r));
        worker_free(worker);
        if (pool->live->len == 0)
            end_locked(pool, -r);
        return;
    }
    atomic_fetch_add(&pool->readers, 1);
    g_ptr_array_add(pool->live, worker);
}

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

/* A signal ends a read(2) that waits. It may come just before one, hence again and again. */
static void kick_locked(Workers *pool)
{
    for (guint i = 0; i < pool->live->len; i++) {
        Worker *worker = g_ptr_array_index(pool->live, i);

        if (atomic_load(&worker->reading))
            pthread_kill(worker->thread, SIGUSR1);
    }
}

static void wait_a_moment_locked(Workers *pool)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += KICK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
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
    while (!atomic_load(&pool->ended)) {
        pthread_cond_wait(&pool->changed, &pool->lock);
        join_those_who_left(pool);
    }
    fuse_session_exit(pool->fs->se);
    while (pool->live->len > 0) {
        kick_locked(pool);
        wait_a_moment_locked(pool);
        join_those_who_left(pool);
    }
    join_those_who_left(pool);
    error = pool->error;
    mutex_unlock(&pool->lock);
    return error;
}

Workers *workers_new(Fs *fs, WorkersTake take, int *error_out)
{
    static const struct fuse_custom_io io = {.read = read_request, .writev = send_reply};
    pthread_condattr_t monotonic;
    Workers *pool;
    int r = fuse_session_custom_io(fs->se, &io, sizeof io, fuse_session_fd(fs->se));

    if (r != 0) {
        *error_out = -r;
        return NULL;
    }
    pool = g_new0(Workers, 1);
    pool->fs = fs;
    pool->take = take;
    pool->clones = TRUE;
    pool->live = g_ptr_array_new();
    pool->left = g_ptr_array_new();
    mutex_init(&pool->lock);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return pool;
}

void workers_free(Workers *pool)
{
    if (!pool)
        return;
    g_assert(pool->live->len == 0 && pool->left->len == 0);
    g_ptr_array_unref(pool->live);
    g_ptr_array_unref(pool->left);
    pthread_cond_destroy(&pool->changed);
    mutex_clear(&pool->lock);
    g_free(pool);
}

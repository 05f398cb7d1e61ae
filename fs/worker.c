/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util.h"
#include "workers-private.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>

/* After a reply its caller has to wake up before it can ask again: some ten microseconds. */
#define LOOK_AGAIN_NS   30000
#define MAX_LUCK        16
#define UNLUCKY_RETRY   16 /* every so many times it is tried nonetheless */
#define AT_ONCE_FOR_ONE 16 /* so many requests in a row, and another thread helps */
#define READ_AHEAD_MIN  (32 * 1024)
#define WRITE_HEADER    (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

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

/* The kernel orders a reply before all that follows from it. ThreadSanitizer knows that of what is
 * written, not of what is spliced: this tells it. */
static _Atomic guint spliced;

static ssize_t splice_reply(int in_fd, off_t *in_off, int fd, off_t *out_off, size_t size,
                            unsigned flags, void *data G_GNUC_UNUSED)
{
    atomic_fetch_add_explicit(&spliced, 1, memory_order_release);
    return splice(in_fd, in_off, reply_fd >= 0 ? reply_fd : fd, out_off, size, flags);
}

const struct fuse_custom_io worker_io = {
    .read = read_request,
    .writev = send_reply,
    .splice_send = splice_reply,
};

/* --- taking a request ------------------------------------------------------------------------- */

static gint64 now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}

/* -errno; ENOENT is a request that was interrupted before it was read. */
static ssize_t read_from(Worker *worker, int fd)
{
    ssize_t n = read(fd, worker->request, WORKERS_REQUEST_SIZE);

    if (n >= 0 && n < (ssize_t)sizeof(struct fuse_in_header))
        return -EIO;
    if (n < 0)
        return -errno;
    (void)atomic_load_explicit(&spliced, memory_order_acquire);
    reply_fd = fd;
    return n;
}

/* Not where a thread comes beside whoever asks often: the others need the processors themselves. */
static gboolean is_worth_looking_again(Worker *worker)
{
    if (worker->pool->n_cpus < 2 || worker->pool->host)
        return FALSE;
    if (worker->luck > 0)
        return TRUE;
    worker->unlucky = (worker->unlucky + 1) % UNLUCKY_RETRY;
    return worker->unlucky == 0;
}

/* With one caller, a processor is free to look for its next request. Several need the processors
 * themselves: there, looking keeps them from asking. */
static gboolean is_of_the_same_caller(const Worker *worker)
{
    const struct fuse_in_header *request = worker->request;

    return request->pid == 0 || request->pid == worker->caller;
}

/* Does not sleep: -EAGAIN where there is no request. */
static ssize_t look(Worker *worker)
{
    ssize_t n = read_from(worker, worker->quick_fd);
    gint64 until_ns;

    if (placement_is_beside(&worker->placement))
        return n;
    if (n != -EAGAIN) {
        worker->at_once++;
        return n;
    }
    worker->at_once = 0;
    if (!is_worth_looking_again(worker))
        return n;
    until_ns = now_ns() + LOOK_AGAIN_NS;
    do
        n = read_from(worker, worker->quick_fd);
    while (n == -EAGAIN && now_ns() < until_ns);
    if (n != -EAGAIN && is_of_the_same_caller(worker))
        worker->luck = MIN(worker->luck + 1, MAX_LUCK);
    else
        worker->luck = MAX(worker->luck - 2, 0);
    return n;
}

static ssize_t take_request(Worker *worker)
{
    ssize_t n = worker->quick_fd >= 0 ? look(worker) : -EAGAIN;

    worker->slept = n == -EAGAIN;
    if (!worker->slept)
        return n;
    atomic_store(&worker->reading, TRUE);
    n = read_from(worker, worker->fd);
    atomic_store(&worker->reading, FALSE);
    return n;
}

/* --- answering it ----------------------------------------------------------------------------- */

static void answer(Worker *worker, size_t size)
{
    Fs *fs = worker->pool->fs;
    struct fuse_buf buffer = {.mem = worker->request, .size = size};
    guint32 caller = ((const struct fuse_in_header *)worker->request)->pid;

    if (caller != 0)
        worker->caller = caller;
    if (!worker->pool->take(fs, worker->request, reply_fd))
        fuse_session_process_buf(fs->se, &buffer);
}

/* Nobody waits for an answer to these. */
static gboolean is_notice(const struct fuse_in_header *request)
{
    switch (request->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_INTERRUPT:
        return TRUE;
    default:
        return FALSE;
    }
}

/* Forgets come in bursts, and none takes long. */
static gboolean is_forget(const struct fuse_in_header *request)
{
    return request->opcode == FUSE_FORGET || request->opcode == FUSE_BATCH_FORGET;
}

/* Waits for a disk, or takes long by its nature. */
static gboolean is_slow(const struct fuse_in_header *request)
{
    switch (request->opcode) {
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
    case FUSE_FALLOCATE:
        return TRUE;
    default:
        return FALSE;
    }
}

/* The kernel does not say which reads nobody waits for yet. In the midst of a file, large ones come
 * of a read-ahead, or as many at a time. */
static gboolean is_read_ahead(const struct fuse_in_header *request)
{
    const struct fuse_read_in *in = (const struct fuse_read_in *)(request + 1);

    return request->opcode == FUSE_READ && in->offset > 0 && in->size >= READ_AHEAD_MIN;
}

static void wake_a_dozing_lookout(Workers *pool)
{
    if (atomic_load(&pool->dozing))
        workers_wake_lookout(pool);
}

/* It may look at a process, and that may take long (placement.h): so the lookout is to be awake,
 * and the thread counts as a reader no more, but for a forget, which bears no caller. */
static void place(Worker *worker)
{
    const struct fuse_in_header *request = worker->request;

    wake_a_dozing_lookout(worker->pool);
    if (is_read_ahead(request))
        placement_follow_ahead(&worker->placement, request->pid, worker->slept);
    else
        placement_follow(&worker->placement, request->pid, worker->slept);
    /* and no thread is beside anybody while the lookout sleeps */
    wake_a_dozing_lookout(worker->pool);
}

/* FALSE where enough others read. */
static gboolean read_again(Workers *pool)
{
    if (atomic_fetch_add(&pool->readers, 1) < atomic_load(&pool->wanted))
        return TRUE;
    if (atomic_fetch_sub(&pool->readers, 1) > 1)
        return FALSE;
    atomic_fetch_add(&pool->readers, 1); /* meanwhile the others have all found something to do */
    return TRUE;
}

/* One request after the other was there at once: more than one thread can answer in time. Those who
 * ask need a processor, too. */
static void ask_for_help(Worker *worker)
{
    Workers *pool = worker->pool;
    int wanted = atomic_load(&pool->wanted);

    worker->at_once = 0;
    if (wanted < (int)pool->n_cpus - 1 &&
        atomic_compare_exchange_strong(&pool->wanted, &wanted, wanted + 1))
        workers_call_another(pool);
}

static gboolean serve_one(Worker *worker, size_t size)
{
    Workers *pool = worker->pool;
    gboolean was_last;

    if (is_forget(worker->request)) {
        place(worker);
        answer(worker, size);
        return TRUE;
    }
    if (worker->at_once >= AT_ONCE_FOR_ONE)
        ask_for_help(worker);
    was_last = atomic_fetch_sub(&pool->readers, 1) == 1;
    place(worker);
    if (was_last && is_slow(worker->request))
        workers_call_another(pool);
    answer(worker, size);
    return read_again(pool);
}

void worker_serve(Worker *worker)
{
    Workers *pool = worker->pool;

    while (!atomic_load(&pool->ended)) {
        ssize_t n = take_request(worker);

        if (n == -EINTR || n == -EAGAIN || n == -ENOENT)
            continue;
        if (n < 0) {
            workers_fail(pool, n == -ENODEV || n == -ECONNABORTED ? 0 : (int)n);
            return;
        }
        atomic_fetch_add(&pool->taken, 1);
        if (!is_notice(worker->request))
            atomic_fetch_add_explicit(&pool->awaited, 1, memory_order_relaxed);
        if (!serve_one(worker, (size_t)n) && !workers_rest(pool))
            return;
    }
}

void worker_kick(Worker *worker)
{
    if (atomic_load(&worker->reading))
        pthread_kill(worker->thread, SIGUSR1);
}

/* --- lifetime --------------------------------------------------------------------------------- */

/* -1 where there is none to be had: the session's own serves all then. */
static int clone_descriptor(int session_fd, int flags)
{
    autofd fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | flags);
    uint32_t source = (uint32_t)session_fd;

    if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &source) != 0)
        return -1;
    return fd_steal(&fd);
}

Worker *worker_new(Workers *pool, gboolean clone)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const int session_fd = fuse_session_fd(pool->fs->se);
    Worker *worker = g_new0(Worker, 1);

    worker->pool = pool;
    worker->memory = aligned_alloc(page, page + (WORKERS_REQUEST_SIZE + page - 1) / page * page);
    if (!worker->memory)
        g_error("out of memory for a buffer of requests");
    worker->request = (char *)worker->memory + page - WRITE_HEADER;
    worker->fd = clone ? clone_descriptor(session_fd, 0) : -1;
    worker->own_fd = worker->fd >= 0;
    if (!worker->own_fd)
        worker->fd = session_fd;
    worker->quick_fd = worker->own_fd ? clone_descriptor(session_fd, O_NONBLOCK) : -1;
    return worker;
}

void worker_free(Worker *worker)
{
    if (worker->own_fd)
        close(worker->fd);
    autofd_clear(&worker->quick_fd);
    free(worker->memory);
    g_free(worker);
}

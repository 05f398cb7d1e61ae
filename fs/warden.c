/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "warden.h"
#include "mounts.h"
#include "mutex.h"
#include "util.h"
#include "workers.h"
#include <errno.h>
#include <gio/gio.h>
#include <linux/fuse.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#define PAST_RECHECK_MS  1000
#define NOTIFY_INC_EPOCH 8
#define NS_PER_MS        G_GINT64_CONSTANT(1000000)

typedef struct Job {
    Node *node; /* referenced */
    gboolean expire_children, expire_name;
    off_t off, length;
} Job;

struct Warden {
    Fs *fs;
    GThread *thread;
    int epoll_fd, wake_fd, signal_fd;
    int registry_fd, processes_fd; /* borrowed */
    _Atomic gboolean stopping;
    _Atomic gboolean trimming;
    gboolean told_to_end; /* by a signal */
    Mutex lock;
    GQueue jobs;        /* (lock) of Job */
    GPtrArray *past;    /* (lock) */
    gint64 past_due_ns; /* (lock) when to look at them again; monotonic */
    guint64 told_epoch; /* the tenure whose holder was told of files open elsewhere */
};

static void job_free(Warden *warden, Job *job)
{
    node_unref(warden->fs->nodes, job->node);
    g_free(job);
}

void warden_wake(Warden *warden)
{
    /* fails only where the counter is full, and then the thread wakes anyhow */
    if (eventfd_write(warden->wake_fd, 1) != 0)
        g_debug("cannot wake the warden: %s", g_strerror(errno));
}

static void add_job(Warden *warden, Job job)
{
    node_ref(warden->fs->nodes, job.node);
    mutex_lock(&warden->lock);
    g_queue_push_tail(&warden->jobs, g_memdup2(&job, sizeof job));
    mutex_unlock(&warden->lock);
    warden_wake(warden);
}

/* The kernel takes this from within a request: it counts a number up, and asks again for each name,
 * or that there is none, that it learned under an older one. It unmounts what stands on a name then
 * (protocol 7.44, kernel 6.16; libfuse 3.17 does not know it). */
static gboolean forget_all_names(Fs *fs)
{
    struct fuse_out_header notice = {.len = sizeof notice, .error = NOTIFY_INC_EPOCH};
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);
    const LeasefsMount *own = mounts ? leasefs_mounts_containing(mounts, fs->mountpoint) : NULL;

    if (!own || own->inner[0])
        return FALSE;
    return write(fuse_session_fd(fs->se), &notice, sizeof notice) == (ssize_t)sizeof notice;
}

void warden_close_directory(Warden *warden, Node *directory)
{
    fs_begin_telling(warden->fs);
    if (!forget_all_names(warden->fs))
        add_job(warden, (Job){.node = directory, .expire_children = TRUE});
}

void warden_forget_name(Warden *warden, Node *node)
{
    add_job(warden, (Job){.node = node, .expire_name = TRUE});
}

void warden_drop_pages(Warden *warden, Node *node, off_t off, off_t length)
{
    add_job(warden, (Job){.node = node, .off = off, .length = length});
}

void warden_trim(Warden *warden)
{
    atomic_store(&warden->trimming, TRUE);
    warden_wake(warden);
}

/* A negative offset means the attributes alone (fuse_lowlevel_notify_inval_inode); for these the
 * kernel takes no lock, and an inode that a request names is not about to go. */
void warden_forget_attributes(Warden *warden, Node *node)
{
    int r = fuse_lowlevel_notify_inval_inode(warden->fs->se, node_number(node), -1, 0);

    node_untell(node);
    if (r != 0 && r != -ENOENT)
        g_debug("cannot have attributes forgotten: %s", g_strerror(-r));
}

/* ENOENT: the kernel has forgotten it by itself. */
static void invalidate(Fs *fs, Node *node, off_t off, off_t length)
{
    int r = fuse_lowlevel_notify_inval_inode(fs->se, node_number(node), off, length);

    if (r != 0 && r != -ENOENT)
        g_debug("cannot write back or drop cached pages: %s", g_strerror(-r));
}

static void expire_children(Fs *fs, Node *directory)
{
    g_autoptr(GArray) children = node_dup_children(fs->nodes, directory);

    for (guint i = 0; i < children->len; i++) {
        const NodeChild *child = &g_array_index(children, NodeChild, i);

        fuse_lowlevel_notify_inval_entry(fs->se, node_number(directory), child->name,
                                         strlen(child->name));
    }
}

static void expire_name(Fs *fs, Node *node)
{
    g_autofree char *path = node_dup_path(fs->nodes, node, NULL);
    g_autofree char *name = path ? g_path_get_basename(path) : NULL;
    guint64 parent = node_parent_number(fs->nodes, node);

    if (name && parent != 0)
        fuse_lowlevel_notify_inval_entry(fs->se, parent, name, strlen(name));
}

static void run_jobs(Warden *warden)
{
    for (;;) {
        Job *job;

        mutex_lock(&warden->lock);
        job = g_queue_pop_head(&warden->jobs);
        mutex_unlock(&warden->lock);
        if (!job)
            return;
        if (job->expire_children)
            expire_children(warden->fs, job->node);
        else if (job->expire_name)
            expire_name(warden->fs, job->node);
        else
            invalidate(warden->fs, job->node, job->off, job->length);
        job_free(warden, job);
    }
}

/* Has the kernel write back what mappings dirtied: of one session, or of everyone. */
static void flush(Fs *fs, Session *session, gboolean everyone)
{
    g_autoptr(GPtrArray) nodes = open_files_nodes(fs->open_files, session, everyone, fs->nodes);

    for (guint i = 0; i < nodes->len; i++) {
        invalidate(fs, g_ptr_array_index(nodes, i), 0, 0);
        node_unref(fs->nodes, g_ptr_array_index(nodes, i));
    }
}

/* For a person: `acquired: bash.1234.567, epoch 3`. */
static char *describe_event(const KeeperEvent *event)
{
    GString *text = g_string_new(keeper_event_name(event->kind));

    if (event->session)
        g_string_append_printf(text, ": %s", event->session);
    if (event->other)
        g_string_append_printf(text, event->session ? " (other: %s)" : ": %s", event->other);
    if (event->detail)
        g_string_append_printf(text, ": %s", event->detail);
    g_string_append_printf(text, ", epoch %" G_GUINT64_FORMAT, event->epoch);
    return g_string_free(text, FALSE);
}

static void log_event(const KeeperEvent *event)
{
    gboolean is_warning = event->kind == KEEPER_EVENT_DEGRADED ||
                          event->kind == KEEPER_EVENT_STORE_LOST ||
                          event->kind == KEEPER_EVENT_UNREADABLE;
    g_autofree char *epoch = g_strdup_printf("%" G_GUINT64_FORMAT, event->epoch);
    g_autofree char *sequence = g_strdup_printf("%" G_GUINT64_FORMAT, event->sequence);
    g_autofree char *text = describe_event(event);

    g_log_structured(G_LOG_DOMAIN, is_warning ? G_LOG_LEVEL_WARNING : G_LOG_LEVEL_MESSAGE,
                     "LEASEFS_EVENT", keeper_event_name(event->kind), "LEASEFS_SESSION",
                     event->session ? event->session : "", "LEASEFS_OTHER",
                     event->other ? event->other : "", "LEASEFS_EPOCH", epoch, "LEASEFS_SEQUENCE",
                     sequence, "MESSAGE", "%s", text);
}

/* A new holder is told which sessions have files open whose late stores will be refused. */
static void tell_open_elsewhere(Warden *warden, const KeeperEvent *event)
{
    Fs *fs = warden->fs;
    g_autoptr(GArray) all = NULL;
    g_autoptr(Session) holder = NULL;

    if (event->kind != KEEPER_EVENT_ACQUIRED && event->kind != KEEPER_EVENT_TAKEN_OVER)
        return;
    all = open_files_by_session(fs->open_files);
    holder = keeper_holder(fs->keeper);
    for (guint i = 0; holder && i < all->len; i++) {
        const OpenFilesOf *of = &g_array_index(all, OpenFilesOf, i);
        g_autofree char *id = session_dup_id(of->session);
        g_autofree char *detail = g_strdup_printf("%u open for reading and writing", of->handles);

        if (of->session != holder)
            keeper_report(fs->keeper, KEEPER_EVENT_OPEN_ELSEWHERE, event->session, id, detail);
    }
}

static void deliver_events(Warden *warden)
{
    g_autoptr(GPtrArray) events = keeper_take_events(warden->fs->keeper);

    for (guint i = 0; i < events->len; i++) {
        log_event(g_ptr_array_index(events, i));
        tell_open_elsewhere(warden, g_ptr_array_index(events, i));
    }
}

/* Looking at them takes long, and the end of many a process wakes the warden: so not more often
 * than that. Returns after how many milliseconds to look again; -1: never. */
static gint64 recheck_past(Warden *warden)
{
    Fs *fs = warden->fs;
    gint64 now_ns = clock_system()->mono_ns(clock_system());
    MUTEX_GUARD(&warden->lock);

    if (warden->past->len == 0)
        return -1;
    if (now_ns < warden->past_due_ns)
        return (warden->past_due_ns - now_ns) / NS_PER_MS + 1;
    bypass_recheck(warden->past, fs->processes, fs->workspace, fs->backing_dev, fs->backing_ino);
    warden->past_due_ns = clock_system()->mono_ns(clock_system()) + PAST_RECHECK_MS * NS_PER_MS;
    if (warden->past->len > 0)
        return PAST_RECHECK_MS;
    if (fs->options->cache == CACHE_AUTO && fs->in_place) {
        g_autofree char *shown = leasefs_mounts_read_other(fs->workspace);

        atomic_store(&fs->cache_long, shown == NULL);
        fs_begin_telling(fs);
    }
    return -1;
}

GPtrArray *warden_list_past(Warden *warden)
{
    GPtrArray *copy = g_ptr_array_new_with_free_func((GDestroyNotify)bypass_process_free);
    MUTEX_GUARD(&warden->lock);

    for (guint i = 0; i < warden->past->len; i++) {
        const BypassProcess *process = g_ptr_array_index(warden->past, i);
        BypassProcess *dup = g_memdup2(process, sizeof *process);

        dup->how = g_strdup(process->how);
        g_ptr_array_add(copy, dup);
    }
    return copy;
}

/* One round of all that is due. Returns after how many milliseconds the next is; -1: when woken. */
static gint64 work(Warden *warden)
{
    Fs *fs = warden->fs;
    gint64 past_ms;
    KeeperDue due;

    session_table_reload(fs->sessions);
    session_table_reap(fs->sessions);
    run_jobs(warden);
    if (atomic_exchange(&warden->trimming, FALSE))
        malloc_trim(0);
    keeper_tick(fs->keeper, &due);
    if (due.flush) {
        gint64 started_ns = clock_system()->mono_ns(clock_system());

        flush(fs, due.flush, FALSE);
        keeper_flushed(fs->keeper, due.flush_epoch, started_ns);
        session_unref(due.flush);
    }
    deliver_events(warden);
    past_ms = recheck_past(warden);
    if (past_ms < 0 || due.next_ms < 0)
        return MAX(past_ms, due.next_ms);
    return MIN(past_ms, due.next_ms);
}

static void drain(Warden *warden)
{
    struct signalfd_siginfo signal;
    eventfd_t count;

    if (eventfd_read(warden->wake_fd, &count) != 0 && errno != EAGAIN)
        g_debug("cannot read the warden's eventfd: %s", g_strerror(errno));
    if (read(warden->signal_fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        g_message("ending on signal %u", signal.ssi_signo);
        warden->told_to_end = TRUE;
        atomic_store(&warden->fs->unmount_asked, TRUE); /* told already */
    }
}

static void *warden_main(void *data)
{
    Warden *warden = data;

    while (!atomic_load(&warden->stopping) && !warden->told_to_end) {
        gint64 next_ms = work(warden);
        struct epoll_event event;
        int n = epoll_wait(warden->epoll_fd, &event, 1, (int)MIN(next_ms, G_MAXINT));

        if (n < 0 && errno != EINTR)
            g_error("epoll_wait: %s", g_strerror(errno)); /* a descriptor of ours is broken */
        drain(warden);
    }
    if (warden->told_to_end) {
        flush(warden->fs, NULL, TRUE);
        workers_end(warden->fs->workers);
    }
    deliver_events(warden);
    return NULL;
}

static gboolean watch(Warden *warden, int fd, GError **error)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (epoll_ctl(warden->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return TRUE;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot watch a descriptor: %s",
                g_strerror(errno));
    return FALSE;
}

Warden *warden_new(Fs *fs, int registry_fd, int processes_fd, GPtrArray *past, GError **error)
{
    Warden *warden = g_new0(Warden, 1);
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    warden->fs = fs;
    warden->past = past;
    warden->registry_fd = registry_fd;
    warden->processes_fd = processes_fd;
    mutex_init(&warden->lock);
    g_queue_init(&warden->jobs);
    warden->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    warden->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    warden->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (!watch(warden, warden->wake_fd, error) || !watch(warden, warden->signal_fd, error) ||
        !watch(warden, registry_fd, error) || !watch(warden, processes_fd, error)) {
        warden_free(warden);
        return NULL;
    }
    return warden;
}

void warden_free(Warden *warden)
{
    Job *job;

    if (!warden)
        return;
    g_assert(!warden->thread);
    while ((job = g_queue_pop_head(&warden->jobs)))
        job_free(warden, job);
    g_ptr_array_unref(warden->past);
    autofd_clear(&warden->epoll_fd);
    autofd_clear(&warden->wake_fd);
    autofd_clear(&warden->signal_fd);
    mutex_clear(&warden->lock);
    g_free(warden);
}

void warden_start(Warden *warden)
{
    warden->thread = g_thread_new("leasefs-warden", warden_main, warden);
}

void warden_stop(Warden *warden)
{
    atomic_store(&warden->stopping, TRUE);
    warden_wake(warden);
    if (warden->thread)
        g_thread_join(g_steal_pointer(&warden->thread));
    deliver_events(warden);
}

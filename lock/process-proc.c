/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define STAT_BYTES   1024 /* the 39 fields that count need at most 850, and 64 for the comm */
#define STATUS_BYTES 512  /* Tgid is the fourth line; the comm on the first is escaped */
#define HINT_COUNT   1024u
#define COMM_COUNT   16u
#define EVENT_BATCH  64

/* The first published struct pidfd_info and its ioctl, of include/uapi/linux/pidfd.h: kernels from
 * 6.13 on have it, the headers of most distributions do not. */
typedef struct PidfdInfo {
    guint64 mask; /* asked for, and answered */
    guint64 cgroup_id;
    guint32 pid, tgid, ppid;
    guint32 credentials[8];
    gint32 exit_code;
} PidfdInfo;
G_STATIC_ASSERT(sizeof(PidfdInfo) == 64);

#define GET_INFO     _IOWR(0xFF, 11, PidfdInfo)
#define GET_INFO_PID G_GUINT64_CONSTANT(1)

typedef struct ProcTable {
    ProcessTable base;
    int proc_fd;
    int epoll_fd;
    _Atomic gboolean no_get_info; /* an old kernel */
    /* pid << 32 | open /proc/PID/comm, at pid % COMM_COUNT; 0: empty or in use. Parents that start
     * one process after the other are asked for their comm each time. */
    _Atomic guint64 comms[COMM_COUNT];
    /* tid << 32 | pid, at tid % HINT_COUNT: to which process a thread belonged when last asked.
     * Only a hint: tgkill(2) with signal 0 tells whether it still holds. */
    _Atomic guint64 hints[HINT_COUNT];
} ProcTable;

static int read_once(int dir_fd, const char *path, char *buffer, gsize size)
{
    autofd fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    do {
        n = read(fd, buffer, size - 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ESRCH;
    buffer[n] = '\0';
    return 0;
}

static int proc_read(ProcessTable *base, pid_t pid, ProcessInfo *info_out)
{
    ProcTable *table = (ProcTable *)base;
    char path[32], line[STAT_BYTES];
    int r;

    snprintf(path, sizeof path, "%d/stat", (int)pid);
    r = read_once(table->proc_fd, path, line, sizeof line);
    if (r < 0)
        return r;
    return process_info_parse_stat(line, info_out) ? 0 : -EBADMSG;
}

/* The directory's owner, because a file in it belongs to root where the process is not dumpable
 * (proc(5)). */
static int proc_read_owner(ProcessTable *base, pid_t pid, uid_t *uid_out)
{
    ProcTable *table = (ProcTable *)base;
    char path[16];
    struct stat st;

    snprintf(path, sizeof path, "%d", (int)pid);
    if (fstatat(table->proc_fd, path, &st, 0) < 0)
        return errno == ENOENT ? -ESRCH : -errno;
    *uid_out = st.st_uid;
    return 0;
}

/* The comm that an open /proc/PID/comm shows; -ESRCH where its process is gone, also when another
 * has the pid by now (proc(5)). */
static int read_open_comm(int fd, char comm_out[PROCESS_COMM_SIZE])
{
    char text[STAT_BYTES];
    ssize_t n;

    do {
        n = pread(fd, text, sizeof text - 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    g_strlcpy(comm_out, text, PROCESS_COMM_SIZE);
    return 0;
}

static int proc_read_comm(ProcessTable *base, pid_t pid, char comm_out[PROCESS_COMM_SIZE])
{
    ProcTable *table = (ProcTable *)base;
    _Atomic guint64 *slot = &table->comms[(guint)pid % COMM_COUNT];
    guint64 kept = atomic_exchange(slot, 0);
    autofd fd = kept != 0 ? (int)(guint32)kept : -1;
    char path[32];
    int r = -ESRCH;

    if (fd >= 0 && (pid_t)(kept >> 32) == pid)
        r = read_open_comm(fd, comm_out);
    if (r < 0) {
        autofd_clear(&fd);
        snprintf(path, sizeof path, "%d/comm", (int)pid);
        fd = openat(table->proc_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            return errno == ENOENT ? -ESRCH : -errno;
        r = read_open_comm(fd, comm_out);
    }
    if (r < 0)
        return r;
    kept = atomic_exchange(slot, (guint64)pid << 32 | (guint32)fd_steal(&fd));
    if (kept != 0)
        close((int)(guint32)kept); /* another thread's, which was faster */
    return 0;
}

/* Whether the thread is one of that process, in one system call: tgkill(2) checks the pair before
 * it checks the permission, and signal 0 is never sent. */
static gboolean thread_is_of(pid_t tid, pid_t pid)
{
    return syscall(SYS_tgkill, pid, tid, 0) == 0 || errno == EPERM;
}

static int read_tgid(ProcTable *table, pid_t tid, pid_t *pid_out)
{
    char path[32], status[STATUS_BYTES];
    const char *line;
    gint64 pid;
    int r;

    snprintf(path, sizeof path, "%d/status", (int)tid);
    r = read_once(table->proc_fd, path, status, sizeof status);
    if (r < 0)
        return r;
    line = strstr(status, "\nTgid:\t");
    if (line == NULL)
        return -EBADMSG;
    pid = g_ascii_strtoll(line + strlen("\nTgid:\t"), NULL, 10);
    if (pid <= 0 || pid > G_MAXINT32)
        return -ESRCH;
    *pid_out = (pid_t)pid;
    return 0;
}

static _Atomic guint64 *hint_of(ProcTable *table, pid_t tid)
{
    return &table->hints[(guint)tid % HINT_COUNT];
}

static pid_t proc_leader_again(ProcessTable *base, pid_t tid)
{
    guint64 hint = atomic_load_explicit(hint_of((ProcTable *)base, tid), memory_order_relaxed);
    pid_t pid = (pid_t)(guint32)hint;

    return (pid_t)(hint >> 32) == tid && thread_is_of(tid, pid) ? pid : 0;
}

static int proc_leader(ProcessTable *base, pid_t tid, pid_t *pid_out)
{
    ProcTable *table = (ProcTable *)base;
    pid_t pid;
    int r;

    if (tid <= 0)
        return -ESRCH;
    pid = thread_is_of(tid, tid) ? tid : proc_leader_again(base, tid);
    if (pid != 0) {
        *pid_out = pid;
        return 0;
    }
    r = read_tgid(table, tid, &pid);
    if (r < 0)
        return r;
    atomic_store_explicit(hint_of(table, tid), (guint64)tid << 32 | (guint32)pid,
                          memory_order_relaxed);
    *pid_out = pid;
    return 0;
}

/* A pidfd is readable once the last thread of the process has exited (pidfd_open(2)). Doubt counts
 * as ended: the caller then looks at the process anew. */
static gboolean proc_has_ended(ProcessTable *base G_GNUC_UNUSED, int hold)
{
    struct pollfd at = {.fd = hold, .events = POLLIN};
    int n;

    do {
        n = poll(&at, 1, 0);
    } while (n < 0 && errno == EINTR);
    return n != 0;
}

static int proc_hold(ProcessTable *base G_GNUC_UNUSED, pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */

    if (fd >= 0)
        return fd;
    /* EINVAL, and ENOENT in later kernels: a thread that is not its process's first. */
    return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

static void proc_release(ProcessTable *base G_GNUC_UNUSED, int hold)
{
    close(hold);
}

/* -ENOTTY or -EINVAL where the kernel cannot tell. */
static int get_info_parent(int pidfd, pid_t *ppid_out)
{
    PidfdInfo info = {.mask = GET_INFO_PID};

    if (ioctl(pidfd, GET_INFO, &info) < 0)
        return -errno;
    if (!(info.mask & GET_INFO_PID))
        return -ENOTTY;
    *ppid_out = (pid_t)info.ppid;
    return 0;
}

static int proc_parent(ProcessTable *base, int hold, pid_t pid, pid_t *ppid_out)
{
    ProcTable *table = (ProcTable *)base;
    ProcessInfo info;
    int r;

    if (!atomic_load_explicit(&table->no_get_info, memory_order_relaxed)) {
        r = get_info_parent(hold, ppid_out);
        if (r != -ENOTTY && r != -EINVAL)
            return r;
        if (!atomic_exchange(&table->no_get_info, TRUE))
            g_debug("no PIDFD_GET_INFO: parents are read from /proc");
    }
    r = proc_read(base, pid, &info);
    if (r < 0)
        return r;
    /* Alive afterwards: so the line is of the held process. */
    if (proc_has_ended(base, hold))
        return -ESRCH;
    *ppid_out = info.ppid;
    return 0;
}

static int proc_terminal_session(ProcessTable *base G_GNUC_UNUSED, pid_t pid, pid_t *sid_out)
{
    pid_t sid = getsid(pid);

    if (sid < 0)
        return -errno;
    *sid_out = sid;
    return 0;
}

static int proc_watch(ProcessTable *base, int hold, guint64 cookie)
{
    ProcTable *table = (ProcTable *)base;
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = cookie};

    return epoll_ctl(table->epoll_fd, EPOLL_CTL_ADD, hold, &event) < 0 ? -errno : 0;
}

static gsize proc_ended(ProcessTable *base, guint64 *cookies_out, gsize n)
{
    ProcTable *table = (ProcTable *)base;
    struct epoll_event events[EVENT_BATCH];
    gsize count = 0;

    while (count < n) {
        int want = (int)MIN(n - count, (gsize)EVENT_BATCH);
        int got = epoll_wait(table->epoll_fd, events, want, 0);

        if (got < 0 && errno == EINTR)
            continue;
        for (int i = 0; i < got; i++)
            cookies_out[count++] = events[i].data.u64;
        if (got < want)
            break;
    }
    return count;
}

static void proc_unwatch(ProcessTable *base, int hold)
{
    ProcTable *table = (ProcTable *)base;

    /* Closing is not enough where a forked child still has the descriptor. */
    epoll_ctl(table->epoll_fd, EPOLL_CTL_DEL, hold, NULL);
    close(hold);
}

static void proc_free(ProcessTable *base)
{
    ProcTable *table = (ProcTable *)base;

    for (guint i = 0; i < COMM_COUNT; i++) {
        if (table->comms[i] != 0)
            close((int)(guint32)table->comms[i]);
    }
    autofd_clear(&table->proc_fd);
    autofd_clear(&table->epoll_fd);
    g_free(table);
}

static const ProcessTableOps proc_ops = {
    .read = proc_read,
    .read_comm = proc_read_comm,
    .read_owner = proc_read_owner,
    .leader = proc_leader,
    .leader_again = proc_leader_again,
    .hold = proc_hold,
    .release = proc_release,
    .parent = proc_parent,
    .terminal_session = proc_terminal_session,
    .has_ended = proc_has_ended,
    .watch = proc_watch,
    .unwatch = proc_unwatch,
    .ended = proc_ended,
    .free = proc_free,
};

ProcessTable *process_table_new_proc(GError **error)
{
    autofd proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    autofd epoll_fd = -1;
    ProcTable *table;

    if (proc_fd < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved), "cannot open /proc: %s",
                    g_strerror(saved));
        return NULL;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved),
                    "cannot watch processes: epoll_create1: %s", g_strerror(saved));
        return NULL;
    }
    table = g_new0(ProcTable, 1);
    table->base.ops = &proc_ops;
    table->proc_fd = fd_steal(&proc_fd);
    table->epoll_fd = fd_steal(&epoll_fd);
    return &table->base;
}

int process_table_proc_poll_fd(ProcessTable *base)
{
    g_assert(base->ops == &proc_ops);
    return ((ProcTable *)base)->epoll_fd;
}

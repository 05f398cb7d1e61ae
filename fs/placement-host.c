/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clock.h"
#include "placement.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define LOADAVG_BYTES 128

/* ioprio_set(2), which the C library does not know. */
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_CLASS_SHIFT 13
#define IOPRIO_CLASS_BE    2

typedef struct RealHost {
    PlacementHost base;
    ProcessTable *processes;
    int loadavg_fd;
    cpu_set_t free; /* the processors of a thread that is not settled */
} RealHost;

static gint64 host_now_ns(PlacementHost *host G_GNUC_UNUSED)
{
    return clock_system()->mono_ns(clock_system());
}

int placement_parse_runnable(const char *line)
{
    char *end = NULL;
    guint64 n;

    for (int i = 0; i < 3; i++) {
        line = strchr(line, ' ');
        if (!line)
            return -EBADMSG;
        line++;
    }
    if (!g_ascii_isdigit(*line))
        return -EBADMSG;
    n = g_ascii_strtoull(line, &end, 10);
    return *end == '/' && n <= G_MAXINT ? (int)n : -EBADMSG;
}

static int host_count_runnable(PlacementHost *base)
{
    RealHost *host = (RealHost *)base;
    char line[LOADAVG_BYTES];
    ssize_t n = pread(host->loadavg_fd, line, sizeof line - 1, 0);

    if (n < 0)
        return -errno;
    line[n] = '\0';
    return placement_parse_runnable(line);
}

static int host_cpu_of(PlacementHost *base, pid_t tid)
{
    RealHost *host = (RealHost *)base;
    ProcessInfo info;
    int r = host->processes->ops->read(host->processes, tid, &info);

    return r != 0 ? r : info.cpu;
}

/* Whose I/O priority is not set, has one by its policy: with SCHED_IDLE that of what can wait for
 * ever. It is set to what it has with the other one. */
static void host_prepare(PlacementHost *host G_GNUC_UNUSED)
{
    long now = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
    int nice = getpriority(PRIO_PROCESS, 0);

    if (now >= 0 && now >> IOPRIO_CLASS_SHIFT == 0)
        (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                      IOPRIO_CLASS_BE << IOPRIO_CLASS_SHIFT | (nice + 20) / 5);
}

static int set_policy(pid_t tid, int policy)
{
    struct sched_param param = {.sched_priority = 0};

    return sched_setscheduler(tid, policy, &param) == 0 ? 0 : -errno;
}

static int host_settle(PlacementHost *base, pid_t tid, int cpu)
{
    RealHost *host = (RealHost *)base;
    cpu_set_t there;

    if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &host->free))
        return -EINVAL;
    CPU_ZERO(&there);
    CPU_SET(cpu, &there);
    if (sched_setaffinity(tid, sizeof there, &there) != 0)
        return -errno;
    return set_policy(tid, SCHED_IDLE);
}

/* The processors the daemon began with may all have been taken from it since: then it may use
 * those that it has now. */
static int host_release(PlacementHost *base, pid_t tid)
{
    RealHost *host = (RealHost *)base;
    int r = set_policy(tid, SCHED_OTHER);
    cpu_set_t all;

    if (sched_setaffinity(tid, sizeof host->free, &host->free) == 0)
        return r;
    memset(&all, 0xff, sizeof all);
    return sched_setaffinity(tid, sizeof all, &all) == 0 ? r : -errno;
}

typedef struct Trial {
    gboolean can_return; /* from yielding */
    cpu_set_t free;
} Trial;

/* In a thread of its own, which may remain what it became. Who may use all processors there are
 * shall be free to use those that come, too. */
static void *try_out(void *data)
{
    Trial *trial = data;
    cpu_set_t own, all, allowed;

    trial->can_return = set_policy(0, SCHED_IDLE) == 0 && set_policy(0, SCHED_OTHER) == 0;
    memset(&all, 0xff, sizeof all);
    if (sched_getaffinity(0, sizeof own, &own) != 0)
        return NULL;
    trial->free = own;
    if (sched_setaffinity(0, sizeof all, &all) == 0 &&
        sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_EQUAL(&own, &allowed))
        trial->free = all;
    return NULL;
}

static Trial try_in_a_thread(void)
{
    Trial trial = {.can_return = FALSE};
    pthread_t thread;

    if (pthread_create(&thread, NULL, try_out, &trial) == 0)
        pthread_join(thread, NULL);
    return trial;
}

guint placement_count_cpus(void)
{
    cpu_set_t cpus;

    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (guint)CPU_COUNT(&cpus) : 1;
}

PlacementHost *placement_host_new(ProcessTable *processes)
{
    guint n_cpus = placement_count_cpus();
    autofd loadavg_fd = -1;
    RealHost *host;
    Trial trial;

    /* A policy that somebody chose for the daemon stays. */
    if (n_cpus < 2 || sched_getscheduler(0) != SCHED_OTHER)
        return NULL;
    trial = try_in_a_thread();
    if (!trial.can_return)
        return NULL;
    loadavg_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (loadavg_fd < 0)
        return NULL;
    host = g_new0(RealHost, 1);
    host->base = (PlacementHost){
        .n_cpus = n_cpus,
        .now_ns = host_now_ns,
        .count_runnable = host_count_runnable,
        .cpu_of = host_cpu_of,
        .prepare = host_prepare,
        .settle = host_settle,
        .release = host_release,
    };
    host->processes = processes;
    host->free = trial.free;
    host->loadavg_fd = fd_steal(&loadavg_fd);
    return &host->base;
}

void placement_host_free(PlacementHost *base)
{
    RealHost *host = (RealHost *)base;

    if (!host)
        return;
    close(host->loadavg_fd);
    g_free(host);
}

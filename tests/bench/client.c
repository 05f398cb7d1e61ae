/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the client says: READY before the work, DONE after it, CLEAN at its end, or FAILED. */
typedef enum Stage { STAGE_READY, STAGE_DONE, STAGE_CLEAN, STAGE_FAILED } Stage;

typedef struct Message {
    Stage stage;
    ClientTimes times;
    char text[500];
} Message;

static guint64 now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (guint64)now.tv_sec * 1000000000u + (guint64)now.tv_nsec;
}

static guint64 timeval_ns(const struct timeval *time)
{
    return (guint64)time->tv_sec * 1000000000u + (guint64)time->tv_usec * 1000u;
}

static guint64 used_cpu_ns(void)
{
    struct timespec own;
    struct rusage children;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return (guint64)own.tv_sec * 1000000000u + (guint64)own.tv_nsec +
           timeval_ns(&children.ru_utime) + timeval_ns(&children.ru_stime);
}

static void say(int fd, Message *message)
{
    if (send(fd, message, sizeof *message, MSG_NOSIGNAL) != sizeof *message)
        _exit(1);
}

static void await_go(int fd)
{
    char go;

    if (recv(fd, &go, 1, 0) != 1)
        _exit(1);
}

static gboolean do_step(JobStep step, Job *job, GError **error)
{
    return step == NULL || step(job, error);
}

static gboolean do_job(Job *job, const char *path, int fd, GError **error)
{
    const Workload *workload = job->workload;
    Message message = {.stage = STAGE_READY};
    guint64 cpu_ns;
    guint64 wall_ns;

    if (chdir(path) != 0)
        return bench_fail_errno(error, "%s", path);
    if (!do_step(workload->prepare, job, error))
        return FALSE;
    if ((workload->flags & WORK_WARM) && !workload->work(job, error))
        return FALSE;
    job->seen = 0;
    say(fd, &message);
    await_go(fd);
    cpu_ns = used_cpu_ns();
    wall_ns = now_ns();
    if (!workload->work(job, error))
        return FALSE;
    message.times.wall_ns = now_ns() - wall_ns;
    message.times.cpu_ns = used_cpu_ns() - cpu_ns;
    message.stage = STAGE_DONE;
    say(fd, &message);
    await_go(fd);
    if (job->fd >= 0)
        close(job->fd);
    job->fd = -1;
    return do_step(workload->check, job, error) && do_step(workload->clean, job, error);
}

static void run_client(const Job *template, const char *path, int fd) G_GNUC_NORETURN;
static void run_client(const Job *template, const char *path, int fd)
{
    g_autoptr(GError) error = NULL;
    Message message = {.stage = STAGE_CLEAN};
    Job job = *template;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    job.fd = -1;
    job.buffer = mmap(NULL, JOB_BUFFER_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (job.buffer == MAP_FAILED)
        _exit(1);
    if (!do_job(&job, path, fd, &error)) {
        message.stage = STAGE_FAILED;
        g_strlcpy(message.text, error->message, sizeof message.text);
    }
    say(fd, &message);
    _exit(0);
}

static gboolean hear(int fd, Stage wanted, Message *message_out, GError **error)
{
    if (recv(fd, message_out, sizeof *message_out, 0) != sizeof *message_out)
        return bench_fail(error, "the client died");
    if (message_out->stage != wanted)
        return bench_fail(error, "%s", message_out->text);
    return TRUE;
}

static gboolean follow_client(int fd, ClientMark mark, gpointer data, ClientTimes *times_out,
                              GError **error)
{
    Message message;

    if (!hear(fd, STAGE_READY, &message, error))
        return FALSE;
    mark(TRUE, data);
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1 || !hear(fd, STAGE_DONE, &message, error))
        return FALSE;
    mark(FALSE, data);
    *times_out = message.times;
    return send(fd, "", 1, MSG_NOSIGNAL) == 1 && hear(fd, STAGE_CLEAN, &message, error);
}

gboolean client_run(const Job *job, const char *path, ClientMark mark, gpointer data,
                    ClientTimes *times_out, GError **error)
{
    gboolean done;
    int fds[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return bench_fail_errno(error, "socketpair");
    pid = fork();
    if (pid == 0) {
        close(fds[0]);
        run_client(job, path, fds[1]);
    }
    close(fds[1]);
    done = follow_client(fds[0], mark, data, times_out, error);
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return done;
}

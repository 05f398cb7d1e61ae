/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bounded.h"
#include "util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>

int bounded_open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

gboolean bounded_wait_end(int pidfd, int limit_ms)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    gint64 deadline = g_get_monotonic_time() + (gint64)limit_ms * 1000;
    int r;

    do {
        gint64 left_us = MAX(deadline - g_get_monotonic_time(), 0);

        r = poll(&poll_fd, 1, (int)((left_us + 999) / 1000));
    } while (r < 0 && errno == EINTR);
    return r > 0;
}

gboolean bounded_tell_to_end(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) == 0;
}

int bounded_call(int (*work)(gpointer data), gpointer data, int limit_ms)
{
    autofd pidfd = -1;
    int status = 0;
    pid_t child;
    pid_t r;

    child = fork();
    if (child < 0)
        return -1;
    if (child == 0) {
        /* Nothing of the parent's is flushed or freed here. */
        _exit(work(data) & 0xff);
    }
    pidfd = bounded_open_pidfd(child);
    if (pidfd < 0 || !bounded_wait_end(pidfd, limit_ms)) {
        /* It may be in a call that not even SIGKILL ends: it is left to whoever reaps it. */
        kill(child, SIGKILL);
        waitpid(child, NULL, WNOHANG);
        return -1;
    }
    do {
        r = waitpid(child, &status, 0);
    } while (r < 0 && errno == EINTR);
    return r == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

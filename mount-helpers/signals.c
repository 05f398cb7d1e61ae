/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "signals.h"

#include <errno.h>
#include <gio/gio.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static const int taken[] = {SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};

gboolean signals_take(Signals *signals, GError **error)
{
    struct sigaction chld = {.sa_handler = SIG_DFL};
    sigset_t mask;

    sigemptyset(&mask);
    for (gsize i = 0; i < G_N_ELEMENTS(taken); i++)
        sigaddset(&mask, taken[i]);
    signals->fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "signalfd: %s",
                    g_strerror(errno));
        return FALSE;
    }
    pthread_sigmask(SIG_BLOCK, &mask, &signals->old_mask);
    /* An ignored SIGCHLD, inherited, would have the kernel reap children and lose their status. */
    sigaction(SIGCHLD, &chld, &signals->old_chld);
    return TRUE;
}

void signals_restore(Signals *signals)
{
    sigaction(SIGCHLD, &signals->old_chld, NULL);
    pthread_sigmask(SIG_SETMASK, &signals->old_mask, NULL);
}

gboolean signals_read(Signals *signals, struct signalfd_siginfo *info_out)
{
    ssize_t n;

    do {
        n = read(signals->fd, info_out, sizeof *info_out);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof *info_out;
}

static gboolean asks_to_end(int signal_number)
{
    return signal_number == SIGINT || signal_number == SIGQUIT || signal_number == SIGTERM ||
           signal_number == SIGHUP;
}

int signals_wait_end(Signals *signals, int limit_ms)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)limit_ms * 1000;
    struct pollfd poll_fd = {.fd = signals->fd, .events = POLLIN};
    struct signalfd_siginfo info;
    gint64 left_us;

    for (;;) {
        while (signals_read(signals, &info)) {
            if (asks_to_end((int)info.ssi_signo))
                return (int)info.ssi_signo;
        }
        left_us = deadline - g_get_monotonic_time();
        if (left_us <= 0)
            return 0;
        poll(&poll_fd, 1, (int)((left_us + 999) / 1000));
    }
}

void signals_die_by(int signal_number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    struct rlimit none = {0, 0};
    sigset_t mask;

    /* Where cores go to a pipe, a limit of 0 does not hold them back (core(5)). */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
    sigaction(signal_number, &action, NULL);
    sigemptyset(&mask);
    sigaddset(&mask, signal_number);
    kill(getpid(), signal_number);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    _exit(128 + signal_number);
}

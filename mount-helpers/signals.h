/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The signals that a waiting command has to act on, blocked and read from a descriptor, so that
 * none is lost between two looks. Thread safety: none; the command has one thread.
 */
#include <glib.h>
#include <signal.h>
#include <sys/signalfd.h>

typedef struct Signals {
    int fd;
    sigset_t old_mask;
    struct sigaction old_chld;
} Signals;

/* Takes SIGCHLD, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 and SIGCONT. */
gboolean signals_take(Signals *signals, GError **error);
/* Everything as the process was started. Async-signal-safe: also right between fork and exec. */
void signals_restore(Signals *signals);
/* The next one that arrived; FALSE where there is none. */
gboolean signals_read(Signals *signals, struct signalfd_siginfo *info_out);
/* A signal that asks this process to end (SIGINT, SIGQUIT, SIGTERM, SIGHUP), or 0 when none came
 * within limit_ms. Others are dropped. */
int signals_wait_end(Signals *signals, int limit_ms);
/* Ends this process by that signal, without a core of its own. */
G_NORETURN void signals_die_by(int signal_number);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Puts a server into the background and tells the one who started it whether it came up: success is
 * never reported before, nor a failure after.
 * Thread safety: daemonize_fork only while the process has one thread; in the child, one report.
 */
#include <glib.h>
#include <sys/types.h>

/* As fork(2). In the child (0): a session of its own, no descriptors but the standard streams,
 * standard input from nowhere, and a report channel. In the parent: its other end. The channel is
 * owned. -1 and an error where it failed. */
pid_t daemonize_fork(int *report_fd_out, GError **error);
/* What both a daemon and a server in the foreground need: modes are as given, and a reader that
 * went away is no reason to die. */
void daemonize_prepare(void);

/* In the child: it is up. `text` is what the parent shall print. The standard streams end here. */
void daemonize_report_ready(int report_fd, const char *text);
/* In the child: it cannot come up. */
void daemonize_report_failure(int report_fd, const char *message);

/* In the parent: waits for the report. The text of a server that is up (owned), or NULL and its
 * error; a child that died without a word is an error that says how. */
char *daemonize_wait(pid_t child, int report_fd, GError **error);

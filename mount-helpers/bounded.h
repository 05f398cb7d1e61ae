/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Does what may never return (a system call on a mount whose daemon hangs) in a process of its
 * own, with a limit. Thread safety: forks, so only while the process has one thread.
 */
#include <glib.h>

/* What `work` returned (0 to 255), or -1 where it took longer than limit_ms or died. */
int bounded_call(int (*work)(gpointer data), gpointer data, int limit_ms);

/* A pidfd, or -1 and errno. */
int bounded_open_pidfd(pid_t pid);
/* SIGTERM; FALSE where it may not be sent. */
gboolean bounded_tell_to_end(int pidfd);
/* Whether the process ends within the limit. */
gboolean bounded_wait_end(int pidfd, int limit_ms);

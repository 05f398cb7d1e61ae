/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Runs the command of `leasefs run`: starts it, passes signals on, reaps orphans.
 * Thread safety: none; the process has one thread.
 */
#include "signals.h"

/* Starts argv in this process group and returns 0 when it has ended: *wait_status_out as of
 * waitpid(2). An errno where it could not be started. `signals` are taken. */
int run_child(char **argv, Signals *signals, int *wait_status_out);
/* Becomes the command, with the signals as this process was started with: returns only the errno of
 * a failure. */
int run_exec(char **argv, Signals *signals);
/* What env(1) exits with where a command cannot be executed. */
int run_exec_status(int exec_errno);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The name of a session that was given none. Pure. Thread safety: pure functions.
 */
#include <sys/types.h>

/* The command's basename, a dot and the pid, such that registration_check_name takes it: other
 * bytes become `_`, and what is too long is cut. Owned. */
char *session_name_default(const char *command, pid_t pid);

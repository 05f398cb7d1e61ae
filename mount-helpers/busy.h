/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Finds what keeps a mount from being unmounted: processes in it, and mounts inside it.
 * Thread safety: values; no shared state.
 */
#include "mounts.h"
#include <sys/types.h>

/* `bash (pid 12, working directory)`, `a mount at /w/sub`: up to `limit` of them, without `except`.
 * Only processes whose /proc entries the caller may read. GPtrArray of strings, owned. */
GPtrArray *busy_find(const LeasefsMount *mount, pid_t except, guint limit);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Owned descriptors and reference counts. Thread safety: a count may be used from any thread.
 */
#include <glib.h>
#include <stdatomic.h>
#include <unistd.h>

static inline void autofd_clear(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A descriptor that is closed when it goes out of scope; -1 owns nothing. */
#define autofd __attribute__((cleanup(autofd_clear))) int

static inline int fd_steal(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

/* A reference count. C11's and not GLib's, because ThreadSanitizer cannot see into that. */
typedef _Atomic int RefCount;

static inline void ref_count_init(RefCount *count)
{
    atomic_init(count, 1);
}

static inline void ref_count_inc(RefCount *count)
{
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/* Where it may have been the last one's just now: FALSE where nothing is left to hold. */
static inline gboolean ref_count_inc_unless_zero(RefCount *count)
{
    int n = atomic_load_explicit(count, memory_order_relaxed);

    while (n > 0 && !atomic_compare_exchange_weak_explicit(count, &n, n + 1, memory_order_relaxed,
                                                           memory_order_relaxed))
        continue;
    return n > 0;
}

/* TRUE for the last one, who frees. */
static inline gboolean ref_count_dec(RefCount *count)
{
    return atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel) == 1;
}

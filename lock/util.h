/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Owned descriptors. Thread safety: none needed.
 */
#include <glib.h>
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

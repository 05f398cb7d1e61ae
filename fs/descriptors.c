/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "descriptors.h"
#include "mutex.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#define RESERVE_SHARE 16 /* of all */
#define RESERVE_MOST  512u
#define NODES_SHARE   8
#define NODES_LEAST   64u
#define NODES_MOST    4096u
#define ROOM_AHEAD    16384u /* for so many is room made ahead, at the most */

static rlim_t all;     /* set at the start */
static rlim_t reserve; /* of them */
static Mutex lock = PTHREAD_MUTEX_INITIALIZER;
static guint n_takers; /* (lock) */

static void set_limit(rlim_t n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = MIN(n, limit.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        g_debug("cannot set the limit of descriptors: %s", g_strerror(errno));
}

/* The kernel's table of descriptors grows by doubling, and that of a process with threads waits for
 * a grace period of RCU each time: some ten milliseconds, in which the request waits, too. As long
 * as there is one thread, it grows at once; an entry takes eight bytes. */
static void make_room(rlim_t n)
{
    autofd fd = open("/", O_PATH | O_CLOEXEC);
    autofd last_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, (int)MIN(n, ROOM_AHEAD) - 1) : -1;

    if (last_fd < 0)
        g_debug("no room for descriptors ahead: %s", g_strerror(errno));
}

void descriptors_prepare(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    all = limit.rlim_max;
    reserve = MIN(all / RESERVE_SHARE, RESERVE_MOST);
    set_limit(all);
    make_room(all);
    set_limit(all - reserve);
}

guint descriptors_reserve(void)
{
    return (guint)reserve;
}

guint descriptors_for_nodes(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return NODES_LEAST;
    return (guint)CLAMP(limit.rlim_cur / NODES_SHARE, NODES_LEAST, NODES_MOST);
}

void descriptors_take_reserve(void)
{
    MUTEX_GUARD(&lock);

    if (n_takers++ == 0 && reserve > 0)
        set_limit(all);
}

void descriptors_give_back_reserve(void)
{
    MUTEX_GUARD(&lock);

    if (--n_takers == 0 && reserve > 0)
        set_limit(all - reserve);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "clock.h"

#include <time.h>

static gint64 read_ns(clockid_t id)
{
    struct timespec now;

    /* Fails only for a clock that does not exist. */
    if (clock_gettime(id, &now) < 0)
        g_assert_not_reached();
    return (gint64)now.tv_sec * G_GINT64_CONSTANT(1000000000) + now.tv_nsec;
}

static gint64 system_mono_ns(Clock *clock G_GNUC_UNUSED)
{
    return read_ns(CLOCK_MONOTONIC);
}

static gint64 system_wall_ms(Clock *clock G_GNUC_UNUSED)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

Clock *clock_system(void)
{
    static Clock clock = {.mono_ns = system_mono_ns, .wall_ms = system_wall_ms};

    return &clock;
}

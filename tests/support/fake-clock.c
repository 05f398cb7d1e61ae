/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-clock.h"

static gint64 fake_mono_ns(Clock *base)
{
    return atomic_load(&((FakeClock *)base)->now_mono_ns);
}

static gint64 fake_wall_ms(Clock *base)
{
    return atomic_load(&((FakeClock *)base)->now_wall_ms);
}

void fake_clock_init(FakeClock *clock, gint64 mono_ns, gint64 wall_ms)
{
    clock->base = (Clock){.mono_ns = fake_mono_ns, .wall_ms = fake_wall_ms};
    atomic_init(&clock->now_mono_ns, mono_ns);
    atomic_init(&clock->now_wall_ms, wall_ms);
}

void fake_clock_set_mono_ns(FakeClock *clock, gint64 mono_ns)
{
    atomic_store(&clock->now_mono_ns, mono_ns);
}

void fake_clock_set_wall_ms(FakeClock *clock, gint64 wall_ms)
{
    atomic_store(&clock->now_wall_ms, wall_ms);
}

void fake_clock_advance_ms(FakeClock *clock, gint64 by_ms)
{
    fake_clock_advance_ns(clock, by_ms * 1000000);
    atomic_fetch_add(&clock->now_wall_ms, by_ms);
}

void fake_clock_advance_ns(FakeClock *clock, gint64 by_ns)
{
    atomic_fetch_add(&clock->now_mono_ns, by_ns);
}

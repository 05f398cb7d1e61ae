/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A clock that stands still until the test moves it.
 * Thread safety: every function may be called from any thread.
 */
#include "clock.h"

#include <stdatomic.h>

typedef struct FakeClock {
    Clock base; /* hand out &fake->base */
    _Atomic gint64 now_mono_ns;
    _Atomic gint64 now_wall_ms;
} FakeClock;

void fake_clock_init(FakeClock *clock, gint64 mono_ns, gint64 wall_ms);
void fake_clock_set_mono_ns(FakeClock *clock, gint64 mono_ns);
void fake_clock_set_wall_ms(FakeClock *clock, gint64 wall_ms);
/* Time passes for both; a negative amount goes back. */
void fake_clock_advance_ms(FakeClock *clock, gint64 by_ms);
void fake_clock_advance_ns(FakeClock *clock, gint64 by_ns); /* the monotonic clock alone */

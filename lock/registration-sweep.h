/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which registrations of processes that have ended are removed, so that their directory
 * does not grow for ever. Thread safety: none needed; no shared state.
 */
#include "process.h"

/* How many are kept: while others of its session live, a registration holds them together after
 * its root's death, and nobody but the daemons knows whether any do. */
#define REGISTRATION_SWEEP_KEEP 256u

/* Removes all but the newest. The caller has the directory's lock. What cannot be read, is held,
 * or is no registration stays. */
void registration_sweep(int dir_fd, const HostIdentity *host, ProcessTable *processes);

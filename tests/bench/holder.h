/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Another session, which holds the lease of a target: a shell below `leasefs run` that makes one
 * change whenever it is asked. So it renews between the runs and not in them.
 * Thread safety: one thread.
 */
#include "target.h"

gboolean holder_start(Target *target, const char *leasefs, GError **error);
void holder_stop(Target *target);

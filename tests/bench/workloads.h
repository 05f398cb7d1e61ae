/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The tables of workloads, in the order in which they run; each ends with a NULL name.
 */
#include "bench.h"

extern const Workload workloads_io[];    /* write(2), read(2) and the like, one file */
extern const Workload workloads_names[]; /* names and attributes, by system calls */

/* `const Workload *` of all whose name matches one of `globs` (NULL: all). */
GArray *workloads_select(const char *const *globs);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The tables of workloads; each ends with an entry without a name.
 */
#include "bench.h"

extern const Workload workloads_io[];       /* write(2), read(2) and the like, one file */
extern const Workload workloads_names[];    /* names and attributes, by system calls */
extern const Workload workloads_pairs[];    /* two clients at once */
extern const Workload workloads_programs[]; /* find, grep, git, tar, cp, rm, make, sqlite3 */
extern const Workload workloads_big[];      /* reads and writes of a large file */

/* In the order in which they run, those with the same files together:
 * `const Workload *` of all whose name matches one of `globs` (NULL: all). */
GArray *workloads_select(const char *const *globs);

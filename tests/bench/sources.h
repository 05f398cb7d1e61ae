/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A small C program in many files, with its makefile, to be built by a workload.
 * Thread safety: one thread.
 */
#include "bench.h"

#define SOURCES_UNITS 40u /* at full scale; main.c comes on top */

gboolean sources_make(const char *dir, guint units, GError **error);
/* What the program prints. Owned. */
char *sources_output(guint units);

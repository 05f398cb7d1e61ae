/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A process table that hands every call on to another one, and lets the test change the world
 * between two reads: processes die and fork while somebody walks over them.
 * Thread safety: none; one thread.
 */
#include "process.h"

typedef void (*ScriptedStep)(gpointer data);

typedef struct ScriptedTable {
    ProcessTable base; /* hand out &scripted->base */
    ProcessTable *inner;
    pid_t after; /* 0: nothing is due */
    ScriptedStep step;
    gpointer data;
    guint reads;
} ScriptedTable;

/* `inner` is borrowed; there is nothing to free. */
void scripted_table_init(ScriptedTable *scripted, ProcessTable *inner);
/* Once, right after the next read of this pid. A step may order the next one. */
void scripted_table_after_read(ScriptedTable *scripted, pid_t pid, ScriptedStep step,
                               gpointer data);

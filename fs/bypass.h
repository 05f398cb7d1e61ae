/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Finds the processes that reach the workspace past an in-place mount: those with a working
 * directory, root, descriptor or mapping below it from before the mount, and those in a mount
 * namespace where it is not mounted. Only those whose /proc entries the caller may read.
 * No FUSE header. Thread safety: values; no shared state.
 */
#include "process.h"

typedef struct BypassProcess {
    ProcessId id;
    char comm[PROCESS_COMM_SIZE];
    char *
        how; /* "working directory", "open file PATH", "mapping of PATH", "other mount namespace" */
} BypassProcess;

void bypass_process_free(BypassProcess *process);

/* Scans every process but `except` (0: none). workspace_dev and _ino are of the backing directory.
 * GPtrArray of BypassProcess. */
GPtrArray *bypass_scan(ProcessTable *processes, const char *workspace, dev_t workspace_dev,
                       ino_t workspace_ino, pid_t except);
/* Drops from `known` those that died or no longer reach past; TRUE if any is left. Cheap. */
gboolean bypass_recheck(GPtrArray *known, ProcessTable *processes, const char *workspace,
                        dev_t workspace_dev, ino_t workspace_ino);

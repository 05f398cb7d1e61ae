/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The file store's system calls, made for real, except the one that the test wants to fail.
 * Thread safety: none; one test at a time.
 */
#include "store-file-steps.h"

typedef enum FaultStep {
    FAULT_OPENAT,
    FAULT_CLOSE,
    FAULT_FSTAT,
    FAULT_FSTATAT,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_PREAD,
    FAULT_PWRITE,
    FAULT_FDATASYNC,
    FAULT_FSYNC,
    FAULT_FLOCK,
    FAULT_DUP3,
    FAULT_RENAMEAT2,
    FAULT_UNLINKAT,
    FAULT_ANY,
} FaultStep;

extern const StoreFileSteps fault_steps;

/* Nothing fails, nothing is counted yet, writes are whole, no hook. */
void fault_reset(void);
/* From the nth step of this kind from now on (1: the next) `times` of them fail with the errno. */
void fault_inject(FaultStep step, guint nth, guint times, int with_errno);
/* write, read and pwrite take at most so many bytes at a time. */
void fault_limit_bytes(gsize bytes);
/* Called instead of sleeping. */
void fault_on_pause(void (*hook)(gpointer data), gpointer data);
/* Called once, right before or right after the next step of this kind. */
void fault_before(FaultStep step, void (*hook)(gpointer data), gpointer data);
void fault_after(FaultStep step, void (*hook)(gpointer data), gpointer data);
/* What wall_us tells. */
void fault_set_wall_us(gint64 wall_us);
/* How many steps of this kind were made since the reset. */
guint fault_count(FaultStep step);
guint fault_pauses(void);

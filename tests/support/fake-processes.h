/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A process table that the test writes itself.
 * Thread safety: none; one thread.
 */
#include "process.h"

typedef struct FakeProcesses FakeProcesses;

FakeProcesses *fake_processes_new(void);
/* The table to hand out; lives as long as the fake, which session tables and keepers borrow. */
ProcessTable *fake_processes_table(FakeProcesses *fake);
void fake_processes_free(FakeProcesses *fake);

/* A new process; its start time is one more than the last one's. sid 0: its parent's terminal
 * session. A pid that was used before is reused. */
void fake_processes_add(FakeProcesses *fake, pid_t pid, pid_t ppid, const char *comm);
/* As after setsid(2), and with a controlling terminal where `tty`. */
void fake_processes_make_leader(FakeProcesses *fake, pid_t pid, gboolean tty);
void fake_processes_exec(FakeProcesses *fake, pid_t pid, const char *comm);
void fake_processes_reparent(FakeProcesses *fake, pid_t pid, pid_t ppid);
void fake_processes_add_thread(FakeProcesses *fake, pid_t tid, pid_t pid);
/* Its children go to pid 1. `reaped` FALSE leaves a zombie. */
void fake_processes_kill(FakeProcesses *fake, pid_t pid, gboolean reaped);
void fake_processes_set_owner(FakeProcesses *fake, pid_t pid, uid_t uid);
void fake_processes_hide(FakeProcesses *fake, pid_t pid); /* can no longer be read */
guint fake_processes_held(FakeProcesses *fake);           /* how many holds are open */
guint fake_processes_watched(FakeProcesses *fake);        /* how many of these are watched */
void fake_processes_refuse_watches(FakeProcesses *fake, gboolean refuse); /* with -ENOSPC */
/* So many more can be opened than are released: then it is -EMFILE. */
void fake_processes_limit_holds(FakeProcesses *fake, guint more);
ProcessId fake_processes_id(FakeProcesses *fake, pid_t pid);

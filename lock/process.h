/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides who a process is and whether it still lives, from a process table handed in.
 * Thread safety: every function may be called from any thread.
 */
#include <glib.h>
#include <sys/types.h>

/* What makes a process itself within one boot and pid namespace. start_time is field 22 of
 * /proc/PID/stat, in clock ticks since boot (proc_pid_stat(5)). */
typedef struct ProcessId {
    pid_t pid;
    guint64 start_time;
} ProcessId;

#define PROCESS_COMM_SIZE 16 /* TASK_COMM_LEN: 15 characters and the NUL */

typedef struct ProcessInfo {
    ProcessId id;
    pid_t ppid;
    pid_t sid;        /* the terminal session (setsid(2)), not a leasefs session */
    gboolean has_tty; /* tty_nr != 0 */
    gboolean dead;    /* state Z, X or x, and no other thread of it lives on */
    gboolean kernel;  /* a kernel thread (PF_KTHREAD) */
    int cpu;          /* the processor where it runs, or ran last; -1 where none is told */
    char comm[PROCESS_COMM_SIZE];
} ProcessInfo;

/* Where and since when this machine runs: pids mean nothing without it. */
typedef struct HostIdentity {
    char boot_id[37]; /* /proc/sys/kernel/random/boot_id */
    guint64 pid_ns;   /* inode of /proc/self/ns/pid */
    char *host;       /* uname nodename */
} HostIdentity;

typedef struct ProcessTable ProcessTable;
typedef struct ProcessTableOps ProcessTableOps;

/* A hold is the table's handle on one process that no later process of the same pid can inherit: a
 * pidfd in the real table. What is read of a pid is of the held process if that has not ended
 * afterwards. */
struct ProcessTableOps {
    /* 0, -ESRCH where there is none, -EACCES or another errno where it cannot be read. */
    int (*read)(ProcessTable *table, pid_t pid, ProcessInfo *info_out);
    int (*read_comm)(ProcessTable *table, pid_t pid, char comm_out[PROCESS_COMM_SIZE]);
    /* The effective user: 0 or -errno. */
    int (*read_owner)(ProcessTable *table, pid_t pid, uid_t *uid_out);
    /* The process that the thread belongs to: 0 or -ESRCH. */
    int (*leader)(ProcessTable *table, pid_t tid, pid_t *pid_out);
    /* The same where the thread was asked for before, not long ago; else 0, at no cost. */
    pid_t (*leader_again)(ProcessTable *table, pid_t tid);
    /* A hold >= 0 on a process (which may be dead), or -errno (-ESRCH where there is none). */
    int (*hold)(ProcessTable *table, pid_t pid);
    void (*release)(ProcessTable *table, int hold);
    /* The parent at present of the held process, whose pid is `pid`: 0, or -ESRCH where it is gone.
     * Costs much less than a read where the kernel lets it. */
    int (*parent)(ProcessTable *table, int hold, pid_t pid, pid_t *ppid_out);
    /* The terminal session of a process: 0 or -errno. Costs much less than a read. */
    int (*terminal_session)(ProcessTable *table, pid_t pid, pid_t *sid_out);
    /* Whether the held process has died (a zombie has). Never blocks. */
    gboolean (*has_ended)(ProcessTable *table, int hold);
    /* From now on its end is told by `ended`, with the cookie: 0 or -errno. Once for each hold,
     * which is then released by unwatch. */
    int (*watch)(ProcessTable *table, int hold, guint64 cookie);
    void (*unwatch)(ProcessTable *table, int hold);
    /* Which watched processes died since the last call: up to n cookies; a cookie is told once. */
    gsize (*ended)(ProcessTable *table, guint64 *cookies_out, gsize n);
    void (*free)(ProcessTable *table);
};

struct ProcessTable {
    const ProcessTableOps *ops;
};

static inline gboolean process_id_equal(const ProcessId *a, const ProcessId *b)
{
    return a->pid == b->pid && a->start_time == b->start_time;
}

/* Parses one line of /proc/PID/stat (comm may hold blanks and parentheses). FALSE where it is
 * not such a line. Pure. */
gboolean process_info_parse_stat(const char *line, ProcessInfo *info_out);

/* One step of a walk over ancestors: what was read of a process that is held. */
typedef struct ProcessLink {
    ProcessInfo info;
    int hold; /* owned; -1: none any more */
} ProcessLink;

/* Holds the process and reads it. 0; -ESRCH where it is dead; another -errno where it cannot be
 * held or read. Release with process_link_release. */
int process_link_open(ProcessTable *table, pid_t pid, ProcessLink *link_out);
void process_link_release(ProcessTable *table, ProcessLink *link);

/* Opens the parent of `child`, and then asks for the child's ppid again: a parent that died in
 * between is not mistaken for a later process of its pid. The child's ppid is brought up to date
 * where it was given to another parent. 0; -ECHILD where the child is gone; another -errno where it
 * has no parent that can be read. */
int process_link_open_parent(ProcessTable *table, ProcessLink *child, ProcessLink *parent_out);

/* Whether this very process lives: same pid and start time, not a zombie. */
gboolean process_is_alive(ProcessTable *table, const ProcessId *id);

/* Whether `pid` is `ancestor` or stands below it. At most a few hundred steps. */
gboolean process_descends_from(ProcessTable *table, pid_t pid, const ProcessId *ancestor);

/* The machine's processes, from /proc and pidfds. NULL and error where /proc cannot be opened. */
ProcessTable *process_table_new_proc(GError **error);
/* Readable when `ended` has something to tell (an epoll descriptor). Only for the /proc table. */
int process_table_proc_poll_fd(ProcessTable *table);
void process_table_free(ProcessTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ProcessTable, process_table_free)

gboolean host_identity_init(HostIdentity *host, GError **error);
void host_identity_clear(HostIdentity *host);

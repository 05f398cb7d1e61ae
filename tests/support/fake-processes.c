/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-processes.h"
#include <errno.h>

typedef struct Watch {
    ProcessId id;
    guint64 cookie;
    gboolean told, open;
} Watch;

struct FakeProcesses {
    ProcessTable base;
    GHashTable *processes; /* pid -> ProcessInfo */
    GHashTable *hidden;    /* pids */
    GHashTable *threads;   /* tid -> pid */
    GArray *watches;
    guint64 last_start;
};

static ProcessInfo *find(FakeProcesses *fake, pid_t pid)
{
    return g_hash_table_lookup(fake->processes, GINT_TO_POINTER(pid));
}

static int fake_read(ProcessTable *table, pid_t pid, ProcessInfo *info_out)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    const ProcessInfo *info = find(fake, pid);

    if (!info)
        return -ESRCH;
    if (g_hash_table_contains(fake->hidden, GINT_TO_POINTER(pid)))
        return -EACCES;
    *info_out = *info;
    return 0;
}

static int fake_leader(ProcessTable *table, pid_t tid, pid_t *pid_out)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    gpointer pid = g_hash_table_lookup(fake->threads, GINT_TO_POINTER(tid));

    if (pid)
        *pid_out = GPOINTER_TO_INT(pid);
    else if (find(fake, tid))
        *pid_out = tid;
    else
        return -ESRCH;
    return 0;
}

static int fake_watch(ProcessTable *table, pid_t pid, guint64 cookie)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    const ProcessInfo *info = find(fake, pid);
    Watch watch = {.cookie = cookie, .open = TRUE};

    if (!info || info->dead)
        return -ESRCH;
    watch.id = info->id;
    g_array_append_val(fake->watches, watch);
    return (int)fake->watches->len - 1;
}

static gboolean has_died(FakeProcesses *fake, const Watch *watch)
{
    const ProcessInfo *info = find(fake, watch->id.pid);

    return !info || info->dead || !process_id_equal(&info->id, &watch->id);
}

static gboolean fake_has_ended(ProcessTable *table, int watch)
{
    FakeProcesses *fake = (FakeProcesses *)table;

    return has_died(fake, &g_array_index(fake->watches, Watch, watch));
}

static gsize fake_ended(ProcessTable *table, guint64 *cookies_out, gsize n)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    gsize found = 0;

    for (guint i = 0; i < fake->watches->len && found < n; i++) {
        Watch *watch = &g_array_index(fake->watches, Watch, i);

        if (!watch->open || watch->told || !has_died(fake, watch))
            continue;
        watch->told = TRUE;
        cookies_out[found++] = watch->cookie;
    }
    return found;
}

static void fake_unwatch(ProcessTable *table, int watch)
{
    FakeProcesses *fake = (FakeProcesses *)table;

    g_array_index(fake->watches, Watch, watch).open = FALSE;
}

static void fake_free(ProcessTable *table)
{
    fake_processes_free((FakeProcesses *)table);
}

static const ProcessTableOps fake_ops = {
    .read = fake_read,
    .leader = fake_leader,
    .watch = fake_watch,
    .has_ended = fake_has_ended,
    .ended = fake_ended,
    .unwatch = fake_unwatch,
    .free = fake_free,
};

FakeProcesses *fake_processes_new(void)
{
    FakeProcesses *fake = g_new0(FakeProcesses, 1);

    fake->base.ops = &fake_ops;
    fake->processes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    fake->hidden = g_hash_table_new(NULL, NULL);
    fake->threads = g_hash_table_new(NULL, NULL);
    fake->watches = g_array_new(FALSE, FALSE, sizeof(Watch));
    fake_processes_add(fake, 1, 0, "systemd");
    fake_processes_add(fake, 2, 0, "kthreadd");
    return fake;
}

ProcessTable *fake_processes_table(FakeProcesses *fake)
{
    return &fake->base;
}

void fake_processes_free(FakeProcesses *fake)
{
    g_hash_table_unref(fake->processes);
    g_hash_table_unref(fake->hidden);
    g_hash_table_unref(fake->threads);
    g_array_unref(fake->watches);
    g_free(fake);
}

void fake_processes_add(FakeProcesses *fake, pid_t pid, pid_t ppid, const char *comm)
{
    const ProcessInfo *parent = find(fake, ppid);
    ProcessInfo *info = g_new0(ProcessInfo, 1);

    info->id = (ProcessId){.pid = pid, .start_time = ++fake->last_start};
    info->ppid = ppid;
    info->sid = parent ? parent->sid : pid;
    info->has_tty = parent && parent->has_tty;
    g_strlcpy(info->comm, comm, sizeof info->comm);
    info->kernel = pid == 2 || ppid == 2;
    g_hash_table_insert(fake->processes, GINT_TO_POINTER(pid), info);
}

void fake_processes_make_leader(FakeProcesses *fake, pid_t pid, gboolean tty)
{
    ProcessInfo *info = find(fake, pid);

    info->sid = pid;
    info->has_tty = tty;
}

void fake_processes_reparent(FakeProcesses *fake, pid_t pid, pid_t ppid)
{
    find(fake, pid)->ppid = ppid;
}

void fake_processes_add_thread(FakeProcesses *fake, pid_t tid, pid_t pid)
{
    g_hash_table_insert(fake->threads, GINT_TO_POINTER(tid), GINT_TO_POINTER(pid));
}

void fake_processes_kill(FakeProcesses *fake, pid_t pid, gboolean reaped)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, fake->processes);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((ProcessInfo *)value)->ppid == pid)
            ((ProcessInfo *)value)->ppid = 1;
    if (reaped)
        g_hash_table_remove(fake->processes, GINT_TO_POINTER(pid));
    else
        find(fake, pid)->dead = TRUE;
}

void fake_processes_hide(FakeProcesses *fake, pid_t pid)
{
    g_hash_table_add(fake->hidden, GINT_TO_POINTER(pid));
}

ProcessId fake_processes_id(FakeProcesses *fake, pid_t pid)
{
    return find(fake, pid)->id;
}

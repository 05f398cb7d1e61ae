/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-processes.h"
#include <errno.h>

typedef struct Hold {
    ProcessId id;
    guint64 cookie;
    gboolean watched, told, open;
} Hold;

struct FakeProcesses {
    ProcessTable base;
    GHashTable *processes; /* pid -> ProcessInfo */
    GHashTable *hidden;    /* pids */
    GHashTable *threads;   /* tid -> pid */
    GHashTable *owners;    /* pid -> uid; else root */
    GArray *holds;
    guint holds_left;
    gboolean refuses_watches;
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

static pid_t fake_leader_again(ProcessTable *table G_GNUC_UNUSED, pid_t tid G_GNUC_UNUSED)
{
    return 0;
}

static int fake_read_comm(ProcessTable *table, pid_t pid, char comm_out[PROCESS_COMM_SIZE])
{
    ProcessInfo info;
    int r = fake_read(table, pid, &info);

    if (r == 0)
        g_strlcpy(comm_out, info.comm, PROCESS_COMM_SIZE);
    return r;
}

static int fake_read_owner(ProcessTable *table, pid_t pid, uid_t *uid_out)
{
    FakeProcesses *fake = (FakeProcesses *)table;

    if (!find(fake, pid))
        return -ESRCH;
    *uid_out = (uid_t)GPOINTER_TO_UINT(g_hash_table_lookup(fake->owners, GINT_TO_POINTER(pid)));
    return 0;
}

static int fake_terminal_session(ProcessTable *table, pid_t pid, pid_t *sid_out)
{
    const ProcessInfo *info = find((FakeProcesses *)table, pid);

    if (!info)
        return -ESRCH;
    *sid_out = info->sid;
    return 0;
}

static int fake_hold(ProcessTable *table, pid_t pid)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    const ProcessInfo *info = find(fake, pid);
    Hold hold = {.open = TRUE};

    if (!info)
        return -ESRCH;
    if (fake->holds_left == 0)
        return -EMFILE;
    fake->holds_left--;
    hold.id = info->id;
    g_array_append_val(fake->holds, hold);
    return (int)fake->holds->len - 1;
}

static int fake_parent(ProcessTable *table, int hold, pid_t pid, pid_t *ppid_out)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    const ProcessInfo *info = find(fake, pid);

    if (!info || !process_id_equal(&info->id, &g_array_index(fake->holds, Hold, hold).id))
        return -ESRCH;
    *ppid_out = info->ppid;
    return 0;
}

static int fake_watch(ProcessTable *table, int hold, guint64 cookie)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    Hold *watched = &g_array_index(fake->holds, Hold, hold);

    g_assert(watched->open && !watched->watched);
    if (fake->refuses_watches)
        return -ENOSPC;
    watched->watched = TRUE;
    watched->cookie = cookie;
    return 0;
}

static gboolean has_died(FakeProcesses *fake, const Hold *hold)
{
    const ProcessInfo *info = find(fake, hold->id.pid);

    return !info || info->dead || !process_id_equal(&info->id, &hold->id);
}

static gboolean fake_has_ended(ProcessTable *table, int hold)
{
    FakeProcesses *fake = (FakeProcesses *)table;

    return has_died(fake, &g_array_index(fake->holds, Hold, hold));
}

static gsize fake_ended(ProcessTable *table, guint64 *cookies_out, gsize n)
{
    FakeProcesses *fake = (FakeProcesses *)table;
    gsize found = 0;

    for (guint i = 0; i < fake->holds->len && found < n; i++) {
        Hold *hold = &g_array_index(fake->holds, Hold, i);

        if (!hold->open || !hold->watched || hold->told || !has_died(fake, hold))
            continue;
        hold->told = TRUE;
        cookies_out[found++] = hold->cookie;
    }
    return found;
}

static void close_hold(FakeProcesses *fake, int hold)
{
    Hold *held = &g_array_index(fake->holds, Hold, hold);

    g_assert(held->open);
    held->open = FALSE;
    fake->holds_left++;
}

static void fake_release(ProcessTable *table, int hold)
{
    g_assert(!g_array_index(((FakeProcesses *)table)->holds, Hold, hold).watched);
    close_hold((FakeProcesses *)table, hold);
}

static void fake_unwatch(ProcessTable *table, int hold)
{
    g_assert(g_array_index(((FakeProcesses *)table)->holds, Hold, hold).watched);
    close_hold((FakeProcesses *)table, hold);
}

static void fake_free(ProcessTable *table)
{
    fake_processes_free((FakeProcesses *)table);
}

static const ProcessTableOps fake_ops = {
    .read = fake_read,
    .leader = fake_leader,
    .leader_again = fake_leader_again,
    .read_comm = fake_read_comm,
    .read_owner = fake_read_owner,
    .hold = fake_hold,
    .release = fake_release,
    .parent = fake_parent,
    .terminal_session = fake_terminal_session,
    .has_ended = fake_has_ended,
    .watch = fake_watch,
    .unwatch = fake_unwatch,
    .ended = fake_ended,
    .free = fake_free,
};

FakeProcesses *fake_processes_new(void)
{
    FakeProcesses *fake = g_new0(FakeProcesses, 1);

    fake->base.ops = &fake_ops;
    fake->processes = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    fake->hidden = g_hash_table_new(NULL, NULL);
    fake->threads = g_hash_table_new(NULL, NULL);
    fake->owners = g_hash_table_new(NULL, NULL);
    fake->holds = g_array_new(FALSE, FALSE, sizeof(Hold));
    fake->holds_left = G_MAXUINT / 2;
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
    g_hash_table_unref(fake->owners);
    g_array_unref(fake->holds);
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

void fake_processes_exec(FakeProcesses *fake, pid_t pid, const char *comm)
{
    ProcessInfo *info = find(fake, pid);

    g_strlcpy(info->comm, comm, sizeof info->comm);
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

void fake_processes_set_owner(FakeProcesses *fake, pid_t pid, uid_t uid)
{
    g_hash_table_insert(fake->owners, GINT_TO_POINTER(pid), GUINT_TO_POINTER(uid));
}

void fake_processes_hide(FakeProcesses *fake, pid_t pid)
{
    g_hash_table_add(fake->hidden, GINT_TO_POINTER(pid));
}

guint fake_processes_held(FakeProcesses *fake)
{
    guint held = 0;

    for (guint i = 0; i < fake->holds->len; i++)
        held += g_array_index(fake->holds, Hold, i).open;
    return held;
}

guint fake_processes_watched(FakeProcesses *fake)
{
    guint n = 0;

    for (guint i = 0; i < fake->holds->len; i++) {
        const Hold *hold = &g_array_index(fake->holds, Hold, i);

        n += hold->open && hold->watched;
    }
    return n;
}

void fake_processes_refuse_watches(FakeProcesses *fake, gboolean refuse)
{
    fake->refuses_watches = refuse;
}

void fake_processes_limit_holds(FakeProcesses *fake, guint more)
{
    fake->holds_left = more;
}

ProcessId fake_processes_id(FakeProcesses *fake, pid_t pid)
{
    return find(fake, pid)->id;
}

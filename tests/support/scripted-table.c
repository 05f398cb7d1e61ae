/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scripted-table.h"

static ProcessTable *inner_of(ProcessTable *table)
{
    return ((ScriptedTable *)table)->inner;
}

static int scripted_read(ProcessTable *table, pid_t pid, ProcessInfo *info_out)
{
    ScriptedTable *scripted = (ScriptedTable *)table;
    int r = scripted->inner->ops->read(scripted->inner, pid, info_out);

    scripted->reads++;
    if (scripted->after == pid) {
        scripted->after = 0;
        scripted->step(scripted->data);
    }
    return r;
}

static int scripted_leader(ProcessTable *table, pid_t tid, pid_t *pid_out)
{
    return inner_of(table)->ops->leader(inner_of(table), tid, pid_out);
}

static pid_t scripted_leader_again(ProcessTable *table, pid_t tid)
{
    return inner_of(table)->ops->leader_again(inner_of(table), tid);
}

static int scripted_read_comm(ProcessTable *table, pid_t pid, char comm_out[PROCESS_COMM_SIZE])
{
    return inner_of(table)->ops->read_comm(inner_of(table), pid, comm_out);
}

static int scripted_read_owner(ProcessTable *table, pid_t pid, uid_t *uid_out)
{
    return inner_of(table)->ops->read_owner(inner_of(table), pid, uid_out);
}

static int scripted_hold(ProcessTable *table, pid_t pid)
{
    return inner_of(table)->ops->hold(inner_of(table), pid);
}

static void scripted_release(ProcessTable *table, int hold)
{
    inner_of(table)->ops->release(inner_of(table), hold);
}

static int scripted_parent(ProcessTable *table, int hold, pid_t pid, pid_t *ppid_out)
{
    return inner_of(table)->ops->parent(inner_of(table), hold, pid, ppid_out);
}

static int scripted_terminal_session(ProcessTable *table, pid_t pid, pid_t *sid_out)
{
    return inner_of(table)->ops->terminal_session(inner_of(table), pid, sid_out);
}

static gboolean scripted_has_ended(ProcessTable *table, int hold)
{
    return inner_of(table)->ops->has_ended(inner_of(table), hold);
}

static int scripted_watch(ProcessTable *table, int hold, guint64 cookie)
{
    return inner_of(table)->ops->watch(inner_of(table), hold, cookie);
}

static void scripted_unwatch(ProcessTable *table, int hold)
{
    inner_of(table)->ops->unwatch(inner_of(table), hold);
}

static gsize scripted_ended(ProcessTable *table, guint64 *cookies_out, gsize n)
{
    return inner_of(table)->ops->ended(inner_of(table), cookies_out, n);
}

static void scripted_free(ProcessTable *table G_GNUC_UNUSED)
{
}

static const ProcessTableOps scripted_ops = {
    .read = scripted_read,
    .leader = scripted_leader,
    .leader_again = scripted_leader_again,
    .read_comm = scripted_read_comm,
    .read_owner = scripted_read_owner,
    .hold = scripted_hold,
    .release = scripted_release,
    .parent = scripted_parent,
    .terminal_session = scripted_terminal_session,
    .has_ended = scripted_has_ended,
    .watch = scripted_watch,
    .unwatch = scripted_unwatch,
    .ended = scripted_ended,
    .free = scripted_free,
};

void scripted_table_init(ScriptedTable *scripted, ProcessTable *inner)
{
    *scripted = (ScriptedTable){.base = {.ops = &scripted_ops}, .inner = inner};
}

void scripted_table_after_read(ScriptedTable *scripted, pid_t pid, ScriptedStep step, gpointer data)
{
    scripted->after = pid;
    scripted->step = step;
    scripted->data = data;
}

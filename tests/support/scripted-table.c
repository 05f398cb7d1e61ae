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

static int scripted_watch(ProcessTable *table, pid_t pid, guint64 cookie)
{
    return inner_of(table)->ops->watch(inner_of(table), pid, cookie);
}

static gboolean scripted_has_ended(ProcessTable *table, int watch)
{
    return inner_of(table)->ops->has_ended(inner_of(table), watch);
}

static gsize scripted_ended(ProcessTable *table, guint64 *cookies_out, gsize n)
{
    return inner_of(table)->ops->ended(inner_of(table), cookies_out, n);
}

static void scripted_unwatch(ProcessTable *table, int watch)
{
    inner_of(table)->ops->unwatch(inner_of(table), watch);
}

static void scripted_free(ProcessTable *table G_GNUC_UNUSED)
{
}

static const ProcessTableOps scripted_ops = {
    .read = scripted_read,
    .leader = scripted_leader,
    .watch = scripted_watch,
    .has_ended = scripted_has_ended,
    .ended = scripted_ended,
    .unwatch = scripted_unwatch,
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

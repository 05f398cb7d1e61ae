/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "workloads.h"

static const Workload *const tables[] = {workloads_io, workloads_names, workloads_pairs,
                                         workloads_programs, workloads_big};

static gboolean matches(const char *name, const char *const *globs)
{
    if (globs == NULL)
        return TRUE;
    for (; *globs != NULL; globs++) {
        if (g_pattern_match_simple(*globs, name))
            return TRUE;
    }
    return FALSE;
}

GArray *workloads_select(const char *const *globs)
{
    GArray *selected = g_array_new(FALSE, FALSE, sizeof(const Workload *));

    for (Fixture fixture = 0; fixture < FIXTURES; fixture++) {
        for (guint i = 0; i < G_N_ELEMENTS(tables); i++) {
            for (const Workload *at = tables[i]; at->name != NULL; at++) {
                if (at->fixture == fixture && matches(at->name, globs))
                    g_array_append_val(selected, at);
            }
        }
    }
    return selected;
}

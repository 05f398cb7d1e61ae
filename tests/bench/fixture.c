/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"
#include "files.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean make_tree(const FixtureMaker *maker, GError **error)
{
    g_autofree char *buffer = g_malloc(FILES_MAX_SIZE);

    return files_make("tree", maker->percent, buffer, error);
}

static gboolean make(const FixtureMaker *maker, Fixture fixture, GError **error)
{
    switch (fixture) {
    case FIXTURE_TREE:
        return make_tree(maker, error);
    default:
        return TRUE;
    }
}

gboolean fixture_make(const FixtureMaker *maker, Fixture fixture, const char *dir, GError **error)
{
    gboolean done;

    if (!bench_run(NULL, error, "find", dir, "-mindepth", "1", "-delete"))
        return FALSE;
    if (chdir(dir) != 0)
        return bench_fail_errno(error, "%s", dir);
    done = make(maker, fixture, error);
    if (chdir("/") != 0)
        return bench_fail_errno(error, "/");
    return done;
}

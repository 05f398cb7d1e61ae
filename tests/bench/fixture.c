/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"
#include "files.h"
#include "pages.h"
#include "sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean make_tree(const FixtureMaker *maker, GError **error)
{
    g_autofree char *buffer = g_malloc(FILES_MAX_SIZE);
    g_autofree char *archive = g_build_filename(maker->scratch, "tree.tar", NULL);

    if (!files_make("tree", maker->percent, 0, FILES_TOP_DIRS, buffer, error))
        return FALSE;
    return g_file_test(archive, G_FILE_TEST_EXISTS) ||
           bench_run(NULL, error, "tar", "-cf", archive, "tree");
}

static gboolean git_commit(const char *message, GError **error)
{
    return bench_run(NULL, error, "git", "-C", "repo", "add", "-A") &&
           bench_run(NULL, error, "git", "-C", "repo", "-c", "user.name=bench", "-c",
                     "user.email=bench@localhost", "commit", "-q", "-m", message);
}

/* `other` has other contents in a third of the files. The index holds no more of a file's times
 * than whole seconds, nor its inode number: some peers make both up. */
static gboolean make_repository(const FixtureMaker *maker, GError **error)
{
    g_autofree char *buffer = g_malloc(FILES_MAX_SIZE);

    return files_make("repo", maker->percent, 0, FILES_TOP_DIRS, buffer, error) &&
           bench_run(NULL, error, "git", "init", "-q", "-b", "main", "repo") &&
           bench_run(NULL, error, "git", "-C", "repo", "config", "core.checkStat", "minimal") &&
           bench_run(NULL, error, "git", "-C", "repo", "config", "gc.auto", "0") &&
           git_commit("all", error) &&
           bench_run(NULL, error, "git", "-C", "repo", "checkout", "-q", "-b", "other") &&
           files_make("repo", maker->percent, 1, FILES_CHANGED_DIRS, buffer, error) &&
           git_commit("a third", error) &&
           bench_run(NULL, error, "git", "-C", "repo", "checkout", "-q", "main") &&
           bench_run(NULL, error, "git", "-C", "repo", "repack", "-adq");
}

/* Files older than the index: else git compares the contents of each anew. */
static gboolean settle_repository(GError **error)
{
    return files_age("repo", error) &&
           bench_run(NULL, error, "git", "-C", "repo", "update-index", "-q", "--refresh");
}

static gboolean make_database(GError **error)
{
    return bench_run(
        NULL, error, "sqlite3", "lookups.db",
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, value INTEGER);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < " G_STRINGIFY(DATABASE_ROWS) ")"
                                                 "INSERT INTO items SELECT i, printf('a name of "
                                                 "item %08d', i), i * 7 FROM n;");
}

/* The same file in every target: it is large, and no two are mounted at once. */
static gboolean make_big(const FixtureMaker *maker, GError **error)
{
    g_autofree char *first = g_build_filename(maker->first, "big", NULL);

    if (access(first, F_OK) != 0)
        return pages_make("big", maker->big_size, error);
    return link(first, "big") == 0 || bench_fail_errno(error, "big");
}

static gboolean copy_first(const FixtureMaker *maker, const char *name, GError **error)
{
    g_autofree char *first = g_build_filename(maker->first, name, NULL);

    return bench_run(NULL, error, "cp", "-a", first, ".");
}

static gboolean make(const FixtureMaker *maker, Fixture fixture, gboolean is_first, GError **error)
{
    switch (fixture) {
    case FIXTURE_TREE:
        return make_tree(maker, error);
    case FIXTURE_GIT:
        return (is_first ? make_repository(maker, error) : copy_first(maker, "repo", error)) &&
               settle_repository(error);
    case FIXTURE_SOURCES:
        return sources_make("sources", MAX(1, SOURCES_UNITS * maker->percent / 100), error);
    case FIXTURE_DATABASE:
        return is_first ? make_database(error) : copy_first(maker, "lookups.db", error);
    case FIXTURE_BIG:
        return make_big(maker, error);
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
    done = make(maker, fixture, strcmp(dir, maker->first) == 0, error);
    if (chdir("/") != 0)
        return bench_fail_errno(error, "/");
    return done;
}

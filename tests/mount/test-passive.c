/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Changes that take no lease: passive ones of git, and shared paths; and what is no way round the
 * lease through them.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
} Stage;

/* Runs a command line in the agent's session, silently: its exit status. */
static int task_shell(void *state G_GNUC_UNUSED, const char *command)
{
    g_autofree char *line = g_strdup_printf("{ %s ; } >/dev/null 2>&1 </dev/null", command);
    int status = system(line);

    return status != -1 && WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %d (%s), expected %d", what, got, got < 0 ? g_strerror(-got) : "status",
                 wanted);
}

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);
    g_autofree char *command = NULL;

    g_setenv("GIT_CONFIG_NOSYSTEM", "1", TRUE);
    g_setenv("GIT_CONFIG_GLOBAL", "/dev/null", TRUE);
    g_unsetenv("GIT_OPTIONAL_LOCKS");
    stage->scene = scene_new(FALSE);
    command = g_strdup_printf(
        "cd '%s' && git init -q && mkdir build && echo one >f && echo two >g && echo x >build/x && "
        "git add . && git -c user.name=t -c user.email=t@example.org commit -qm first",
        stage->scene->backing);
    *state = stage;
    if (system(command) != 0)
        return -1;
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    return scene_mount(stage->scene, "ttl=5m,shared=build:*.log") ? 0 : -1;
}

static int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean healthy = scene_free(stage->scene);

    g_free(stage);
    return healthy ? 0 : -1;
}

static void give_back(Stage *stage, Agent *agent)
{
    expect(agent_do(agent, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
}

static void expect_free_at_epoch(Stage *stage, const char *epoch)
{
    g_autofree char *now = scene_attribute(stage->scene, "state");
    g_autofree char *at = scene_attribute(stage->scene, "epoch");

    assert_string_equal(now, "free");
    assert_string_equal(at, epoch);
}

static void expect_holder(Stage *stage, Agent *agent)
{
    g_autofree char *pid = scene_attribute(stage->scene, "holder_pid");

    assert_non_null(pid);
    assert_int_equal(atoi(pid), agent_pid(agent));
}

static char *backing_path(Stage *stage, const char *name)
{
    return g_build_filename(stage->scene->backing, name, NULL);
}

static guint64 inode_of(Stage *stage, const char *name)
{
    g_autofree char *path = backing_path(stage, name);
    struct stat st;

    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void expect_backing(Stage *stage, const char *name, const char *wanted)
{
    g_autofree char *path = backing_path(stage, name);
    g_autofree char *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, wanted);
}

/* --- one handle that stays open ----------------------------------------------------------------
 */

typedef struct Kept {
    int fd;
    char *map;
} Kept;

static int task_create(void *state, const char *path)
{
    Kept *kept = state;

    kept->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    return kept->fd < 0 ? -errno : 0;
}

static int task_write(void *state, const char *text)
{
    const Kept *kept = state;

    return pwrite(kept->fd, text, strlen(text), 0) < 0 ? -errno : 0;
}

static int task_close(void *state, const char *unused G_GNUC_UNUSED)
{
    const Kept *kept = state;

    close(kept->fd);
    return 0;
}

static int task_store(void *state, const char *text)
{
    Kept *kept = state;

    if (!kept->map)
        kept->map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
    if (kept->map == MAP_FAILED)
        return -errno;
    memcpy(kept->map, text, strlen(text));
    return msync(kept->map, 4096, MS_SYNC) == 0 ? 0 : -errno;
}

static int task_unlink(void *state G_GNUC_UNUSED, const char *path)
{
    return unlink(path) == 0 ? 0 : -errno;
}

/* "FROM TO" */
static int task_rename(void *state G_GNUC_UNUSED, const char *names)
{
    g_auto(GStrv) parts = g_strsplit(names, " ", 2);

    return rename(parts[0], parts[1]) == 0 ? 0 : -errno;
}

static int task_link(void *state G_GNUC_UNUSED, const char *names)
{
    g_auto(GStrv) parts = g_strsplit(names, " ", 2);

    return link(parts[0], parts[1]) == 0 ? 0 : -errno;
}

/* --- git's passive changes ---------------------------------------------------------------------
 */

static void status_after_a_touch_rewrites_the_index_and_takes_nothing(void **state)
{
    Stage *stage = *state;
    guint64 before;

    expect(agent_do(stage->alice, task_shell, "touch f"), 0, "touch");
    give_back(stage, stage->alice);
    before = inode_of(stage, ".git/index");
    expect(agent_do(stage->bob, task_shell, "git status"), 0, "git status");
    assert_true(inode_of(stage, ".git/index") != before);
    expect_free_at_epoch(stage, "1");
    expect(agent_do(stage->alice, task_shell, "git update-index -q --refresh; git status"), 0,
           "the other's");
    expect_free_at_epoch(stage, "1");
}

static void status_of_a_blocked_session_works_and_leaves_the_index(void **state)
{
    Stage *stage = *state;
    guint64 before = inode_of(stage, ".git/index");

    expect(agent_do(stage->alice, task_shell, "touch f"), 0, "touch");
    expect(agent_do(stage->bob, task_shell, "git status"), 0, "git status");
    assert_true(inode_of(stage, ".git/index") == before);
    assert_true(inode_of(stage, ".git/index.lock") == 0);
    expect_holder(stage, stage->alice);
}

static void passive_change_beside_a_stale_lease_takes_nothing_over(void **state)
{
    Stage *stage = *state;
    g_autofree char *epoch = NULL;

    expect(agent_do(stage->alice, task_control, "acquire ttl_ms=200"), 0, "acquire");
    expect(agent_do(stage->bob, task_create, ".git/index.lock"), -EROFS, "while it is fresh");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->bob, task_create, ".git/index.lock"), 0, "while it is stale");
    expect(agent_do(stage->bob, task_rename, ".git/index.lock .git/index"), 0, "its rename");
    expect_holder(stage, stage->alice);
    epoch = scene_attribute(stage->scene, "epoch");
    assert_string_equal(epoch, "1");
}

static void passive_change_of_the_holder_does_not_renew(void **state)
{
    Stage *stage = *state;
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    g_autofree char *now = NULL;

    expect(agent_do(stage->alice, task_control, "acquire ttl_ms=400"), 0, "acquire");
    do {
        assert_true(g_get_monotonic_time() < limit_us);
        expect(agent_do(stage->alice, task_create, ".git/index.lock"), 0, "create");
        expect(agent_do(stage->alice, task_close, NULL), 0, "close");
        expect(agent_do(stage->alice, task_unlink, ".git/index.lock"), 0, "unlink");
        g_free(now);
        now = scene_attribute(stage->scene, "state");
    } while (strcmp(now, "stale") != 0);
}

static void creator_of_a_passive_file_may_write_and_remove_it(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_create, ".git/index.lock"), 0, "create");
    expect_free_at_epoch(stage, "0");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_write, "DIRC"), 0, "write");
    expect(agent_do(stage->bob, task_rename, ".git/index.lock .git/index"), -EROFS, "rename");
    expect(agent_do(stage->bob, task_rename, ".git/index.lock elsewhere"), -EROFS, "elsewhere");
    expect(agent_do(stage->bob, task_unlink, ".git/index.lock"), 0, "unlink");
    expect_holder(stage, stage->alice);
}

static void holder_may_remove_a_passive_file_of_another(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_create, ".git/index.lock"), 0, "create");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_unlink, ".git/index.lock"), 0, "unlink");
}

static void blocked_session_cannot_remove_a_passive_file_of_another(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->alice, task_create, ".git/index.lock"), 0, "create");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_unlink, ".git/index.lock"), -EROFS, "unlink");
    expect(agent_do(stage->bob, task_create, ".git/index.lock"), -EROFS, "open for writing");
}

static void other_lock_files_are_ordinary(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_create, "index.lock"), 0, "outside of .git");
    expect_holder(stage, stage->bob);
    expect(agent_do(stage->alice, task_create, ".git/HEAD.lock"), -EROFS, "another of git");
}

/* --- shared paths ------------------------------------------------------------------------------
 */

static void shared_paths_are_anybodys_and_never_count(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_shell,
                    "echo y >build/x && mkdir -p build/d/e && mv build/x build/d/e && "
                    "echo z >build/x && chmod 600 build/x && "
                    "truncate -s 2 build/x && ln -s x build/l && echo z >>f.log"),
           0, "changes");
    expect_free_at_epoch(stage, "0");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_shell, "rm -r build/d build/l && echo 1 >build/x && rm f.log"),
           0, "while another holds");
    expect(agent_do(stage->alice, task_shell, "echo 2 >>build/x"), 0, "the holder's");
    expect_backing(stage, "build/x", "1\n2\n");
    expect_holder(stage, stage->alice);
}

static void two_sessions_map_a_shared_file(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_shell, "printf 0123456789 >build/db"), 0, "create");
    expect(agent_do(stage->alice, task_create, "build/db"), 0, "open");
    expect(agent_do(stage->bob, task_create, "build/db"), 0, "open");
    expect(agent_do(stage->alice, task_store, "ALICE"), 0, "store");
    expect(agent_do(stage->bob, task_store, "BOB"), 0, "store");
    expect_backing(stage, "build/db", "BOBCE56789");
}

static void nothing_moves_between_shared_and_ordinary_without_the_lease(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_rename, "f build/f"), -EROFS, "into");
    expect(agent_do(stage->bob, task_rename, "build/x f"), -EROFS, "out of, over a file");
    expect(agent_do(stage->bob, task_rename, "build other"), -EROFS, "the directory");
    expect(agent_do(stage->bob, task_link, "build/x other"), -EROFS, "a link out of");
    expect(agent_do(stage->alice, task_rename, "build/x other"), 0, "the holder's");
}

/* --- no way round ------------------------------------------------------------------------------
 */

static void hard_link_into_a_shared_path_is_refused(void **state)
{
    Stage *stage = *state;
    int linked;

    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    linked = agent_do(stage->bob, task_link, "f build/f");
    (void)agent_do(stage->bob, task_shell, "echo stolen >build/f");
    expect_backing(stage, "f", "one\n");
    expect(linked, -EROFS, "link");
}

static void hard_link_named_like_a_lock_makes_nobody_its_creator(void **state)
{
    Stage *stage = *state;

    (void)agent_do(stage->bob, task_link, "f .git/index.lock");
    (void)agent_do(stage->bob, task_control, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    (void)agent_do(stage->bob, task_shell, "echo stolen >.git/index.lock");
    expect_backing(stage, "f", "one\n");
}

static void handle_of_a_lock_that_became_the_index_is_blocked(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_create, ".git/index.lock"), 0, "create");
    expect(agent_do(stage->bob, task_write, "DIRC"), 0, "write");
    expect(agent_do(stage->bob, task_rename, ".git/index.lock .git/index"), 0, "rename");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_write, "LATE"), -EROFS, "write");
    expect_backing(stage, ".git/index", "DIRC");
}

static void handle_of_a_shared_file_that_became_ordinary_is_blocked(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_create, "build/x"), 0, "open");
    expect(agent_do(stage->alice, task_rename, "build/x h"), 0, "rename by the holder");
    expect(agent_do(stage->bob, task_write, "L"), -EROFS, "write");
    expect_backing(stage, "h", "x\n");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(status_after_a_touch_rewrites_the_index_and_takes_nothing),
        CASE(status_of_a_blocked_session_works_and_leaves_the_index),
        CASE(passive_change_beside_a_stale_lease_takes_nothing_over),
        CASE(passive_change_of_the_holder_does_not_renew),
        CASE(creator_of_a_passive_file_may_write_and_remove_it),
        CASE(holder_may_remove_a_passive_file_of_another),
        CASE(blocked_session_cannot_remove_a_passive_file_of_another),
        CASE(other_lock_files_are_ordinary),
        CASE(shared_paths_are_anybodys_and_never_count),
        CASE(two_sessions_map_a_shared_file),
        CASE(nothing_moves_between_shared_and_ordinary_without_the_lease),
        CASE(hard_link_into_a_shared_path_is_refused),
        CASE(hard_link_named_like_a_lock_makes_nobody_its_creator),
        CASE(handle_of_a_lock_that_became_the_index_is_blocked),
        CASE(handle_of_a_shared_file_that_became_ordinary_is_blocked),
    };

    return cmocka_run_group_tests_name("passive", tests, NULL, NULL);
}

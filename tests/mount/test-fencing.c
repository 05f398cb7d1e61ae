/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a handle or a mapping may still do after another session came in between, and what others
 * may not do while a change is in flight.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

#define CONTENT "0123456789"

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
    int brake_fd; /* -1, or holds a lease (fcntl) of the backing file */
} Stage;

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);
    g_autofree char *file = NULL;

    stage->brake_fd = -1;
    stage->scene = scene_new(FALSE);
    file = g_build_filename(stage->scene->backing, "f", NULL);
    g_file_set_contents(file, CONTENT, -1, NULL);
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    *state = stage;
    return 0;
}

static void release_brake(Stage *stage)
{
    if (stage->brake_fd >= 0)
        close(stage->brake_fd);
    stage->brake_fd = -1;
}

static int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean healthy;

    release_brake(stage);
    healthy = scene_free(stage->scene);
    g_free(stage);
    return healthy ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

static void give_back(Stage *stage, Agent *agent)
{
    expect(agent_do(agent, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
}

static void expect_backing(Stage *stage, const char *wanted)
{
    g_autofree char *path = g_build_filename(stage->scene->backing, "f", NULL);
    g_autofree char *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    assert_string_equal(text, wanted);
}

/* --- what agents do --------------------------------------------------------------------------- */

typedef struct Kept {
    int fd;
    char *map;
    pthread_t thread;
    int outcome;
} Kept;

static int open_kept(Kept *kept, int flags)
{
    kept->fd = open("f", flags | O_CLOEXEC);
    return kept->fd < 0 ? -errno : 0;
}

static int task_open_rw(void *state, const char *unused G_GNUC_UNUSED)
{
    return open_kept(state, O_RDWR);
}

static int task_open_wo(void *state, const char *unused G_GNUC_UNUSED)
{
    return open_kept(state, O_WRONLY);
}

static int task_write(void *state, const char *text)
{
    const Kept *kept = state;

    return pwrite(kept->fd, text, strlen(text), 0) < 0 ? -errno : 0;
}

static int task_reads(void *state, const char *text)
{
    const Kept *kept = state;
    char bytes[64] = "";

    if (pread(kept->fd, bytes, sizeof bytes - 1, 0) < 0)
        return -errno;
    return strcmp(bytes, text) == 0 ? 0 : -EBADMSG;
}

static int task_close(void *state, const char *unused G_GNUC_UNUSED)
{
    const Kept *kept = state;

    close(kept->fd);
    return 0;
}

static int task_map(void *state, const char *unused G_GNUC_UNUSED)
{
    Kept *kept = state;
    int r = open_kept(kept, O_RDWR);

    if (r != 0)
        return r;
    kept->map = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
    return kept->map == MAP_FAILED ? -errno : 0;
}

static int task_store(void *state, const char *text)
{
    Kept *kept = state;

    memcpy(kept->map, text, strlen(text));
    return 0;
}

static int task_msync(void *state, const char *unused G_GNUC_UNUSED)
{
    const Kept *kept = state;

    return msync(kept->map, 10, MS_SYNC) == 0 ? 0 : -errno;
}

/* By its name, through a handle of its own. */
static int task_rewrite(void *state G_GNUC_UNUSED, const char *text)
{
    int fd = open("f", O_WRONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = pwrite(fd, text, strlen(text), 0) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int task_cat_is(void *state G_GNUC_UNUSED, const char *text)
{
    char bytes[64] = "";
    int fd = open("f", O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = read(fd, bytes, sizeof bytes - 1) < 0 ? -errno : 0;
    close(fd);
    return r != 0 || strcmp(bytes, text) == 0 ? r : -EBADMSG;
}

static int task_chmod(void *state G_GNUC_UNUSED, const char *path)
{
    return chmod(path, 0600) == 0 ? 0 : -errno;
}

static int task_truncate(void *state G_GNUC_UNUSED, const char *path)
{
    return truncate(path, 4) == 0 ? 0 : -errno;
}

static int task_replace(void *state G_GNUC_UNUSED, const char *text)
{
    int r = g_file_set_contents("new", text, -1, NULL) ? 0 : -EIO;

    return r == 0 && rename("new", "f") != 0 ? -errno : r;
}

static int task_write_from_child(void *state, const char *text)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(-task_write(state, text));
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -ECHILD;
    return -WEXITSTATUS(status);
}

static void *truncate_in_thread(void *data)
{
    Kept *kept = data;

    kept->outcome = task_truncate(NULL, "f");
    return NULL;
}

static int task_begin_truncate(void *state, const char *unused G_GNUC_UNUSED)
{
    Kept *kept = state;

    return -pthread_create(&kept->thread, NULL, truncate_in_thread, kept);
}

static int task_end_truncate(void *state, const char *unused G_GNUC_UNUSED)
{
    Kept *kept = state;

    pthread_join(kept->thread, NULL);
    return kept->outcome;
}

/* --- handles ---------------------------------------------------------------------------------- */

static void outdated_handle_stays_fenced_until_it_is_opened_again(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_open_rw, NULL), 0, "open");
    expect(agent_do(stage->alice, task_write, "A"), 0, "first write");
    give_back(stage, stage->alice);
    expect(agent_do(stage->bob, task_rewrite, "BB"), 0, "the other's write");
    expect(agent_do(stage->alice, task_write, "CCC"), -ESTALE, "while the other holds");
    give_back(stage, stage->bob);
    expect(agent_do(stage->alice, task_write, "CCC"), -ESTALE, "while it is free");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_write, "CCC"), -ESTALE, "as the holder again");
    expect(agent_do(stage->alice, task_reads, "BB23456789"), 0, "reading through it");
    expect_backing(stage, "BB23456789");
    expect(agent_do(stage->alice, task_close, NULL), 0, "close");
    expect(agent_do(stage->alice, task_open_rw, NULL), 0, "open again");
    expect(agent_do(stage->alice, task_write, "CCC"), 0, "through the new handle");
    expect_backing(stage, "CCC3456789");
}

static void truncation_by_name_fences(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_open_wo, NULL), 0, "open");
    expect(agent_do(stage->bob, task_truncate, "f"), 0, "truncate");
    give_back(stage, stage->bob);
    expect(agent_do(stage->alice, task_write, "A"), -ESTALE, "write");
    expect_backing(stage, "0123");
}

static void change_through_another_handle_of_ones_own_does_not_fence(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_open_wo, NULL), 0, "open");
    expect(agent_do(stage->alice, task_rewrite, "XX"), 0, "through another handle");
    expect(agent_do(stage->alice, task_truncate, "f"), 0, "by name");
    expect(agent_do(stage->alice, task_write, "Y"), 0, "through the first");
    expect(agent_do(stage->alice, task_write_from_child, "Z"), 0, "from a child");
    expect_backing(stage, "ZX23");
}

static void change_of_attributes_alone_does_not_fence(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_open_wo, NULL), 0, "open");
    expect(agent_do(stage->bob, task_chmod, "f"), 0, "chmod");
    expect(agent_do(stage->alice, task_write, "A"), -EROFS, "while the other holds");
    give_back(stage, stage->bob);
    expect(agent_do(stage->alice, task_write, "A"), 0, "afterwards");
    expect_backing(stage, "A123456789");
}

static void handle_of_a_file_that_was_replaced_does_not_reach_the_new_one(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_open_wo, NULL), 0, "open");
    expect(agent_do(stage->bob, task_replace, "replaced"), 0, "rename over it");
    expect(agent_do(stage->alice, task_write, "A"), -EROFS, "while the other holds");
    give_back(stage, stage->bob);
    (void)agent_do(stage->alice, task_write, "A");
    expect_backing(stage, "replaced");
    expect(agent_do(stage->bob, task_cat_is, "replaced"), 0, "reading it");
}

/* --- mappings --------------------------------------------------------------------------------- */

static void lost_store_is_shown_to_nobody(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=300ms"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_map, NULL), 0, "map");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->bob, task_control, "acquire ttl_ms=3600000"), 0, "takeover");
    expect(agent_do(stage->alice, task_store, "LOST"), 0, "store");
    expect(agent_do(stage->alice, task_msync, NULL), -EROFS, "msync");
    expect_backing(stage, CONTENT);
    /* The page is dropped by a thread that holds no request, a moment after the refusal. */
    for (int i = 0; i < 1000 && agent_do(stage->bob, task_cat_is, CONTENT) == -EBADMSG; i++)
        g_usleep(5000);
    expect(agent_do(stage->bob, task_cat_is, CONTENT), 0, "what the holder reads");
}

static void store_beside_another_sessions_handle_is_refused_until_it_is_closed(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->bob, task_open_rw, NULL), 0, "the other's handle");
    expect(agent_do(stage->alice, task_map, NULL), 0, "map");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_store, "ONE"), 0, "store");
    expect(agent_do(stage->alice, task_msync, NULL), -EROFS, "msync");
    expect_backing(stage, CONTENT);
    expect(agent_do(stage->bob, task_close, NULL), 0, "close");
    for (int i = 0; i < 1000; i++) { /* RELEASE comes after close(2) returned */
        expect(agent_do(stage->alice, task_store, "TWO"), 0, "store");
        if (agent_do(stage->alice, task_msync, NULL) == 0)
            break;
        g_usleep(5000);
    }
    expect_backing(stage, "TWO3456789");
}

static void acquirer_is_told_of_handles_elsewhere(void **state)
{
    Stage *stage = *state;
    g_autofree char *status = NULL;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->bob, task_open_rw, NULL), 0, "the other's handle");
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    status = scene_attribute(stage->scene, "status");
    assert_non_null(strstr(status, "\"open_elsewhere\""));
    assert_null(strstr(status, "\"open_elsewhere\":[]"));
}

/* --- in flight -------------------------------------------------------------------------------- */

/* A lease (fcntl(2)) of the backing file: who opens it for writing or truncates it below waits
 * until it is given back, for /proc/sys/fs/lease-break-time (45 s) at most. */
static void set_brake(Stage *stage)
{
    g_autofree char *path = g_build_filename(stage->scene->backing, "f", NULL);

    signal(SIGIO, SIG_IGN);
    stage->brake_fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(stage->brake_fd >= 0);
    assert_int_equal(fcntl(stage->brake_fd, F_SETLEASE, F_RDLCK), 0);
}

static void wait_until_braked(Stage *stage)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    /* F_GETLEASE tells what the lease is to become once somebody waits. */
    while (fcntl(stage->brake_fd, F_GETLEASE) != F_UNLCK) {
        assert_true(g_get_monotonic_time() < limit_us);
        g_usleep(2000);
    }
}

static void expect_refused_for(Stage *stage, gint64 span_ms)
{
    gint64 end_us = g_get_monotonic_time() + span_ms * 1000;

    while (g_get_monotonic_time() < end_us) {
        g_autofree char *now = scene_attribute(stage->scene, "state");

        expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
        assert_string_not_equal(now, "free");
        assert_string_not_equal(now, "stale");
        assert_string_not_equal(now, "orphaned");
        g_usleep(20000);
    }
}

static void change_in_flight_outlasts_the_ttl(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=200ms"));
    set_brake(stage);
    expect(agent_do(stage->alice, task_begin_truncate, NULL), 0, "truncate");
    wait_until_braked(stage);
    expect_refused_for(stage, 1000);
    expect_backing(stage, CONTENT);
    release_brake(stage);
    expect(agent_do(stage->alice, task_end_truncate, NULL), 0, "truncate");
    expect_backing(stage, "0123");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "takeover");
}

static void change_in_flight_outlasts_its_killed_caller(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    set_brake(stage);
    expect(agent_do(stage->alice, task_begin_truncate, NULL), 0, "truncate");
    wait_until_braked(stage);
    agent_kill(stage->alice);
    expect_refused_for(stage, 1000);
    release_brake(stage);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect_backing(stage, "0123");
    expect(agent_do(stage->bob, task_touch, "b"), 0, "change");
}

static void release_waits_for_what_is_in_flight(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    set_brake(stage);
    expect(agent_do(stage->alice, task_begin_truncate, NULL), 0, "truncate");
    wait_until_braked(stage);
    expect(agent_do(stage->alice, task_control, "release"), 0, "release");
    expect_refused_for(stage, 500);
    release_brake(stage);
    expect(agent_do(stage->alice, task_end_truncate, NULL), 0, "truncate");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect_backing(stage, "0123");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(outdated_handle_stays_fenced_until_it_is_opened_again),
        CASE(truncation_by_name_fences),
        CASE(change_through_another_handle_of_ones_own_does_not_fence),
        CASE(change_of_attributes_alone_does_not_fence),
        CASE(handle_of_a_file_that_was_replaced_does_not_reach_the_new_one),
        CASE(lost_store_is_shown_to_nobody),
        CASE(store_beside_another_sessions_handle_is_refused_until_it_is_closed),
        CASE(acquirer_is_told_of_handles_elsewhere),
        CASE(change_in_flight_outlasts_the_ttl),
        CASE(change_in_flight_outlasts_its_killed_caller),
        CASE(release_waits_for_what_is_in_flight),
    };

    return cmocka_run_group_tests_name("fencing", tests, NULL, NULL);
}

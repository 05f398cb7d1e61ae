/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a tenure ends and goes on: TTL, death, release, a killed daemon, other tools' records, and
 * what a mapping dirtied before it.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/fs.h>
#include <glib/gstdio.h>
#include <cmocka.h>

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
} Stage;

static int set_up_with(void **state, gboolean in_place)
{
    Stage *stage = g_new0(Stage, 1);
    g_autofree char *file = NULL;

    stage->scene = scene_new(in_place);
    file = g_build_filename(stage->scene->backing, "f", NULL);
    g_file_set_contents(file, "0123456789", -1, NULL);
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    *state = stage;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, FALSE);
}

static int set_up_in_place(void **state)
{
    return set_up_with(state, TRUE);
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    gboolean healthy = scene_free(stage->scene);

    g_free(stage);
    return healthy ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

static gint64 number(Stage *stage, const char *name)
{
    g_autofree char *value = scene_attribute(stage->scene, name);

    return value ? g_ascii_strtoll(value, NULL, 10) : -1;
}

static void expect_holder(Stage *stage, Agent *agent, gint64 epoch)
{
    assert_int_equal(number(stage, "holder_pid"), agent_pid(agent));
    assert_int_equal(number(stage, "epoch"), epoch);
}

static void silent_holder_goes_stale_and_is_taken_over(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=300ms"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "the holder's change");
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "takeover");
    expect_holder(stage, stage->bob, 2);
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "the former holder's change");
}

static void stale_holder_that_comes_back_keeps_its_epoch(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=300ms"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    expect_holder(stage, stage->alice, 1);
}

static void changes_renew_the_lease(void **state)
{
    Stage *stage = *state;
    gint64 end_us;

    assert_true(scene_mount(stage->scene, "ttl=1s"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    end_us = g_get_monotonic_time() + 2500 * 1000;
    while (g_get_monotonic_time() < end_us) {
        expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
        expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    }
    expect_holder(stage, stage->alice, 1);
}

static void dead_holder_frees_the_lease(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    agent_kill(stage->alice);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "change");
    expect_holder(stage, stage->bob, 2);
}

static void only_the_holder_releases_and_refreshes(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_control, "acquire"), -EROFS, "acquire of the other");
    expect(agent_do(stage->bob, task_control, "refresh"), -EPERM, "refresh of the other");
    expect(agent_do(stage->bob, task_control, "release"), -EPERM, "release of the other");
    expect(agent_do(stage->bob, task_control, "steal"), -EINVAL, "an unknown word");
    expect_holder(stage, stage->alice, 1);
    expect(agent_do(stage->alice, task_control, "refresh"), 0, "refresh");
    expect(agent_do(stage->alice, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect_holder(stage, stage->alice, 2);
}

static void head_of_the_queue_gets_the_lease(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_control, "wait"), -EINPROGRESS, "wait");
    expect(agent_do(stage->alice, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "epoch", "2"));
    expect_holder(stage, stage->bob, 2);
}

static void killed_daemon_leaves_the_tenure_to_the_next(void **state)
{
    Stage *stage = *state;
    g_autofree char *record = NULL;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    while (!(record = scene_record(stage->scene)) || !strstr(record, "\"epoch\":1,"))
        g_clear_pointer(&record, g_free);
    scene_kill_daemon(stage->scene);
    expect(agent_do(stage->alice, task_touch, "a"), -ENOTCONN, "a dead mount");
    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect_holder(stage, stage->alice, 1);
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    expect_holder(stage, stage->alice, 1);
}

static void unmounting_releases(void **state)
{
    Stage *stage = *state;
    g_autofree char *record = NULL;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    assert_int_equal(chdir("/"), 0);
    expect(agent_do(stage->alice, task_control, "refresh"), 0, "refresh");
    assert_true(agent_end(stage->alice));
    assert_true(agent_end(stage->bob));
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    assert_int_equal(scene_umount(stage->scene), 0);
    record = scene_record(stage->scene);
    assert_non_null(record);
    assert_non_null(strstr(record, "\"session_id\":\"\""));
    assert_non_null(strstr(record, "\"ttl_ms\":0"));
    assert_non_null(strstr(record, "\"epoch\":1"));
}

/* --- other tools' records ------------------------------------------------------------------- */

static void write_record(Stage *stage, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void write_record(Stage *stage, const char *format, ...)
{
    g_autofree char *path = scene_record_path(stage->scene);
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    assert_true(g_file_set_contents(path, text, -1, NULL));
}

static gint64 now_ms(void)
{
    return g_get_real_time() / 1000;
}

static void fresh_record_of_another_tool_refuses(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    write_record(stage,
                 "{\"schema_version\":1,\"session_id\":\"hook\",\"pid\":2147483000,"
                 "\"acquired_at\":%" G_GINT64_FORMAT ",\"ttl_ms\":600}",
                 now_ms());
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "change");
    assert_true(scene_wait_for(stage->scene, "holder", "hook"));
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change after its TTL");
    expect_holder(stage, stage->alice, 1);
}

static void record_without_ttl_counts_for_the_mounts(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=600ms"));
    write_record(stage,
                 "{\"schema_version\":1,\"session_id\":\"hook\",\"pid\":2147483000,"
                 "\"acquired_at\":%" G_GINT64_FORMAT "}",
                 now_ms());
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "change");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change after the mount's TTL");
}

static void record_from_the_future_counts_from_first_sight(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    write_record(stage,
                 "{\"schema_version\":1,\"session_id\":\"hook\",\"pid\":2147483000,"
                 "\"acquired_at\":%" G_GINT64_FORMAT ",\"ttl_ms\":600}",
                 now_ms() + 3600000);
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "change");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
}

static void record_of_ones_own_session_admits(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    write_record(stage,
                 "{\"schema_version\":1,\"session_id\":\"hook\",\"pid\":%d,"
                 "\"acquired_at\":%" G_GINT64_FORMAT ",\"ttl_ms\":3600000}",
                 (int)agent_pid(stage->alice), now_ms());
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    expect(agent_do(stage->alice, task_touch, "a"), 0, "its own");
}

static void unreadable_record_is_moved_aside_and_held_for_a_ttl(void **state)
{
    Stage *stage = *state;
    g_autofree char *path = scene_record_path(stage->scene);

    assert_true(scene_mount(stage->scene, "ttl=700ms"));
    write_record(stage, "{\"schema_vers");
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "change");
    assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
}

/* --- a store that fails ---------------------------------------------------------------------- */

static int set_immutable(const char *path, gboolean on)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int flags = 0, r;

    if (fd < 0)
        return -1;
    r = ioctl(fd, FS_IOC_GETFLAGS, &flags);
    flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    if (r == 0)
        r = ioctl(fd, FS_IOC_SETFLAGS, &flags);
    close(fd);
    return r;
}

static gboolean is_degraded(Stage *stage)
{
    g_autofree char *status = scene_attribute(stage->scene, "status");

    return status && !strstr(status, "\"degraded\":null");
}

static gboolean wait_until_degraded(Stage *stage, gboolean wanted)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (is_degraded(stage) != wanted) {
        if (g_get_monotonic_time() > limit_us)
            return FALSE;
        g_usleep(10000);
    }
    return TRUE;
}

static void failing_store_never_locks_the_holder_out(void **state)
{
    Stage *stage = *state;
    gboolean degraded, recovered;
    int touched;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    assert_int_equal(set_immutable(stage->scene->state_dir, TRUE), 0);
    touched = agent_do(stage->alice, task_touch, "a");
    degraded = wait_until_degraded(stage, TRUE);
    assert_int_equal(set_immutable(stage->scene->state_dir, FALSE), 0);
    recovered = wait_until_degraded(stage, FALSE);
    expect(touched, 0, "change");
    assert_true(degraded);
    assert_true(recovered);
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
}

/* --- mappings -------------------------------------------------------------------------------- */

typedef struct Mapping {
    int fd;
    char *bytes;
} Mapping;

static int task_map_and_store(void *state, const char *text)
{
    Mapping *mapping = state;

    mapping->fd = open("f", O_RDWR | O_CLOEXEC);
    if (mapping->fd < 0)
        return -errno;
    mapping->bytes = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd, 0);
    if (mapping->bytes == MAP_FAILED)
        return -errno;
    memcpy(mapping->bytes, text, strlen(text));
    return 0;
}

static int task_store_more(void *state, const char *text)
{
    Mapping *mapping = state;

    memcpy(mapping->bytes, text, strlen(text));
    return 0;
}

static int task_sync_mapping(void *state, const char *unused G_GNUC_UNUSED)
{
    Mapping *mapping = state;

    return msync(mapping->bytes, 10, MS_SYNC) == 0 ? 0 : -errno;
}

static char *backing_text(Stage *stage)
{
    g_autofree char *path = g_build_filename(stage->scene->backing, "f", NULL);
    char *text = NULL;

    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void expiry_writes_back_what_a_mapping_dirtied(void **state)
{
    Stage *stage = *state;
    g_autofree char *text = NULL;

    assert_true(scene_mount(stage->scene, "ttl=500ms"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_map_and_store, "MAPPED"), 0, "store");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    text = backing_text(stage);
    assert_string_equal(text, "MAPPED6789");
    expect_holder(stage, stage->alice, 1);
}

static void store_after_a_takeover_never_reaches_the_file(void **state)
{
    Stage *stage = *state;
    g_autofree char *text = NULL;

    assert_true(scene_mount(stage->scene, "ttl=500ms"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_map_and_store, "MAPPED"), 0, "store");
    assert_true(scene_wait_for(stage->scene, "state", "stale"));
    expect(agent_do(stage->alice, task_store_more, "LATE"), 0, "late store");
    expect(agent_do(stage->bob, task_touch, "b"), 0, "takeover");
    expect(agent_do(stage->alice, task_sync_mapping, NULL), -EROFS, "msync");
    text = backing_text(stage);
    assert_string_equal(text, "MAPPED6789");
}

static void release_writes_back_first(void **state)
{
    Stage *stage = *state;
    g_autofree char *text = NULL;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_map_and_store, "RELEASED"), 0, "store");
    expect(agent_do(stage->alice, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    text = backing_text(stage);
    assert_string_equal(text, "RELEASED89");
}

static void killed_holders_stores_are_in_the_file_before_it_is_free(void **state)
{
    Stage *stage = *state;
    g_autofree char *text = NULL;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->alice, task_map_and_store, "KILLED"), 0, "store");
    agent_kill(stage->alice);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    text = backing_text(stage);
    assert_string_equal(text, "KILLED6789");
}

#define CASE(name)          cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_IN_PLACE(name) cmocka_unit_test_setup_teardown(name, set_up_in_place, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(silent_holder_goes_stale_and_is_taken_over),
        CASE(stale_holder_that_comes_back_keeps_its_epoch),
        CASE(changes_renew_the_lease),
        CASE(dead_holder_frees_the_lease),
        CASE(only_the_holder_releases_and_refreshes),
        CASE(head_of_the_queue_gets_the_lease),
        CASE_IN_PLACE(killed_daemon_leaves_the_tenure_to_the_next),
        CASE_IN_PLACE(unmounting_releases),
        CASE(fresh_record_of_another_tool_refuses),
        CASE(record_without_ttl_counts_for_the_mounts),
        CASE(record_from_the_future_counts_from_first_sight),
        CASE(record_of_ones_own_session_admits),
        CASE(unreadable_record_is_moved_aside_and_held_for_a_ttl),
        CASE(failing_store_never_locks_the_holder_out),
        CASE(expiry_writes_back_what_a_mapping_dirtied),
        CASE(store_after_a_takeover_never_reaches_the_file),
        CASE(release_writes_back_first),
        CASE(killed_holders_stores_are_in_the_file_before_it_is_free),
    };

    return cmocka_run_group_tests_name("tenure", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper and its record: what other tools and earlier daemons left there, and what holds when
 * the store fails.
 */
#include "keeper-world.h"
#include "record.h"
#include <gio/gio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static int set_up(void **state)
{
    *state = keeper_world_new();
    return 0;
}

static int tear_down(void **state)
{
    keeper_world_free(*state);
    return 0;
}

static void expect_record_of(KeeperWorld *world, const char *session_id, pid_t pid)
{
    g_autofree char *text = fake_store_dup_record(world->store);
    g_auto(LeaseRecord) record = {0};

    assert_non_null(text);
    assert_true(lease_record_parse(text, strlen(text), &record, NULL));
    if (session_id)
        assert_string_equal(record.session_id, session_id);
    assert_int_equal(record.pid, pid);
}

/* --- other tools ---------------------------------------------------------------------------- */

static void stale_foreign_record_is_in_nobodys_way(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS - 5001, ",\"ttl_ms\":5000");
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 1);
    assert_true(keeper_persist(world->keeper));
    expect_record_of(world, NULL, ALICE);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_FOREIGN_OVERWRITTEN), 0);
}

static void foreign_record_without_ttl_goes_stale_with_the_mounts(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS - TTL_MS, "");
    assert_false(keeper_world_change(world, world->alice));
    keeper_world_set_foreign(world, 4711, WALL_MS - TTL_MS - 1, "");
    assert_true(keeper_world_change(world, world->alice));
}

static void foreign_record_without_pid_is_nobodys_here(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 0, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->alice));
    assert_false(keeper_permits(world->keeper, NULL));
}

static void foreign_record_names_a_process_above_the_session(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(Session) inner = NULL;

    fake_processes_add(world->fake, 400, 1, "hook-host");
    fake_processes_add(world->fake, 410, 400, "bash");
    fake_processes_make_leader(world->fake, 410, TRUE);
    inner = keeper_world_session(world, 410);
    keeper_world_set_foreign(world, 400, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->alice));
    assert_true(keeper_world_change(world, inner));
    keeper_world_expect(world, 410, 1);
}

static void dead_pid_of_a_foreign_record_proves_nothing(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, CAROL, WALL_MS, ",\"ttl_ms\":5000");
    fake_processes_kill(world->fake, CAROL, TRUE);
    session_table_reap(world->sessions);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 5001);
    assert_true(keeper_world_change(world, world->alice));
}

static void record_a_little_in_the_future_counts_from_first_sight(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS + 2000, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 3000); /* it is of the past by now */
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 2001);
    assert_true(keeper_world_change(world, world->alice));
}

static void largest_ttl_of_a_foreign_record_does_not_overflow(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":4611686018427");
    assert_false(keeper_world_change(world, world->alice));
    keeper_world_set_foreign(world, 4711, G_MAXINT64, ",\"ttl_ms\":4611686018427");
    assert_false(keeper_world_change(world, world->alice));
    keeper_world_set_foreign(world, 4711, 0, "");
    assert_true(keeper_world_change(world, world->alice));
}

static void released_foreign_record_is_free(void **state)
{
    KeeperWorld *world = *state;

    fake_store_set_record(world->store,
                          "{\"schema_version\":1,\"session_id\":\"\",\"pid\":0,"
                          "\"acquired_at\":1700000000000,\"ttl_ms\":0}",
                          -1);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->alice));
}

static void release_of_what_another_tool_holds_changes_nothing(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_NOT_HOLDER);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 5001);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
}

static void foreign_record_over_a_stale_lease_is_looked_at(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_set_foreign(world, 4711, WALL_MS + TTL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->bob));
    assert_false(keeper_world_change(world, world->alice)); /* it was stale, and another took it */
    fake_clock_advance_ms(&world->clock, 5002);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

/* The save of the last renewal failed, and comes late. */
static void foreign_record_over_a_stale_lease_is_not_overwritten(void **state)
{
    KeeperWorld *world = *state;

    fake_store_fail(world->store, FAKE_STORE_SAVE, 1, 1, G_IO_ERROR_NO_SPACE);
    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_set_foreign(world, 4711, WALL_MS + TTL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_persist(world->keeper));
    expect_record_of(world, "hook", 4711);
}

static void overwriting_is_told_once_in_a_tenure(void **state)
{
    KeeperWorld *world = *state;

    for (int i = 0; i < 3; i++) {
        assert_true(keeper_world_change(world, world->alice));
        keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
        assert_true(keeper_persist(world->keeper));
        fake_clock_advance_ms(&world->clock, 1);
    }
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_FOREIGN_OVERWRITTEN), 1);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_true(keeper_persist(world->keeper));
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_true(keeper_persist(world->keeper));
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_FOREIGN_OVERWRITTEN), 1);
}

/* --- records that nobody understands --------------------------------------------------------- */

static void unknown_session_is_named_in_the_view(void **state)
{
    KeeperWorld *world = *state;
    g_auto(KeeperView) view = {0};

    fake_store_set_mtime_ms(world->store, WALL_MS - 1000);
    fake_store_set_record(world->store, "{\"schema_version\":2}", -1);
    keeper_view(world->keeper, &view);
    assert_int_equal(view.state, LEASE_FRESH);
    assert_true(view.foreign);
    assert_string_equal(view.holder, "unknown");
    assert_int_equal(view.remaining_ms, TTL_MS - 1000);
    assert_int_equal(view.expires_ms, WALL_MS - 1000 + TTL_MS);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_UNREADABLE), 1);
}

static void unreadable_record_older_than_a_ttl_holds_nobody_up(void **state)
{
    KeeperWorld *world = *state;

    fake_store_set_mtime_ms(world->store, WALL_MS - TTL_MS - 1);
    fake_store_set_record(world->store, "torn", -1);
    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_UNREADABLE), 1);
}

static void unreadable_record_from_the_future_holds_for_one_ttl(void **state)
{
    KeeperWorld *world = *state;

    fake_store_set_mtime_ms(world->store, WALL_MS + 1000 * TTL_MS);
    fake_store_set_record(world->store, "torn", -1);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void record_that_cannot_be_moved_aside_holds_all_the_same(void **state)
{
    KeeperWorld *world = *state;

    fake_store_fail(world->store, FAKE_STORE_SET_ASIDE, 1, 1000, G_IO_ERROR_PERMISSION_DENIED);
    fake_store_set_mtime_ms(world->store, WALL_MS);
    fake_store_set_record(world->store, "torn", -1);
    assert_false(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_UNREADABLE), 1);
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void record_replaced_while_it_is_moved_aside_is_looked_at_again(void **state)
{
    KeeperWorld *world = *state;

    fake_store_fail(world->store, FAKE_STORE_SET_ASIDE, 1, 1, G_IO_ERROR_BUSY);
    fake_store_set_mtime_ms(world->store, WALL_MS);
    fake_store_set_record(world->store, "torn", -1);
    assert_false(keeper_world_change(world, world->alice));
    assert_int_equal(fake_store_calls(world->store, FAKE_STORE_SET_ASIDE), 2);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_UNREADABLE), 1);
}

static void free_lease_is_not_written_over_what_nobody_understands(void **state)
{
    KeeperWorld *world = *state;
    g_autofree char *aside = NULL;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    fake_store_set_mtime_ms(world->store, WALL_MS);
    fake_store_set_record(world->store, "torn", -1);
    keeper_persist(world->keeper);
    aside = fake_store_dup_set_aside(world->store);
    assert_non_null(aside);
    assert_string_equal(aside, "torn");
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->bob));
}

/* --- earlier daemons -------------------------------------------------------------------------- */

static void epoch_survives_a_release_and_a_restart(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    keeper_stop(world->keeper, TRUE);
    keeper_world_restart(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 2);
}

static void epoch_of_the_record_counts_where_none_was_noted(void **state)
{
    KeeperWorld *world = *state;

    fake_store_fail(world->store, FAKE_STORE_NOTE_EPOCH, 1, 1000, G_IO_ERROR_NO_SPACE);
    for (int i = 0; i < 3; i++) {
        assert_true(keeper_world_change(world, world->alice));
        assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    }
    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    assert_int_equal(fake_store_epoch(world->store), 0);
    keeper_world_restart(world);
    keeper_world_expect(world, ALICE, 4);
}

static void unmount_releases_and_says_so_in_the_record(void **state)
{
    KeeperWorld *world = *state;

    keeper_start(world->keeper);
    assert_true(keeper_world_change(world, world->alice));
    keeper_stop(world->keeper, TRUE);
    expect_record_of(world, "", 0);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_RELEASED), 1);
}

static void record_is_written_by_the_thread_without_being_asked(void **state)
{
    KeeperWorld *world = *state;

    keeper_start(world->keeper);
    assert_true(keeper_world_change(world, world->alice));
    assert_true(fake_store_wait_calls(world->store, FAKE_STORE_SAVE, 1, 10000));
    keeper_stop(world->keeper, FALSE);
    expect_record_of(world, NULL, ALICE);
}

static void hanging_store_hangs_no_change_of_the_holder(void **state)
{
    KeeperWorld *world = *state;

    keeper_start(world->keeper);
    assert_true(keeper_world_change(world, world->alice));
    fake_store_hold(world->store, FAKE_STORE_SAVE, TRUE);
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
    assert_true(fake_store_wait_calls(world->store, FAKE_STORE_SAVE, 1, 10000));
    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    fake_store_hold(world->store, FAKE_STORE_SAVE, FALSE);
    keeper_stop(world->keeper, TRUE);
    expect_record_of(world, "", 0);
}

/* --- a store that fails ----------------------------------------------------------------------- */

static void failure_and_recovery_are_told_once_each(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(GPtrArray) events = NULL;

    fake_store_fail(world->store, FAKE_STORE_SAVE, 1, 3, G_IO_ERROR_NO_SPACE);
    assert_true(keeper_world_change(world, world->alice));
    for (int i = 0; i < 3; i++)
        assert_false(keeper_persist(world->keeper));
    assert_true(keeper_persist(world->keeper));
    events = keeper_take_events(world->keeper);
    assert_int_equal(events->len, 3);
    assert_int_equal(((KeeperEvent *)events->pdata[0])->kind, KEEPER_EVENT_ACQUIRED);
    assert_int_equal(((KeeperEvent *)events->pdata[1])->kind, KEEPER_EVENT_DEGRADED);
    assert_non_null(((KeeperEvent *)events->pdata[1])->detail);
    assert_int_equal(((KeeperEvent *)events->pdata[2])->kind, KEEPER_EVENT_RECOVERED);
    expect_record_of(world, NULL, ALICE);
}

static void store_that_cannot_be_read_at_the_start_is_degraded(void **state)
{
    static const FakeStoreCall calls[] = {FAKE_STORE_LOAD, FAKE_STORE_LOAD_EPOCH, FAKE_STORE_ANY};
    KeeperWorld *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(calls); i++) {
        g_auto(KeeperView) view = {0};

        fake_store_fail(world->store, calls[i], 1, 2, G_IO_ERROR_PERMISSION_DENIED);
        keeper_world_restart(world);
        fake_store_fail(world->store, calls[i], 1, 0, 0);
        keeper_view(world->keeper, &view);
        assert_non_null(view.degraded);
    }
}

static void epoch_that_could_not_be_read_at_the_start_does_not_go_back(void **state)
{
    KeeperWorld *world = *state;

    fake_store_set_epoch(world->store, 9);
    fake_store_fail(world->store, FAKE_STORE_LOAD_EPOCH, 1, 1, G_IO_ERROR_FAILED);
    keeper_world_restart(world);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 10);
}

static void failing_load_never_lets_two_sessions_in(void **state)
{
    KeeperWorld *world = *state;

    fake_store_fail(world->store, FAKE_STORE_LOAD, 1, 1000, G_IO_ERROR_FAILED);
    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->bob));
    assert_false(keeper_world_change(world, world->alice));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(stale_foreign_record_is_in_nobodys_way),
        CASE(foreign_record_without_ttl_goes_stale_with_the_mounts),
        CASE(foreign_record_without_pid_is_nobodys_here),
        CASE(foreign_record_names_a_process_above_the_session),
        CASE(dead_pid_of_a_foreign_record_proves_nothing),
        CASE(record_a_little_in_the_future_counts_from_first_sight),
        CASE(largest_ttl_of_a_foreign_record_does_not_overflow),
        CASE(released_foreign_record_is_free),
        CASE(release_of_what_another_tool_holds_changes_nothing),
        CASE(foreign_record_over_a_stale_lease_is_looked_at),
        CASE(foreign_record_over_a_stale_lease_is_not_overwritten),
        CASE(overwriting_is_told_once_in_a_tenure),
        CASE(unknown_session_is_named_in_the_view),
        CASE(unreadable_record_older_than_a_ttl_holds_nobody_up),
        CASE(unreadable_record_from_the_future_holds_for_one_ttl),
        CASE(record_that_cannot_be_moved_aside_holds_all_the_same),
        CASE(record_replaced_while_it_is_moved_aside_is_looked_at_again),
        CASE(free_lease_is_not_written_over_what_nobody_understands),
        CASE(epoch_survives_a_release_and_a_restart),
        CASE(epoch_of_the_record_counts_where_none_was_noted),
        CASE(unmount_releases_and_says_so_in_the_record),
        CASE(record_is_written_by_the_thread_without_being_asked),
        CASE(hanging_store_hangs_no_change_of_the_holder),
        CASE(failure_and_recovery_are_told_once_each),
        CASE(store_that_cannot_be_read_at_the_start_is_degraded),
        CASE(epoch_that_could_not_be_read_at_the_start_does_not_go_back),
        CASE(failing_load_never_lets_two_sessions_in),
    };

    return cmocka_run_group_tests_name("keeper-record", tests, NULL, NULL);
}

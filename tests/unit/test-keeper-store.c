/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the keeper reads from its store, from other tools and from before a restart, and a store
 * that fails.
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

/* --- the record ----------------------------------------------------------------------------- */

static void read_record(KeeperWorld *world, LeaseRecord *record_out)
{
    g_autofree char *text = fake_store_dup_record(world->store);

    assert_non_null(text);
    assert_true(lease_record_parse(text, strlen(text), record_out, NULL));
}

static void record_says_who_holds_it(void **state)
{
    KeeperWorld *world = *state;
    g_auto(LeaseRecord) record = {0};
    g_autofree char *id = session_dup_id(world->alice);

    assert_false(keeper_persist(world->keeper)); /* nothing was ever held */
    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 250);
    assert_true(keeper_persist(world->keeper));
    read_record(world, &record);
    assert_true(record.is_own);
    assert_string_equal(record.session_id, id);
    assert_int_equal(record.pid, ALICE);
    assert_int_equal(record.acquired_at_ms, WALL_MS);
    assert_int_equal(record.since_ms, WALL_MS);
    assert_int_equal(record.ttl_ms, TTL_MS);
    assert_int_equal(record.epoch, 1);
    assert_int_equal(record.pid_start, fake_processes_id(world->fake, ALICE).start_time);
    assert_int_equal(record.pid_ns, 77);
    assert_string_equal(record.boot_id, BOOT_ID);
    assert_string_equal(record.host, "host");
    assert_string_equal(record.comm, "alice");
    assert_string_equal(record.workspace, "/ws");
    assert_int_equal(record.mono_ns, world->clock.now_mono_ns - 250 * 1000000);
}

static void released_record_is_kept_and_says_so(void **state)
{
    KeeperWorld *world = *state;
    g_auto(LeaseRecord) record = {0};

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_true(keeper_persist(world->keeper));
    read_record(world, &record);
    assert_string_equal(record.session_id, "");
    assert_int_equal(record.ttl_ms, 0);
    assert_int_equal(record.epoch, 1);
}

static void restart_finds_the_same_holder_and_epoch(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS / 2);
    keeper_world_restart(world);
    keeper_world_expect(world, ALICE, 1);
    assert_false(keeper_world_change(world, world->bob));
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 1);
}

static void restart_counts_from_the_last_renewal(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_restart(world);
    assert_int_equal(keeper_world_state(world), LEASE_STALE);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void restart_after_the_holders_death_finds_an_orphan(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_processes_kill(world->fake, ALICE, TRUE);
    fake_processes_add(world->fake, ALICE, 1, "alice"); /* the pid, but not the process */
    keeper_world_restart(world);
    assert_int_equal(keeper_world_state(world), LEASE_ORPHANED);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void record_of_another_boot_is_orphaned(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    world->host.boot_id[0] = '9';
    keeper_world_restart(world);
    assert_int_equal(keeper_world_state(world), LEASE_ORPHANED);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void record_of_another_pid_namespace_counts_for_its_ttl(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    world->host.pid_ns = 78;
    keeper_world_restart(world);
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void larger_noted_epoch_counts(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_store_set_epoch(world->store, 9); /* a tenure began, and the record was not written */
    keeper_world_restart(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 10);
}

/* --- other tools' records ------------------------------------------------------------------- */

static void fresh_foreign_record_refuses_until_its_ttl(void **state)
{
    KeeperWorld *world = *state;
    g_auto(KeeperView) view = {0};

    keeper_world_set_foreign(world, 4711, WALL_MS - 1000, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->alice));
    assert_false(keeper_permits(world->keeper, world->alice));
    keeper_view(world->keeper, &view);
    assert_true(view.foreign);
    assert_string_equal(view.holder, "hook");
    assert_int_equal(view.remaining_ms, 4000);
    fake_clock_advance_ms(&world->clock, 4000);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void foreign_record_without_ttl_takes_the_mounts(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS, "");
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void foreign_record_from_the_future_counts_from_first_sight(void **state)
{
    KeeperWorld *world = *state;

    keeper_world_set_foreign(world, 4711, WALL_MS + 1000 * TTL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 5000);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void foreign_record_admits_the_session_of_its_pid(void **state)
{
    KeeperWorld *world = *state;

    fake_processes_add(world->fake, 110, ALICE, "hook");
    keeper_world_set_foreign(world, 110, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->bob));
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 1);
}

static void foreign_record_over_a_fresh_lease_is_overwritten_and_told(void **state)
{
    KeeperWorld *world = *state;
    g_auto(LeaseRecord) record = {0};
    g_autoptr(GPtrArray) events = NULL;
    gboolean told = FALSE;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_world_change(world, world->bob));
    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    read_record(world, &record);
    assert_int_equal(record.pid, ALICE);
    events = keeper_take_events(world->keeper);
    for (guint i = 0; i < events->len; i++)
        told |=
            ((KeeperEvent *)g_ptr_array_index(events, i))->kind == KEEPER_EVENT_FOREIGN_OVERWRITTEN;
    assert_true(told);
}

static void free_lease_leaves_a_foreign_record_alone(void **state)
{
    KeeperWorld *world = *state;
    g_autofree char *text = NULL;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_persist(world->keeper));
    text = fake_store_dup_record(world->store);
    assert_non_null(strstr(text, "hook"));
}

static void torn_record_is_moved_aside_and_held_for_one_ttl(void **state)
{
    KeeperWorld *world = *state;
    g_autofree char *aside = NULL;

    fake_store_set_mtime_ms(world->store, WALL_MS - 1000);
    fake_store_set_record(world->store, "{\"schema_ver", -1);
    assert_false(keeper_world_change(world, world->alice));
    aside = fake_store_dup_set_aside(world->store);
    assert_string_equal(aside, "{\"schema_ver");
    fake_clock_advance_ms(&world->clock, TTL_MS - 1000);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void torn_record_at_the_start_holds_too(void **state)
{
    KeeperWorld *world = *state;

    fake_store_set_mtime_ms(world->store, WALL_MS);
    fake_store_set_record(world->store, "\0\1garbage", 9);
    keeper_world_restart(world);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->alice));
}

static void torn_record_over_a_fresh_lease_is_kept_aside_and_loses(void **state)
{
    KeeperWorld *world = *state;
    g_autofree char *aside = NULL;
    g_auto(LeaseRecord) record = {0};

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_store_set_record(world->store, "{\"schema_ver", -1);
    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    aside = fake_store_dup_set_aside(world->store);
    assert_string_equal(aside, "{\"schema_ver");
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_UNREADABLE), 1);
    read_record(world, &record);
    assert_int_equal(record.pid, ALICE);
    assert_true(keeper_world_change(world, world->alice));
}

/* --- a store that fails ---------------------------------------------------------------------- */

static void failing_store_never_locks_the_holder_out(void **state)
{
    static const FakeStoreCall calls[] = {FAKE_STORE_LOAD,       FAKE_STORE_SAVE,
                                          FAKE_STORE_SET_ASIDE,  FAKE_STORE_LOAD_EPOCH,
                                          FAKE_STORE_NOTE_EPOCH, FAKE_STORE_ANY};
    KeeperWorld *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(calls); i++) {
        fake_store_fail(world->store, calls[i], 1, 1000, G_IO_ERROR_NO_SPACE);
        keeper_world_restart(world);
        assert_true(keeper_world_change(world, world->alice));
        keeper_persist(world->keeper);
        assert_true(keeper_world_change(world, world->alice));
        assert_false(keeper_world_change(world, world->bob));
        assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
        assert_true(keeper_world_change(world, world->bob));
        assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_DONE);
        fake_store_fail(world->store, calls[i], 1, 0, 0);
        keeper_persist(world->keeper);
    }
}

static void failing_save_is_degraded_until_one_succeeds(void **state)
{
    KeeperWorld *world = *state;
    g_auto(KeeperView) degraded = {0};
    g_auto(KeeperView) recovered = {0};

    fake_store_fail(world->store, FAKE_STORE_SAVE, 1, 2, G_IO_ERROR_NO_SPACE);
    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_persist(world->keeper));
    assert_false(keeper_persist(world->keeper));
    keeper_view(world->keeper, &degraded);
    assert_non_null(degraded.degraded);
    assert_true(keeper_persist(world->keeper));
    keeper_view(world->keeper, &recovered);
    assert_null(recovered.degraded);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(record_says_who_holds_it),
        CASE(released_record_is_kept_and_says_so),
        CASE(restart_finds_the_same_holder_and_epoch),
        CASE(restart_counts_from_the_last_renewal),
        CASE(restart_after_the_holders_death_finds_an_orphan),
        CASE(record_of_another_boot_is_orphaned),
        CASE(record_of_another_pid_namespace_counts_for_its_ttl),
        CASE(larger_noted_epoch_counts),
        CASE(fresh_foreign_record_refuses_until_its_ttl),
        CASE(foreign_record_without_ttl_takes_the_mounts),
        CASE(foreign_record_from_the_future_counts_from_first_sight),
        CASE(foreign_record_admits_the_session_of_its_pid),
        CASE(foreign_record_over_a_fresh_lease_is_overwritten_and_told),
        CASE(free_lease_leaves_a_foreign_record_alone),
        CASE(torn_record_is_moved_aside_and_held_for_one_ttl),
        CASE(torn_record_at_the_start_holds_too),
        CASE(torn_record_over_a_fresh_lease_is_kept_aside_and_loses),
        CASE(failing_store_never_locks_the_holder_out),
        CASE(failing_save_is_degraded_until_one_succeeds),
    };

    return cmocka_run_group_tests_name("keeper-store", tests, NULL, NULL);
}

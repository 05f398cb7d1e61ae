/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who gets the lease, when it ends, and what is in flight, on a fake clock and process table.
 */
#include "keeper-world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

static void free_lease_goes_to_the_first_who_changes(void **state)
{
    KeeperWorld *world = *state;

    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_permits(world->keeper, world->bob));
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 1);
    assert_false(keeper_permits(world->keeper, world->bob));
    assert_false(keeper_permits(world->keeper, NULL));
}

static void other_session_is_refused_with_the_holder_named(void **state)
{
    KeeperWorld *world = *state;
    g_auto(KeeperView) view = {0};
    g_autofree char *id = session_dup_id(world->alice);

    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    keeper_view(world->keeper, &view);
    assert_string_equal(view.holder, id);
    assert_string_equal(view.holder_comm, "alice");
    assert_int_equal(view.remaining_ms, TTL_MS);
    assert_int_equal(view.expires_ms, WALL_MS + TTL_MS);
}

static void lease_is_fresh_at_exactly_one_ttl_and_stale_after(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ns(&world->clock, 1);
    assert_int_equal(keeper_world_state(world), LEASE_STALE);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
    assert_false(keeper_world_change(world, world->alice));
}

static void same_holder_after_going_stale_keeps_its_epoch(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, 10 * TTL_MS);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 1);
    assert_int_equal(keeper_world_state(world), LEASE_FRESH);
}

static void change_renews_when_it_begins_and_when_it_ends(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    fake_clock_advance_ms(&world->clock, TTL_MS / 2);
    keeper_end(world->keeper, slot);
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(keeper_world_change(world, world->bob));
}

static void change_in_flight_keeps_everybody_out(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    fake_clock_advance_ms(&world->clock, 10 * TTL_MS);
    assert_int_equal(keeper_world_state(world), LEASE_FRESH);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_REFUSE_HELD);
    fake_processes_kill(world->fake, ALICE, TRUE);
    keeper_world_tick(world);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_REFUSE_HELD);
    keeper_end(world->keeper, slot);
    keeper_world_tick(world);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void dead_holder_is_taken_over_at_once(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    fake_processes_kill(world->fake, ALICE, TRUE);
    session_table_reap(world->sessions);
    assert_int_equal(keeper_world_state(world), LEASE_ORPHANED);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_GRANT_ORPHANED);
}

static void zombie_holder_is_dead(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    fake_processes_kill(world->fake, ALICE, FALSE);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

static void reused_pid_is_not_the_holder(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(Session) heir = NULL;

    assert_true(keeper_world_change(world, world->alice));
    fake_processes_kill(world->fake, ALICE, TRUE);
    fake_processes_add(world->fake, ALICE, 1, "alice");
    heir = keeper_world_session(world, ALICE);
    assert_ptr_not_equal(heir, world->alice);
    assert_true(keeper_world_change(world, heir));
    keeper_world_expect(world, ALICE, 2);
}

static void refresh_never_steals(void **state)
{
    KeeperWorld *world = *state;

    assert_false(keeper_refresh(world->keeper, world->bob));
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_refresh(world->keeper, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_true(keeper_refresh(world->keeper, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, 2 * TTL_MS);
    assert_false(keeper_refresh(world->keeper, world->bob));
    keeper_world_expect(world, ALICE, 1);
}

static void release_by_another_changes_nothing(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_NOT_HOLDER);
    keeper_world_expect(world, ALICE, 1);
}

static void release_and_acquire_again_is_one_more_epoch(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
    assert_int_equal(keeper_world_epoch(world), 1);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_expect(world, ALICE, 2);
    assert_int_equal(fake_store_epoch(world->store), 2);
}

static void release_waits_for_what_is_in_flight(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FRESH);
    keeper_end(world->keeper, slot);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

static void release_waits_for_the_flush(void **state)
{
    KeeperWorld *world = *state;
    KeeperDue due;

    assert_true(keeper_world_change(world, world->alice));
    world->dirty = TRUE;
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    keeper_tick(world->keeper, &due);
    assert_ptr_equal(due.flush, world->alice);
    session_unref(due.flush);
    keeper_flushed(world->keeper, due.flush_epoch, world->clock.now_mono_ns);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

static void expiring_lease_is_refused_until_it_is_flushed(void **state)
{
    KeeperWorld *world = *state;
    KeeperDue due;

    world->dirty = TRUE;
    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_int_equal(keeper_world_state(world), LEASE_EXPIRING);
    assert_false(keeper_world_change(world, world->bob));
    keeper_tick(world->keeper, &due);
    assert_ptr_equal(due.flush, world->alice);
    session_unref(due.flush);
    keeper_flushed(world->keeper, due.flush_epoch, world->clock.now_mono_ns);
    assert_int_equal(keeper_world_state(world), LEASE_STALE);
    assert_true(keeper_world_change(world, world->bob));
}

static void flush_that_found_something_renews(void **state)
{
    KeeperWorld *world = *state;
    gint64 started_ns;

    world->dirty = TRUE;
    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    started_ns = world->clock.now_mono_ns;
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice)); /* the page that came back */
    keeper_flushed(world->keeper, 1, started_ns);
    assert_int_equal(keeper_world_state(world), LEASE_FRESH);
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_int_equal(keeper_world_state(world), LEASE_EXPIRING);
}

static void wall_clock_steps_change_nothing(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    fake_clock_set_wall_ms(&world->clock, WALL_MS + 1000 * TTL_MS);
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_set_wall_ms(&world->clock, WALL_MS - 1000 * TTL_MS);
    assert_false(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->bob));
}

static void stored_ttl_governs(void **state)
{
    KeeperWorld *world = *state;

    assert_int_equal(keeper_acquire(world->keeper, world->alice, 5), LEASE_GRANT_FREE);
    fake_clock_advance_ms(&world->clock, 6);
    assert_true(keeper_world_change(world, world->bob));
    fake_clock_advance_ms(&world->clock, 6);
    assert_false(keeper_world_change(world, world->alice));
}

static void lease_is_handed_on_with_one_more_epoch(void **state)
{
    KeeperWorld *world = *state;

    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob),
                     KEEPER_RELEASE_NOT_HOLDER);
    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_hand_on(world->keeper, world->bob, world->alice),
                     KEEPER_RELEASE_NOT_HOLDER);
    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob), KEEPER_RELEASE_DONE);
    keeper_world_expect(world, BOB, 2);
}

/* --- the queue ------------------------------------------------------------------------------ */

static void queue_gets_the_lease_on_release(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_world_tick(world);
    keeper_world_expect(world, ALICE, 1);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
}

static void queue_gets_the_lease_when_it_is_stale(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
}

static void dead_waiter_and_one_whose_time_is_over_are_passed_over(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(Session) dead = NULL;

    fake_processes_add(world->fake, CAROL, 1, "dead");
    dead = keeper_world_session(world, CAROL);
    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, dead, CAROL, -1, -1));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, 10));
    fake_processes_kill(world->fake, CAROL, TRUE);
    fake_clock_advance_ms(&world->clock, 11);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

static void free_lease_needs_no_queue(void **state)
{
    KeeperWorld *world = *state;

    assert_false(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_world_expect(world, BOB, 1);
}

static void waiter_can_leave(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_dequeue(world->keeper, BOB);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

/* --- events ---------------------------------------------------------------------------------- */

static void events_come_in_order(void **state)
{
    static const KeeperEventKind expected[] = {
        KEEPER_EVENT_ACQUIRED,   KEEPER_EVENT_BLOCKED,  KEEPER_EVENT_EXPIRED,
        KEEPER_EVENT_TAKEN_OVER, KEEPER_EVENT_RELEASED,
    };
    KeeperWorld *world = *state;
    g_autoptr(GPtrArray) events = NULL;

    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    assert_false(keeper_world_change(world, world->bob)); /* told once in a tenure */
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_tick(world);
    keeper_world_tick(world);
    assert_true(keeper_world_change(world, world->bob));
    assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_DONE);
    events = keeper_take_events(world->keeper);
    assert_int_equal(events->len, G_N_ELEMENTS(expected));
    for (guint i = 0; i < events->len; i++) {
        const KeeperEvent *event = g_ptr_array_index(events, i);

        assert_int_equal(event->kind, expected[i]);
        assert_int_equal(event->sequence, i + 1);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(free_lease_goes_to_the_first_who_changes),
        CASE(other_session_is_refused_with_the_holder_named),
        CASE(lease_is_fresh_at_exactly_one_ttl_and_stale_after),
        CASE(same_holder_after_going_stale_keeps_its_epoch),
        CASE(change_renews_when_it_begins_and_when_it_ends),
        CASE(change_in_flight_keeps_everybody_out),
        CASE(dead_holder_is_taken_over_at_once),
        CASE(zombie_holder_is_dead),
        CASE(reused_pid_is_not_the_holder),
        CASE(refresh_never_steals),
        CASE(release_by_another_changes_nothing),
        CASE(release_and_acquire_again_is_one_more_epoch),
        CASE(release_waits_for_what_is_in_flight),
        CASE(release_waits_for_the_flush),
        CASE(expiring_lease_is_refused_until_it_is_flushed),
        CASE(flush_that_found_something_renews),
        CASE(wall_clock_steps_change_nothing),
        CASE(stored_ttl_governs),
        CASE(lease_is_handed_on_with_one_more_epoch),
        CASE(queue_gets_the_lease_on_release),
        CASE(queue_gets_the_lease_when_it_is_stale),
        CASE(dead_waiter_and_one_whose_time_is_over_are_passed_over),
        CASE(free_lease_needs_no_queue),
        CASE(waiter_can_leave),
        CASE(events_come_in_order),
    };

    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}

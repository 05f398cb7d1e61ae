/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who comes next: the queue, handing on, releases that wait, and the events that tell of it.
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

static void expect_waiters(KeeperWorld *world, guint count, pid_t first)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    assert_int_equal(view.waiters->len, count);
    if (count > 0)
        assert_int_equal(((KeeperWaiter *)view.waiters->pdata[0])->pid, first);
}

static void queue_is_served_in_order(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    assert_true(keeper_enqueue(world->keeper, world->carol, CAROL, 5000, -1));
    expect_waiters(world, 2, BOB);
    keeper_release(world->keeper, world->alice);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
    expect_waiters(world, 1, CAROL);
    keeper_release(world->keeper, world->bob);
    keeper_world_tick(world);
    keeper_world_expect(world, CAROL, 3);
    expect_waiters(world, 0, 0);
    fake_clock_advance_ms(&world->clock, 5001); /* the TTL that it asked for */
    assert_int_equal(keeper_world_state(world), LEASE_STALE);
}

static void queue_gets_an_orphaned_lease(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    fake_processes_kill(world->fake, ALICE, TRUE);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
}

static void queue_waits_for_what_is_in_flight(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    fake_clock_advance_ms(&world->clock, 10 * TTL_MS);
    keeper_world_tick(world);
    keeper_world_expect(world, ALICE, 1);
    assert_int_equal(keeper_slot_epoch(slot), 1);
    keeper_end(world->keeper, slot);
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
}

static void queue_waits_for_another_tools_record(void **state)
{
    KeeperWorld *world = *state;
    KeeperDue due;

    keeper_world_set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_tick(world->keeper, &due);
    assert_in_range(due.next_ms, 1, 5000); /* nobody tells when that one ends */
    expect_waiters(world, 1, BOB);
    fake_clock_advance_ms(&world->clock, 5001);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 1);
}

static void waiter_whose_pid_is_anothers_now_is_passed_over(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    assert_true(keeper_enqueue(world->keeper, world->carol, CAROL, -1, -1));
    fake_processes_kill(world->fake, BOB, TRUE);
    fake_processes_add(world->fake, BOB, 1, "bob");
    keeper_release(world->keeper, world->alice);
    keeper_world_tick(world);
    keeper_world_expect(world, CAROL, 2);
}

static void waiter_is_served_at_its_deadline_and_not_after(void **state)
{
    KeeperWorld *world = *state;

    for (int late = 0; late < 2; late++) {
        assert_true(keeper_world_change(world, world->alice));
        assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, 1000));
        fake_clock_advance_ms(&world->clock, 1000);
        fake_clock_advance_ns(&world->clock, late);
        keeper_release(world->keeper, world->alice);
        keeper_world_tick(world);
        if (late)
            assert_int_equal(keeper_world_state(world), LEASE_FREE);
        else
            assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_DONE);
    }
}

static void waiting_twice_is_one_place(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    expect_waiters(world, 1, BOB);
}

static void longest_wait_does_not_overflow(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, G_MAXINT64));
    keeper_release(world->keeper, world->alice);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
}

/* --- handing on ---------------------------------------------------------------------------------
 */

static void handing_on_waits_for_what_is_in_flight_and_admits_no_more(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob),
                     KEEPER_RELEASE_PENDING);
    keeper_world_tick(world);
    keeper_world_expect(world, ALICE, 1);
    assert_false(keeper_permits(world->keeper, world->alice));
    assert_false(keeper_refresh(world->keeper, world->alice));
    assert_false(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    keeper_end(world->keeper, slot);
    assert_false(keeper_world_change(world, world->alice));
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 2);
    assert_false(keeper_world_change(world, world->alice));
    assert_true(keeper_world_change(world, world->bob));
    assert_int_equal(fake_store_epoch(world->store), 2);
}

static void heir_that_died_gets_nothing(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob),
                     KEEPER_RELEASE_PENDING);
    fake_processes_kill(world->fake, BOB, TRUE);
    session_table_reap(world->sessions);
    keeper_world_tick(world);
    assert_true(keeper_refresh(world->keeper, world->alice));
    keeper_end(world->keeper, slot);
    assert_true(keeper_world_change(world, world->alice));
    keeper_world_tick(world);
    keeper_world_expect(world, ALICE, 1);
}

static void handing_on_keeps_the_ttl(void **state)
{
    KeeperWorld *world = *state;

    assert_int_equal(keeper_acquire(world->keeper, world->alice, 5000), LEASE_GRANT_FREE);
    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob), KEEPER_RELEASE_DONE);
    fake_clock_advance_ms(&world->clock, 5001);
    assert_int_equal(keeper_world_state(world), LEASE_STALE);
}

static void handing_on_to_oneself_changes_nothing(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->alice),
                     KEEPER_RELEASE_NOT_HOLDER);
    keeper_world_expect(world, ALICE, 1);
    assert_true(keeper_world_change(world, world->alice));
}

/* --- releases that wait
 * --------------------------------------------------------------------------- */

static void holder_that_never_pauses_cannot_put_a_release_off(void **state)
{
    KeeperWorld *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    assert_true(keeper_world_change(world, world->alice)); /* nobody waits: acquired again */
    keeper_world_expect(world, ALICE, 2);
    keeper_end(world->keeper, slot);
    keeper_world_tick(world);
    keeper_world_expect(world, ALICE, 2);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_RELEASED), 1);

    slot = keeper_begin(world->keeper, world->alice);
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    assert_false(keeper_world_change(world, world->alice)); /* it is bob's as soon as it can be */
    keeper_end(world->keeper, slot);
    keeper_world_tick(world);
    keeper_world_expect(world, BOB, 3);
}

static void nobody_comes_between_a_release_and_the_queue(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_false(keeper_world_change(world, world->carol));
    assert_false(keeper_world_change(world, world->alice));
    keeper_world_expect(world, BOB, 2);
    assert_true(keeper_world_change(world, world->bob));
    expect_waiters(world, 0, 0);
}

static void dead_waiter_keeps_nobody_out(void **state)
{
    KeeperWorld *world = *state;

    assert_true(keeper_world_change(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_release(world->keeper, world->alice);
    fake_processes_kill(world->fake, BOB, TRUE);
    assert_true(keeper_world_change(world, world->carol));
    keeper_world_expect(world, CAROL, 2);
}

static void flush_from_before_the_release_does_not_complete_it(void **state)
{
    KeeperWorld *world = *state;
    KeeperDue due;
    gint64 before_ns;

    assert_true(keeper_world_change(world, world->alice));
    world->dirty = TRUE;
    before_ns = world->clock.now_mono_ns;
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(keeper_world_change(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    keeper_flushed(world->keeper, 1, before_ns);
    keeper_tick(world->keeper, &due);
    assert_ptr_equal(due.flush, world->alice);
    session_unref(due.flush);
    keeper_world_tick(world);
    assert_int_equal(keeper_world_state(world), LEASE_FREE);
}

static void flush_of_another_tenure_does_not_count(void **state)
{
    KeeperWorld *world = *state;

    world->dirty = TRUE;
    assert_true(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    keeper_flushed(world->keeper, 7, world->clock.now_mono_ns);
    assert_int_equal(keeper_world_state(world), LEASE_EXPIRING);
    assert_false(keeper_world_change(world, world->bob));
}

static void dead_holders_mappings_are_not_waited_for(void **state)
{
    KeeperWorld *world = *state;

    world->dirty = TRUE;
    assert_true(keeper_world_change(world, world->alice));
    fake_processes_kill(world->fake, ALICE, TRUE);
    session_table_reap(world->sessions);
    assert_true(keeper_world_change(world, world->bob));
    keeper_world_expect(world, BOB, 2);
}

static void releasing_a_free_lease_is_done(void **state)
{
    KeeperWorld *world = *state;

    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_int_equal(keeper_world_epoch(world), 0);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_RELEASED), 0);
}

/* --- when to look again
 * ---------------------------------------------------------------------------- */

static void next_look_is_when_the_lease_goes_stale(void **state)
{
    KeeperWorld *world = *state;
    KeeperDue due;

    keeper_tick(world->keeper, &due);
    assert_int_equal(due.next_ms, -1);
    assert_true(keeper_world_change(world, world->alice));
    keeper_tick(world->keeper, &due);
    assert_in_range(due.next_ms, TTL_MS, TTL_MS + 1);
    fake_clock_advance_ms(&world->clock, due.next_ms);
    keeper_tick(world->keeper, &due);
    assert_int_equal(keeper_world_count_events(world, KEEPER_EVENT_EXPIRED), 1);
    assert_int_equal(due.next_ms, -1);
}

static void whoever_ticks_is_woken(void **state)
{
    KeeperWorld *world = *state;
    gint before = g_atomic_int_get(&world->wakes);

    assert_true(keeper_world_change(world, world->alice));
    assert_true(g_atomic_int_get(&world->wakes) > before);
    before = g_atomic_int_get(&world->wakes);
    assert_true(keeper_world_change(world, world->alice)); /* the fast path wakes nobody */
    assert_int_equal(g_atomic_int_get(&world->wakes), before);
    keeper_release(world->keeper, world->alice);
    assert_true(g_atomic_int_get(&world->wakes) > before);
}

/* --- events
 * ---------------------------------------------------------------------------------------- */

static void expect_event(const GPtrArray *events, guint at, KeeperEventKind kind, guint64 epoch,
                         Session *session, Session *other)
{
    const KeeperEvent *event = g_ptr_array_index(events, at);
    g_autofree char *session_id = session ? session_dup_id(session) : NULL;
    g_autofree char *other_id = other ? session_dup_id(other) : NULL;

    assert_int_equal(event->kind, kind);
    assert_int_equal(event->sequence, at + 1);
    assert_int_equal(event->epoch, epoch);
    assert_int_equal(g_strcmp0(event->session, session_id), 0);
    assert_int_equal(g_strcmp0(event->other, other_id), 0);
}

static void events_name_who_and_whose(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(GPtrArray) events = NULL;
    g_autoptr(GPtrArray) none = NULL;

    assert_true(keeper_world_change(world, world->alice));
    assert_false(keeper_world_change(world, world->bob));
    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob), KEEPER_RELEASE_DONE);
    assert_false(keeper_world_change(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(keeper_world_change(world, world->carol));
    keeper_report(world->keeper, KEEPER_EVENT_FENCED, "one", "two", "file");
    fake_processes_kill(world->fake, CAROL, TRUE);
    keeper_world_tick(world);
    events = keeper_take_events(world->keeper);
    assert_int_equal(events->len, 7);
    expect_event(events, 0, KEEPER_EVENT_ACQUIRED, 1, world->alice, NULL);
    expect_event(events, 1, KEEPER_EVENT_BLOCKED, 1, world->bob, world->alice);
    expect_event(events, 2, KEEPER_EVENT_HANDED_ON, 2, world->bob, world->alice);
    expect_event(events, 3, KEEPER_EVENT_BLOCKED, 2, world->alice, world->bob);
    expect_event(events, 4, KEEPER_EVENT_TAKEN_OVER, 3, world->carol, world->bob);
    assert_int_equal(((KeeperEvent *)events->pdata[5])->kind, KEEPER_EVENT_FENCED);
    assert_string_equal(((KeeperEvent *)events->pdata[5])->detail, "file");
    expect_event(events, 6, KEEPER_EVENT_ENDED, 3, world->carol, NULL);
    none = keeper_take_events(world->keeper);
    assert_int_equal(none->len, 0);
}

static void events_that_nobody_takes_do_not_pile_up(void **state)
{
    KeeperWorld *world = *state;
    g_autoptr(GPtrArray) events = NULL;

    for (int i = 0; i < 5000; i++)
        keeper_report(world->keeper, KEEPER_EVENT_FENCED, "one", "two", NULL);
    events = keeper_take_events(world->keeper);
    assert_in_range(events->len, 1, 1000);
    assert_int_equal(((KeeperEvent *)events->pdata[events->len - 1])->sequence, 5000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(queue_is_served_in_order),
        CASE(queue_gets_an_orphaned_lease),
        CASE(queue_waits_for_what_is_in_flight),
        CASE(queue_waits_for_another_tools_record),
        CASE(waiter_whose_pid_is_anothers_now_is_passed_over),
        CASE(waiter_is_served_at_its_deadline_and_not_after),
        CASE(waiting_twice_is_one_place),
        CASE(longest_wait_does_not_overflow),
        CASE(handing_on_waits_for_what_is_in_flight_and_admits_no_more),
        CASE(heir_that_died_gets_nothing),
        CASE(handing_on_keeps_the_ttl),
        CASE(handing_on_to_oneself_changes_nothing),
        CASE(holder_that_never_pauses_cannot_put_a_release_off),
        CASE(nobody_comes_between_a_release_and_the_queue),
        CASE(dead_waiter_keeps_nobody_out),
        CASE(flush_from_before_the_release_does_not_complete_it),
        CASE(flush_of_another_tenure_does_not_count),
        CASE(dead_holders_mappings_are_not_waited_for),
        CASE(releasing_a_free_lease_is_done),
        CASE(next_look_is_when_the_lease_goes_stale),
        CASE(whoever_ticks_is_woken),
        CASE(events_name_who_and_whose),
        CASE(events_that_nobody_takes_do_not_pile_up),
    };

    return cmocka_run_group_tests_name("keeper-queue", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper on a fake clock, store and process table: who gets the lease, when it ends, what is
 * in flight, and what the record says.
 */
#include "fake-clock.h"
#include "fake-processes.h"
#include "fake-store.h"
#include "keeper.h"
#include "record.h"
#include <gio/gio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define TTL_MS   60000
#define WALL_MS  G_GINT64_CONSTANT(1700000000000)
#define BOOT_ID  "11111111-2222-3333-4444-555555555555"
#define ALICE    100
#define BOB      200
#define STRANGER 300

typedef struct World {
    FakeClock clock;
    FakeStore *store;
    FakeProcesses *fake;
    HostIdentity host;
    Registry *registry;
    Boundaries *boundaries;
    SessionTable *sessions;
    Keeper *keeper;
    Session *alice, *bob;
    gboolean dirty; /* what the hook says */
} World;

static gboolean may_be_dirty(gpointer data, Session *holder G_GNUC_UNUSED)
{
    return ((World *)data)->dirty;
}

static void wake(gpointer data G_GNUC_UNUSED)
{
}

static Session *session_of(World *world, pid_t pid)
{
    Session *session = NULL;

    assert_int_equal(session_table_resolve(world->sessions, pid, &session), CALLER_SESSION);
    return session;
}

/* What a daemon does at its start. */
static void start_keeper(World *world)
{
    KeeperOptions options = {.workspace = "/ws", .ttl_ms = TTL_MS};
    KeeperHooks hooks = {.may_be_dirty = may_be_dirty, .wake = wake, .data = world};
    ProcessTable *processes = fake_processes_table(world->fake);

    world->registry = registry_new(&world->host, processes);
    world->boundaries = boundaries_new(NULL);
    world->sessions = session_table_new(processes, world->registry, world->boundaries);
    world->keeper = keeper_new(&options, fake_store_open(world->store), &world->clock.base,
                               world->sessions, processes, &world->host, &hooks);
    keeper_load(world->keeper);
    world->alice = session_of(world, ALICE);
    world->bob = session_of(world, BOB);
}

/* What is left of a daemon that was killed: the store. */
static void kill_keeper(World *world)
{
    session_unref(world->alice);
    session_unref(world->bob);
    keeper_free(world->keeper);
    session_table_free(world->sessions);
    boundaries_free(world->boundaries);
    registry_free(world->registry);
}

static int set_up(void **state)
{
    World *world = g_new0(World, 1);

    fake_clock_init(&world->clock, G_GINT64_CONSTANT(1000000000000), WALL_MS);
    world->store = fake_store_new();
    world->fake = fake_processes_new();
    g_strlcpy(world->host.boot_id, BOOT_ID, sizeof world->host.boot_id);
    world->host.pid_ns = 77;
    world->host.host = g_strdup("host");
    fake_processes_add(world->fake, ALICE, 1, "alice");
    fake_processes_add(world->fake, BOB, 1, "bob");
    start_keeper(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;

    kill_keeper(world);
    fake_processes_free(world->fake);
    fake_store_unref(world->store);
    host_identity_clear(&world->host);
    g_free(world);
    return 0;
}

static gboolean changes(World *world, Session *session)
{
    KeeperSlot *slot = keeper_begin(world->keeper, session);

    if (slot)
        keeper_end(world->keeper, slot);
    return slot != NULL;
}

static void tick(World *world)
{
    KeeperDue due;

    session_table_reap(world->sessions);
    keeper_tick(world->keeper, &due);
    if (due.flush)
        session_unref(due.flush);
}

static LeaseState state_now(World *world)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    return view.state;
}

static guint64 epoch_now(World *world)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    return view.epoch;
}

static void expect_holder(World *world, pid_t pid, guint64 epoch)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    assert_int_equal(view.holder_pid, pid);
    assert_int_equal(view.epoch, epoch);
}

static void free_lease_goes_to_the_first_who_changes(void **state)
{
    World *world = *state;

    assert_int_equal(state_now(world), LEASE_FREE);
    assert_true(keeper_permits(world->keeper, world->bob));
    assert_int_equal(state_now(world), LEASE_FREE);
    assert_true(changes(world, world->alice));
    expect_holder(world, ALICE, 1);
    assert_false(keeper_permits(world->keeper, world->bob));
    assert_false(keeper_permits(world->keeper, NULL));
}

static void other_session_is_refused_with_the_holder_named(void **state)
{
    World *world = *state;
    g_auto(KeeperView) view = {0};
    g_autofree char *id = session_dup_id(world->alice);

    assert_true(changes(world, world->alice));
    assert_false(changes(world, world->bob));
    keeper_view(world->keeper, &view);
    assert_string_equal(view.holder, id);
    assert_string_equal(view.holder_comm, "alice");
    assert_int_equal(view.remaining_ms, TTL_MS);
    assert_int_equal(view.expires_ms, WALL_MS + TTL_MS);
}

static void lease_is_fresh_at_exactly_one_ttl_and_stale_after(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(changes(world, world->bob));
    fake_clock_advance_ns(&world->clock, 1);
    assert_int_equal(state_now(world), LEASE_STALE);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
    assert_false(changes(world, world->alice));
}

static void same_holder_after_going_stale_keeps_its_epoch(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 10 * TTL_MS);
    assert_true(changes(world, world->alice));
    expect_holder(world, ALICE, 1);
    assert_int_equal(state_now(world), LEASE_FRESH);
}

static void change_renews_when_it_begins_and_when_it_ends(void **state)
{
    World *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    fake_clock_advance_ms(&world->clock, TTL_MS / 2);
    keeper_end(world->keeper, slot);
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(changes(world, world->bob));
}

static void change_in_flight_keeps_everybody_out(void **state)
{
    World *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    fake_clock_advance_ms(&world->clock, 10 * TTL_MS);
    assert_int_equal(state_now(world), LEASE_FRESH);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_REFUSE_HELD);
    fake_processes_kill(world->fake, ALICE, TRUE);
    tick(world);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_REFUSE_HELD);
    keeper_end(world->keeper, slot);
    tick(world);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
}

static void dead_holder_is_taken_over_at_once(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    fake_processes_kill(world->fake, ALICE, TRUE);
    session_table_reap(world->sessions);
    assert_int_equal(state_now(world), LEASE_ORPHANED);
    assert_int_equal(keeper_acquire(world->keeper, world->bob, -1), LEASE_GRANT_ORPHANED);
}

static void zombie_holder_is_dead(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    fake_processes_kill(world->fake, ALICE, FALSE);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FREE);
}

static void reused_pid_is_not_the_holder(void **state)
{
    World *world = *state;
    g_autoptr(Session) heir = NULL;

    assert_true(changes(world, world->alice));
    fake_processes_kill(world->fake, ALICE, TRUE);
    fake_processes_add(world->fake, ALICE, 1, "alice");
    heir = session_of(world, ALICE);
    assert_ptr_not_equal(heir, world->alice);
    assert_true(changes(world, heir));
    expect_holder(world, ALICE, 2);
}

static void refresh_never_steals(void **state)
{
    World *world = *state;

    assert_false(keeper_refresh(world->keeper, world->bob));
    assert_int_equal(state_now(world), LEASE_FREE);
    assert_true(changes(world, world->alice));
    assert_false(keeper_refresh(world->keeper, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_true(keeper_refresh(world->keeper, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(changes(world, world->bob));
    fake_clock_advance_ms(&world->clock, 2 * TTL_MS);
    assert_false(keeper_refresh(world->keeper, world->bob));
    expect_holder(world, ALICE, 1);
}

static void release_by_another_changes_nothing(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_NOT_HOLDER);
    expect_holder(world, ALICE, 1);
}

static void release_and_acquire_again_is_one_more_epoch(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_int_equal(state_now(world), LEASE_FREE);
    assert_int_equal(epoch_now(world), 1);
    assert_true(changes(world, world->alice));
    expect_holder(world, ALICE, 2);
    assert_int_equal(fake_store_epoch(world->store), 2);
}

static void release_waits_for_what_is_in_flight(void **state)
{
    World *world = *state;
    KeeperSlot *slot = keeper_begin(world->keeper, world->alice);

    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FRESH);
    keeper_end(world->keeper, slot);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FREE);
}

static void release_waits_for_the_flush(void **state)
{
    World *world = *state;
    KeeperDue due;

    assert_true(changes(world, world->alice));
    world->dirty = TRUE;
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_PENDING);
    keeper_tick(world->keeper, &due);
    assert_ptr_equal(due.flush, world->alice);
    session_unref(due.flush);
    keeper_flushed(world->keeper, due.flush_epoch, world->clock.now_mono_ns);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FREE);
}

static void expiring_lease_is_refused_until_it_is_flushed(void **state)
{
    World *world = *state;
    KeeperDue due;

    world->dirty = TRUE;
    assert_true(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_int_equal(state_now(world), LEASE_EXPIRING);
    assert_false(changes(world, world->bob));
    keeper_tick(world->keeper, &due);
    assert_ptr_equal(due.flush, world->alice);
    session_unref(due.flush);
    keeper_flushed(world->keeper, due.flush_epoch, world->clock.now_mono_ns);
    assert_int_equal(state_now(world), LEASE_STALE);
    assert_true(changes(world, world->bob));
}

static void flush_that_found_something_renews(void **state)
{
    World *world = *state;
    gint64 started_ns;

    world->dirty = TRUE;
    assert_true(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    started_ns = world->clock.now_mono_ns;
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(changes(world, world->alice)); /* the page that came back */
    keeper_flushed(world->keeper, 1, started_ns);
    assert_int_equal(state_now(world), LEASE_FRESH);
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_int_equal(state_now(world), LEASE_EXPIRING);
}

static void wall_clock_steps_change_nothing(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    fake_clock_set_wall_ms(&world->clock, WALL_MS + 1000 * TTL_MS);
    assert_false(changes(world, world->bob));
    fake_clock_set_wall_ms(&world->clock, WALL_MS - 1000 * TTL_MS);
    assert_false(changes(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(changes(world, world->bob));
}

static void stored_ttl_governs(void **state)
{
    World *world = *state;

    assert_int_equal(keeper_acquire(world->keeper, world->alice, 5), LEASE_GRANT_FREE);
    fake_clock_advance_ms(&world->clock, 6);
    assert_true(changes(world, world->bob));
    fake_clock_advance_ms(&world->clock, 6);
    assert_false(changes(world, world->alice));
}

static void lease_is_handed_on_with_one_more_epoch(void **state)
{
    World *world = *state;

    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob),
                     KEEPER_RELEASE_NOT_HOLDER);
    assert_true(changes(world, world->alice));
    assert_int_equal(keeper_hand_on(world->keeper, world->bob, world->alice),
                     KEEPER_RELEASE_NOT_HOLDER);
    assert_int_equal(keeper_hand_on(world->keeper, world->alice, world->bob), KEEPER_RELEASE_DONE);
    expect_holder(world, BOB, 2);
}

/* --- the queue ------------------------------------------------------------------------------ */

static void queue_gets_the_lease_on_release(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    tick(world);
    expect_holder(world, ALICE, 1);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    tick(world);
    expect_holder(world, BOB, 2);
}

static void queue_gets_the_lease_when_it_is_stale(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    tick(world);
    expect_holder(world, BOB, 2);
}

static void dead_waiter_and_one_whose_time_is_over_are_passed_over(void **state)
{
    World *world = *state;
    g_autoptr(Session) dead = NULL;

    fake_processes_add(world->fake, STRANGER, 1, "dead");
    dead = session_of(world, STRANGER);
    assert_true(changes(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, dead, STRANGER, -1, -1));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, 10));
    fake_processes_kill(world->fake, STRANGER, TRUE);
    fake_clock_advance_ms(&world->clock, 11);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FREE);
}

static void free_lease_needs_no_queue(void **state)
{
    World *world = *state;

    assert_false(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    expect_holder(world, BOB, 1);
}

static void waiter_can_leave(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_enqueue(world->keeper, world->bob, BOB, -1, -1));
    keeper_dequeue(world->keeper, BOB);
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    tick(world);
    assert_int_equal(state_now(world), LEASE_FREE);
}

/* --- the record ----------------------------------------------------------------------------- */

static void read_record(World *world, LeaseRecord *record_out)
{
    g_autofree char *text = fake_store_dup_record(world->store);

    assert_non_null(text);
    assert_true(lease_record_parse(text, strlen(text), record_out, NULL));
}

static void record_says_who_holds_it(void **state)
{
    World *world = *state;
    g_auto(LeaseRecord) record = {0};
    g_autofree char *id = session_dup_id(world->alice);

    assert_false(keeper_persist(world->keeper)); /* nothing was ever held */
    assert_true(changes(world, world->alice));
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
    World *world = *state;
    g_auto(LeaseRecord) record = {0};

    assert_true(changes(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    assert_true(keeper_persist(world->keeper));
    read_record(world, &record);
    assert_string_equal(record.session_id, "");
    assert_int_equal(record.ttl_ms, 0);
    assert_int_equal(record.epoch, 1);
}

static void restart(World *world)
{
    kill_keeper(world);
    start_keeper(world);
}

static void restart_finds_the_same_holder_and_epoch(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS / 2);
    restart(world);
    expect_holder(world, ALICE, 1);
    assert_false(changes(world, world->bob));
    assert_true(changes(world, world->alice));
    expect_holder(world, ALICE, 1);
}

static void restart_counts_from_the_last_renewal(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    restart(world);
    assert_int_equal(state_now(world), LEASE_STALE);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
}

static void restart_after_the_holders_death_finds_an_orphan(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_processes_kill(world->fake, ALICE, TRUE);
    fake_processes_add(world->fake, ALICE, 1, "alice"); /* the pid, but not the process */
    restart(world);
    assert_int_equal(state_now(world), LEASE_ORPHANED);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
}

static void record_of_another_boot_is_orphaned(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    world->host.boot_id[0] = '9';
    restart(world);
    assert_int_equal(state_now(world), LEASE_ORPHANED);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
}

static void record_of_another_pid_namespace_counts_for_its_ttl(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    world->host.pid_ns = 78;
    restart(world);
    assert_false(changes(world, world->bob));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 2);
}

static void larger_noted_epoch_counts(void **state)
{
    World *world = *state;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    fake_store_set_epoch(world->store, 9); /* a tenure began, and the record was not written */
    restart(world);
    assert_int_equal(state_now(world), LEASE_FREE);
    assert_true(changes(world, world->bob));
    expect_holder(world, BOB, 10);
}

/* --- other tools' records ------------------------------------------------------------------- */

static void set_foreign(World *world, pid_t pid, gint64 acquired_at_ms, const char *more)
{
    g_autofree char *text = g_strdup_printf("{\"schema_version\":1,\"session_id\":\"hook\","
                                            "\"pid\":%d,\"acquired_at\":%" G_GINT64_FORMAT "%s}",
                                            (int)pid, acquired_at_ms, more);

    fake_store_set_record(world->store, text, -1);
}

static void fresh_foreign_record_refuses_until_its_ttl(void **state)
{
    World *world = *state;
    g_auto(KeeperView) view = {0};

    set_foreign(world, 4711, WALL_MS - 1000, ",\"ttl_ms\":5000");
    assert_false(changes(world, world->alice));
    assert_false(keeper_permits(world->keeper, world->alice));
    keeper_view(world->keeper, &view);
    assert_true(view.foreign);
    assert_string_equal(view.holder, "hook");
    assert_int_equal(view.remaining_ms, 4000);
    fake_clock_advance_ms(&world->clock, 4000);
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(changes(world, world->alice));
}

static void foreign_record_without_ttl_takes_the_mounts(void **state)
{
    World *world = *state;

    set_foreign(world, 4711, WALL_MS, "");
    fake_clock_advance_ms(&world->clock, TTL_MS);
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(changes(world, world->alice));
}

static void foreign_record_from_the_future_counts_from_first_sight(void **state)
{
    World *world = *state;

    set_foreign(world, 4711, WALL_MS + 1000 * TTL_MS, ",\"ttl_ms\":5000");
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 5000);
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(changes(world, world->alice));
}

static void foreign_record_admits_the_session_of_its_pid(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 110, ALICE, "hook");
    set_foreign(world, 110, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(changes(world, world->bob));
    assert_true(changes(world, world->alice));
    expect_holder(world, ALICE, 1);
}

static void foreign_record_over_a_fresh_lease_is_overwritten_and_told(void **state)
{
    World *world = *state;
    g_auto(LeaseRecord) record = {0};
    g_autoptr(GPtrArray) events = NULL;
    gboolean told = FALSE;

    assert_true(changes(world, world->alice));
    assert_true(keeper_persist(world->keeper));
    set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(changes(world, world->bob));
    assert_true(changes(world, world->alice));
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
    World *world = *state;
    g_autofree char *text = NULL;

    assert_true(changes(world, world->alice));
    assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
    set_foreign(world, 4711, WALL_MS, ",\"ttl_ms\":5000");
    assert_false(keeper_persist(world->keeper));
    text = fake_store_dup_record(world->store);
    assert_non_null(strstr(text, "hook"));
}

static void torn_record_is_moved_aside_and_held_for_one_ttl(void **state)
{
    World *world = *state;
    g_autofree char *aside = NULL;

    fake_store_set_mtime_ms(world->store, WALL_MS - 1000);
    fake_store_set_record(world->store, "{\"schema_ver", -1);
    assert_false(changes(world, world->alice));
    aside = fake_store_dup_set_aside(world->store);
    assert_string_equal(aside, "{\"schema_ver");
    fake_clock_advance_ms(&world->clock, TTL_MS - 1000);
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, 1);
    assert_true(changes(world, world->alice));
}

static void torn_record_at_the_start_holds_too(void **state)
{
    World *world = *state;

    fake_store_set_mtime_ms(world->store, WALL_MS);
    fake_store_set_record(world->store, "\0\1garbage", 9);
    restart(world);
    assert_false(changes(world, world->alice));
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    assert_true(changes(world, world->alice));
}

/* --- a store that fails ---------------------------------------------------------------------- */

static void failing_store_never_locks_the_holder_out(void **state)
{
    static const FakeStoreCall calls[] = {FAKE_STORE_LOAD,       FAKE_STORE_SAVE,
                                          FAKE_STORE_SET_ASIDE,  FAKE_STORE_LOAD_EPOCH,
                                          FAKE_STORE_NOTE_EPOCH, FAKE_STORE_ANY};
    World *world = *state;

    for (guint i = 0; i < G_N_ELEMENTS(calls); i++) {
        fake_store_fail(world->store, calls[i], 1, 1000, G_IO_ERROR_NO_SPACE);
        restart(world);
        assert_true(changes(world, world->alice));
        keeper_persist(world->keeper);
        assert_true(changes(world, world->alice));
        assert_false(changes(world, world->bob));
        assert_int_equal(keeper_release(world->keeper, world->alice), KEEPER_RELEASE_DONE);
        assert_true(changes(world, world->bob));
        assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_DONE);
        fake_store_fail(world->store, calls[i], 1, 0, 0);
        keeper_persist(world->keeper);
    }
}

static void failing_save_is_degraded_until_one_succeeds(void **state)
{
    World *world = *state;
    g_auto(KeeperView) degraded = {0};
    g_auto(KeeperView) recovered = {0};

    fake_store_fail(world->store, FAKE_STORE_SAVE, 1, 2, G_IO_ERROR_NO_SPACE);
    assert_true(changes(world, world->alice));
    assert_false(keeper_persist(world->keeper));
    assert_false(keeper_persist(world->keeper));
    keeper_view(world->keeper, &degraded);
    assert_non_null(degraded.degraded);
    assert_true(keeper_persist(world->keeper));
    keeper_view(world->keeper, &recovered);
    assert_null(recovered.degraded);
}

/* --- events ---------------------------------------------------------------------------------- */

static void events_come_in_order(void **state)
{
    static const KeeperEventKind expected[] = {
        KEEPER_EVENT_ACQUIRED,   KEEPER_EVENT_BLOCKED,  KEEPER_EVENT_EXPIRED,
        KEEPER_EVENT_TAKEN_OVER, KEEPER_EVENT_RELEASED,
    };
    World *world = *state;
    g_autoptr(GPtrArray) events = NULL;

    assert_true(changes(world, world->alice));
    assert_false(changes(world, world->bob));
    assert_false(changes(world, world->bob)); /* told once in a tenure */
    fake_clock_advance_ms(&world->clock, TTL_MS + 1);
    tick(world);
    tick(world);
    assert_true(changes(world, world->bob));
    assert_int_equal(keeper_release(world->keeper, world->bob), KEEPER_RELEASE_DONE);
    events = keeper_take_events(world->keeper);
    assert_int_equal(events->len, G_N_ELEMENTS(expected));
    for (guint i = 0; i < events->len; i++) {
        const KeeperEvent *event = g_ptr_array_index(events, i);

        assert_int_equal(event->kind, expected[i]);
        assert_int_equal(event->sequence, i + 1);
    }
}

/* Random schedules against a small model: epochs only grow, and there are never two writers. */
static void random_schedules_never_have_two_writers(void **state)
{
    World *world = *state;
    g_autoptr(GRand) random = g_rand_new_with_seed(20231114);
    guint64 last_epoch = 0;
    Session *writer = NULL; /* who changed something last */
    gint64 written_ns = 0;
    gboolean released = TRUE;

    for (int step = 0; step < 20000; step++) {
        Session *session = g_rand_boolean(random) ? world->alice : world->bob;

        switch (g_rand_int_range(random, 0, 8)) {
        case 0:
            fake_clock_advance_ms(&world->clock, g_rand_int_range(random, 0, TTL_MS));
            break;
        case 1:
            if (keeper_release(world->keeper, session) == KEEPER_RELEASE_DONE && session == writer)
                released = TRUE;
            break;
        case 2:
            keeper_persist(world->keeper);
            break;
        case 3:
            tick(world);
            break;
        case 4:
            fake_clock_set_wall_ms(&world->clock, WALL_MS + g_rand_int_range(random, 0, 1000000));
            break;
        default:
            if (changes(world, session)) {
                assert_true(session == writer || released ||
                            world->clock.now_mono_ns - written_ns > (gint64)TTL_MS * 1000000);
                writer = session;
                written_ns = world->clock.now_mono_ns;
                released = FALSE;
            } else {
                assert_true(session != writer);
            }
        }
        assert_true(epoch_now(world) >= last_epoch);
        last_epoch = epoch_now(world);
    }
    assert_true(last_epoch > 100);
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
        CASE(failing_store_never_locks_the_holder_out),
        CASE(failing_save_is_degraded_until_one_succeeds),
        CASE(events_come_in_order),
        CASE(random_schedules_never_have_two_writers),
    };

    return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}

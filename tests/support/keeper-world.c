/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "keeper-world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static gboolean may_be_dirty(gpointer data, Session *holder G_GNUC_UNUSED)
{
    return ((KeeperWorld *)data)->dirty;
}

static void wake(gpointer data)
{
    g_atomic_int_inc(&((KeeperWorld *)data)->wakes);
}

Session *keeper_world_session(KeeperWorld *world, pid_t pid)
{
    Session *session = NULL;

    assert_int_equal(session_table_resolve(world->sessions, pid, &session), CALLER_SESSION);
    return session;
}

static Session *session_if_alive(KeeperWorld *world, pid_t pid)
{
    Session *session = NULL;

    session_table_resolve(world->sessions, pid, &session);
    return session;
}

static void start(KeeperWorld *world)
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
    world->alice = session_if_alive(world, ALICE);
    world->bob = session_if_alive(world, BOB);
    world->carol = session_if_alive(world, CAROL);
}

static void drop_session(Session **session)
{
    if (*session)
        session_unref(*session);
    *session = NULL;
}

static void stop(KeeperWorld *world)
{
    drop_session(&world->alice);
    drop_session(&world->bob);
    drop_session(&world->carol);
    keeper_free(world->keeper);
    session_table_free(world->sessions);
    boundaries_free(world->boundaries);
    registry_free(world->registry);
}

KeeperWorld *keeper_world_new(void)
{
    KeeperWorld *world = g_new0(KeeperWorld, 1);

    fake_clock_init(&world->clock, G_GINT64_CONSTANT(1000000000000), WALL_MS);
    world->store = fake_store_new();
    world->fake = fake_processes_new();
    g_strlcpy(world->host.boot_id, BOOT_ID, sizeof world->host.boot_id);
    world->host.pid_ns = 77;
    world->host.host = g_strdup("host");
    fake_processes_add(world->fake, ALICE, 1, "alice");
    fake_processes_add(world->fake, BOB, 1, "bob");
    fake_processes_add(world->fake, CAROL, 1, "carol");
    start(world);
    return world;
}

void keeper_world_free(KeeperWorld *world)
{
    stop(world);
    fake_processes_free(world->fake);
    fake_store_unref(world->store);
    host_identity_clear(&world->host);
    g_free(world);
}

void keeper_world_restart(KeeperWorld *world)
{
    stop(world);
    start(world);
}

gboolean keeper_world_change(KeeperWorld *world, Session *session)
{
    KeeperSlot *slot = keeper_begin(world->keeper, session);

    if (slot)
        keeper_end(world->keeper, slot);
    return slot != NULL;
}

void keeper_world_tick(KeeperWorld *world)
{
    gint64 started_ns = world->clock.now_mono_ns;
    KeeperDue due;

    session_table_reap(world->sessions);
    keeper_tick(world->keeper, &due);
    if (!due.flush)
        return;
    session_unref(due.flush);
    keeper_flushed(world->keeper, due.flush_epoch, started_ns);
    keeper_tick(world->keeper, &due);
    assert_null(due.flush);
}

LeaseState keeper_world_state(KeeperWorld *world)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    return view.state;
}

guint64 keeper_world_epoch(KeeperWorld *world)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    return view.epoch;
}

void keeper_world_expect(KeeperWorld *world, pid_t holder_pid, guint64 epoch)
{
    g_auto(KeeperView) view = {0};

    keeper_view(world->keeper, &view);
    assert_int_equal(view.holder_pid, holder_pid);
    assert_int_equal(view.epoch, epoch);
}

guint keeper_world_count_events(KeeperWorld *world, KeeperEventKind kind)
{
    g_autoptr(GPtrArray) events = keeper_take_events(world->keeper);
    guint count = 0;

    for (guint i = 0; i < events->len; i++)
        count += ((KeeperEvent *)g_ptr_array_index(events, i))->kind == kind;
    return count;
}

void keeper_world_set_foreign(KeeperWorld *world, pid_t pid, gint64 acquired_at_ms,
                              const char *more)
{
    g_autofree char *text = g_strdup_printf("{\"schema_version\":1,\"session_id\":\"hook\","
                                            "\"pid\":%d,\"acquired_at\":%" G_GINT64_FORMAT "%s}",
                                            (int)pid, acquired_at_ms, more);

    fake_store_set_record(world->store, text, -1);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A keeper with all that it needs, on fakes: a clock, a store that survives it, processes, and a
 * session table over them. Asserts with cmocka.
 * Thread safety: none; the keeper in it has its own.
 */
#include "fake-clock.h"
#include "fake-processes.h"
#include "fake-store.h"
#include "keeper.h"

#define TTL_MS    60000
#define NS_PER_MS G_GINT64_CONSTANT(1000000)
#define WALL_MS   G_GINT64_CONSTANT(1700000000000)
#define BOOT_ID   "11111111-2222-3333-4444-555555555555"
#define ALICE     100
#define BOB       200
#define CAROL     300

typedef struct KeeperWorld {
    FakeClock clock;
    FakeStore *store;
    FakeProcesses *fake;
    HostIdentity host;
    Registry *registry;
    Boundaries *boundaries;
    SessionTable *sessions;
    Keeper *keeper;
    Session *alice, *bob, *carol; /* of the processes of these pids, while they live */
    gboolean dirty;               /* what may_be_dirty says */
    gint wakes;                   /* atomic: how often keeper_tick was asked for */
} KeeperWorld;

KeeperWorld *keeper_world_new(void);
void keeper_world_free(KeeperWorld *world);
/* The daemon is killed, and another one starts on what it left: the store. */
void keeper_world_restart(KeeperWorld *world);

Session *keeper_world_session(KeeperWorld *world, pid_t pid); /* owned */
/* One change, begun and ended: whether it was admitted. */
gboolean keeper_world_change(KeeperWorld *world, Session *session);
/* What the daemon's thread does: takes in who died, ticks; a flush that is asked for finds nothing
 * to write back. */
void keeper_world_tick(KeeperWorld *world);

LeaseState keeper_world_state(KeeperWorld *world);
guint64 keeper_world_epoch(KeeperWorld *world);
/* holder_pid 0: free. */
void keeper_world_expect(KeeperWorld *world, pid_t holder_pid, guint64 epoch);
/* How many events of the kind happened since the last call of this or keeper_take_events. */
guint keeper_world_count_events(KeeperWorld *world, KeeperEventKind kind);
/* Another tool writes its record; `more` are further members, each with a comma before it. */
void keeper_world_set_foreign(KeeperWorld *world, pid_t pid, gint64 acquired_at_ms,
                              const char *more);

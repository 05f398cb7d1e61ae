/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random schedules against a small model that says beforehand who is admitted: with several changes
 * in flight, clocks that step, holders and daemons that die, and a store that fails now and then.
 * Then threads that really race. Epochs only grow, and there are never two writers.
 */
#include "keeper-world.h"
#include "mutex.h"
#include <gio/gio.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define WORKERS  4
#define SESSIONS 3
#define STEPS    10000

static const pid_t pids[SESSIONS] = {ALICE, BOB, CAROL};

/* --- workers: a change begins and ends in one thread --------------------------------------------
 */

typedef enum Order {
    ORDER_NONE,
    ORDER_BEGIN,
    ORDER_END,
    ORDER_QUIT,
} Order;

typedef struct Worker {
    pthread_t thread;
    Mutex lock;
    pthread_cond_t changed;
    Order order; /* (lock) NONE: done */
    Keeper *keeper;
    Session *session;
    KeeperSlot *slot;
} Worker;

static void obey(Worker *worker)
{
    if (worker->order == ORDER_BEGIN)
        worker->slot = keeper_begin(worker->keeper, worker->session);
    if (worker->order == ORDER_END)
        keeper_end(worker->keeper, g_steal_pointer(&worker->slot));
}

static void *worker_main(void *data)
{
    Worker *worker = data;
    gboolean quit = FALSE;
    MUTEX_GUARD(&worker->lock);

    while (!quit) {
        while (worker->order == ORDER_NONE)
            pthread_cond_wait(&worker->changed, &worker->lock);
        quit = worker->order == ORDER_QUIT;
        obey(worker);
        worker->order = ORDER_NONE;
        pthread_cond_broadcast(&worker->changed);
    }
    return NULL;
}

/* Waits until it is done: one thread at a time does something. */
static void give_order(Worker *worker, Order order)
{
    MUTEX_GUARD(&worker->lock);

    worker->order = order;
    pthread_cond_broadcast(&worker->changed);
    while (worker->order != ORDER_NONE)
        pthread_cond_wait(&worker->changed, &worker->lock);
}

/* --- the model ----------------------------------------------------------------------------------
 */

/* All that there is to a lease. */
typedef struct Tenure {
    gboolean held;
    ProcessId holder;
    guint64 epoch;
    gint64 renewed_ns;
    gint64 ttl_ns;
} Tenure;

typedef struct Model {
    KeeperWorld *world;
    GRand *random;
    Worker workers[WORKERS];
    gboolean busy[WORKERS];
    Tenure now, stored;
    guint64 noted_epoch;
    gboolean releasing;
    gboolean draining; /* given away while something was in flight */
    gboolean has_heir, heir_is_dead;
    ProcessId heir;
    guint64 largest_epoch;
    guint takeovers, refusals, restarts;
} Model;

static Session **session_at(Model *model, guint i)
{
    Session **const sessions[SESSIONS] = {&model->world->alice, &model->world->bob,
                                          &model->world->carol};

    return sessions[i];
}

static ProcessId id_at(Model *model, guint i)
{
    ProcessId id;

    session_get_root(*session_at(model, i), &id);
    return id;
}

static gboolean in_flight(const Model *model)
{
    for (guint i = 0; i < WORKERS; i++) {
        if (model->busy[i])
            return TRUE;
    }
    return FALSE;
}

static gboolean holds(Model *model, guint session)
{
    ProcessId id = id_at(model, session);

    return model->now.held && process_id_equal(&model->now.holder, &id);
}

static gboolean holder_is_dead(Model *model)
{
    return !process_is_alive(fake_processes_table(model->world->fake), &model->now.holder);
}

static gboolean is_to_be_had(Model *model)
{
    if (!model->now.held)
        return TRUE;
    return !in_flight(model) &&
           (holder_is_dead(model) ||
            model->world->clock.now_mono_ns - model->now.renewed_ns > model->now.ttl_ns);
}

static void begin_tenure(Model *model, ProcessId holder, gint64 ttl_ns)
{
    model->now.held = TRUE;
    model->now.holder = holder;
    model->now.epoch++;
    model->now.ttl_ns = ttl_ns;
    model->now.renewed_ns = model->world->clock.now_mono_ns;
    model->noted_epoch = model->now.epoch;
    model->releasing = model->draining = model->has_heir = FALSE;
}

static void forget_heir(Model *model)
{
    model->has_heir = FALSE;
    model->draining = model->releasing;
}

/* The holder goes on while what it gave away drains. */
static gboolean foresee_drained_holder(Model *model, gint64 ttl_ms)
{
    if (model->has_heir && !model->heir_is_dead) {
        model->refusals++;
        return FALSE;
    }
    if (model->releasing) {
        begin_tenure(model, model->now.holder, (ttl_ms > 0 ? ttl_ms : TTL_MS) * NS_PER_MS);
        return TRUE;
    }
    forget_heir(model);
    if (ttl_ms > 0)
        model->now.ttl_ns = ttl_ms * NS_PER_MS;
    model->now.renewed_ns = model->world->clock.now_mono_ns;
    return TRUE;
}

/* What a change or an acquisition does, and whether it is granted. */
static gboolean foresee_grant(Model *model, guint session, gint64 ttl_ms)
{
    if (!holds(model, session)) {
        if (!is_to_be_had(model)) {
            model->refusals++;
            return FALSE;
        }
        model->takeovers += model->now.held;
        begin_tenure(model, id_at(model, session), (ttl_ms > 0 ? ttl_ms : TTL_MS) * NS_PER_MS);
    } else if (model->draining) {
        return foresee_drained_holder(model, ttl_ms);
    } else if (ttl_ms > 0) {
        model->now.ttl_ns = ttl_ms * NS_PER_MS;
    }
    model->now.renewed_ns = model->world->clock.now_mono_ns;
    return TRUE;
}

/* --- steps ---------------------------------------------------------------------------------------
 */

static void step_begin_or_end(Model *model)
{
    guint i = (guint)g_rand_int_range(model->random, 0, WORKERS);
    guint session = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    Worker *worker = &model->workers[i];

    if (model->busy[i]) {
        give_order(worker, ORDER_END);
        model->busy[i] = FALSE;
        model->now.renewed_ns = model->world->clock.now_mono_ns;
        return;
    }
    worker->keeper = model->world->keeper;
    worker->session = *session_at(model, session);
    give_order(worker, ORDER_BEGIN);
    assert_int_equal(worker->slot != NULL, foresee_grant(model, session, -1));
    model->busy[i] = worker->slot != NULL;
    if (worker->slot)
        assert_int_equal(keeper_slot_epoch(worker->slot), model->now.epoch);
}

static void step_acquire(Model *model)
{
    guint session = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    gint64 ttl_ms = g_rand_boolean(model->random) ? -1 : g_rand_int_range(model->random, 1, TTL_MS);
    LeaseVerdict verdict =
        keeper_acquire(model->world->keeper, *session_at(model, session), ttl_ms);

    assert_int_equal(lease_verdict_grants(verdict), foresee_grant(model, session, ttl_ms));
}

static void step_refresh(Model *model)
{
    guint session = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    gboolean done = keeper_refresh(model->world->keeper, *session_at(model, session));

    assert_int_equal(done, holds(model, session) && !model->draining);
    if (done)
        model->now.renewed_ns = model->world->clock.now_mono_ns;
}

static void end_tenure(Model *model)
{
    model->now.held = FALSE;
    model->releasing = model->draining = model->has_heir = FALSE;
}

static void step_release(Model *model)
{
    guint session = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    KeeperRelease expected = KEEPER_RELEASE_DONE;

    if (model->now.held && !holds(model, session))
        expected = KEEPER_RELEASE_NOT_HOLDER;
    else if (model->now.held && in_flight(model))
        expected = KEEPER_RELEASE_PENDING;
    assert_int_equal(keeper_release(model->world->keeper, *session_at(model, session)), expected);
    if (expected == KEEPER_RELEASE_DONE)
        end_tenure(model);
    else if (expected == KEEPER_RELEASE_PENDING)
        model->releasing = model->draining = TRUE;
}

static void step_hand_on(Model *model)
{
    guint from = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    guint to = (guint)g_rand_int_range(model->random, 0, SESSIONS);
    KeeperRelease expected = KEEPER_RELEASE_DONE;

    if (!holds(model, from) || from == to)
        expected = KEEPER_RELEASE_NOT_HOLDER;
    else if (in_flight(model))
        expected = KEEPER_RELEASE_PENDING;
    assert_int_equal(
        keeper_hand_on(model->world->keeper, *session_at(model, from), *session_at(model, to)),
        expected);
    if (expected == KEEPER_RELEASE_DONE) {
        begin_tenure(model, id_at(model, to), model->now.ttl_ns);
    } else if (expected == KEEPER_RELEASE_PENDING) {
        model->heir = id_at(model, to);
        model->has_heir = model->draining = TRUE;
        model->heir_is_dead = FALSE;
    }
}

static void step_tick(Model *model)
{
    keeper_world_tick(model->world);
    if (!model->now.held)
        return;
    if (model->has_heir && model->heir_is_dead)
        forget_heir(model);
    if (model->has_heir && !in_flight(model))
        begin_tenure(model, model->heir, model->now.ttl_ns);
    else if (!model->has_heir && (model->releasing || holder_is_dead(model))) {
        model->draining = TRUE;
        if (!in_flight(model))
            end_tenure(model);
    }
}

static void step_persist(Model *model)
{
    gboolean fails = g_rand_int_range(model->random, 0, 4) == 0;

    fake_store_fail(model->world->store, FAKE_STORE_SAVE, 1, fails, G_IO_ERROR_NO_SPACE);
    if (keeper_persist(model->world->keeper))
        model->stored = model->now;
    fake_store_fail(model->world->store, FAKE_STORE_SAVE, 1, 0, 0);
}

static void step_clocks(Model *model)
{
    FakeClock *clock = &model->world->clock;

    fake_clock_advance_ns(clock, g_rand_int_range(model->random, 0, TTL_MS) * NS_PER_MS);
    if (g_rand_boolean(model->random))
        fake_clock_set_wall_ms(clock, WALL_MS + g_rand_int_range(model->random, -1000000, 1000000));
}

/* The process dies, and another one starts under its pid. */
static void step_kill_session(Model *model)
{
    guint i = (guint)g_rand_int_range(model->random, 0, SESSIONS);

    ProcessId id = id_at(model, i);

    if (model->has_heir && process_id_equal(&model->heir, &id))
        model->heir_is_dead = TRUE;
    fake_processes_kill(model->world->fake, pids[i], g_rand_boolean(model->random));
    session_table_reap(model->world->sessions);
    fake_processes_add(model->world->fake, pids[i], 1, "next");
    session_unref(*session_at(model, i));
    *session_at(model, i) = keeper_world_session(model->world, pids[i]);
}

/* With the daemon goes what was in flight. What is left is the record, unless a later tenure had
 * begun: then nobody knows whose that was. */
static void step_kill_daemon(Model *model)
{
    memset(model->busy, 0, sizeof model->busy);
    for (guint i = 0; i < WORKERS; i++)
        model->workers[i].slot = NULL;
    keeper_world_restart(model->world);
    model->now = model->stored;
    model->releasing = model->draining = model->has_heir = FALSE;
    if (model->stored.epoch < model->noted_epoch)
        model->now = (Tenure){.epoch = model->noted_epoch};
    model->restarts++;
}

static void check(Model *model)
{
    g_auto(KeeperView) view = {0};

    keeper_view(model->world->keeper, &view);
    assert_int_equal(view.epoch, model->now.epoch);
    assert_int_equal(view.holder_pid, model->now.held ? model->now.holder.pid : 0);
    assert_int_equal(view.state == LEASE_FREE, !model->now.held);
    assert_int_equal(view.state != LEASE_FRESH, is_to_be_had(model));
    assert_true(view.epoch >= model->largest_epoch);
    model->largest_epoch = view.epoch;
}

static void (*const steps[])(Model *model) = {
    step_begin_or_end, step_begin_or_end, step_begin_or_end, step_begin_or_end, step_begin_or_end,
    step_begin_or_end, step_acquire,      step_refresh,      step_release,      step_hand_on,
    step_tick,         step_persist,      step_persist,      step_clocks,
};

static void take_random_steps(Model *model)
{
    for (guint i = 0; i < STEPS; i++) {
        int rare = g_rand_int_range(model->random, 0, 100);

        if (rare == 0)
            step_kill_daemon(model);
        else if (rare < 4)
            step_kill_session(model);
        else
            steps[g_rand_int_range(model->random, 0, G_N_ELEMENTS(steps))](model);
        check(model);
    }
}

static void run_seed(guint32 seed)
{
    Model model = {.world = keeper_world_new(), .random = g_rand_new_with_seed(seed)};

    for (guint i = 0; i < WORKERS; i++) {
        mutex_init(&model.workers[i].lock);
        pthread_cond_init(&model.workers[i].changed, NULL);
        assert_int_equal(
            pthread_create(&model.workers[i].thread, NULL, worker_main, &model.workers[i]), 0);
    }
    take_random_steps(&model);
    /* A schedule in which nothing happened proves nothing. */
    assert_true(model.takeovers > 20);
    assert_true(model.refusals > 100);
    assert_true(model.restarts > 10);
    for (guint i = 0; i < WORKERS; i++) {
        give_order(&model.workers[i], ORDER_QUIT);
        pthread_join(model.workers[i].thread, NULL);
        pthread_cond_destroy(&model.workers[i].changed);
        mutex_clear(&model.workers[i].lock);
    }
    keeper_world_free(model.world);
    g_rand_free(model.random);
}

static void random_schedules_go_as_the_model_says(void **state G_GNUC_UNUSED)
{
    static const guint32 seeds[] = {1, 20231114, 0xdeadbeef};

    for (guint i = 0; i < G_N_ELEMENTS(seeds); i++) {
        print_message("# seed %u\n", seeds[i]);
        run_seed(seeds[i]);
    }
}

/* --- threads that really race
 * --------------------------------------------------------------------- */

#define RACERS       4
#define RACE_TENURES 500  /* the race is over when there were this many, */
#define RACE_CHANGES 5000 /* and this many changes */
#define EPOCHS       65536

typedef struct Race {
    KeeperWorld *world;
    _Atomic gint writers[2];      /* changes in flight, by session */
    _Atomic guint8 owner[EPOCHS]; /* of the first epochs: 1 + session */
    _Atomic guint64 largest_epoch;
    _Atomic guint two_writers, two_owners, went_back, admitted;
    _Atomic gboolean over;
} Race;

typedef struct Racer {
    Race *race;
    guint session;
} Racer;

static void note_owner(Race *race, guint64 epoch, guint session)
{
    guint8 nobody = 0;

    if (epoch < EPOCHS &&
        !atomic_compare_exchange_strong(&race->owner[epoch], &nobody, (guint8)(1 + session)) &&
        nobody != 1 + session)
        atomic_fetch_add(&race->two_owners, 1);
}

static void race_once(Race *race, guint session)
{
    Session *own = session == 0 ? race->world->alice : race->world->bob;
    guint64 before = atomic_load(&race->largest_epoch);
    KeeperSlot *slot = keeper_begin(race->world->keeper, own);
    guint64 epoch;

    if (!slot)
        return;
    epoch = keeper_slot_epoch(slot);
    atomic_fetch_add(&race->writers[session], 1);
    if (atomic_load(&race->writers[1 - session]) != 0)
        atomic_fetch_add(&race->two_writers, 1);
    if (epoch < before)
        atomic_fetch_add(&race->went_back, 1);
    while (before < epoch && !atomic_compare_exchange_weak(&race->largest_epoch, &before, epoch))
        ;
    note_owner(race, epoch, session);
    atomic_fetch_add(&race->admitted, 1);
    atomic_fetch_sub(&race->writers[session], 1);
    keeper_end(race->world->keeper, slot);
}

static void *racer_main(void *data)
{
    const Racer *racer = data;

    while (!atomic_load(&racer->race->over)) {
        race_once(racer->race, racer->session);
        sched_yield(); /* a tenure ends only in a moment with nothing in flight */
    }
    return NULL;
}

/* What ends tenures while the racers run. */
static void stir(Race *race, GRand *random)
{
    KeeperWorld *world = race->world;
    KeeperDue due;

    switch (g_rand_int_range(random, 0, 6)) {
    case 0:
        keeper_release(world->keeper, world->alice);
        break;
    case 1:
        keeper_release(world->keeper, world->bob);
        break;
    case 2:
        keeper_hand_on(world->keeper, world->alice, world->bob);
        break;
    case 3:
        keeper_hand_on(world->keeper, world->bob, world->alice);
        break;
    case 4:
        fake_clock_advance_ms(&world->clock, TTL_MS + 1);
        break;
    default:
        keeper_tick(world->keeper, &due);
        break;
    }
}

static void racing_threads_are_never_two_writers(void **state G_GNUC_UNUSED)
{
    g_autofree Race *race = g_new0(Race, 1);
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    Racer racers[RACERS];
    pthread_t threads[RACERS];

    race->world = keeper_world_new();
    keeper_start(race->world->keeper);
    for (guint i = 0; i < RACERS; i++) {
        racers[i] = (Racer){.race = race, .session = i % 2};
        assert_int_equal(pthread_create(&threads[i], NULL, racer_main, &racers[i]), 0);
    }
    while (atomic_load(&race->largest_epoch) < RACE_TENURES ||
           atomic_load(&race->admitted) < RACE_CHANGES)
        stir(race, random);
    atomic_store(&race->over, TRUE);
    for (guint i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    keeper_stop(race->world->keeper, TRUE);
    assert_int_equal(race->two_writers, 0);
    assert_int_equal(race->two_owners, 0);
    assert_int_equal(race->went_back, 0);
    assert_int_equal(fake_store_epoch(race->world->store), keeper_world_epoch(race->world));
    keeper_world_free(race->world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_go_as_the_model_says),
        cmocka_unit_test(racing_threads_are_never_two_writers),
    };

    return cmocka_run_group_tests_name("keeper-model", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which processes of a session are watched, and that its end is seen however they die.
 */
#include "session-world.h"
#include <sys/resource.h>

#define N_CHILDREN 3

/* A shell, which is the root, and what it has started: 110, 111, ... */
static void add_family(World *world)
{
    add_terminal(world, 100, 1, "bash");
    for (pid_t pid = 110; pid < 110 + N_CHILDREN; pid++) {
        fake_processes_add(world->fake, pid, 100, "tool");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
    }
}

static void one_process_of_a_session_is_watched(void **state)
{
    World *world = *state;

    add_family(world);
    assert_int_equal(fake_processes_held(world->fake), 1 + N_CHILDREN);
    assert_int_equal(fake_processes_watched(world->fake), 1);
    fake_processes_kill(world->fake, 110, TRUE); /* the first that was seen */
    session_table_reap(world->table);
    assert_int_equal(fake_processes_held(world->fake), N_CHILDREN);
    assert_int_equal(fake_processes_watched(world->fake), 1);
    fake_processes_kill(world->fake, 111, TRUE);
    session_table_reap(world->table); /* the root is watched by now: nothing is told */
    assert_int_equal(fake_processes_held(world->fake), N_CHILDREN);
    assert_int_equal(session_table_process_count(world->table), N_CHILDREN - 1);
    assert_int_equal(fake_processes_held(world->fake), N_CHILDREN - 1);
    assert_int_equal(world->ended, 0);
}

/* They die in that order, every other one as a zombie; `at_once`: nobody looks in
 * between. */
static void expect_end(World *world, const pid_t *pids, guint n, gboolean at_once)
{
    for (guint i = 0; i < n; i++) {
        assert_int_equal(world->ended, 0);
        fake_processes_kill(world->fake, pids[i], i % 2 == 0);
        if (!at_once)
            session_table_reap(world->table);
    }
    session_table_reap(world->table);
    assert_int_equal(world->ended, 1);
    assert_int_equal(fake_processes_held(world->fake), 0);
}

static void end_is_seen_in_whatever_order_they_die(void **state)
{
    static const pid_t orders[][1 + N_CHILDREN] = {
        {100, 110, 111, 112}, {110, 111, 112, 100}, {112, 111, 110, 100},
        {111, 100, 112, 110}, {100, 112, 111, 110}, {110, 100, 112, 111},
    };
    World *world = *state;

    for (guint i = 0; i < 2 * G_N_ELEMENTS(orders); i++) {
        world->ended = 0;
        add_family(world);
        expect_end(world, orders[i / 2], 1 + N_CHILDREN, i % 2 == 0);
    }
}

static void short_lived_processes_are_forgotten_without_being_told(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    expect_root(world, 100, 100, SESSION_RULE_TERMINAL);
    for (pid_t pid = 1000; pid < 3000; pid++) {
        fake_processes_add(world->fake, pid, 100, "touch");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
        fake_processes_kill(world->fake, pid, TRUE);
        assert_true(fake_processes_held(world->fake) < 50);
    }
    assert_int_equal(session_table_process_count(world->table), 1);
    assert_int_equal(world->ended, 0);
}

/* As long as nobody can be watched, the end is not told; no living session ends by that. */
static void orphan_is_watched_as_soon_as_that_is_possible(void **state)
{
    World *world = *state;

    add_family(world);
    fake_processes_refuse_watches(world->fake, TRUE);
    fake_processes_kill(world->fake, 110, TRUE);
    session_table_reap(world->table);
    assert_int_equal(fake_processes_watched(world->fake), 0);
    expect_root(world, 111, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(world->ended, 0);
    fake_processes_refuse_watches(world->fake, FALSE);
    fake_processes_add(world->fake, 200, 1, "other");
    expect_root(world, 200, 200, SESSION_RULE_OUTERMOST);
    assert_int_equal(fake_processes_watched(world->fake), 2);
    fake_processes_kill(world->fake, 200, TRUE);
    session_table_reap(world->table);
    assert_int_equal(world->ended, 1);
    world->ended = 0;
    expect_end(world, (const pid_t[]){111, 112, 100}, 3, FALSE);
}

/* The root is watched where the table has forgotten the one that was. */
static void pid_of_the_watched_one_may_be_reused(void **state)
{
    World *world = *state;

    add_family(world);
    fake_processes_kill(world->fake, 110, TRUE);
    fake_processes_add(world->fake, 110, 1, "other");
    expect_root(world, 110, 110, SESSION_RULE_OUTERMOST); /* nobody was told of the death */
    assert_int_equal(fake_processes_watched(world->fake), 2);
    fake_processes_kill(world->fake, 111, TRUE);
    fake_processes_kill(world->fake, 112, TRUE);
    fake_processes_kill(world->fake, 100, TRUE);
    session_table_reap(world->table);
    assert_int_equal(world->ended, 1);
    assert_int_equal(fake_processes_watched(world->fake), 1);
}

static void room_is_not_made_of_the_watched_one(void **state)
{
    World *world = *state;

    add_family(world);
    fake_processes_limit_holds(world->fake, 0);
    fake_processes_add(world->fake, 120, 100, "tool");
    expect_root(world, 120, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(fake_processes_watched(world->fake), 1);
    assert_int_equal(fake_processes_held(world->fake), 3); /* the watched one, the root, and 120 */
    fake_processes_kill(world->fake, 120, TRUE);
    expect_end(world, (const pid_t[]){110, 111, 112, 100}, 4, FALSE);
}

static void room_is_made_of_the_dead(void **state)
{
    World *world = *state;

    add_family(world);
    fake_processes_limit_holds(world->fake, 0);
    fake_processes_kill(world->fake, 111, TRUE); /* of which nobody is told */
    fake_processes_add(world->fake, 120, 100, "tool");
    expect_root(world, 120, 100, SESSION_RULE_TERMINAL);
    expect_root(world, 112, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(fake_processes_held(world->fake), 1 + N_CHILDREN);
    assert_int_equal(world->ended, 0);
}

/* One dead member is not enough for a caller whose ancestors are to be held, too. */
static void room_is_made_for_a_walk(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    for (pid_t pid = 110; pid < 120; pid++) {
        fake_processes_add(world->fake, pid, 100, "tool");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
    }
    fake_processes_limit_holds(world->fake, 0);
    fake_processes_kill(world->fake, 115, TRUE);
    for (pid_t pid = 201; pid < 205; pid++)
        fake_processes_add(world->fake, pid, pid == 201 ? 100 : pid - 1, "sh");
    expect_root(world, 204, 100, SESSION_RULE_TERMINAL);
}

#define FEW_DESCRIPTORS 256 /* a quarter of them for processes */
#define N_FREE          4   /* of these, for all that come and go */

static int set_up_small(void **state)
{
    struct rlimit limit, usual;
    int r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    limit = usual;
    limit.rlim_cur = FEW_DESCRIPTORS;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    r = set_up(state);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    return r;
}

/* A build that goes on after its shell: none of its members may be forgotten while it lives. */
static void dead_never_fill_the_table(void **state)
{
    World *world = *state;
    const guint most = FEW_DESCRIPTORS / 4;

    add_terminal(world, 100, 1, "bash");
    for (pid_t pid = 200; pid < 200 + (pid_t)most - N_FREE; pid++) {
        fake_processes_add(world->fake, pid, 100, "make");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
    }
    fake_processes_kill(world->fake, 100, TRUE);
    session_table_reap(world->table);
    for (pid_t pid = 1000; pid < 2000; pid++) {
        fake_processes_add(world->fake, pid, 200, "cc");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
        assert_true(fake_processes_held(world->fake) <= most);
        fake_processes_kill(world->fake, pid, TRUE);
    }
    assert_int_equal(session_table_process_count(world->table), most - N_FREE);
    assert_int_equal(world->ended, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(one_process_of_a_session_is_watched),
        CASE(end_is_seen_in_whatever_order_they_die),
        CASE(short_lived_processes_are_forgotten_without_being_told),
        CASE(orphan_is_watched_as_soon_as_that_is_possible),
        CASE(pid_of_the_watched_one_may_be_reused),
        CASE(room_is_not_made_of_the_watched_one),
        CASE(room_is_made_of_the_dead),
        CASE(room_is_made_for_a_walk),
        cmocka_unit_test_setup_teardown(dead_never_fill_the_table, set_up_small, tear_down),
    };

    return cmocka_run_group_tests_name("session-members", tests, NULL, NULL);
}

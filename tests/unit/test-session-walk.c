/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a walk up the processes costs the session table: what it reads, and what it holds.
 */
#include "session-world.h"

static void child_of_a_known_process_is_not_read(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    expect_root(world, 110, 100, SESSION_RULE_TERMINAL);
    world->scripted.reads = 0;
    fake_processes_add(world->fake, 111, 110, "cc");
    expect_root(world, 111, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(world->scripted.reads, 0);
    fake_processes_add(world->fake, 112, 111, "as");
    expect_root(world, 112, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(world->scripted.reads, 0);
}

static void child_of_a_dead_process_whose_pid_is_reused_does_not_inherit(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    expect_root(world, 110, 100, SESSION_RULE_TERMINAL);
    fake_processes_kill(world->fake, 110, TRUE);
    fake_processes_add(world->fake, 110, 1, "stranger"); /* before anybody noticed */
    fake_processes_add(world->fake, 111, 110, "cc");
    expect_root(world, 111, 110, SESSION_RULE_OUTERMOST);
}

static void known_process_that_became_a_boundary_hands_nothing_on(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "agent");
    fake_processes_add(world->fake, 110, 100, "sh");
    expect_root(world, 110, 100, SESSION_RULE_OUTERMOST);
    fake_processes_exec(world->fake, 110, "tmux: server");
    fake_processes_add(world->fake, 111, 110, "vim");
    expect_root(world, 111, 111, SESSION_RULE_OUTERMOST);
}

static void terminal_leader_started_by_a_known_process_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "code");
    expect_root(world, 100, 100, SESSION_RULE_OUTERMOST);
    add_terminal(world, 110, 100, "bash");
    expect_root(world, 110, 110, SESSION_RULE_TERMINAL);
    fake_processes_add(world->fake, 120, 100, "setsid");
    fake_processes_make_leader(world->fake, 120, FALSE);
    expect_root(world, 120, 100, SESSION_RULE_OUTERMOST);
}

static void registered_child_of_a_known_process_is_a_session(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;

    add_terminal(world, 100, 1, "bash");
    expect_root(world, 100, 100, SESSION_RULE_TERMINAL);
    fake_processes_add(world->fake, 110, 100, "leasefs");
    file = enter(world, "one", 110);
    expect_root(world, 110, 110, SESSION_RULE_REGISTERED);
    expect_id(world, 110, "one");
}

static void what_a_walk_holds_is_released_or_remembered(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 90, 1, "sshd");
    fake_processes_add(world->fake, 95, 90, "gnome-terminal-");
    add_terminal(world, 100, 95, "bash");
    for (pid_t pid = 101; pid < 300; pid++)
        fake_processes_add(world->fake, pid, pid - 1, "sh");
    expect_root(world, 299, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(session_table_process_count(world->table), 200);
    assert_int_equal(fake_processes_held(world->fake), 200);
    for (pid_t pid = 299; pid >= 100; pid--)
        fake_processes_kill(world->fake, pid, TRUE);
    session_table_reap(world->table);
    assert_int_equal(fake_processes_held(world->fake), 0);
    assert_int_equal(world->ended, 1);
}

static void walk_without_descriptors_makes_room(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    for (pid_t pid = 110; pid < 130; pid++) {
        fake_processes_add(world->fake, pid, 100, "cc");
        expect_root(world, pid, 100, SESSION_RULE_TERMINAL);
    }
    fake_processes_add(world->fake, 130, 100, "make");
    fake_processes_add(world->fake, 131, 130, "cc");
    fake_processes_limit_holds(world->fake, 1);
    expect_root(world, 131, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(world->ended, 0);
}

/* Not as a session of its own, which it would remain. */
static void caller_is_unknown_where_no_descriptors_are_left(void **state)
{
    World *world = *state;
    Session *session = NULL;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_limit_holds(world->fake, 1);
    assert_int_equal(session_table_resolve(world->table, 110, &session), CALLER_UNKNOWN);
    assert_int_equal(fake_processes_held(world->fake), 0);
    fake_processes_limit_holds(world->fake, 4);
    expect_root(world, 110, 100, SESSION_RULE_TERMINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(child_of_a_known_process_is_not_read),
        CASE(child_of_a_dead_process_whose_pid_is_reused_does_not_inherit),
        CASE(known_process_that_became_a_boundary_hands_nothing_on),
        CASE(terminal_leader_started_by_a_known_process_is_a_session),
        CASE(registered_child_of_a_known_process_is_a_session),
        CASE(what_a_walk_holds_is_released_or_remembered),
        CASE(walk_without_descriptors_makes_room),
        CASE(caller_is_unknown_where_no_descriptors_are_left),
    };

    return cmocka_run_group_tests_name("session-walk", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The session table where sessions are registered, and where processes die under a walk. What each
 * rule of docs/sessions.md says without a registration stands in test-session.c.
 */
#include "session-world.h"

/* --- registered ------------------------------------------------------------------------------- */

static void registered_children_are_sessions_of_their_own(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) one G_GNUC_UNUSED = NULL;
    g_autoptr(RegistrationFile) two G_GNUC_UNUSED = NULL;

    add_orchestrator(world);
    one = enter(world, "one", 120);
    two = enter(world, "two", 130);
    expect_root(world, 121, 120, SESSION_RULE_REGISTERED);
    expect_root(world, 131, 130, SESSION_RULE_REGISTERED);
    expect_root(world, 110, 100, SESSION_RULE_TERMINAL);
    expect_id(world, 121, "one");
    expect_id(world, 131, "two");
}

static void outermost_registered_wins(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) outer G_GNUC_UNUSED = NULL;
    g_autoptr(RegistrationFile) inner G_GNUC_UNUSED = NULL;

    add_orchestrator(world);
    outer = enter(world, "outer", 110);
    inner = enter(world, "inner", 120);
    expect_id(world, 121, "outer");
    expect_id(world, 131, "outer");
}

static void outermost_registered_wins_also_when_it_comes_last(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) outer G_GNUC_UNUSED = NULL;
    g_autoptr(RegistrationFile) inner G_GNUC_UNUSED = NULL;

    add_orchestrator(world);
    inner = enter(world, "inner", 120);
    expect_id(world, 121, "inner");
    outer = enter(world, "outer", 110);
    session_table_reload(world->table);
    expect_id(world, 121, "outer");
    expect_id(world, 131, "outer");
    assert_int_equal(world->ended, 1);
}

static void inner_registration_does_not_split_a_registered_session(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) outer G_GNUC_UNUSED = NULL;
    g_autoptr(RegistrationFile) inner G_GNUC_UNUSED = NULL;
    g_autoptr(Session) before = NULL;
    g_autoptr(Session) after = NULL;

    add_orchestrator(world);
    outer = enter(world, "outer", 110);
    before = session_of(world, 121);
    inner = enter(world, "inner", 120);
    session_table_reload(world->table);
    after = session_of(world, 121);
    assert_ptr_equal(before, after);
    assert_int_equal(world->ended, 0);
}

static void registration_reaches_beyond_a_boundary(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;

    fake_processes_add(world->fake, 100, 1, "leasefs");
    fake_processes_add(world->fake, 110, 100, "tmux: server");
    add_terminal(world, 120, 110, "zsh");
    fake_processes_add(world->fake, 121, 120, "vim");
    file = enter(world, "all", 100);
    expect_id(world, 121, "all");
}

static void registration_of_a_sessions_root_keeps_the_session(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;
    g_autoptr(Session) before = NULL;
    g_autoptr(Session) after = NULL;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "vim");
    before = session_of(world, 110);
    file = enter(world, "mine", 100);
    session_table_reload(world->table);
    after = session_of(world, 110);
    assert_ptr_equal(before, after);
    expect_id(world, 110, "mine");
    assert_int_equal(session_rule(after), SESSION_RULE_REGISTERED);
    assert_int_equal(world->ended, 0);
}

static void new_registration_takes_over_what_runs_below_it(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;

    add_orchestrator(world);
    expect_root(world, 121, 100, SESSION_RULE_TERMINAL);
    expect_root(world, 131, 100, SESSION_RULE_TERMINAL);
    file = enter(world, "one", 120);
    expect_root(world, 131, 100, SESSION_RULE_TERMINAL);
    session_table_reload(world->table);
    expect_id(world, 121, "one");
    expect_root(world, 131, 100, SESSION_RULE_TERMINAL);
    assert_int_equal(world->ended, 0);
}

static void end_of_a_registration_ends_the_session_whoever_still_runs(void **state)
{
    World *world = *state;
    RegistrationFile *file;
    g_autoptr(Session) session = NULL;

    add_orchestrator(world);
    file = enter(world, "one", 120);
    session = session_of(world, 121);
    registration_file_free(file);
    session_table_reload(world->table);
    assert_true(session_has_ended(session));
    assert_int_equal(world->ended, 1);
    expect_root(world, 121, 100, SESSION_RULE_TERMINAL);
}

static void name_can_be_given_again_after_its_end(void **state)
{
    World *world = *state;
    RegistrationFile *first;
    g_autoptr(RegistrationFile) second G_GNUC_UNUSED = NULL;
    g_autoptr(Session) before = NULL;
    g_autoptr(Session) after = NULL;

    add_orchestrator(world);
    first = enter(world, "agent", 120);
    before = session_of(world, 121);
    registration_file_free(first);
    second = enter(world, "agent", 130);
    session_table_reload(world->table);
    after = session_of(world, 131);
    assert_ptr_not_equal(before, after);
    assert_true(session_has_ended(before));
    assert_false(session_has_ended(after));
    expect_root(world, 121, 100, SESSION_RULE_TERMINAL);
}

static void registration_of_a_dead_process_means_nothing(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;

    add_orchestrator(world);
    file = enter(world, "one", 120);
    fake_processes_kill(world->fake, 120, TRUE);
    fake_processes_reparent(world->fake, 121, 110); /* to a subreaper */
    expect_root(world, 121, 100, SESSION_RULE_TERMINAL);
    fake_processes_add(world->fake, 120, 110, "leasefs"); /* the pid comes back */
    fake_processes_add(world->fake, 122, 120, "agent");
    expect_root(world, 122, 100, SESSION_RULE_TERMINAL);
}

/* --- processes that die ------------------------------------------------------------------------
 */

static void children_inherit_from_a_known_ancestor_that_died(void **state)
{
    World *world = *state;
    g_autoptr(Session) before = NULL;
    g_autoptr(Session) after = NULL;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    before = session_of(world, 110);
    fake_processes_kill(world->fake, 100, TRUE); /* 110 goes to pid 1 */
    session_table_reap(world->table);
    fake_processes_add(world->fake, 111, 110, "cc");
    fake_processes_add(world->fake, 112, 111, "as");
    after = session_of(world, 112);
    assert_ptr_equal(before, after);
    assert_int_equal(world->ended, 0);
}

static void kill_make(gpointer data)
{
    World *world = data;

    fake_processes_kill(world->fake, 110, TRUE);
    fake_processes_reparent(world->fake, 111, 100); /* a subreaper */
    add_terminal(world, 110, 1, "stranger");
}

static void parent_that_dies_under_the_walk_is_not_mistaken(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_add(world->fake, 111, 110, "cc");
    fake_processes_add(world->fake, 112, 111, "as");
    scripted_table_after_read(&world->scripted, 110, kill_make, world);
    expect_root(world, 112, 100, SESSION_RULE_TERMINAL);
}

static void grandparent_that_dies_under_the_walk_begins_it_anew(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_add(world->fake, 111, 110, "cc");
    scripted_table_after_read(&world->scripted, 100, kill_make, world);
    expect_root(world, 111, 100, SESSION_RULE_TERMINAL);
}

static void kill_cc(gpointer data)
{
    fake_processes_kill(((World *)data)->fake, 111, TRUE);
}

static void caller_that_dies_under_the_walk_is_unknown(void **state)
{
    World *world = *state;
    Session *session = NULL;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_add(world->fake, 111, 110, "cc");
    scripted_table_after_read(&world->scripted, 110, kill_cc, world);
    assert_int_equal(session_table_resolve(world->table, 111, &session), CALLER_UNKNOWN);
    assert_null(session);
}

static void session_never_comes_back_to_life(void **state)
{
    World *world = *state;
    g_autoptr(Session) before = NULL;
    g_autoptr(Session) after = NULL;

    fake_processes_add(world->fake, 100, 1, "agent");
    before = session_of(world, 100);
    fake_processes_kill(world->fake, 100, TRUE);
    fake_processes_add(world->fake, 100, 1, "agent");
    after = session_of(world, 100);
    assert_ptr_not_equal(before, after);
    assert_true(session_serial(before) != session_serial(after));
    assert_true(session_has_ended(before));
    assert_int_equal(world->ended, 1);
    session_table_reap(world->table);
    assert_false(session_has_ended(after));
    assert_int_equal(world->ended, 1);
}

static void inner_terminal_below_a_known_editor_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "code");
    fake_processes_add(world->fake, 110, 100, "code");
    expect_root(world, 110, 100, SESSION_RULE_OUTERMOST);
    add_terminal(world, 120, 110, "bash");
    fake_processes_add(world->fake, 121, 120, "git");
    expect_root(world, 121, 120, SESSION_RULE_TERMINAL);
    expect_root(world, 110, 100, SESSION_RULE_OUTERMOST);
}

/* --- matching a pid -----------------------------------------------------------------------------
 */

static void session_covers_its_processes_and_what_it_stands_below(void **state)
{
    World *world = *state;
    g_autoptr(Session) session = NULL;

    fake_processes_add(world->fake, 90, 1, "sshd");
    fake_processes_add(world->fake, 100, 90, "wrapper");
    add_terminal(world, 110, 100, "bash");
    fake_processes_add(world->fake, 111, 110, "hook");
    fake_processes_add(world->fake, 200, 90, "other");
    session = session_of(world, 111);
    assert_true(session_table_covers(world->table, session, 111));
    assert_true(session_table_covers(world->table, session, 110));
    assert_true(session_table_covers(world->table, session, 100));
    assert_false(session_table_covers(world->table, session, 200));
    assert_false(session_table_covers(world->table, session, 90)); /* a boundary */
    assert_false(session_table_covers(world->table, session, 1));
    assert_false(session_table_covers(world->table, session, 0));
    assert_false(session_table_covers(world->table, session, -5));
    assert_false(session_table_covers(world->table, session, 4711));
}

static void adopted_registered_holder_keeps_its_name(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = NULL;
    g_autoptr(Session) adopted = NULL;
    g_autoptr(Session) resolved = NULL;
    ProcessId root;

    add_orchestrator(world);
    file = enter(world, "one", 120);
    session_table_reload(world->table);
    root = fake_processes_id(world->fake, 120);
    adopted = session_table_adopt(world->table, "one", &root, "leasefs");
    resolved = session_of(world, 121);
    assert_ptr_equal(adopted, resolved);
    assert_int_equal(session_rule(adopted), SESSION_RULE_REGISTERED);
}

static void sessions_are_listed_oldest_first(void **state)
{
    World *world = *state;
    g_autoptr(GPtrArray) list = NULL;

    for (pid_t pid = 100; pid < 120; pid++) {
        g_autoptr(Session) session G_GNUC_UNUSED = NULL;

        fake_processes_add(world->fake, pid, 1, "agent");
        session = session_of(world, pid);
    }
    fake_processes_kill(world->fake, 105, TRUE);
    session_table_reap(world->table);
    list = session_table_list(world->table);
    assert_int_equal(list->len, 19);
    for (guint i = 1; i < list->len; i++)
        assert_true(session_serial(list->pdata[i - 1]) < session_serial(list->pdata[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(registered_children_are_sessions_of_their_own),
        CASE(outermost_registered_wins),
        CASE(outermost_registered_wins_also_when_it_comes_last),
        CASE(inner_registration_does_not_split_a_registered_session),
        CASE(registration_reaches_beyond_a_boundary),
        CASE(registration_of_a_sessions_root_keeps_the_session),
        CASE(new_registration_takes_over_what_runs_below_it),
        CASE(end_of_a_registration_ends_the_session_whoever_still_runs),
        CASE(name_can_be_given_again_after_its_end),
        CASE(registration_of_a_dead_process_means_nothing),
        CASE(children_inherit_from_a_known_ancestor_that_died),
        CASE(parent_that_dies_under_the_walk_is_not_mistaken),
        CASE(grandparent_that_dies_under_the_walk_begins_it_anew),
        CASE(caller_that_dies_under_the_walk_is_unknown),
        CASE(session_never_comes_back_to_life),
        CASE(inner_terminal_below_a_known_editor_is_a_session),
        CASE(session_covers_its_processes_and_what_it_stands_below),
        CASE(adopted_registered_holder_keeps_its_name),
        CASE(sessions_are_listed_oldest_first),
    };

    return cmocka_run_group_tests_name("session-table", tests, NULL, NULL);
}

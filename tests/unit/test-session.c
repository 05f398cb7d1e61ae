/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which session a process belongs to: each row of the table in docs/sessions.md, and what happens
 * when processes die, fork away and come back under an old pid.
 */
#include "fake-processes.h"
#include "session-table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

typedef struct World {
    FakeProcesses *fake;
    HostIdentity host;
    Registry *registry;
    Boundaries *boundaries;
    SessionTable *table;
    guint ended;
} World;

static void count_end(Session *session, gpointer data)
{
    World *world = data;

    (void)session;
    world->ended++;
}

static int set_up(void **state)
{
    World *world = g_new0(World, 1);

    world->fake = fake_processes_new();
    g_strlcpy(world->host.boot_id, "00000000-0000-0000-0000-000000000000",
              sizeof world->host.boot_id);
    world->host.pid_ns = 1;
    world->registry = registry_new(&world->host, fake_processes_table(world->fake));
    world->boundaries = boundaries_new(NULL);
    world->table =
        session_table_new(fake_processes_table(world->fake), world->registry, world->boundaries);
    session_table_on_ended(world->table, count_end, world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;

    session_table_free(world->table);
    boundaries_free(world->boundaries);
    registry_free(world->registry);
    fake_processes_free(world->fake);
    g_free(world);
    return 0;
}

/* The root of the session that a thread's process belongs to; 0 unknown, -1 a kernel thread. */
static pid_t root_of(World *world, pid_t tid)
{
    g_autoptr(Session) session = NULL;
    ProcessId root;

    switch (session_table_resolve(world->table, tid, &session)) {
    case CALLER_SESSION:
        session_get_root(session, &root);
        return root.pid;
    case CALLER_KERNEL:
        return -1;
    default:
        return 0;
    }
}

static void add_terminal(World *world, pid_t pid, pid_t ppid, const char *comm)
{
    fake_processes_add(world->fake, pid, ppid, comm);
    fake_processes_make_leader(world->fake, pid, TRUE);
}

static void each_terminal_tab_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "systemd");
    fake_processes_add(world->fake, 110, 100, "gnome-terminal-");
    add_terminal(world, 120, 110, "bash");
    add_terminal(world, 130, 110, "bash");
    fake_processes_add(world->fake, 121, 120, "make");
    fake_processes_add(world->fake, 122, 121, "cc");
    assert_int_equal(root_of(world, 122), 120);
    assert_int_equal(root_of(world, 121), 120);
    assert_int_equal(root_of(world, 130), 130);
}

static void each_tmux_pane_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "tmux: server");
    add_terminal(world, 110, 100, "zsh");
    add_terminal(world, 120, 100, "zsh");
    fake_processes_add(world->fake, 111, 110, "vim");
    assert_int_equal(root_of(world, 111), 110);
    assert_int_equal(root_of(world, 120), 120);
}

static void editor_and_each_of_its_terminals_are_sessions(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "gnome-shell");
    fake_processes_add(world->fake, 110, 100, "code");
    fake_processes_add(world->fake, 111, 110, "code");
    add_terminal(world, 120, 111, "bash");
    add_terminal(world, 130, 111, "bash");
    fake_processes_add(world->fake, 121, 120, "git");
    assert_int_equal(root_of(world, 111), 110);
    assert_int_equal(root_of(world, 121), 120);
    assert_int_equal(root_of(world, 130), 130);
    assert_int_equal(root_of(world, 110), 110);
}

static void terminal_inside_a_terminal_belongs_to_the_outer_one(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "sshd");
    add_terminal(world, 110, 100, "bash");
    fake_processes_add(world->fake, 111, 110, "script");
    add_terminal(world, 120, 111, "bash");
    assert_int_equal(root_of(world, 120), 110);
}

static void ssh_without_a_terminal_is_a_session_a_command(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "sshd");
    fake_processes_add(world->fake, 110, 100, "sshd-session");
    fake_processes_add(world->fake, 111, 110, "sh");
    fake_processes_add(world->fake, 112, 111, "rsync");
    assert_int_equal(root_of(world, 112), 111);
}

static void cron_job_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "cron");
    fake_processes_add(world->fake, 110, 100, "cron");
    fake_processes_add(world->fake, 111, 110, "sh");
    fake_processes_add(world->fake, 112, 111, "backup");
    assert_int_equal(root_of(world, 112), 111);
}

static void docker_exec_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "containerd-shim-runc-v2");
    fake_processes_add(world->fake, 110, 100, "node");
    fake_processes_add(world->fake, 120, 100, "bash");
    fake_processes_add(world->fake, 121, 120, "touch");
    fake_processes_add(world->fake, 130, 0, "sh"); /* injected from outside the namespace */
    assert_int_equal(root_of(world, 110), 110);
    assert_int_equal(root_of(world, 121), 120);
    assert_int_equal(root_of(world, 130), 130);
}

static void service_and_its_tools_with_setsid_are_one_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "agentd");
    fake_processes_add(world->fake, 110, 100, "node");
    fake_processes_make_leader(world->fake, 110, FALSE);
    fake_processes_add(world->fake, 111, 110, "bash");
    fake_processes_make_leader(world->fake, 111, FALSE);
    assert_int_equal(root_of(world, 111), 100);
    assert_int_equal(root_of(world, 110), 100);
}

static void orchestrators_plain_children_are_one_session(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "orchestrator");
    for (pid_t pid = 111; pid <= 115; pid++) {
        fake_processes_add(world->fake, pid, 110, "agent");
        assert_int_equal(root_of(world, pid), 100);
    }
}

static void build_left_behind_by_nohup_stays_where_it_was_known(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_add(world->fake, 120, 100, "make");
    assert_int_equal(root_of(world, 110), 100);
    fake_processes_kill(world->fake, 100, TRUE);
    session_table_reap(world->table);
    fake_processes_add(world->fake, 111, 110, "cc");
    assert_int_equal(root_of(world, 110), 100); /* changed something before its shell ended */
    assert_int_equal(root_of(world, 111), 100);
    assert_int_equal(root_of(world, 120), 120); /* had not: a session of its own now */
}

static void sudo_and_su_stay_in_the_terminals_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 90, 1, "login");
    add_terminal(world, 100, 90, "bash");
    fake_processes_add(world->fake, 110, 100, "sudo");
    fake_processes_add(world->fake, 111, 110, "apt");
    add_terminal(world, 120, 110, "su"); /* with a terminal of its own */
    assert_int_equal(root_of(world, 111), 100);
    assert_int_equal(root_of(world, 120), 100);
}

static void thread_belongs_to_its_process(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "node");
    fake_processes_add_thread(world->fake, 115, 110);
    assert_int_equal(root_of(world, 115), 100);
}

static void pid_zero_and_the_dead_are_unknown(void **state)
{
    World *world = *state;

    assert_int_equal(root_of(world, 0), 0);
    assert_int_equal(root_of(world, 4711), 0);
}

static void kernel_threads_are_told_apart(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 50, 2, "loop0");
    assert_int_equal(root_of(world, 50), -1);
}

static void unreadable_ancestor_is_a_boundary(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "secret");
    fake_processes_hide(world->fake, 100);
    fake_processes_add(world->fake, 110, 100, "sh");
    fake_processes_add(world->fake, 111, 110, "touch");
    assert_int_equal(root_of(world, 111), 110);
}

static void boundary_that_writes_itself_is_a_session(void **state)
{
    World *world = *state;

    fake_processes_add(world->fake, 100, 1, "tmux: server");
    assert_int_equal(root_of(world, 100), 100);
}

static void reused_pid_is_another_process(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "make");
    add_terminal(world, 200, 1, "zsh");
    assert_int_equal(root_of(world, 110), 100);
    fake_processes_kill(world->fake, 110, TRUE);
    fake_processes_add(world->fake, 110, 200, "evil"); /* nobody was told of the death */
    assert_int_equal(root_of(world, 110), 200);
}

static void session_ends_with_its_last_known_process(void **state)
{
    World *world = *state;
    g_autoptr(Session) session = NULL;

    fake_processes_add(world->fake, 100, 1, "agent");
    fake_processes_add(world->fake, 110, 100, "tool");
    assert_int_equal(session_table_resolve(world->table, 110, &session), CALLER_SESSION);
    fake_processes_kill(world->fake, 100, TRUE);
    session_table_reap(world->table);
    assert_false(session_has_ended(session));
    fake_processes_kill(world->fake, 110, TRUE);
    session_table_reap(world->table);
    assert_true(session_has_ended(session));
    assert_int_equal(world->ended, 1);
    assert_int_equal(session_table_process_count(world->table), 0);
}

static void zombie_counts_as_dead(void **state)
{
    World *world = *state;
    g_autoptr(Session) session = NULL;

    fake_processes_add(world->fake, 100, 1, "agent");
    assert_int_equal(session_table_resolve(world->table, 100, &session), CALLER_SESSION);
    fake_processes_kill(world->fake, 100, FALSE);
    session_table_reap(world->table);
    assert_true(session_has_ended(session));
}

static void thousand_processes_leave_nothing_behind(void **state)
{
    World *world = *state;

    add_terminal(world, 100, 1, "bash");
    for (pid_t pid = 1000; pid < 3000; pid++) {
        fake_processes_add(world->fake, pid, 100, "touch");
        assert_int_equal(root_of(world, pid), 100);
        fake_processes_kill(world->fake, pid, TRUE);
        session_table_reap(world->table);
    }
    assert_int_equal(session_table_process_count(world->table), 1);
}

static void id_is_frozen_at_first_sight(void **state)
{
    World *world = *state;
    g_autoptr(Session) session = NULL;
    g_autofree char *id = NULL;
    g_autofree char *expected = NULL;

    fake_processes_add(world->fake, 100, 1, "a b/c");
    assert_int_equal(session_table_resolve(world->table, 100, &session), CALLER_SESSION);
    id = session_dup_id(session);
    expected = g_strdup_printf("a_b_c.100.%" G_GUINT64_FORMAT,
                               fake_processes_id(world->fake, 100).start_time);
    assert_string_equal(id, expected);
}

static void adopted_holder_is_the_session_of_its_descendants(void **state)
{
    World *world = *state;
    g_autoptr(Session) adopted = NULL;
    g_autoptr(Session) resolved = NULL;
    ProcessId root;

    fake_processes_add(world->fake, 100, 1, "agent");
    fake_processes_add(world->fake, 110, 100, "tool");
    root = fake_processes_id(world->fake, 100);
    adopted = session_table_adopt(world->table, "agent.100.3", &root, "agent");
    assert_false(session_has_ended(adopted));
    assert_int_equal(session_table_resolve(world->table, 110, &resolved), CALLER_SESSION);
    assert_ptr_equal(adopted, resolved);
}

static void adopted_holder_that_is_dead_has_ended(void **state)
{
    World *world = *state;
    g_autoptr(Session) adopted = NULL;
    ProcessId root;

    fake_processes_add(world->fake, 100, 1, "agent");
    root = fake_processes_id(world->fake, 100);
    root.start_time--;
    adopted = session_table_adopt(world->table, "agent.100.2", &root, "agent");
    assert_true(session_has_ended(adopted));
}

static void boundary_list_can_be_added_to_and_replaced(void **state)
{
    g_autoptr(Boundaries) added = boundaries_new("+supervisor:other");
    g_autoptr(Boundaries) replaced = boundaries_new("supervisor");

    (void)state;
    assert_true(boundaries_contain(added, "supervisor"));
    assert_true(boundaries_contain(added, "sshd"));
    assert_true(boundaries_contain(replaced, "supervisor"));
    assert_false(boundaries_contain(replaced, "sshd"));
    assert_true(boundaries_contain(added, "containerd-shim"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_terminal_tab_is_a_session),
        CASE(each_tmux_pane_is_a_session),
        CASE(editor_and_each_of_its_terminals_are_sessions),
        CASE(terminal_inside_a_terminal_belongs_to_the_outer_one),
        CASE(ssh_without_a_terminal_is_a_session_a_command),
        CASE(cron_job_is_a_session),
        CASE(docker_exec_is_a_session),
        CASE(service_and_its_tools_with_setsid_are_one_session),
        CASE(orchestrators_plain_children_are_one_session),
        CASE(build_left_behind_by_nohup_stays_where_it_was_known),
        CASE(sudo_and_su_stay_in_the_terminals_session),
        CASE(thread_belongs_to_its_process),
        CASE(pid_zero_and_the_dead_are_unknown),
        CASE(kernel_threads_are_told_apart),
        CASE(unreadable_ancestor_is_a_boundary),
        CASE(boundary_that_writes_itself_is_a_session),
        CASE(reused_pid_is_another_process),
        CASE(session_ends_with_its_last_known_process),
        CASE(zombie_counts_as_dead),
        CASE(thousand_processes_leave_nothing_behind),
        CASE(id_is_frozen_at_first_sight),
        CASE(adopted_holder_is_the_session_of_its_descendants),
        CASE(adopted_holder_that_is_dead_has_ended),
        CASE(boundary_list_can_be_added_to_and_replaced),
    };

    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}

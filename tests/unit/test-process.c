/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who a process is: the line of /proc/PID/stat, liveness, and parents that die while they are read.
 */
#include "fake-processes.h"
#include "scripted-table.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

/* --- the stat line ---------------------------------------------------------------------------- */

#define TAIL                                                                                       \
    " 34816 4242 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654321 1000 200 18446744073709551615\n"

static void expect_garbage(const char *line)
{
    ProcessInfo untouched = {.ppid = 4711};

    if (process_info_parse_stat(line, &untouched))
        fail_msg("taken for a stat line: %s", line);
    assert_int_equal(untouched.ppid, 4711);
}

static void stat_line_is_parsed(void **state G_GNUC_UNUSED)
{
    ProcessInfo info;

    assert_true(process_info_parse_stat("4242 (bash) S 4000 4242 4242" TAIL, &info));
    assert_int_equal(info.id.pid, 4242);
    assert_int_equal(info.id.start_time, 987654321);
    assert_int_equal(info.ppid, 4000);
    assert_int_equal(info.sid, 4242);
    assert_true(info.has_tty);
    assert_false(info.dead);
    assert_false(info.kernel);
    assert_string_equal(info.comm, "bash");
}

static void processor_is_told_where_the_line_goes_so_far(void **state G_GNUC_UNUSED)
{
    static const char start[] = "12 (a) S 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5";
    static const struct {
        const char *rest;
        int cpu;
    } rows[] = {
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17 63 0 41\n", 63},
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17 0", 0},
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17 ", -1},
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17\n", -1},
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17 -1 0\n", -1},
        {" 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 17 9999999999 0\n", -1},
        {"\n", -1},
        {"", -1},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *line = g_strconcat(start, rows[i].rest, NULL);
        ProcessInfo info = {0};

        assert_true(process_info_parse_stat(line, &info));
        assert_int_equal(info.cpu, rows[i].cpu);
    }
}

static void comm_may_hold_blanks_and_parentheses(void **state G_GNUC_UNUSED)
{
    static const char *const comms[] = {"tmux: server", ") R 1 (", "a) S 1 1 1", "(((",
                                        ")))",          "",        " ",          "new\nline"};

    for (guint i = 0; i < G_N_ELEMENTS(comms); i++) {
        g_autofree char *line = g_strdup_printf("12 (%s) S 34 56 78" TAIL, comms[i]);
        ProcessInfo info = {0};

        assert_true(process_info_parse_stat(line, &info));
        assert_string_equal(info.comm, comms[i]);
        assert_int_equal(info.ppid, 34);
        assert_int_equal(info.sid, 78);
    }
}

static void comm_longer_than_the_kernels_is_cut(void **state G_GNUC_UNUSED)
{
    ProcessInfo info = {0};

    assert_true(process_info_parse_stat("12 (kworker/u16:3-events_unbound) S 2 0 0" TAIL, &info));
    assert_string_equal(info.comm, "kworker/u16:3-e");
}

static void state_and_threads_say_who_is_dead(void **state G_GNUC_UNUSED)
{
    static const struct {
        const char *line;
        gboolean dead;
    } rows[] = {
        {"12 (a) Z 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 0 0", TRUE},
        {"12 (a) Z 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 3 0 5 0 0", FALSE}, /* two threads live on */
        {"12 (a) X 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 0 0", TRUE},
        {"12 (a) x 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 0 0", TRUE},
        {"12 (a) T 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 0 0", FALSE},
        {"12 (a) D 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 -20 0 1 0 5 0 0", FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        ProcessInfo info = {0};

        assert_true(process_info_parse_stat(rows[i].line, &info));
        assert_int_equal(info.dead, rows[i].dead);
        assert_false(info.has_tty);
    }
}

static void kernel_thread_is_known_by_its_flag(void **state G_GNUC_UNUSED)
{
    ProcessInfo info = {0};

    assert_true(process_info_parse_stat(
        "9 (kswapd0) S 2 0 0 0 -1 2238528 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", &info));
    assert_true(info.kernel);
}

static void other_lines_are_refused(void **state G_GNUC_UNUSED)
{
    static const char line[] = "4242 (bash) S 4000 4242 4242" TAIL;
    const char *start_time = strstr(line, "987654321");

    for (gsize n = 0; n <= (gsize)(start_time - line); n++) {
        g_autofree char *torn = g_strndup(line, n);

        expect_garbage(torn);
    }
    expect_garbage("-1 (bash) S 4000 4242 4242" TAIL);
    expect_garbage("0 (bash) S 4000 4242 4242" TAIL);
    expect_garbage("99999999999 (bash) S 4000 4242 4242" TAIL);
    expect_garbage("4242 bash S 4000 4242 4242" TAIL);
    expect_garbage("4242 (bash S 4000 4242 4242" TAIL);
    expect_garbage("4242 )bash( S 4000 4242 4242" TAIL);
    expect_garbage("4242 (bash)S 4000 4242 4242" TAIL);
    expect_garbage("4242 (bash) 1 4000 4242 4242" TAIL);
    expect_garbage("4242 (bash) S x 4242 4242" TAIL);
    expect_garbage("4242 (bash) S 99999999999 4242 4242" TAIL);
    expect_garbage("4242 (bash) S -1 4242 4242" TAIL);
    expect_garbage("4242 (bash) S  4000 4242 4242" TAIL);
}

/* --- the process table ------------------------------------------------------------------------ */

typedef struct World {
    FakeProcesses *fake;
    ScriptedTable scripted;
    ProcessTable *table;
} World;

static int set_up(void **state)
{
    World *world = g_new0(World, 1);

    world->fake = fake_processes_new();
    scripted_table_init(&world->scripted, fake_processes_table(world->fake));
    world->table = &world->scripted.base;
    fake_processes_add(world->fake, 100, 1, "shell");
    fake_processes_add(world->fake, 110, 100, "make");
    fake_processes_add(world->fake, 111, 110, "cc");
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    World *world = *state;

    fake_processes_free(world->fake);
    g_free(world);
    return 0;
}

static ProcessInfo info_of(World *world, pid_t pid)
{
    ProcessInfo info;

    assert_int_equal(world->table->ops->read(world->table, pid, &info), 0);
    return info;
}

static ProcessLink link_of(World *world, pid_t pid)
{
    ProcessLink link;

    assert_int_equal(process_link_open(world->table, pid, &link), 0);
    return link;
}

static void only_this_very_process_is_alive(void **state)
{
    World *world = *state;
    ProcessId id = fake_processes_id(world->fake, 110);
    ProcessId nobody = {0};

    assert_true(process_is_alive(world->table, &id));
    assert_false(process_is_alive(world->table, &nobody));
    fake_processes_kill(world->fake, 110, FALSE);
    assert_false(process_is_alive(world->table, &id));
    fake_processes_kill(world->fake, 110, TRUE);
    assert_false(process_is_alive(world->table, &id));
    fake_processes_add(world->fake, 110, 1, "make");
    assert_false(process_is_alive(world->table, &id));
}

static void descent_is_by_identity(void **state)
{
    World *world = *state;
    ProcessId shell = fake_processes_id(world->fake, 100);
    ProcessId other = {.pid = 100, .start_time = shell.start_time + 100};
    ProcessId cc = fake_processes_id(world->fake, 111);

    assert_true(process_descends_from(world->table, 111, &shell));
    assert_true(process_descends_from(world->table, 100, &shell));
    assert_false(process_descends_from(world->table, 111, &other));
    assert_false(process_descends_from(world->table, 100, &cc));
    assert_false(process_descends_from(world->table, 0, &shell));
    assert_false(process_descends_from(world->table, 4711, &shell));
}

static void ring_of_parents_is_left(void **state)
{
    World *world = *state;
    ProcessId nobody = {.pid = 4711, .start_time = 1};

    fake_processes_reparent(world->fake, 100, 111); /* no kernel shows this; a fault might */
    assert_false(process_descends_from(world->table, 111, &nobody));
}

static void kill_shell(gpointer data)
{
    World *world = data;

    fake_processes_kill(world->fake, 110, TRUE);
    fake_processes_add(world->fake, 110, 1, "stranger");
}

/* The parent is read, dies, and its pid is reused before the child is asked again. */
static void parent_that_dies_while_it_is_read_is_not_the_parent(void **state)
{
    World *world = *state;
    ProcessLink child = link_of(world, 111);
    ProcessLink parent;

    scripted_table_after_read(&world->scripted, 110, kill_shell, world);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), 0);
    assert_int_equal(parent.info.id.pid, 1);
    assert_int_equal(child.info.ppid, 1);
    process_link_release(world->table, &child);
    process_link_release(world->table, &parent);
    assert_int_equal(fake_processes_held(world->fake), 0);
}

/* The pid of the parent is reused before it is read at all. */
static void pid_of_the_parent_that_is_reused_is_not_the_parent(void **state)
{
    World *world = *state;
    ProcessLink child = link_of(world, 111);
    ProcessLink parent;

    kill_shell(world);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), 0);
    assert_int_equal(parent.info.id.pid, 1);
}

static void child_that_is_gone_has_no_parent(void **state)
{
    World *world = *state;
    ProcessLink child = link_of(world, 111);
    ProcessLink parent;

    fake_processes_kill(world->fake, 111, TRUE);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), -ECHILD);
    fake_processes_add(world->fake, 111, 110, "cc");
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), -ECHILD);
    assert_int_equal(fake_processes_held(world->fake), 1);
}

static void dead_process_is_not_opened(void **state)
{
    World *world = *state;
    ProcessLink link;

    fake_processes_kill(world->fake, 111, FALSE);
    assert_int_equal(process_link_open(world->table, 111, &link), -ESRCH);
    fake_processes_kill(world->fake, 111, TRUE);
    assert_int_equal(process_link_open(world->table, 111, &link), -ESRCH);
    assert_int_equal(fake_processes_held(world->fake), 0);
}

static void process_that_dies_while_it_is_read_is_not_opened(void **state)
{
    World *world = *state;
    ProcessLink link;

    scripted_table_after_read(&world->scripted, 110, kill_shell, world);
    assert_int_equal(process_link_open(world->table, 110, &link), -ESRCH);
    assert_int_equal(fake_processes_held(world->fake), 0);
}

static void parent_that_cannot_be_read_is_an_error(void **state)
{
    World *world = *state;
    ProcessLink child = link_of(world, 111);
    ProcessLink parent;

    fake_processes_hide(world->fake, 110);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), -EACCES);
    child = link_of(world, 1);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), -ESRCH);
    assert_int_equal(fake_processes_held(world->fake), 2);
}

static void move_between_parents(gpointer data)
{
    World *world = data;
    pid_t next = info_of(world, 111).ppid == 110 ? 100 : 110;

    fake_processes_reparent(world->fake, 111, next);
    scripted_table_after_read(&world->scripted, next, move_between_parents, world);
}

static void child_that_never_keeps_a_parent_is_given_up(void **state)
{
    World *world = *state;
    ProcessLink child = link_of(world, 111);
    ProcessLink parent;

    scripted_table_after_read(&world->scripted, 110, move_between_parents, world);
    assert_int_equal(process_link_open_parent(world->table, &child, &parent), -EAGAIN);
    assert_in_range(world->scripted.reads, 4, 100);
    assert_int_equal(fake_processes_held(world->fake), 1);
}

/* --- the machine's own ------------------------------------------------------------------------ */

static void own_parent_and_terminal_session_are_told(void **state G_GNUC_UNUSED)
{
    g_autoptr(ProcessTable) table = process_table_new_proc(NULL);
    int hold = table->ops->hold(table, getpid());
    ProcessInfo info;
    pid_t ppid, sid;

    assert_true(hold >= 0);
    assert_int_equal(table->ops->parent(table, hold, getpid(), &ppid), 0);
    assert_int_equal(ppid, getppid());
    assert_int_equal(table->ops->terminal_session(table, getpid(), &sid), 0);
    assert_int_equal(sid, getsid(0));
    assert_int_equal(table->ops->read(table, getpid(), &info), 0);
    assert_int_equal(info.ppid, ppid);
    assert_int_equal(info.sid, sid);
    assert_int_equal(table->ops->watch(table, hold, 7), 0);
    assert_false(table->ops->has_ended(table, hold));
    table->ops->unwatch(table, hold);
}

static void comm_is_as_it_is_now(void **state G_GNUC_UNUSED)
{
    g_autoptr(ProcessTable) table = process_table_new_proc(NULL);
    char comm[PROCESS_COMM_SIZE];

    prctl(PR_SET_NAME, "one (two)\n");
    assert_int_equal(table->ops->read_comm(table, getpid(), comm), 0);
    assert_string_equal(comm, "one (two)\n");
    prctl(PR_SET_NAME, "fifteen letters and more");
    assert_int_equal(table->ops->read_comm(table, getpid(), comm), 0);
    assert_string_equal(comm, "fifteen letters");
    assert_int_equal(table->ops->read_comm(table, G_MAXINT32, comm), -ESRCH);
}

static void *hold_this_thread(void *data)
{
    ProcessTable *table = data;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    pid_t pid = 0;

    if (table->ops->hold(table, tid) != -ESRCH || table->ops->leader(table, tid, &pid) < 0)
        return NULL;
    return GINT_TO_POINTER(pid);
}

static void thread_is_not_held_but_led_to_its_process(void **state G_GNUC_UNUSED)
{
    g_autoptr(ProcessTable) table = process_table_new_proc(NULL);
    GThread *thread = g_thread_new("thread", hold_this_thread, table);

    assert_int_equal(GPOINTER_TO_INT(g_thread_join(thread)), getpid());
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_line_is_parsed),
        cmocka_unit_test(processor_is_told_where_the_line_goes_so_far),
        cmocka_unit_test(comm_may_hold_blanks_and_parentheses),
        cmocka_unit_test(comm_longer_than_the_kernels_is_cut),
        cmocka_unit_test(state_and_threads_say_who_is_dead),
        cmocka_unit_test(kernel_thread_is_known_by_its_flag),
        cmocka_unit_test(other_lines_are_refused),
        CASE(only_this_very_process_is_alive),
        CASE(descent_is_by_identity),
        CASE(ring_of_parents_is_left),
        CASE(parent_that_dies_while_it_is_read_is_not_the_parent),
        CASE(pid_of_the_parent_that_is_reused_is_not_the_parent),
        CASE(child_that_is_gone_has_no_parent),
        CASE(dead_process_is_not_opened),
        CASE(process_that_dies_while_it_is_read_is_not_opened),
        CASE(parent_that_cannot_be_read_is_an_error),
        CASE(child_that_never_keeps_a_parent_is_given_up),
        cmocka_unit_test(own_parent_and_terminal_session_are_told),
        cmocka_unit_test(comm_is_as_it_is_now),
        cmocka_unit_test(thread_is_not_held_but_led_to_its_process),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who a caller counts as on a real mount: threads, children, processes that daemonise, reused pids,
 * and registrations that outlive the daemon.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
    pid_t other; /* 0, or a process that the test has to end */
} Stage;

static int set_up_with(void **state, gboolean in_place)
{
    Stage *stage = g_new0(Stage, 1);

    stage->scene = scene_new(in_place);
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    *state = stage;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, FALSE);
}

static int set_up_in_place(void **state)
{
    return set_up_with(state, TRUE);
}

static void end_other(Stage *stage)
{
    if (stage->other > 0)
        kill(stage->other, SIGKILL);
    stage->other = 0;
}

static int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean healthy;

    end_other(stage);
    healthy = scene_free(stage->scene);
    g_free(stage);
    return healthy ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

static gint64 number(Stage *stage, const char *name)
{
    g_autofree char *value = scene_attribute(stage->scene, name);

    return value ? g_ascii_strtoll(value, NULL, 10) : -1;
}

static void expect_holder(Stage *stage, Agent *agent, gint64 epoch)
{
    assert_int_equal(number(stage, "holder_pid"), agent_pid(agent));
    assert_int_equal(number(stage, "epoch"), epoch);
}

/* --- what agents do --------------------------------------------------------------------------- */

typedef struct Kept {
    pid_t child;
    int go_fd; /* a byte through it makes the child go on */
} Kept;

static void *touch_in_thread(void *data)
{
    return GINT_TO_POINTER(task_touch(NULL, data));
}

static int task_touch_from_thread(void *state G_GNUC_UNUSED, const char *path)
{
    g_autofree char *name = g_strdup(path);
    pthread_t thread;
    void *outcome;
    int r = -pthread_create(&thread, NULL, touch_in_thread, name);

    if (r == 0)
        pthread_join(thread, &outcome);
    return r == 0 ? GPOINTER_TO_INT(outcome) : r;
}

static int wait_for_exit(pid_t pid)
{
    int status;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -ECHILD;
    return -WEXITSTATUS(status);
}

static int task_touch_from_setsid_child(void *state G_GNUC_UNUSED, const char *path)
{
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        _exit(-task_touch(NULL, path));
    }
    return wait_for_exit(pid);
}

/* A grandchild below init that changes the file. `known`: the process between has done so before
 * it, so that its session is resolved while the tree still stands. */
static int touch_from_daemon(const char *path, gboolean known)
{
    int outcome[2];
    int r = -EIO;
    pid_t between;

    if (pipe2(outcome, O_CLOEXEC) != 0)
        return -errno;
    between = fork();
    if (between == 0) {
        pid_t parent = getpid();

        setsid();
        if (known && task_touch(NULL, path) != 0)
            _exit(1);
        if (fork() == 0) {
            while (getppid() == parent)
                g_usleep(1000);
            r = task_touch(NULL, path);
            _exit(write(outcome[1], &r, sizeof r) != (ssize_t)sizeof r);
        }
        _exit(0);
    }
    close(outcome[1]);
    if (wait_for_exit(between) != 0 || read(outcome[0], &r, sizeof r) != (ssize_t)sizeof r)
        r = -EIO;
    close(outcome[0]);
    return r;
}

static int task_touch_from_daemon(void *state G_GNUC_UNUSED, const char *path)
{
    return touch_from_daemon(path, FALSE);
}

static int task_touch_from_known_daemon(void *state G_GNUC_UNUSED, const char *path)
{
    return touch_from_daemon(path, TRUE);
}

/* A child that changes the file and stays; its pid is returned. */
static int task_leave_child(void *state G_GNUC_UNUSED, const char *path)
{
    int ready[2];
    int r = -EIO;
    pid_t pid;

    if (pipe2(ready, O_CLOEXEC) != 0)
        return -errno;
    pid = fork();
    if (pid == 0) {
        r = task_touch(NULL, path);
        if (write(ready[1], &r, sizeof r) == (ssize_t)sizeof r)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    if (read(ready[0], &r, sizeof r) != (ssize_t)sizeof r)
        r = -EIO;
    close(ready[0]);
    return r == 0 ? pid : r;
}

static pthread_t leader;

static void *touch_without_leader(void *data)
{
    int *fds = data;
    char byte;
    int r;

    pthread_join(leader, NULL);
    while (read(fds[0], &byte, 1) == 1) {
        r = task_touch(NULL, "a");
        if (write(fds[1], &r, sizeof r) != (ssize_t)sizeof r)
            break;
    }
    _exit(0);
}

/* --- the tree --------------------------------------------------------------------------------- */

static void thread_belongs_to_its_process(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch_from_thread, "a"), 0, "from a thread");
    expect_holder(stage, stage->alice, 1);
    expect(agent_do(stage->alice, task_touch, "a"), 0, "from the process");
    expect(agent_do(stage->bob, task_touch_from_thread, "b"), -EROFS, "another's thread");
    expect_holder(stage, stage->alice, 1);
}

static void child_in_a_kernel_session_of_its_own_belongs_to_its_parent(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch_from_setsid_child, "a"), 0, "from a child");
    expect(agent_do(stage->alice, task_touch, "a"), 0, "from the parent");
    assert_int_equal(number(stage, "epoch"), 1);
    expect(agent_do(stage->bob, task_touch_from_setsid_child, "b"), -EROFS, "another's child");
}

static void process_that_daemonised_away_unseen_is_blocked(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    expect(agent_do(stage->alice, task_touch_from_daemon, "a"), -EROFS, "from the daemonised one");
    expect_holder(stage, stage->alice, 1);
}

static void process_that_was_resolved_before_it_daemonised_stays(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    /* the new process is the grandchild; what is known of it is its dead parent */
    (void)agent_do(stage->alice, task_touch_from_known_daemon, "a");
    expect_holder(stage, stage->alice, 1);
    expect(agent_do(stage->bob, task_touch_from_known_daemon, "b"), -EIO, "the blocked one's");
}

/* --- ends ------------------------------------------------------------------------------------- */

static void killed_holder_is_free_within_a_second(void **state)
{
    Stage *stage = *state;
    gint64 killed_us;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    killed_us = g_get_monotonic_time();
    agent_kill(stage->alice);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    assert_in_range(g_get_monotonic_time() - killed_us, 0, G_USEC_PER_SEC);
}

static void session_lives_as_long_as_the_last_process_known_of_it(void **state)
{
    Stage *stage = *state;
    gint64 end_us;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    stage->other = agent_do(stage->alice, task_leave_child, "a");
    assert_true(stage->other > 0);
    agent_kill(stage->alice);
    end_us = g_get_monotonic_time() + G_USEC_PER_SEC;
    while (g_get_monotonic_time() < end_us) {
        expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "while the child lives");
        g_usleep(20000);
    }
    assert_int_equal(number(stage, "epoch"), 1);
    end_other(stage);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "once it is dead");
    expect_holder(stage, stage->bob, 2);
}

/* A thread group whose leader has ended shows as a zombie, and is none. */
static void process_whose_first_thread_ended_still_holds(void **state)
{
    Stage *stage = *state;
    int go[2], outcome[2];
    int fds[2];
    gint64 end_us;
    pid_t between;
    int r = -EIO;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    assert_int_equal(pipe2(outcome, O_CLOEXEC), 0);
    fds[0] = go[0];
    fds[1] = outcome[1];
    between = fork();
    if (between == 0) {
        pthread_t thread;
        pid_t pid;

        setsid();
        pid = fork();
        if (pid != 0)
            _exit(0);
        pid = getpid();
        leader = pthread_self();
        if (chdir(stage->scene->mountpoint) != 0 || write(fds[1], &pid, sizeof pid) < 0 ||
            pthread_create(&thread, NULL, touch_without_leader, fds) != 0)
            _exit(1);
        close(go[1]);
        pthread_exit(NULL);
    }
    assert_int_equal(waitpid(between, NULL, 0), between);
    close(outcome[1]);
    close(go[0]);
    assert_int_equal(read(outcome[0], &stage->other, sizeof stage->other), sizeof stage->other);
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(read(outcome[0], &r, sizeof r), sizeof r);
    expect(r, 0, "change by its second thread");
    assert_int_equal(number(stage, "holder_pid"), stage->other);
    end_us = g_get_monotonic_time() + G_USEC_PER_SEC;
    while (g_get_monotonic_time() < end_us) {
        expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
        g_usleep(20000);
    }
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(read(outcome[0], &r, sizeof r), sizeof r);
    expect(r, 0, "its next change");
    assert_int_equal(number(stage, "epoch"), 1);
    close(go[1]);
    close(outcome[0]);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
}

/* --- reused pids ------------------------------------------------------------------------------ */

static gboolean set_last_pid(pid_t pid)
{
    g_autofree char *text = g_strdup_printf("%d", (int)pid);
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    gboolean done;

    if (fd < 0)
        return FALSE;
    done = write(fd, text, strlen(text)) > 0;
    close(fd);
    return done;
}

/* An agent of this pid. The system may take the pid first: then once more, with a limit. */
static Agent *agent_of_pid(Stage *stage, pid_t pid)
{
    for (int i = 0; i < 200; i++) {
        Agent *agent;

        if (!set_last_pid(pid - 2)) /* the process between is pid - 1 */
            fail_msg("a reused pid cannot be forced: ns_last_pid: %s", g_strerror(errno));
        agent = scene_add_agent(stage->scene);
        if (agent_pid(agent) == pid)
            return agent;
        agent_kill(agent);
    }
    fail_msg("no process got the pid %d again", (int)pid);
    return NULL;
}

static void process_with_the_pid_of_a_dead_holder_is_another(void **state)
{
    Stage *stage = *state;
    Agent *twin;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    agent_kill(stage->alice);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    twin = agent_of_pid(stage, agent_pid(stage->alice));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "change");
    expect(agent_do(twin, task_touch, "a"), -EROFS, "the twin's change");
    expect(agent_do(stage->bob, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(twin, task_touch, "a"), 0, "the twin's change");
    expect_holder(stage, twin, 3);
}

static void pid_reused_while_no_daemon_ran_does_not_revive_the_holder(void **state)
{
    Stage *stage = *state;
    g_autofree char *record = NULL;
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    Agent *twin;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    while (!(record = scene_record(stage->scene)) || !strstr(record, "\"epoch\":1,")) {
        assert_true(g_get_monotonic_time() < limit_us);
        g_clear_pointer(&record, g_free);
        g_usleep(5000);
    }
    scene_kill_daemon(stage->scene);
    agent_kill(stage->alice);
    twin = agent_of_pid(stage, agent_pid(stage->alice));
    assert_true(scene_mount(stage->scene, "ttl=1h"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "change");
    expect_holder(stage, stage->bob, 2);
    expect(agent_do(twin, task_touch, "a"), -EROFS, "the twin's change");
}

/* --- leasefs run ------------------------------------------------------------------------------ */

/* Starts `leasefs run --name work` with a shell that changes a file and stays; returns its pid. */
static int task_start_run(void *state G_GNUC_UNUSED, const char *unused G_GNUC_UNUSED)
{
    pid_t pid = fork();

    if (pid == 0) {
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

        dup2(null_fd, STDIN_FILENO);
        dup2(null_fd, STDOUT_FILENO);
        dup2(null_fd, STDERR_FILENO);
        execl(g_getenv("LEASEFS"), "leasefs", "run", "--name", "work", "--", "sh", "-c",
              "echo x >w; while :; do read line <\"$LEASEFS_STATE_DIR/go\" && echo $line >>w; done",
              NULL);
        _exit(127);
    }
    return pid;
}

static gboolean session_touches(Stage *stage)
{
    g_autofree char *fifo = g_build_filename(stage->scene->state_dir, "go", NULL);
    g_autofree char *file = g_build_filename(stage->scene->mountpoint, "w", NULL);
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    int fd = open(fifo, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    gboolean done = FALSE;
    struct stat st = {0};

    if (fd < 0 || stat(file, &st) != 0 || write(fd, "again\n", 6) != 6)
        return FALSE;
    while (!done && g_get_monotonic_time() < limit_us) {
        struct stat now = {0};

        done = stat(file, &now) == 0 && now.st_size > st.st_size;
        g_usleep(5000);
    }
    close(fd);
    return done;
}

static void registration_outlives_the_daemon(void **state)
{
    Stage *stage = *state;
    g_autofree char *fifo = g_build_filename(stage->scene->state_dir, "go", NULL);
    g_autofree char *record = NULL;
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    stage->other = agent_do(stage->alice, task_start_run, NULL);
    assert_true(stage->other > 0);
    assert_true(scene_wait_for(stage->scene, "holder", "work"));
    while (!(record = scene_record(stage->scene)) || !strstr(record, "\"session_id\":\"work\"")) {
        assert_true(g_get_monotonic_time() < limit_us);
        g_clear_pointer(&record, g_free);
        g_usleep(5000);
    }
    scene_kill_daemon(stage->scene);
    assert_true(scene_mount(stage->scene, "ttl=1h"));
    assert_true(scene_wait_for(stage->scene, "holder", "work"));
    assert_int_equal(number(stage, "epoch"), 1);
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    kill(stage->other, SIGTERM);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->bob, task_touch, "b"), 0, "after its end");
}

static void run_holds_what_its_command_changed_until_it_ends(void **state)
{
    Stage *stage = *state;
    g_autofree char *fifo = g_build_filename(stage->scene->state_dir, "go", NULL);

    assert_true(scene_mount(stage->scene, "ttl=1h"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    stage->other = agent_do(stage->alice, task_start_run, NULL);
    assert_true(scene_wait_for(stage->scene, "holder", "work"));
    expect(agent_do(stage->alice, task_touch, "a"), -EROFS, "its starter's change");
    assert_true(session_touches(stage));
    assert_int_equal(number(stage, "epoch"), 1);
    kill(stage->other, SIGTERM);
    assert_true(scene_wait_for(stage->scene, "state", "free"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "after its end");
}

#define CASE(name)          cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_IN_PLACE(name) cmocka_unit_test_setup_teardown(name, set_up_in_place, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(thread_belongs_to_its_process),
        CASE(child_in_a_kernel_session_of_its_own_belongs_to_its_parent),
        CASE(process_that_daemonised_away_unseen_is_blocked),
        CASE(process_that_was_resolved_before_it_daemonised_stays),
        CASE(killed_holder_is_free_within_a_second),
        CASE(session_lives_as_long_as_the_last_process_known_of_it),
        CASE(process_whose_first_thread_ended_still_holds),
        CASE(process_with_the_pid_of_a_dead_holder_is_another),
        CASE_IN_PLACE(pid_reused_while_no_daemon_ran_does_not_revive_the_holder),
        CASE_IN_PLACE(registration_outlives_the_daemon),
        CASE(run_holds_what_its_command_changed_until_it_ends),
    };

    return cmocka_run_group_tests_name("callers", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that hang, and those beside them. A request is made to hang by a lease of fcntl(2) on
 * the file below: the daemon's open waits until the test gives the lease up.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define HANGING 6
#define OTHERS  40
#define LIMIT_S 30

static char *file_in(const char *directory, const char *kind, int i)
{
    return g_strdup_printf("%s/%s%d", directory, kind, i);
}

static int make_leased(Scene *scene, int i)
{
    g_autofree char *path = file_in(scene->backing, "leased", i);
    int fd;

    assert_true(g_file_set_contents(path, "text", 4, NULL));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
    return fd;
}

static pid_t start_reader(Scene *scene, int i)
{
    g_autofree char *path = file_in(scene->mountpoint, "leased", i);
    pid_t pid = fork();

    if (pid == 0) {
        char text[4];
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        _exit(fd >= 0 && read(fd, text, sizeof text) == (ssize_t)sizeof text ? 0 : 1);
    }
    assert_true(pid > 0);
    return pid;
}

/* The kernel tells of an open that waits by the lease that would let it go on. */
static gboolean is_waited_for(int fd)
{
    return fcntl(fd, F_GETLEASE) != F_WRLCK;
}

static void requests_that_hang_keep_no_other_waiting(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    pid_t readers[HANGING];
    int fds[HANGING];

    signal(SIGIO, SIG_IGN); /* how the holder of a lease is told */
    for (int i = 0; i < OTHERS; i++) {
        g_autofree char *path = file_in(scene->backing, "other", i);

        assert_true(g_file_set_contents(path, "text", 4, NULL));
    }
    assert_true(scene_mount(scene, "ttl=1h"));
    alarm(LIMIT_S); /* ends a test that waits for ever */
    for (int i = 0; i < HANGING; i++) {
        fds[i] = make_leased(scene, i);
        readers[i] = start_reader(scene, i);
        while (!is_waited_for(fds[i]))
            g_usleep(1000);
    }
    for (int i = 0; i < OTHERS; i++) {
        g_autofree char *path = file_in(scene->mountpoint, "other", i);
        g_autofree char *text = NULL;

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        assert_string_equal(text, "text");
    }
    for (int i = 0; i < HANGING; i++) {
        int status;

        fcntl(fds[i], F_SETLEASE, F_UNLCK);
        close(fds[i]);
        assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    alarm(0);
    assert_true(scene_free(scene));
}

/* --- reading what is at hand ------------------------------------------------------------------ */

#define LARGE_BYTES (1000 * 1000) /* the last request is large and goes past the end */
#define MOUNTS      20            /* one of which is to be quiet */

static guint count_workers(Scene *scene)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", scene->daemon);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *tid;
    guint n = 0;

    while (dir && (tid = g_dir_read_name(dir))) {
        g_autofree char *comm_path = g_build_filename(path, tid, "comm", NULL);
        g_autofree char *comm = NULL;

        n += g_file_get_contents(comm_path, &comm, NULL, NULL) &&
             strcmp(comm, "leasefs-worker\n") == 0;
    }
    return n;
}

/* Some filesystems, as tmpfs, cannot tell. */
static gboolean can_tell_what_is_cached(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    ssize_t n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);

    assert_true(fd >= 0);
    close(fd);
    return n == 1;
}

/* On a busy machine the lookout may call another thread, too: one mount in which it did not will
 * do. */
static void no_other_thread_is_called_for_what_is_at_hand(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    g_autofree char *bytes = g_strnfill(LARGE_BYTES, 'x');
    g_autofree char *below = g_build_filename(scene->backing, "large", NULL);
    g_autofree char *above = g_build_filename(scene->mountpoint, "large", NULL);
    guint judged = 0;
    gboolean called = TRUE;

    assert_true(g_file_set_contents(below, bytes, LARGE_BYTES, NULL));
    for (int i = 0; i < MOUNTS && called; i++) {
        g_autofree char *read_bytes = NULL;
        gboolean was_alone;
        gsize size;

        assert_true(scene_mount(scene, "ttl=1h"));
        was_alone = count_workers(scene) == 1;
        assert_true(g_file_get_contents(above, &read_bytes, &size, NULL));
        assert_int_equal(size, LARGE_BYTES);
        assert_memory_equal(read_bytes, bytes, size);
        judged += was_alone;
        called = !was_alone || count_workers(scene) > 1;
        assert_int_equal(scene_umount(scene), 0);
    }
    if (!can_tell_what_is_cached(below))
        print_message("# the filesystem below does not tell what is at hand\n");
    else if (judged < MOUNTS / 2)
        print_message("# other threads are there already: nothing can be seen\n");
    else
        assert_false(called);
    assert_true(scene_free(scene));
}

/* --- beside a caller (fs/placement.h) --------------------------------------------------------- */

#define CHANGES 2000
#define QUIET   50 /* tries on a quiet machine, one of which is to succeed */

static int change_often(void *state G_GNUC_UNUSED, const char *path)
{
    for (int i = 0; i < CHANGES; i++) {
        if (chmod(path, i % 2 == 0 ? 0600 : 0644) != 0)
            return -errno;
    }
    return 0;
}

/* Has all processors, twice, until it is killed. */
static pid_t start_load(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        for (guint i = 1; i < 2 * g_get_num_processors(); i++) {
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                break;
            }
        }
        for (;;)
            ;
    }
    if (pid > 0)
        setpgid(pid, pid);
    return pid;
}

static gboolean any_thread_gives_way(pid_t daemon)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)daemon);
    g_autoptr(GDir) tasks = g_dir_open(path, 0, NULL);
    const char *name;

    assert_non_null(tasks);
    while ((name = g_dir_read_name(tasks))) {
        if (sched_getscheduler(atoi(name)) == SCHED_IDLE)
            return TRUE;
    }
    return FALSE;
}

/* A thread that gives way to all of that answers hundreds of times as slowly. */
static void load_starves_no_request(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    g_autofree char *path = file_in(scene->backing, "file", 0);
    Agent *ann;
    pid_t load;

    assert_true(g_file_set_contents(path, "text", 4, NULL));
    assert_true(scene_mount(scene, "ttl=1h"));
    ann = scene_add_agent(scene);
    assert_int_equal(agent_do(ann, change_often, "file0"), 0);
    load = start_load();
    assert_true(load > 0);
    alarm(LIMIT_S);
    assert_int_equal(agent_do(ann, change_often, "file0"), 0);
    alarm(0);
    kill(-load, SIGKILL);
    assert_int_equal(waitpid(load, NULL, 0), load);
    assert_true(scene_free(scene));
}

/* Whether a thread here could, and come back from it. */
static void *try_to_give_way(void *possible)
{
    struct sched_param param = {.sched_priority = 0};

    *(gboolean *)possible = sched_setscheduler(0, SCHED_IDLE, &param) == 0 &&
                            sched_setscheduler(0, SCHED_OTHER, &param) == 0;
    return NULL;
}

/* Nobody but this process wants to run. */
static gboolean machine_is_quiet(void)
{
    g_autofree char *line = NULL;
    int n = 0;

    return g_file_get_contents("/proc/loadavg", &line, NULL, NULL) &&
           sscanf(line, "%*s %*s %*s %d/", &n) == 1 && n <= 1;
}

/* One that asks often is come beside, if the machine has nothing else to do. One with much to do
 * proves nothing: that is said then. */
static void thread_gives_way_to_one_who_asks_often(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    g_autofree char *path = file_in(scene->backing, "file", 0);
    gboolean possible = FALSE, seen = FALSE;
    int n_quiet = 0;
    pthread_t thread;
    Agent *ann;

    assert_int_equal(pthread_create(&thread, NULL, try_to_give_way, &possible), 0);
    pthread_join(thread, NULL);
    possible = possible && g_get_num_processors() > 1;
    assert_true(g_file_set_contents(path, "text", 4, NULL));
    assert_true(scene_mount(scene, "ttl=1h"));
    ann = scene_add_agent(scene);
    for (gint64 limit_us = g_get_monotonic_time() + LIMIT_S * G_USEC_PER_SEC;
         possible && !seen && n_quiet < QUIET && g_get_monotonic_time() < limit_us;) {
        gboolean quiet = machine_is_quiet();

        assert_int_equal(agent_do(ann, change_often, "file0"), 0);
        seen = any_thread_gives_way(scene->daemon);
        n_quiet += quiet && machine_is_quiet();
    }
    assert_true(scene_free(scene));
    if (!seen)
        print_message("no thread was seen to give way: %s\n",
                      possible ? "the machine has much to do" : "none may, or one processor");
    assert_true(seen || n_quiet < QUIET);
}

static void no_thread_gives_way_when_nobody_asks(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    g_autofree char *path = file_in(scene->backing, "file", 0);
    Agent *ann;

    assert_true(g_file_set_contents(path, "text", 4, NULL));
    assert_true(scene_mount(scene, "ttl=1h"));
    ann = scene_add_agent(scene);
    alarm(LIMIT_S);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(agent_do(ann, change_often, "file0"), 0);
        while (any_thread_gives_way(scene->daemon))
            g_usleep(1000);
    }
    alarm(0);
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_hang_keep_no_other_waiting),
        cmocka_unit_test(no_other_thread_is_called_for_what_is_at_hand),
        cmocka_unit_test(load_starves_no_request),
        cmocka_unit_test(thread_gives_way_to_one_who_asks_often),
        cmocka_unit_test(no_thread_gives_way_when_nobody_asks),
    };

    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}

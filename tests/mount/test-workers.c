/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests that hang, and those beside them. A request is made to hang by a lease of fcntl(2) on
 * the file below: the daemon's open waits until the test gives the lease up.
 */
#include "scene.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_hang_keep_no_other_waiting),
    };

    return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemonize.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The first byte of a report. A report is whole when the channel ends. */
#define REPORT_READY  'R'
#define REPORT_FAILED 'F'

#define REPORT_FD 3 /* in the child */

/* A pipe or a lock that the caller happened to have open must not stay open as long as the mount.
 */
static int keep_only(int fd)
{
    if (fd != REPORT_FD && dup3(fd, REPORT_FD, O_CLOEXEC) < 0)
        return -1;
    return (int)syscall(SYS_close_range, REPORT_FD + 1, ~0U, 0);
}

/* 0 or -1 and errno. */
static int redirect(int fd)
{
    autofd null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null_fd < 0)
        return -1;
    return dup2(null_fd, fd) < 0 ? -1 : 0;
}

pid_t daemonize_fork(int *report_fd_out, GError **error)
{
    autofd read_fd = -1;
    autofd write_fd = -1;
    int ends[2];
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot make a pipe: %s",
                    g_strerror(errno));
        return -1;
    }
    read_fd = ends[0];
    write_fd = ends[1];
    child = fork();
    if (child < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot fork: %s",
                    g_strerror(errno));
        return -1;
    }
    if (child > 0) {
        *report_fd_out = fd_steal(&read_fd);
        return child;
    }
    /* What owned the two ends is closed with all the rest. */
    if (setsid() < 0 || keep_only(write_fd) != 0 || redirect(STDIN_FILENO) != 0)
        _exit(1);
    read_fd = -1;
    write_fd = -1;
    *report_fd_out = REPORT_FD;
    return 0;
}

void daemonize_prepare(void)
{
    umask(0);
    signal(SIGPIPE, SIG_IGN);
}

static void report(int report_fd, char kind, const char *text)
{
    g_autofree char *message = g_strdup_printf("%c%s", kind, text);
    const char *at = message;
    gsize left = strlen(message);

    while (left > 0) {
        ssize_t n = write(report_fd, at, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break; /* nobody listens any more */
        at += n;
        left -= (gsize)n;
    }
    close(report_fd);
}

void daemonize_report_ready(int report_fd, const char *text)
{
    if (redirect(STDOUT_FILENO) != 0 || redirect(STDERR_FILENO) != 0)
        g_warning("cannot leave the terminal: %s", g_strerror(errno));
    report(report_fd, REPORT_READY, text);
}

void daemonize_report_failure(int report_fd, const char *message)
{
    report(report_fd, REPORT_FAILED, message);
}

static void set_silent_death(pid_t child, GError **error)
{
    int status = 0;
    pid_t r;

    do {
        r = waitpid(child, &status, 0);
    } while (r < 0 && errno == EINTR);
    if (r == child && WIFSIGNALED(status))
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "the daemon died before it was ready, by signal %d (%s); see why with -f",
                    WTERMSIG(status), g_strsignal(WTERMSIG(status)));
    else
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "the daemon ended before it was ready, with status %d; see why with -f",
                    r == child ? WEXITSTATUS(status) : -1);
}

static void append_all(int fd, GString *text)
{
    char buffer[4096];
    ssize_t n;

    while ((n = read(fd, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            g_string_append_len(text, buffer, n);
    }
}

char *daemonize_wait(pid_t child, int report_fd, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    append_all(report_fd, text);
    if (text->len == 0) {
        set_silent_death(child, error);
        return NULL;
    }
    if (text->str[0] != REPORT_READY) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_FAILED, text->str + 1);
        /* It reported last of all: it ends by itself, and leaves nothing to wait for but that. */
        waitpid(child, NULL, 0);
        return NULL;
    }
    return g_strdup(text->str + 1);
}

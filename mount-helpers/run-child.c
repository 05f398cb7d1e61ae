/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run-child.h"
#include "cmd.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

/*
 * The command shares our process group and terminal. What the terminal sends (^C, ^\, a hangup)
 * reaches it by itself; what is sent to this process alone is passed on. The command decides what
 * it means, and we end when it ends. Stopping (^Z) is left to the kernel: both stop, and both are
 * continued.
 */
static const int passed_on[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT};

int run_exec(char **argv, Signals *signals)
{
    signals_restore(signals);
    execvp(argv[0], argv);
    return errno;
}

static G_NORETURN void exec_command(char **argv, Signals *signals, int report_fd)
{
    int code = run_exec(argv, signals);

    if (write(report_fd, &code, sizeof code) != (ssize_t)sizeof code)
        _exit(EXIT_NOT_EXECUTABLE);
    _exit(run_exec_status(code));
}

/* 0 once the command runs: exec closed the other end. */
static int read_exec_report(int report_fd)
{
    int code = 0;
    ssize_t n;

    do {
        n = read(report_fd, &code, sizeof code);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof code ? code : 0;
}

/* Everything that ended is reaped: orphans come to us, a subreaper. TRUE where the command itself
 * was among it. */
static gboolean reap(pid_t command, int *wait_status_out)
{
    gboolean ended = FALSE;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == command) {
            *wait_status_out = status;
            ended = TRUE;
        }
    }
    return ended;
}

static void pass_on(pid_t command, const struct signalfd_siginfo *info)
{
    for (gsize i = 0; i < G_N_ELEMENTS(passed_on); i++) {
        /* What the kernel sends, it sends to the whole process group. */
        if ((int)info->ssi_signo == passed_on[i] && info->ssi_code != SI_KERNEL)
            kill(command, passed_on[i]);
    }
}

/* The command is reaped only here and in this thread, so its pid is its own until then. */
static void wait_for_command(pid_t command, Signals *signals, int *wait_status_out)
{
    struct pollfd poll_fd = {.fd = signals->fd, .events = POLLIN};
    struct signalfd_siginfo info;

    while (!reap(command, wait_status_out)) {
        poll(&poll_fd, 1, -1);
        while (signals_read(signals, &info))
            pass_on(command, &info);
    }
}

int run_child(char **argv, Signals *signals, int *wait_status_out)
{
    autofd report_read_fd = -1;
    autofd report_write_fd = -1;
    int ends[2];
    pid_t command;
    int code;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    report_read_fd = ends[0];
    report_write_fd = ends[1];
    command = fork();
    if (command < 0)
        return errno;
    if (command == 0)
        exec_command(argv, signals, report_write_fd);
    autofd_clear(&report_write_fd);
    code = read_exec_report(report_read_fd);
    wait_for_command(command, signals, wait_status_out);
    return code;
}

int run_exec_status(int exec_errno)
{
    return exec_errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

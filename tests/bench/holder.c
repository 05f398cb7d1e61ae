/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "holder.h"
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 20000

static const char script[] =
    "cd -- \"$1\" || exit; while read -r line; do : >.held || exit; rm .held; echo; done";

static void run_holder(const char *leasefs, const char *path, int fd) G_GNUC_NORETURN;
static void run_holder(const char *leasefs, const char *path, int fd)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setsid();
    dup2(fd, 0);
    dup2(fd, 1);
    execl(leasefs, leasefs, "run", "--name", "bench-holder", "--workspace", path, "--", "sh", "-c",
          script, "sh", path, NULL);
    _exit(127);
}

gboolean holder_start(Target *target, const char *leasefs, GError **error)
{
    int fds[2];
    char answer;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return bench_fail_errno(error, "socketpair");
    target->holder = fork();
    if (target->holder == 0)
        run_holder(leasefs, target->path, fds[1]);
    close(fds[1]);
    target->holder_fd = fds[0];
    if (write(fds[0], "\n", 1) != 1 ||
        poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, PATIENCE_MS) != 1 ||
        read(fds[0], &answer, 1) != 1)
        return bench_fail(error, "the other session does not get the lease");
    return TRUE;
}

void holder_stop(Target *target)
{
    if (target->holder_fd >= 0)
        close(target->holder_fd);
    target->holder_fd = -1;
    if (target->holder > 0)
        waitpid(target->holder, NULL, 0);
    target->holder = 0;
}

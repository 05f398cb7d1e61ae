/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bounded.h"
#include "busy.h"
#include "client.h"
#include "cmd.h"
#include "lease-wait.h"
#include "print.h"
#include "unmount.h"
#include "usage.h"
#include "util.h"

#include <errno.h>
#include <gio/gio.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_LIMIT_MS 10000
#define LAZY_LIMIT_MS   2000
#define GRACE_MS        3000
#define END_LIMIT_MS    30000
#define USERS_SHOWN     8

static const Usage usage = {
    .command = "umount",
    .operands = "MOUNTPOINT",
    .summary = "Ends a leasefs mount: flushes, releases the lease, and waits for the daemon to\n"
               "end. Also removes what a killed daemon left behind.",
    .notes = "EXIT STATUS\n"
             "  0  done\n"
             "  1  failed: no leasefs mount, in use, or not this user's\n"
             "  2  wrong usage\n",
    .needed = "MOUNTPOINT",
    .min_operands = 1,
    .max_operands = 1,
};

/* What is asked of a daemon that may hang, in a process of its own. */
typedef struct Farewell {
    const Client *client;
    int answer_fd; /* gets the daemon's pid */
} Farewell;

enum {
    FAREWELL_TOLD,
    FAREWELL_REFUSED,
    FAREWELL_DEAD,
};

static int say_farewell(gpointer data)
{
    const Farewell *farewell = data;
    g_autoptr(MountStatus) status = NULL;
    int code;

    if (leasefs_mount_is_dead(farewell->client->mountpoint))
        return FAREWELL_DEAD;
    status = client_status(farewell->client, NULL, NULL);
    if (status != NULL) {
        gint64 daemon_pid = status->daemon_pid;
        ssize_t written = write(farewell->answer_fd, &daemon_pid, sizeof daemon_pid);

        if (written != (ssize_t)sizeof daemon_pid)
            g_debug("the daemon's pid is not known to the parent");
    }
    /* A read-only mount lets nothing be written: the unmount goes on without being announced. */
    code = client_control(farewell->client, "unmount");
    if (code == EPERM)
        return FAREWELL_REFUSED;
    return code == ENOTCONN || code == ECONNABORTED ? FAREWELL_DEAD : FAREWELL_TOLD;
}

static int fail(const GError *error)
{
    print_failure(usage.command, "%s", error->message);
    return EXIT_FAILED;
}

/* realpath(3), but for a mountpoint whose daemon is dead, where even that may fail. */
static char *resolve(const char *path, GError **error)
{
    g_autofree char *parent = NULL;
    g_autofree char *last = NULL;
    char resolved[PATH_MAX];
    int code;

    if (realpath(path, resolved) != NULL)
        return g_strdup(resolved);
    code = errno;
    if (code == ENOTCONN || code == EACCES) {
        parent = g_path_get_dirname(path);
        last = g_path_get_basename(path);
        if (strcmp(last, ".") != 0 && strcmp(last, "..") != 0 && realpath(parent, resolved) != NULL)
            return g_build_filename(resolved, last, NULL);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s: %s", path, g_strerror(code));
    return NULL;
}

/* Borrowed from mounts. NULL and an error that says what to type instead. */
static const LeasefsMount *find_mount(GPtrArray *mounts, const char *path, GError **error)
{
    const LeasefsMount *around;

    for (guint i = 0; i < mounts->len; i++) {
        const LeasefsMount *mount = mounts->pdata[i];

        if (strcmp(mount->mountpoint, path) == 0)
            return mount;
    }
    for (guint i = 0; i < mounts->len; i++) {
        const LeasefsMount *mount = mounts->pdata[i];
        g_autofree char *quoted = print_quote_path(mount->mountpoint);

        if (strcmp(mount->workspace, path) == 0) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_MOUNTED,
                        "%s is mounted elsewhere; end that with: leasefs umount %s", path, quoted);
            return NULL;
        }
    }
    around = leasefs_mounts_containing(mounts, path);
    if (around != NULL) {
        g_autofree char *quoted = print_quote_path(around->mountpoint);

        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_MOUNTED,
                    "%s is no mountpoint, it lies in a mount; end that with: leasefs umount %s",
                    path, quoted);
    } else {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_MOUNTED,
                    "%s is no leasefs mount; what is mounted stands in /proc/self/mountinfo", path);
    }
    return NULL;
}

static int fail_busy(const LeasefsMount *mount, pid_t daemon)
{
    g_autoptr(GPtrArray) users = busy_find(mount, daemon, USERS_SHOWN);
    g_autofree char *quoted = print_quote_path(mount->mountpoint);
    g_autofree char *list = NULL;

    if (users->len == 0)
        g_ptr_array_add(users,
                        g_strdup(geteuid() == 0 ? "a process that has just ended, or by the kernel "
                                                  "(a loop device, a swap file)"
                                                : "processes that this user cannot see"));
    g_ptr_array_add(users, NULL);
    list = g_strjoinv(", ", (char **)users->pdata);
    print_failure(
        usage.command,
        "%s is in use by %s; end them or leave the directory, or detach it: leasefs umount "
        "--lazy %s",
        mount->mountpoint, list, quoted);
    return EXIT_FAILED;
}

/* A mount namespace that was copied (a container, a service of its own) may still have the mount,
 * where nobody can end it. The workspace would stay taken: so the daemon is told to end for all. */
static int wait_for_daemon(const LeasefsMount *mount, pid_t daemon, int pidfd)
{
    if (pidfd < 0 || bounded_wait_end(pidfd, GRACE_MS))
        return EXIT_DONE;
    if (bounded_tell_to_end(pidfd) && bounded_wait_end(pidfd, END_LIMIT_MS)) {
        print_failure(usage.command,
                      "%s was in use in another mount namespace; it has ended there, too",
                      mount->mountpoint);
        return EXIT_DONE;
    }
    print_failure(usage.command,
                  "%s is unmounted, but its daemon (pid %d) has not ended within %d s; look at its "
                  "log, or end it with: kill %d",
                  mount->mountpoint, (int)daemon, END_LIMIT_MS / 1000, (int)daemon);
    return EXIT_FAILED;
}

/* Tells the daemon and learns its pid: 0 where it is not known, or dead (*dead_out). FALSE: the
 * error was printed. */
static gboolean announce(const LeasefsMount *mount, gboolean lazy, pid_t *daemon_out,
                         gboolean *dead_out)
{
    g_autoptr(Client) client = client_new_for_mount(mount);
    g_autofree char *quoted = print_quote_path(mount->mountpoint);
    autofd answer_read_fd = -1;
    autofd answer_write_fd = -1;
    Farewell farewell = {.client = client};
    gint64 daemon_pid = 0;
    int ends[2];
    int result;

    if (pipe(ends) != 0) {
        print_failure(usage.command, "cannot make a pipe: %s", g_strerror(errno));
        return FALSE;
    }
    answer_read_fd = ends[0];
    answer_write_fd = ends[1];
    farewell.answer_fd = answer_write_fd;
    result = bounded_call(say_farewell, &farewell, lazy ? LAZY_LIMIT_MS : ANSWER_LIMIT_MS);
    if (result == FAREWELL_REFUSED) {
        print_failure(usage.command, "%s belongs to another user; ask its owner or root",
                      mount->mountpoint);
        return FALSE;
    }
    if (result < 0 && !lazy) {
        print_failure(usage.command,
                      "the daemon of %s does not answer; detach it with: leasefs umount --lazy %s",
                      mount->mountpoint, quoted);
        return FALSE;
    }
    autofd_clear(&answer_write_fd);
    *daemon_out = 0;
    *dead_out = result == FAREWELL_DEAD;
    if (result >= 0 &&
        read(answer_read_fd, &daemon_pid, sizeof daemon_pid) == (ssize_t)sizeof daemon_pid)
        *daemon_out = (pid_t)daemon_pid;
    return TRUE;
}

static int end_mount(const LeasefsMount *mount, gboolean lazy)
{
    g_autoptr(GError) error = NULL;
    gboolean dead = FALSE;
    autofd pidfd = -1;
    pid_t daemon = 0;

    if (!announce(mount, lazy, &daemon, &dead))
        return EXIT_FAILED;
    /* Opened while the daemon is known to live: the pid cannot be another's by then. */
    if (daemon > 0)
        pidfd = bounded_open_pidfd(daemon);
    /* A working directory of our own in the mount would keep it. */
    if (chdir("/") != 0)
        g_debug("cannot leave the working directory: %s", g_strerror(errno));
    if (!unmount_path(mount->mountpoint, lazy || dead, &error)) {
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_BUSY))
            return fail_busy(mount, daemon);
        return fail(error);
    }
    /* A bind mount is only one more look at it, and a lazy unmount ends when its users do. */
    if (lazy || dead || strcmp(mount->root, "/") != 0)
        return EXIT_DONE;
    return wait_for_daemon(mount, daemon, pidfd);
}

int cmd_umount(int argc, char **argv)
{
    g_autoptr(GPtrArray) mounts = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    g_autofree char *path = NULL;
    const LeasefsMount *mount;
    gboolean lazy = FALSE;
    int status;
    const GOptionEntry entries[] = {
        {"lazy", 'l', 0, G_OPTION_ARG_NONE, &lazy,
         "Detach it now; it ends when nobody uses it any more", NULL},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &status))
        return status;
    path = resolve(operands[0], &error);
    if (path == NULL)
        return fail(error);
    mounts = leasefs_mounts_read(&error);
    if (mounts == NULL)
        return fail(error);
    mount = find_mount(mounts, path, &error);
    if (mount == NULL)
        return fail(error);
    return end_mount(mount, lazy);
}

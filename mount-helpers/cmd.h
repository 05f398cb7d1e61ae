/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The subcommands, and what their exit status means.
 */

typedef enum ExitStatus {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_HELD = 75,            /* EX_TEMPFAIL of sysexits.h: the lease is held by another session */
    EXIT_NOT_EXECUTABLE = 126, /* as env(1) */
    EXIT_NOT_FOUND = 127,
} ExitStatus;

/* argv[0] is the subcommand's name. The result is what the program exits with. */
int cmd_acquire(int argc, char **argv);
int cmd_mount(int argc, char **argv);
int cmd_refresh(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_umount(int argc, char **argv);
int cmd_whoami(int argc, char **argv);

/* Called as mount.leasefs: the arguments and exit status of a mount(8) helper. */
int cmd_mount_helper(int argc, char **argv);

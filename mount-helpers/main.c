/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cmd.h"
#include "log-output.h"
#include "print.h"

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

typedef struct Command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *synopsis; /* NULL: not shown in the help */
    const char *summary;
} Command;

static const Command commands[] = {
    {"mount", cmd_mount, "WORKSPACE [MOUNTPOINT]", "protect a workspace (in place by default)"},
    {"umount", cmd_umount, "MOUNTPOINT", "end the mount"},
    {"run", cmd_run, "-- COMMAND...", "run a command as a session of its own"},
    {"status", cmd_status, "[PATH]", "who holds the lease, and may I write"},
    {"whoami", cmd_whoami, "[PATH]", "which session am I, and why"},
    {"acquire", cmd_acquire, "[PATH]", "take the lease before writing, or wait for it"},
    {"refresh", cmd_refresh, "[PATH]", "renew the lease that this session holds"},
    {"release", cmd_release, "[PATH]", "give the lease back"},
};

static void print_help(void)
{
    fputs("Usage: leasefs COMMAND [OPTION]... [ARGUMENT]...\n"
          "One session at a time writes in a workspace; the others read.\n\n"
          "Commands:\n",
          stdout);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].synopsis != NULL)
            printf("  %-8s %-22s %s\n", commands[i].name, commands[i].synopsis,
                   commands[i].summary);
    }
    fputs("\n`leasefs COMMAND --help` tells more.\n\n"
          "EXIT STATUS\n"
          "  0   done\n"
          "  1   failed\n"
          "  2   wrong usage\n"
          "  75  the lease is held by another session\n",
          stdout);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_failure(NULL, "COMMAND is missing; see: leasefs --help");
        return EXIT_USAGE;
    }
    /* For the type fuse.leasefs, as the kernel names it, mount(8) finds the helper mount.fuse3,
     * which runs this program with what a mount helper is given. */
    if (argv[1][0] == '/')
        return cmd_mount_helper(argc, argv);
    for (gsize i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help();
        return EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("leasefs " LEASEFS_VERSION);
        return EXIT_DONE;
    }
    print_failure(NULL, "%s: no such %s; see: leasefs --help", argv[1],
                  argv[1][0] == '-' ? "option" : "command");
    return EXIT_USAGE;
}

/* A descriptor opened later must never become standard output by accident. */
static gboolean open_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return FALSE;
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    g_autofree char *called = NULL;
    int status;

    if (!open_standard_streams())
        return EXIT_FAILED;
    g_set_prgname("leasefs");
    log_output_start();
    called = g_path_get_basename(argc > 0 ? argv[0] : "leasefs");
    if (strcmp(called, "mount.leasefs") == 0 || strcmp(called, "mount.fuse.leasefs") == 0)
        status = cmd_mount_helper(argc, argv);
    else
        status = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        print_failure(NULL, "cannot write to standard output");
        return status == EXIT_DONE ? EXIT_FAILED : status;
    }
    return status;
}

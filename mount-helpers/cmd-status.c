/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client.h"
#include "cmd.h"
#include "print.h"
#include "status-text.h"
#include "usage.h"

#include <stdio.h>

static const Usage usage = {
    .command = "status",
    .operands = "[PATH]",
    .summary = "Tells who holds the lease of the mount that PATH (default: the working\n"
               "directory) lies in, for how long, and whether the caller may write.",
    .notes = "EXIT STATUS\n"
             "  0  done, whoever holds the lease\n"
             "  1  failed: PATH is in no leasefs mount, or the mount does not answer\n"
             "  2  wrong usage\n",
    .max_operands = 1,
};

int cmd_status(int argc, char **argv)
{
    g_autoptr(GTimeZone) zone = g_time_zone_new_local();
    g_autoptr(MountStatus) status = NULL;
    g_autoptr(Client) client = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) operands = NULL;
    g_autofree char *text = NULL;
    gboolean json = FALSE;
    int exit_status;
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &json, "Print the mount's status document", NULL},
        G_OPTION_ENTRY_NULL,
    };

    (void)argc;
    if (!usage_parse(&usage, entries, argv, &operands, &exit_status))
        return exit_status;
    client = client_new(operands[0] != NULL ? operands[0] : ".", &error);
    if (client != NULL)
        status = client_status(client, &text, &error);
    if (status == NULL) {
        print_failure(usage.command, "%s", error->message);
        return EXIT_FAILED;
    }
    if (json) {
        puts(text);
    } else {
        g_autofree char *shown = status_text_format(status, g_get_real_time() / 1000, zone);

        fputs(shown, stdout);
    }
    return EXIT_DONE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-name.h"

#include <glib.h>
#include <string.h>

#define NAME_MAX_CHARACTERS 64

/* `make.4` with pid 12 would read `make.4.12`, the form of an unnamed session's id. */
static void avoid_id_form(char *base)
{
    char *dot = strrchr(base, '.');

    if (dot != NULL && dot[1] != '\0' && strspn(dot + 1, G_CSET_DIGITS) == strlen(dot + 1))
        *dot = '_';
}

char *session_name_default(const char *command, pid_t pid)
{
    g_autofree char *base = g_path_get_basename(command);
    g_autofree char *suffix = g_strdup_printf(".%d", (int)pid);
    gsize space = NAME_MAX_CHARACTERS - strlen(suffix);

    if (strlen(base) > space)
        base[space] = '\0';
    for (char *at = base; *at != '\0'; at++) {
        if (!g_ascii_isalnum(*at) && strchr("._@:-", *at) == NULL)
            *at = '_';
    }
    /* A leading dot would hide the registration. */
    if (base[0] == '.')
        base[0] = '_';
    avoid_id_form(base);
    return g_strconcat(base, suffix, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <limits.h>
#include <string.h>

#define CONTROL_SIZE_MAX 4096
#define CONTROL_MS_MAX   (365 * 24 * 60 * 60 * G_GINT64_CONSTANT(1000))

typedef enum ControlKey {
    KEY_TTL_MS = 1 << 0,
    KEY_FOR_MS = 1 << 1,
    KEY_DIR = 1 << 2,
    KEY_PID = 1 << 3,
} ControlKey;

static const struct {
    const char *word;
    ControlVerb verb;
    guint allowed;
    guint required;
} control_verbs[] = {
    {"acquire", CONTROL_ACQUIRE, KEY_TTL_MS | KEY_PID, 0},
    {"wait", CONTROL_WAIT, KEY_TTL_MS | KEY_FOR_MS | KEY_PID, 0},
    {"unwait", CONTROL_UNWAIT, 0, 0},
    {"refresh", CONTROL_REFRESH, 0, 0},
    {"release", CONTROL_RELEASE, 0, 0},
    {"inherit", CONTROL_INHERIT, 0, 0},
    {"sessions", CONTROL_SESSIONS, KEY_DIR, KEY_DIR},
    {"unmount", CONTROL_UNMOUNT, 0, 0},
};

void control_message_clear(ControlMessage *message)
{
    g_clear_pointer(&message->dir, g_free);
}

static gboolean parse_ms(const char *text, gint64 min, gint64 *ms_out)
{
    guint64 ms;

    if (!g_ascii_string_to_unsigned(text, 10, (guint64)min, CONTROL_MS_MAX, &ms, NULL))
        return FALSE;
    *ms_out = (gint64)ms;
    return TRUE;
}

static gboolean parse_pid(const char *text, pid_t *pid_out)
{
    guint64 pid;

    if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT32, &pid, NULL))
        return FALSE;
    *pid_out = (pid_t)pid;
    return TRUE;
}

static gboolean parse_dir(const char *text, char **dir_out)
{
    if (text[0] != '/' || strlen(text) >= PATH_MAX)
        return FALSE;
    *dir_out = g_strdup(text);
    return TRUE;
}

/* Takes one `KEY=VALUE` off *rest. 0 where it is none, or its key has been given before. */
static guint parse_pair(char **rest, guint seen, ControlMessage *message)
{
    char *key = *rest;
    char *value = strchr(key, '=');
    gboolean ok = FALSE;
    guint bit = 0;

    if (value == NULL)
        return 0;
    *value++ = '\0';
    if (strcmp(key, "dir") == 0) {
        *rest = NULL;
        return seen & KEY_DIR || !parse_dir(value, &message->dir) ? 0 : KEY_DIR;
    }
    *rest = strchr(value, ' ');
    if (*rest != NULL)
        *(*rest)++ = '\0';
    if (strcmp(key, "ttl_ms") == 0) {
        bit = KEY_TTL_MS;
        ok = parse_ms(value, 1, &message->ttl_ms);
    } else if (strcmp(key, "for_ms") == 0) {
        bit = KEY_FOR_MS;
        ok = parse_ms(value, 0, &message->for_ms);
    } else if (strcmp(key, "pid") == 0) {
        bit = KEY_PID;
        ok = parse_pid(value, &message->pid);
    }
    return ok && !(seen & bit) ? bit : 0;
}

gboolean control_parse(const char *text, gsize size_bytes, ControlMessage *message_out)
{
    g_auto(ControlMessage) message = {.ttl_ms = -1, .for_ms = -1};
    g_autofree char *copy = NULL;
    guint seen = 0;
    char *rest;

    /* g_utf8_validate_len refuses a NUL, too. */
    if (size_bytes == 0 || size_bytes > CONTROL_SIZE_MAX ||
        !g_utf8_validate_len(text, size_bytes, NULL))
        return FALSE;
    copy = g_strndup(text, size_bytes);
    rest = strchr(copy, ' ');
    if (rest != NULL)
        *rest++ = '\0';
    while (rest != NULL) {
        guint bit = parse_pair(&rest, seen, &message);

        if (bit == 0)
            return FALSE;
        seen |= bit;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(control_verbs); i++) {
        if (strcmp(copy, control_verbs[i].word) != 0)
            continue;
        if ((seen & ~control_verbs[i].allowed) != 0 ||
            (seen & control_verbs[i].required) != control_verbs[i].required)
            return FALSE;
        message.verb = control_verbs[i].verb;
        *message_out = message;
        message.dir = NULL;
        return TRUE;
    }
    return FALSE;
}

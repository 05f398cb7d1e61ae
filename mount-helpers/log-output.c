/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log-output.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

/* GLib takes one writer in a program's life: which way it writes is decided here. */
static atomic_bool to_system;

static int syslog_priority(GLogLevelFlags level)
{
    if ((level & G_LOG_LEVEL_ERROR) != 0)
        return LOG_CRIT;
    if ((level & G_LOG_LEVEL_CRITICAL) != 0)
        return LOG_ERR;
    if ((level & G_LOG_LEVEL_WARNING) != 0)
        return LOG_WARNING;
    if ((level & G_LOG_LEVEL_MESSAGE) != 0)
        return LOG_NOTICE;
    return (level & G_LOG_LEVEL_INFO) != 0 ? LOG_INFO : LOG_DEBUG;
}

static const GLogField *find_field(const GLogField *fields, gsize n_fields, const char *key)
{
    for (gsize i = 0; i < n_fields; i++) {
        if (strcmp(fields[i].key, key) == 0)
            return &fields[i];
    }
    return NULL;
}

/* A field's value is text where its length is -1, else bytes without an end. */
static char *dup_text(const GLogField *field)
{
    if (field == NULL)
        return g_strdup("");
    return field->length < 0 ? g_strdup(field->value)
                             : g_strndup(field->value, (gsize)field->length);
}

static GLogWriterOutput write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields,
                                  gpointer data)
{
    g_autofree char *message = dup_text(find_field(fields, n_fields, "MESSAGE"));
    g_autofree char *domain = dup_text(find_field(fields, n_fields, "GLIB_DOMAIN"));

    (void)data;
    if (g_log_writer_default_would_drop(level, domain[0] != '\0' ? domain : NULL))
        return G_LOG_WRITER_HANDLED;
    if (!atomic_load(&to_system)) {
        fprintf(stderr, "leasefs: %s\n", message);
        return G_LOG_WRITER_HANDLED;
    }
    if (g_log_writer_journald(level, fields, n_fields, NULL) != G_LOG_WRITER_HANDLED)
        syslog(syslog_priority(level), "%s", message);
    return G_LOG_WRITER_HANDLED;
}

void log_output_start(void)
{
    g_log_set_writer_func(write_log, NULL, NULL);
}

void log_output_to_system(void)
{
    openlog("leasefs", LOG_PID, LOG_DAEMON);
    atomic_store(&to_system, TRUE);
}

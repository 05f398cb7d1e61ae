/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-private.h"

Session *session_ref(Session *session)
{
    ref_count_inc(&session->refs);
    return session;
}

void session_unref(Session *session)
{
    if (session == NULL || !ref_count_dec(&session->refs))
        return;
    mutex_clear(&session->lock);
    g_free(session->comm);
    g_free(session->id);
    g_free(session);
}

guint64 session_serial(const Session *session)
{
    return session->serial;
}

char *session_dup_id(Session *session)
{
    MUTEX_GUARD(&session->lock);

    return g_strdup(session->id);
}

void session_get_root(const Session *session, ProcessId *root_out)
{
    *root_out = session->root;
}

const char *session_comm(const Session *session)
{
    return session->comm;
}

SessionRule session_rule(Session *session)
{
    MUTEX_GUARD(&session->lock);

    return session->rule;
}

gboolean session_has_ended(Session *session)
{
    return g_atomic_int_get(&session->ended);
}

void session_set_ended(Session *session)
{
    g_atomic_int_set(&session->ended, TRUE);
}

/* A process may call itself anything, and this is shown in terminals and in JSON. */
static char *printable_comm(const char *comm)
{
    char *shown = g_utf8_make_valid(comm, -1);

    for (char *at = shown; *at != '\0'; at++) {
        if (g_ascii_iscntrl(*at))
            *at = '_';
    }
    return shown;
}

Session *session_new(guint64 serial, const ProcessId *root, const char *comm, const char *id,
                     SessionRule rule)
{
    Session *session = g_new0(Session, 1);

    ref_count_init(&session->refs);
    mutex_init(&session->lock);
    session->serial = serial;
    session->root = *root;
    session->comm = printable_comm(comm);
    session->id = g_strdup(id);
    session->rule = rule;
    return session;
}

void session_set_registered(Session *session, const char *name)
{
    g_autofree char *old = NULL;
    MUTEX_GUARD(&session->lock);

    if (session->rule == SESSION_RULE_REGISTERED)
        return;
    old = g_steal_pointer(&session->id);
    session->id = g_strdup(name);
    session->rule = SESSION_RULE_REGISTERED;
}

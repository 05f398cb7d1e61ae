/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The status document of a mount (`user.leasefs.status`) as a value. Pure: text in, value out.
 * Thread safety: values; no shared state.
 */
#include <json-glib/json-glib.h>

/* A row of one of the lists; what a list does not have is NULL or 0. */
typedef struct StatusRow {
    const char *session;
    const char *comm;
    const char *how;
    gint64 pid;
    gint64 count; /* refusals of a session, or open files */
    gboolean holder;
} StatusRow;

/* Strings are borrowed from the document, which the value owns. */
typedef struct MountStatus {
    JsonObject *document;
    const char *workspace;
    const char *mountpoint;
    gboolean in_place;
    gint64 daemon_pid;    /* 0 where unknown */
    gint64 daemon_pid_ns; /* the same */
    gint64 daemon_uid;    /* -1 where unknown */
    gboolean observe;     /* mode=observe: nothing is refused */

    const char *state;  /* as user.leasefs.state */
    const char *holder; /* NULL while free */
    gint64 holder_pid;
    const char *holder_comm;
    gboolean foreign;
    gint64 epoch;
    gint64 ttl_ms;
    gint64 since_ms;   /* Unix ms; 0: unknown */
    gint64 expires_ms; /* Unix ms; 0: unknown */
    gint64 remaining_ms;

    /* of the process that asked */
    const char *session; /* NULL: it cannot be identified */
    const char *rule;
    gint64 root_pid;
    const char *root_comm;
    gboolean writable;
    const char *reason; /* NULL where it is not blocked */

    const char *degraded; /* NULL where the store works */
    const char *cache;
    GArray *past; /* of StatusRow: processes that reach past the mount */
    GArray *queue;
    GArray *sessions;
    GArray *open_elsewhere;
} MountStatus;

/* Unknown members are ignored. G_IO_ERROR_INVALID_DATA names the member that is missing or wrong.
 */
MountStatus *mount_status_parse(const char *text, gsize size_bytes, GError **error);
void mount_status_free(MountStatus *status);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountStatus, mount_status_free)

/* Whether the asking process's session holds the lease. */
gboolean mount_status_is_mine(const MountStatus *status);
/* Whether a lease in this state is refused to others. */
gboolean mount_status_is_held_fast(const MountStatus *status);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The lease record and its JSON text. Pure: text in, value out, and back.
 * Thread safety: values; no shared state.
 */
#include "process.h"

#define LEASE_RECORD_SCHEMA 1

/* What stands in `session-lock-<hash>.json`. Schema 1 (hook-based tools) has session_id, pid,
 * acquired_at and ttl_ms; the rest is leasefs's own and may be missing. */
typedef struct LeaseRecord {
    char *session_id;      /* "" when the lease is free */
    pid_t pid;             /* root process of the holder; 0 where missing */
    gint64 acquired_at_ms; /* Unix ms of the last renewal */
    gint64 ttl_ms;         /* -1 where missing */

    gboolean is_own; /* written by leasefs: all of the following are there */
    guint64 epoch;
    gint64 since_ms; /* Unix ms at which the tenure began */
    guint64 pid_start;
    guint64 pid_ns;
    char *boot_id;
    char *host;
    char *comm;
    char *workspace;
    gint64 mono_ns; /* CLOCK_MONOTONIC of the last renewal, in the boot of boot_id */
} LeaseRecord;

#define LEASE_RECORD_ERROR lease_record_error_quark()
GQuark lease_record_error_quark(void);
typedef enum LeaseRecordError {
    LEASE_RECORD_ERROR_SYNTAX, /* not JSON, torn, not an object, too large */
    LEASE_RECORD_ERROR_SCHEMA, /* a schema_version that is not ours */
    LEASE_RECORD_ERROR_FIELD,  /* a field is missing, of the wrong type or out of range */
} LeaseRecordError;

/* Fills *record_out (cleared by the caller with lease_record_clear). Unknown members are ignored.
 * The message names the member. `record_out` is written only on success. */
gboolean lease_record_parse(const char *text, gsize size_bytes, LeaseRecord *record_out,
                            GError **error);
/* One JSON object in one line with a newline at its end. Owned. */
char *lease_record_format(const LeaseRecord *record);
gboolean lease_record_is_free(const LeaseRecord *record);
void lease_record_clear(LeaseRecord *record);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LeaseRecord, lease_record_clear)

/* First 12 hex digits of the MD5 of a resolved workspace path. Owned. */
char *lease_record_workspace_hash(const char *resolved_path);

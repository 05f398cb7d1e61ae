/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Says for people what a status document means. Pure: value in, text out, all of it printable.
 * Thread safety: pure functions.
 */
#include "mount-status.h"

/* `leasefs status`: a line for the lease, then what it means for the asking process, then the rest.
 * Times of day are told in `zone`; now_ms is Unix time. Owned. */
char *status_text_format(const MountStatus *status, gint64 now_ms, GTimeZone *zone);
/* `held by SESSION (pid N, COMM), fresh for 2m05s more`, `free`, ... Owned. */
char *status_text_lease(const MountStatus *status);
/* How long a lease stays fresh that was renewed just now: rounded up, `5m00s`. Owned. */
char *status_text_left(const MountStatus *status);
/* Why the asking process may not write: the daemon's sentence, or one that stands for it. Owned. */
char *status_text_reason(const MountStatus *status);
/* How the process's session was found, from the document's word for it. Borrowed. */
const char *status_text_rule(const char *rule);
/* `bash (pid 12) reaches the files past the mount: ...; what to do`. `how` as in fs/bypass.h.
 * Owned. */
char *status_text_past(const char *comm, gint64 pid, const char *how);

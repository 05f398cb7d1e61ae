/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The words of `user.leasefs.control`: what the command writes and the daemon understands.
 * `VERB[ KEY=VALUE]...` in UTF-8, at most 4 KiB, values without blanks except that of `dir`,
 * which runs to the end of the text.
 *
 *   acquire [ttl_ms=N] [pid=N]  takes the lease; EROFS where another holds it. pid: not for the
 *                               caller's session but for the registered one of this root, which was
 *                               taken out of the caller's; EPERM where it was not
 *   wait [ttl_ms=N] [for_ms=N]  as acquire, pid=N too; else joins the queue as the calling process:
 *                               EINPROGRESS where queued (poll `holder` until it is the caller's
 *                               session; the place is lost when the process dies or for_ms is over)
 *   unwait                      leaves the queue
 *   refresh                     renews, for the holder only; EPERM otherwise
 *   release                     EPERM where another holds it. 0 also where something of the holder
 *                               is to be written back first: `holder` changes a little later
 *   inherit                     the caller is the root of a registered session: a lease held by the
 *                               session of its parent process passes to it. 0 also where there was
 *                               nothing to pass; EBUSY: a change is on its way, and the lease
 *                               passes when it has returned; asking again tells whether it has
 *   sessions dir=PATH           look at this directory of registrations, now and from now on
 *   unmount                     an orderly unmount comes next: the daemon's owner and root only
 *
 * Anything else: EINVAL. EAGAIN is never answered: setxattr(2) turns it into EOPNOTSUPP.
 */
#include <glib.h>

#define LEASEFS_XATTR_PREFIX  "user.leasefs."
#define LEASEFS_XATTR_CONTROL LEASEFS_XATTR_PREFIX "control"

typedef enum ControlVerb {
    CONTROL_ACQUIRE,
    CONTROL_WAIT,
    CONTROL_UNWAIT,
    CONTROL_REFRESH,
    CONTROL_RELEASE,
    CONTROL_INHERIT,
    CONTROL_SESSIONS,
    CONTROL_UNMOUNT,
} ControlVerb;

typedef struct ControlMessage {
    ControlVerb verb;
    gint64 ttl_ms; /* -1: not given */
    gint64 for_ms; /* -1: not given */
    pid_t pid;     /* 0: not given */
    char *dir;     /* NULL: not given */
} ControlMessage;

/* Pure; *message_out is written only on success. Clear it after use. */
gboolean control_parse(const char *text, gsize size_bytes, ControlMessage *message_out);
void control_message_clear(ControlMessage *message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ControlMessage, control_message_clear)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Makes a process above this command the root of a named session (`leasefs acquire --session`).
 * Registration only narrows: a process of the caller's own session, no boundary, and nothing inside
 * a registered session, where it would be a way out of it.
 * Thread safety: none; the command has one thread.
 */
#include "client.h"
#include "local-rules.h"

typedef struct Narrowing Narrowing;

/* pid 0: the parent of this process. TRUE: the mount takes this process for session `name`;
 * *narrowing_out (owned) is the registration made, NULL where this was the case before. */
gboolean narrow_session(const Client *client, const char *name, pid_t pid,
                        Narrowing **narrowing_out, GError **error);
/* Takes the registration back. NULL is fine. */
void narrowing_undo(Narrowing *narrowing, const Client *client);
/* The registration stays. */
void narrowing_free(Narrowing *narrowing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Narrowing, narrowing_free)

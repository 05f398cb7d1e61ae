/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Makes a process the root of a named session (`leasefs acquire --session`). Registration only
 * narrows: a process of the caller's own session, no boundary, and nothing inside a registered
 * session, where it would be a way out of it.
 * Thread safety: none; the command has one thread.
 */
#include "client.h"
#include "lease-wait.h"
#include "local-rules.h"

typedef struct Narrowing Narrowing;

/* pid 0: the parent of this process. TRUE: `name` is a session now, and the claim says how to ask
 * for it: this process is of it, or its root is claim->pid. *narrowing_out (owned) is the
 * registration made, NULL where there was no need. */
gboolean narrow_session(const Client *client, const char *name, pid_t pid, LeaseClaim *claim,
                        Narrowing **narrowing_out, GError **error);
/* Takes the registration back. NULL is fine. */
void narrowing_undo(Narrowing *narrowing, const Client *client);
/* The registration stays. */
void narrowing_free(Narrowing *narrowing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Narrowing, narrowing_free)

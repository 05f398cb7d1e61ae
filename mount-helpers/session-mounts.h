/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Which mounts a session of this user concerns, and what they are told when it begins and ends.
 * Thread safety: forks, so only while the process has one thread.
 */
#include "client.h"

/* Every mount of this mount namespace that answers and whose daemon is this user's or root's. One
 * that is dead or hangs is left out. GPtrArray of Client, owned. */
GPtrArray *session_mounts_find(void);
/* Tells one mount to look at the registrations: FALSE and an error where it refuses. */
gboolean session_mount_tell(const Client *mount, const char *sessions_path, GError **error);
/* A lease held by the session that this one was started from passes to it. */
void session_mount_inherit(const Client *mount);
/* Releases the lease where session `name`, the caller's, holds it; waits up to limit_ms while the
 * mount still writes back. */
void session_mount_release(const Client *mount, const char *name, int limit_ms);

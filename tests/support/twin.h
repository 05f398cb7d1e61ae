/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Does the same in a directory on the disk and in the mount above that disk, and compares what came
 * of it. So a test needs no expectations of its own: the filesystem below has them.
 * Thread safety: one thread. Nothing of it asserts.
 */
#include "scene.h"

/* Works in its working directory, a new one, and says what it saw. In a process of its own: may
 * change its umask, its user, its limits. What it says must not depend on time or place. */
typedef void (*TwinDeed)(gconstpointer data, GString *said);

/* Whether both said the same. Else prints both, as comments of TAP. `data` is the deed's, static:
 * the agent was forked before. */
gboolean twin_is_alike(Scene *scene, Agent *agent, const char *name, TwinDeed deed,
                       gconstpointer data);

/* For deeds: appends "WHAT: RESULT", with the errno's name where `result` is -1. Returns result. */
long twin_say(GString *said, const char *what, long result);
/* Appends type, mode, owner, size and links of a path. */
void twin_say_stat(GString *said, const char *path);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Answers the `user.leasefs.*` attributes: who holds the workspace, who asks, who wrote.
 * Thread safety: every function may be called from any thread.
 */
#include "fs.h"

/* The value of an attribute, by its name without the prefix, as the caller sees it. Owned.
 * NULL: *error_out is a positive errno (ENODATA: no such attribute, or nothing to say now). */
char *inspect_attribute(Fs *fs, const Caller *caller, Node *node, const char *name, int *error_out);

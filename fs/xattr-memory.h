/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Remembers of a file that it lacks an extended attribute.
 *
 * Programs ask every file for a few that nearly none has: ls -l for two, and for others cp, rsync
 * and the kernel itself. The kernel keeps no such answer of a FUSE filesystem, so that each is a
 * request; but what is known to be absent need not be looked for below. It holds until somebody
 * sets an attribute of the file, which only the mount can do, where nobody reaches past it.
 *
 * Thread safety: every function may be called from any thread.
 */
#include "node.h"

typedef struct XattrMemory XattrMemory;
XattrMemory *xattr_memory_new(void);
void xattr_memory_free(XattrMemory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(XattrMemory, xattr_memory_free)

gboolean xattr_memory_lacks(Node *node, const char *name);

/* Before a file is looked at: to be handed to xattr_memory_absent, after ENODATA. */
guint64 xattr_memory_begin(XattrMemory *memory);
void xattr_memory_absent(XattrMemory *memory, Node *node, const char *name, guint64 begun);
/* After an attribute was set, before anybody is told. */
void xattr_memory_set(XattrMemory *memory, Node *node);

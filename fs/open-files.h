/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Counts which sessions have which files open for reading and writing: what the expiry flush has to
 * write back, and whom a new holder is told about.
 * Thread safety: every function may be called from any thread; one mutex, never held over a system
 * call. The keeper asks with its own lock held.
 */
#include "node.h"
#include "session-table.h"

typedef struct OpenFiles OpenFiles;
OpenFiles *open_files_new(void);
void open_files_free(OpenFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(OpenFiles, open_files_free)

/* session NULL: a process that could not be identified. */
void open_files_add(OpenFiles *files, Session *session, Node *node);
void open_files_remove(OpenFiles *files, Session *session, Node *node);
gboolean open_files_any(OpenFiles *files, Session *session);
/* The nodes that the session has open, each once, with references to be dropped with node_unref;
 * `everyone`: those of all sessions. GPtrArray without a free function. */
GPtrArray *open_files_nodes(OpenFiles *files, Session *session, gboolean everyone,
                            NodeTable *nodes);

typedef struct OpenFilesOf {
    Session *session; /* referenced */
    guint handles;
} OpenFilesOf;
/* Per identified session: GArray of OpenFilesOf, clear func set. */
GArray *open_files_by_session(OpenFiles *files);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Remembers who changed a file last and who has it open for reading and writing: what fencing
 * rests on. It lives as long as the kernel remembers the file.
 * Thread safety: every function may be called from any thread; one mutex a file, never held over
 * a system call.
 */
#include "node.h"
#include "policy.h"
#include "session-table.h"

typedef struct FileState FileState;

/* The file's state, made where there is none yet. Borrowed from the node. */
FileState *file_state_of(Node *node);
/* The same, NULL where there is none. */
FileState *file_state_peek(Node *node);

/*
 * Fencing.
 *
 * Each change of data or size gives the file one more change number. A handle remembers the number
 * at its open and after its own writes. A session that writes through a handle must not undo what
 * it has never seen: if another session changed the file since, the write is refused with ESTALE,
 * also after the lease came back to the writer; opening again is the cure.
 *
 * "The last change by another session" has to be known for any writer, with a bounded memory. Two
 * numbers do it: `change` with the session that made it, and `other_change`, the last one made by
 * any other session than that. For the session that changed the file last, the answer is
 * `other_change`; for everybody else it is `change`. All that cannot be identified (and may write
 * with unknown=allow) count as one writer: told apart, none could write to what it truncated.
 */

/* The number of the last change: what a handle that is opened now has seen. */
guint64 file_state_change_number(FileState *file);
/* Whether another writer than this one changed the file after the handle last saw it. `session`
 * NULL: one that cannot be identified. */
gboolean file_state_changed_since(FileState *file, Session *session, guint64 seen);
/* Notes a change, of data or size (then it counts for fencing, and the new number is returned) or
 * of anything else (then the number stays). */
guint64 file_state_note_change(FileState *file, Session *session, gint64 wall_ms, guint64 epoch,
                               gboolean of_data);

/* Who created this passive file: may always write and remove it. Sets it, once. */
void file_state_set_creator(FileState *file, Session *session);
gboolean file_state_is_creator(FileState *file, Session *session);

/* Handles open for reading and writing: only they can back a shared mapping. */
typedef struct WriterHandle WriterHandle;
WriterHandle *file_state_add_handle(FileState *file, Session *session, guint64 seen);
void file_state_remove_handle(FileState *file, WriterHandle *handle);
void file_state_handle_saw(FileState *file, WriterHandle *handle, guint64 seen);

typedef enum StoreOwner {
    STORE_OWNER_ONE,   /* every such handle belongs to one session, and one has seen the last change
                        */
    STORE_OWNER_MANY,  /* they belong to several, or to nobody known */
    STORE_OWNER_STALE, /* one session, but another changed the file since each was opened */
} StoreOwner;
/* Whose a store may be that reached the daemon through a mapping. *session_out (owned) for
 * STORE_OWNER_ONE and _STALE. */
StoreOwner file_state_judge_store(FileState *file, Session **session_out);

typedef struct FileWriter {
    char *session; /* NULL: nobody changed it through this mount */
    gint64 wall_ms;
    guint64 epoch;
} FileWriter;
void file_state_get_writer(FileState *file, FileWriter *writer_out); /* strings owned */

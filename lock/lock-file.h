/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The file beside a record: its flock keeps writers apart, and its content remembers the largest
 * epoch. Internal to the file store.
 *
 * Thread safety: lock_file_note_epoch and lock_file_epoch may be called from any thread at any
 * time; the caller serialises the rest.
 */
#include "store-file-steps.h"

typedef struct LockFile LockFile;

/* Opens or makes it and reads its epoch. dir_fd and steps are borrowed for its life; `directory`
 * is for messages. Garbage in it counts as epoch 0 and is logged. */
LockFile *lock_file_new(int dir_fd, const char *directory, const char *name,
                        const StoreFileSteps *steps, GError **error);
void lock_file_free(LockFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LockFile, lock_file_free)

/* Takes the flock of the file that bears the name now: where it was removed or replaced, that one
 * is made or opened in its place. Tries for a moment, then fails with G_IO_ERROR_BUSY. */
gboolean lock_file_take(LockFile *file, GError **error);
void lock_file_release(LockFile *file);

/* The largest epoch seen or noted; 0 where there is none. */
guint64 lock_file_epoch(LockFile *file);
/* Notes an epoch: one small write, no sync. A smaller one than before changes nothing. */
gboolean lock_file_note_epoch(LockFile *file, guint64 epoch, GError **error);
/* Makes the noted epoch survive a crash of the machine; costs nothing when it already does. To be
 * called between take and release. */
gboolean lock_file_sync_epoch(LockFile *file, GError **error);

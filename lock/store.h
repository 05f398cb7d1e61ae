/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The interface behind which a lease record lives. Any call may fail and may block on a disk: the
 * keeper decides when it can afford that.
 * Thread safety: one thread saves; all the others may run beside it, and beside each other.
 */
#include <glib.h>

typedef struct Store Store;
typedef struct StoreOps StoreOps;

struct StoreOps {
    /* The record's text (owned, NUL-terminated) and its mtime in Unix ms; *text_out NULL and TRUE
     * where there is no record. */
    gboolean (*load)(Store *store, char **text_out, gsize *size_out, gint64 *mtime_ms_out,
                     GError **error);
    /* Replaces the record whole: a reader sees the old one or the new one. */
    gboolean (*save)(Store *store, const char *text, GError **error);
    /* Moves a record that nobody understands out of the way; its new name is owned. */
    gboolean (*set_aside)(Store *store, char **moved_to_out, GError **error);
    /* The largest epoch noted: 0 where there is none. */
    gboolean (*load_epoch)(Store *store, guint64 *epoch_out, GError **error);
    /* Notes the epoch of a new tenure: one small write to an open descriptor, no sync. May run
     * beside the others. */
    gboolean (*note_epoch)(Store *store, guint64 epoch, GError **error);
    void (*free)(Store *store);
};

struct Store {
    const StoreOps *ops;
};

/* Records as files in a state directory, used by descriptor (state_dir_fd is taken):
 * session-lock-<hash>.json and, beside it, session-lock-<hash>.lock with the epoch. */
Store *store_file_new(int state_dir_fd, const char *workspace, GError **error);
void store_free(Store *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_free)

/* `<state>` for this user: `override` if given, else $LEASEFS_STATE_DIR, else /var/lib/leasefs for
 * root, else $XDG_STATE_HOME/leasefs, else ~/.local/state/leasefs. Owned. */
char *store_default_directory(const char *override);
/* Opens (and makes, mode 0700, with its parents) a state directory and its `sessions` folder.
 * Descriptor or -1 with an error that names the path. */
int store_open_directory(const char *path, GError **error);
int store_open_sessions_directory(int state_dir_fd, GError **error);

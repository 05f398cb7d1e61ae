/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-text.h"
#include "lock-file.h"
#include "mutex.h"
#include "record.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>

/* More than a record may have: a larger file is cut there, and so not understood. */
#define READ_MAX_BYTES (JSON_TEXT_MAX_BYTES + 1)

#define NAME_TRIES 8

/* Which file was read last, so that no other one is moved aside in its stead. */
typedef struct FileStamp {
    gboolean valid;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
} FileStamp;

typedef struct FileStore {
    Store base;
    const StoreFileSteps *steps;
    int dir_fd;
    char *directory; /* where dir_fd led when it was handed in; for messages only */
    char *record_name;
    LockFile *lock;
    Mutex stamp_lock;
    FileStamp loaded; /* (stamp_lock) */
} FileStore;

static FileStamp stamp_of(const struct stat *st)
{
    return (FileStamp){
        .valid = TRUE,
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = st->st_size,
        .mtime = st->st_mtim,
    };
}

static void remember(FileStore *store, FileStamp stamp)
{
    MUTEX_GUARD(&store->stamp_lock);

    store->loaded = stamp;
}

static gboolean stamp_equal(const FileStamp *a, const FileStamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static gboolean fail_not_regular(FileStore *store, GError **error)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                "cannot read lease record %s/%s: not a regular file; move it away",
                store->directory, store->record_name);
    return FALSE;
}

static gboolean read_whole(FileStore *store, int fd, GString *text, GError **error)
{
    char buffer[4096];

    while (text->len < READ_MAX_BYTES) {
        gsize room = MIN(sizeof(buffer), READ_MAX_BYTES - text->len);
        ssize_t n = store->steps->read(fd, buffer, room);

        if (n == 0)
            break;
        if (n > 0)
            g_string_append_len(text, buffer, n);
        else if (errno != EINTR)
            return store_file_fail(error, errno, "read lease record", store->directory,
                                   store->record_name);
    }
    return TRUE;
}

static gboolean load_from(FileStore *store, int fd, char **text_out, gsize *size_out,
                          gint64 *mtime_ms_out, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    struct stat st;

    if (store->steps->fstat(fd, &st) != 0)
        return store_file_fail(error, errno, "look at lease record", store->directory,
                               store->record_name);
    if (!S_ISREG(st.st_mode))
        return fail_not_regular(store, error);
    if (!read_whole(store, fd, text, error))
        return FALSE;
    remember(store, stamp_of(&st));
    *size_out = text->len;
    *mtime_ms_out = (gint64)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    *text_out = g_string_free(g_steal_pointer(&text), FALSE);
    return TRUE;
}

/* Neither following a symlink nor waiting for the other end of a pipe, whatever stands there. */
static gboolean file_store_load(Store *base, char **text_out, gsize *size_out, gint64 *mtime_ms_out,
                                GError **error)
{
    FileStore *store = (FileStore *)base;
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = store->steps->openat(store->dir_fd, store->record_name, flags, 0);
    gboolean loaded;

    if (fd < 0) {
        int saved = errno;

        remember(store, (FileStamp){.valid = FALSE});
        errno = saved;
    }
    if (fd < 0 && errno == ENOENT) {
        *text_out = NULL;
        *size_out = 0;
        *mtime_ms_out = 0;
        return TRUE;
    }
    if (fd < 0 && (errno == ELOOP || errno == ENXIO))
        return fail_not_regular(store, error);
    if (fd < 0)
        return store_file_fail(error, errno, "open lease record", store->directory,
                               store->record_name);
    loaded = load_from(store, fd, text_out, size_out, mtime_ms_out, error);
    store->steps->close(fd);
    return loaded;
}

/* The name begins with the record's, so that it is known for ours when it is left behind. */
static int open_temporary(FileStore *store, char **name_out, GError **error)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int saved_errno = EEXIST;

    for (int i = 0; i < NAME_TRIES && saved_errno == EEXIST; i++) {
        g_autofree char *name =
            g_strdup_printf("%s.tmp-%08x%08x", store->record_name, g_random_int(), g_random_int());
        int fd = store->steps->openat(store->dir_fd, name, flags, 0600);

        if (fd >= 0) {
            *name_out = g_steal_pointer(&name);
            return fd;
        }
        saved_errno = errno;
    }
    store_file_fail(error, saved_errno, "make a new file for lease record", store->directory,
                    store->record_name);
    return -1;
}

static gboolean write_whole(FileStore *store, int fd, const char *text, GError **error)
{
    gsize left = strlen(text);

    while (left > 0) {
        ssize_t n = store->steps->write(fd, text, left);

        if (n > 0) {
            text += n;
            left -= (gsize)n;
        } else if (n == 0 || errno != EINTR) {
            return store_file_fail(error, n == 0 ? ENOSPC : errno, "write lease record",
                                   store->directory, store->record_name);
        }
    }
    return TRUE;
}

/* close may be where a full quota or a network file system reports the failed write. */
static gboolean fill_temporary(FileStore *store, int fd, const char *text, GError **error)
{
    gboolean written = write_whole(store, fd, text, error);

    if (store->steps->close(fd) == 0 || !written)
        return written;
    return store_file_fail(error, errno, "write lease record", store->directory,
                           store->record_name);
}

/*
 * The record is not synced. It is written again every second while somebody works, and a sync
 * each time would keep a laptop's disk from ever resting; and nothing is lost without: after a
 * crash of the machine a record, old or new, is of another boot and thus orphaned, and one that a
 * crash left empty holds the workspace for one TTL at most. What must never go back is the epoch,
 * and that is synced, in the lock file, before the record that bears it gets its name.
 */
static gboolean replace_record(FileStore *store, const char *text, GError **error)
{
    g_autofree char *name = NULL;
    int fd = open_temporary(store, &name, error);

    if (fd < 0)
        return FALSE;
    if (fill_temporary(store, fd, text, error)) {
        if (store->steps->renameat2(store->dir_fd, name, store->dir_fd, store->record_name, 0) == 0)
            return TRUE;
        store_file_fail(error, errno, "replace lease record", store->directory, store->record_name);
    }
    store->steps->unlinkat(store->dir_fd, name, 0);
    return FALSE;
}

static gboolean file_store_save(Store *base, const char *text, GError **error)
{
    FileStore *store = (FileStore *)base;
    gboolean saved;

    if (!lock_file_take(store->lock, error))
        return FALSE;
    saved = lock_file_sync_epoch(store->lock, error) && replace_record(store, text, error);
    lock_file_release(store->lock);
    return saved;
}

/* Whether the record is still the one that was loaded. A tool that wrote a good one meanwhile must
 * not see it moved away. */
static gboolean check_unchanged(FileStore *store, GError **error)
{
    struct stat st;
    FileStamp loaded, now;

    mutex_lock(&store->stamp_lock);
    loaded = store->loaded;
    mutex_unlock(&store->stamp_lock);
    if (!loaded.valid)
        return TRUE;
    if (store->steps->fstatat(store->dir_fd, store->record_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return store_file_fail(error, errno, "look at lease record", store->directory,
                               store->record_name);
    now = stamp_of(&st);
    if (stamp_equal(&loaded, &now))
        return TRUE;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                "lease record %s/%s was written again after it was read; read it again",
                store->directory, store->record_name);
    return FALSE;
}

/* Never over a file that stands there already: what was set aside is somebody's evidence.
 * 0 or the errno. */
static int rename_over_nothing(FileStore *store, const char *name)
{
    const StoreFileSteps *steps = store->steps;
    struct stat st;

    if (steps->renameat2(store->dir_fd, store->record_name, store->dir_fd, name,
                         RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL)
        return errno;
    /* A file system without that flag, NFS for one. Under the lock a look first is as good. */
    if (steps->fstatat(store->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return EEXIST;
    if (errno != ENOENT)
        return errno;
    if (steps->renameat2(store->dir_fd, store->record_name, store->dir_fd, name, 0) == 0)
        return 0;
    return errno;
}

static gboolean rename_aside(FileStore *store, char **moved_to_out, GError **error)
{
    gint64 now_ms = store->steps->wall_us() / 1000;
    int saved_errno = EEXIST;

    for (int i = 0; i < NAME_TRIES && saved_errno == EEXIST; i++) {
        g_autofree char *name =
            g_strdup_printf("%s.unreadable-%" G_GINT64_FORMAT, store->record_name, now_ms + i);

        saved_errno = rename_over_nothing(store, name);
        if (saved_errno == 0) {
            *moved_to_out = g_steal_pointer(&name);
            return TRUE;
        }
    }
    return store_file_fail(error, saved_errno, "move aside lease record", store->directory,
                           store->record_name);
}

static gboolean file_store_set_aside(Store *base, char **moved_to_out, GError **error)
{
    FileStore *store = (FileStore *)base;
    gboolean moved;

    if (!lock_file_take(store->lock, error))
        return FALSE;
    moved = check_unchanged(store, error) && rename_aside(store, moved_to_out, error);
    lock_file_release(store->lock);
    if (moved)
        remember(store, (FileStamp){.valid = FALSE});
    return moved;
}

static gboolean file_store_load_epoch(Store *base, guint64 *epoch_out, GError **error)
{
    FileStore *store = (FileStore *)base;

    (void)error;
    *epoch_out = lock_file_epoch(store->lock);
    return TRUE;
}

static gboolean file_store_note_epoch(Store *base, guint64 epoch, GError **error)
{
    FileStore *store = (FileStore *)base;

    return lock_file_note_epoch(store->lock, epoch, error);
}

static void file_store_free(Store *base)
{
    FileStore *store = (FileStore *)base;

    lock_file_free(store->lock);
    autofd_clear(&store->dir_fd);
    g_free(store->directory);
    g_free(store->record_name);
    mutex_clear(&store->stamp_lock);
    g_free(store);
}

static const StoreOps file_store_ops = {
    .load = file_store_load,
    .save = file_store_save,
    .set_aside = file_store_set_aside,
    .load_epoch = file_store_load_epoch,
    .note_epoch = file_store_note_epoch,
    .free = file_store_free,
};

/* Temporary files of a store that was killed. They exist only under the lock, so those that are
 * found by who holds it belong to nobody. Best effort: another time will do as well. */
static void sweep_temporaries(FileStore *store)
{
    g_autofree char *prefix = g_strconcat(store->record_name, ".tmp-", NULL);
    int fd;
    DIR *dir;
    struct dirent *entry;

    if (!lock_file_take(store->lock, NULL))
        return;
    fd = openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        autofd_clear(&fd);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (g_str_has_prefix(entry->d_name, prefix))
            unlinkat(store->dir_fd, entry->d_name, 0);
    }
    if (dir != NULL)
        closedir(dir);
    lock_file_release(store->lock);
}

Store *store_file_new_with_steps(int state_dir_fd, const char *workspace,
                                 const StoreFileSteps *steps, GError **error)
{
    g_autofree char *hash = lease_record_workspace_hash(workspace);
    g_autofree char *lock_name = g_strdup_printf("session-lock-%s.lock", hash);
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", state_dir_fd);
    FileStore *store = g_new0(FileStore, 1);
    g_autoptr(Store) base = &store->base;

    mutex_init(&store->stamp_lock);
    store->base.ops = &file_store_ops;
    store->steps = steps;
    store->dir_fd = state_dir_fd;
    store->directory = g_file_read_link(link, NULL);
    if (store->directory == NULL)
        store->directory = g_strdup("<state directory>");
    store->record_name = g_strdup_printf("session-lock-%s.json", hash);
    store->lock = lock_file_new(state_dir_fd, store->directory, lock_name, steps, error);
    if (store->lock == NULL)
        return NULL;
    sweep_temporaries(store);
    return g_steal_pointer(&base);
}

Store *store_file_new(int state_dir_fd, const char *workspace, GError **error)
{
    return store_file_new_with_steps(state_dir_fd, workspace, &store_file_steps_system, error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

/* The epoch as text of a fixed width, so that one write replaces the whole of it. */
#define EPOCH_DIGITS     20
#define EPOCH_TEXT_BYTES (EPOCH_DIGITS + 1)

#define LOCK_TRIES    5
#define LOCK_PAUSE_US 10000
#define REPLACE_TRIES 3

/*
 * An epoch may be noted while another thread finds that somebody removed the lock file and puts a
 * new one in its place, and none of this takes a mutex: noting must not wait for a disk.
 *
 * - `fd` keeps its number for life. A replacement is put under it by dup3, which is atomic: a
 *   write goes wholly to the old file or wholly to the new one.
 * - `noted` is raised before an epoch is written, and every writer looks at it again after its
 *   write and writes once more if it grew. So whichever write lands last carries the largest.
 * - A replacement is written to after dup3, from `noted`: an epoch whose write went to the old
 *   file is in it already.
 * - `written` is raised after the write. Only what stood there before fdatasync counts as synced.
 */
struct LockFile {
    const StoreFileSteps *steps;
    int dir_fd;
    int fd;
    char *directory;
    char *name;
    _Atomic guint64 noted;
    _Atomic guint64 written;
    guint64 synced;
    gboolean unsure; /* what the disk has is not known: write, and sync the name as well */
};

static void raise_to(_Atomic guint64 *target, guint64 value)
{
    guint64 seen = atomic_load(target);

    while (seen < value && !atomic_compare_exchange_weak(target, &seen, value))
        ;
}

/* Digits and a newline, nothing before them. What follows is not looked at: the next write covers
 * only as much. */
static gboolean parse_epoch(const char *text, guint64 *epoch_out)
{
    guint64 epoch = 0;
    const char *at = text;

    for (; g_ascii_isdigit(*at); at++) {
        if (__builtin_mul_overflow(epoch, (guint64)10, &epoch) ||
            __builtin_add_overflow(epoch, (guint64)(*at - '0'), &epoch))
            return FALSE;
    }
    if (at == text || *at != '\n' || epoch > (guint64)G_MAXINT64)
        return FALSE;
    *epoch_out = epoch;
    return TRUE;
}

static gboolean read_epoch(LockFile *file, int fd, guint64 *epoch_out, GError **error)
{
    char text[EPOCH_TEXT_BYTES + 1] = "";
    ssize_t n;

    do {
        n = file->steps->pread(fd, text, EPOCH_TEXT_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return store_file_fail(error, errno, "read", file->directory, file->name);
    *epoch_out = 0;
    if (n > 0 && !parse_epoch(text, epoch_out)) {
        g_autofree char *path = g_build_filename(file->directory, file->name, NULL);

        g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "LEASEFS_PATH", path, "MESSAGE",
                         "lock file %s holds no epoch; counting on from the lease record alone",
                         path);
    }
    return TRUE;
}

/* The file of that name: a descriptor, or -1. Its epoch counts from now on. */
static int open_file(LockFile *file, GError **error)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = file->steps->openat(file->dir_fd, file->name, flags, 0600);
    struct stat st;
    guint64 epoch = 0;
    gboolean usable = FALSE;

    if (fd < 0) {
        store_file_fail(error, errno, "open lock file", file->directory, file->name);
        return -1;
    }
    if (file->steps->fstat(fd, &st) != 0)
        store_file_fail(error, errno, "look at lock file", file->directory, file->name);
    else if (!S_ISREG(st.st_mode))
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                    "cannot use lock file %s/%s: not a regular file; remove it", file->directory,
                    file->name);
    else
        usable = read_epoch(file, fd, &epoch, error);
    if (!usable) {
        file->steps->close(fd);
        return -1;
    }
    raise_to(&file->noted, epoch);
    return fd;
}

LockFile *lock_file_new(int dir_fd, const char *directory, const char *name,
                        const StoreFileSteps *steps, GError **error)
{
    g_autoptr(LockFile) file = g_new0(LockFile, 1);

    file->steps = steps;
    file->dir_fd = dir_fd;
    file->directory = g_strdup(directory);
    file->name = g_strdup(name);
    file->unsure = TRUE;
    file->fd = open_file(file, error);
    return file->fd < 0 ? NULL : g_steal_pointer(&file);
}

static gboolean take_flock(LockFile *file, GError **error)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (i > 0)
            file->steps->pause_us(LOCK_PAUSE_US);
        if (file->steps->flock(file->fd, LOCK_EX | LOCK_NB) == 0)
            return TRUE;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return store_file_fail(error, errno, "lock", file->directory, file->name);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                "lock file %s/%s is held by another program; wait for it, or end it",
                file->directory, file->name);
    return FALSE;
}

/* Whether the file that is locked still bears the name: else two programs could hold "the" lock. */
static gboolean is_in_place(LockFile *file)
{
    struct stat held;
    struct stat named;

    return file->steps->fstat(file->fd, &held) == 0 &&
           file->steps->fstatat(file->dir_fd, file->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/* A mount that came to nothing, or in which nobody wrote, leaves no file. Whoever waits for the
 * lock of this very file meets one without a name: is_in_place, and docs/record.md. */
static void remove_unused(LockFile *file)
{
    struct stat st;

    if (atomic_load(&file->noted) != 0 || file->steps->flock(file->fd, LOCK_EX | LOCK_NB) != 0)
        return;
    if (is_in_place(file) && file->steps->fstat(file->fd, &st) == 0 && st.st_size == 0)
        file->steps->unlinkat(file->dir_fd, file->name, 0);
}

void lock_file_free(LockFile *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0) {
        remove_unused(file);
        file->steps->close(file->fd);
    }
    g_free(file->directory);
    g_free(file->name);
    g_free(file);
}

/* The old file's flock ends with its last descriptor, which dup3 closes. */
static gboolean replace(LockFile *file, GError **error)
{
    int fd = open_file(file, error);
    int moved;
    int saved_errno;

    if (fd < 0)
        return FALSE;
    moved = file->steps->dup3(fd, file->fd, O_CLOEXEC);
    saved_errno = errno;
    file->steps->close(fd);
    if (moved < 0)
        return store_file_fail(error, saved_errno, "keep open lock file", file->directory,
                               file->name);
    file->unsure = TRUE;
    return TRUE;
}

gboolean lock_file_take(LockFile *file, GError **error)
{
    for (int i = 0; i < REPLACE_TRIES; i++) {
        if (!take_flock(file, error))
            return FALSE;
        if (is_in_place(file))
            return TRUE;
        lock_file_release(file);
        if (!replace(file, error))
            return FALSE;
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                "lock file %s/%s is removed again and again; find out which program does that",
                file->directory, file->name);
    return FALSE;
}

void lock_file_release(LockFile *file)
{
    file->steps->flock(file->fd, LOCK_UN);
}

guint64 lock_file_epoch(LockFile *file)
{
    return atomic_load(&file->noted);
}

static gboolean write_once(LockFile *file, guint64 epoch, GError **error)
{
    char text[EPOCH_TEXT_BYTES + 1];
    ssize_t n;

    g_snprintf(text, sizeof(text), "%0*" G_GUINT64_FORMAT "\n", EPOCH_DIGITS, epoch);
    do {
        n = file->steps->pwrite(file->fd, text, EPOCH_TEXT_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n == EPOCH_TEXT_BYTES)
        return TRUE;
    return store_file_fail(error, n < 0 ? errno : ENOSPC, "note the epoch in", file->directory,
                           file->name);
}

static gboolean write_noted(LockFile *file, GError **error)
{
    guint64 epoch;

    do {
        epoch = atomic_load(&file->noted);
        if (!write_once(file, epoch, error))
            return FALSE;
        raise_to(&file->written, epoch);
    } while (atomic_load(&file->noted) != epoch);
    return TRUE;
}

gboolean lock_file_note_epoch(LockFile *file, guint64 epoch, GError **error)
{
    if (epoch <= atomic_load(&file->noted) && epoch <= atomic_load(&file->written))
        return TRUE;
    raise_to(&file->noted, epoch);
    return write_noted(file, error);
}

gboolean lock_file_sync_epoch(LockFile *file, GError **error)
{
    guint64 epoch;

    if ((file->unsure || atomic_load(&file->written) < atomic_load(&file->noted)) &&
        !write_noted(file, error))
        return FALSE;
    epoch = atomic_load(&file->written);
    if (!file->unsure && epoch == file->synced)
        return TRUE;
    if (file->steps->fdatasync(file->fd) != 0) {
        /* The kernel reports such an error once and may then hold the page for clean: it has to be
         * written again before the next attempt means anything (fsync(2)). */
        int saved_errno = errno;

        file->unsure = TRUE;
        return store_file_fail(error, saved_errno, "sync", file->directory, file->name);
    }
    if (file->unsure && file->steps->fsync(file->dir_fd) != 0)
        return store_file_fail(error, errno, "sync the directory of", file->directory, file->name);
    file->unsure = FALSE;
    file->synced = epoch;
    return TRUE;
}

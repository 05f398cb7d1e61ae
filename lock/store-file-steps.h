/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The system calls that the file store makes, one function each, handed in so that a test can make
 * any of them fail. Internal to the file store.
 * Thread safety: the table is constant; its functions may be called from any thread.
 */
#include "store.h"

#include <sys/stat.h>
#include <sys/types.h>

/* Each with the result and errno of the system call of its name. */
typedef struct StoreFileSteps {
    int (*openat)(int dir_fd, const char *name, int flags, mode_t mode);
    int (*close)(int fd);
    int (*fstat)(int fd, struct stat *st_out);
    int (*fstatat)(int dir_fd, const char *name, struct stat *st_out, int flags);
    ssize_t (*read)(int fd, void *buffer, size_t size);
    ssize_t (*write)(int fd, const void *buffer, size_t size);
    ssize_t (*pread)(int fd, void *buffer, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buffer, size_t size, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*flock)(int fd, int operation);
    int (*dup3)(int from_fd, int to_fd, int flags);
    int (*renameat2)(int dir_fd, const char *from, int to_dir_fd, const char *to, unsigned flags);
    int (*unlinkat)(int dir_fd, const char *name, int flags);
    void (*pause_us)(gulong microseconds);
    gint64 (*wall_us)(void);
} StoreFileSteps;

extern const StoreFileSteps store_file_steps_system;

/* store_file_new on other steps; they are borrowed for the store's life. state_dir_fd is taken. */
Store *store_file_new_with_steps(int state_dir_fd, const char *workspace,
                                 const StoreFileSteps *steps, GError **error);

/* Sets `cannot DOING DIRECTORY/NAME: reason` with the G_IO_ERROR of the errno. Always FALSE. */
gboolean store_file_fail(GError **error, int saved_errno, const char *doing, const char *directory,
                         const char *name);

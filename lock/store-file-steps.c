/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store-file-steps.h"

#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

static int system_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    return openat(dir_fd, name, flags, mode);
}

static int system_fstat(int fd, struct stat *st_out)
{
    return fstat(fd, st_out);
}

static int system_fstatat(int dir_fd, const char *name, struct stat *st_out, int flags)
{
    return fstatat(dir_fd, name, st_out, flags);
}

static void system_pause_us(gulong microseconds)
{
    g_usleep(microseconds);
}

const StoreFileSteps store_file_steps_system = {
    .openat = system_openat,
    .close = close,
    .fstat = system_fstat,
    .fstatat = system_fstatat,
    .read = read,
    .write = write,
    .pread = pread,
    .pwrite = pwrite,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .flock = flock,
    .dup3 = dup3,
    .renameat2 = renameat2,
    .unlinkat = unlinkat,
    .pause_us = system_pause_us,
    .wall_us = g_get_real_time,
};

gboolean store_file_fail(GError **error, int saved_errno, const char *doing, const char *directory,
                         const char *name)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved_errno), "cannot %s %s/%s: %s", doing,
                directory, name, g_strerror(saved_errno));
    return FALSE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fault-steps.h"

#include <errno.h>

typedef void (*Hook)(gpointer data);

static struct {
    FaultStep step;
    guint skip;
    guint times;
    int with_errno;
    gsize limit_bytes;
    gint64 wall_us;
    guint pauses;
    guint counts[FAULT_ANY + 1];
    Hook on_pause;
    gpointer on_pause_data;
    FaultStep before_step;
    Hook before;
    gpointer before_data;
    FaultStep after_step;
    Hook after;
    gpointer after_data;
} faults;

void fault_reset(void)
{
    memset(&faults, 0, sizeof(faults));
    faults.limit_bytes = G_MAXSIZE;
}

void fault_inject(FaultStep step, guint nth, guint times, int with_errno)
{
    faults.step = step;
    faults.skip = nth - 1;
    faults.times = times;
    faults.with_errno = with_errno;
}

void fault_limit_bytes(gsize bytes)
{
    faults.limit_bytes = bytes;
}

void fault_on_pause(Hook hook, gpointer data)
{
    faults.on_pause = hook;
    faults.on_pause_data = data;
}

void fault_before(FaultStep step, Hook hook, gpointer data)
{
    faults.before_step = step;
    faults.before = hook;
    faults.before_data = data;
}

void fault_after(FaultStep step, Hook hook, gpointer data)
{
    faults.after_step = step;
    faults.after = hook;
    faults.after_data = data;
}

void fault_set_wall_us(gint64 wall_us)
{
    faults.wall_us = wall_us;
}

guint fault_count(FaultStep step)
{
    return faults.counts[step];
}

guint fault_pauses(void)
{
    return faults.pauses;
}

static gboolean fails(FaultStep step)
{
    Hook hook = faults.before;

    if (hook != NULL && faults.before_step == step) {
        faults.before = NULL;
        hook(faults.before_data);
    }
    faults.counts[step]++;
    faults.counts[FAULT_ANY]++;
    if (faults.times == 0 || (faults.step != step && faults.step != FAULT_ANY))
        return FALSE;
    if (faults.skip > 0) {
        faults.skip--;
        return FALSE;
    }
    faults.times--;
    errno = faults.with_errno;
    return TRUE;
}

static gssize then(FaultStep step, gssize result)
{
    int saved_errno = errno;
    Hook hook = faults.after;

    if (hook != NULL && faults.after_step == step) {
        faults.after = NULL;
        hook(faults.after_data);
    }
    errno = saved_errno;
    return result;
}

static int fault_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    if (fails(FAULT_OPENAT))
        return -1;
    return (int)then(FAULT_OPENAT, store_file_steps_system.openat(dir_fd, name, flags, mode));
}

/* Like the real one, it closes also when it fails. */
static int fault_close(int fd)
{
    gboolean failing = fails(FAULT_CLOSE);
    int saved_errno = errno;
    int result = store_file_steps_system.close(fd);

    if (!failing)
        return (int)then(FAULT_CLOSE, result);
    errno = saved_errno;
    return -1;
}

static int fault_fstat(int fd, struct stat *st_out)
{
    if (fails(FAULT_FSTAT))
        return -1;
    return (int)then(FAULT_FSTAT, store_file_steps_system.fstat(fd, st_out));
}

static int fault_fstatat(int dir_fd, const char *name, struct stat *st_out, int flags)
{
    if (fails(FAULT_FSTATAT))
        return -1;
    return (int)then(FAULT_FSTATAT, store_file_steps_system.fstatat(dir_fd, name, st_out, flags));
}

static ssize_t fault_read(int fd, void *buffer, size_t size)
{
    if (fails(FAULT_READ))
        return -1;
    return then(FAULT_READ,
                store_file_steps_system.read(fd, buffer, MIN(size, faults.limit_bytes)));
}

static ssize_t fault_write(int fd, const void *buffer, size_t size)
{
    if (fails(FAULT_WRITE))
        return -1;
    return then(FAULT_WRITE,
                store_file_steps_system.write(fd, buffer, MIN(size, faults.limit_bytes)));
}

static ssize_t fault_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (fails(FAULT_PREAD))
        return -1;
    return then(FAULT_PREAD, store_file_steps_system.pread(fd, buffer, size, offset));
}

static ssize_t fault_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    if (fails(FAULT_PWRITE))
        return -1;
    return then(FAULT_PWRITE,
                store_file_steps_system.pwrite(fd, buffer, MIN(size, faults.limit_bytes), offset));
}

static int fault_fdatasync(int fd)
{
    if (fails(FAULT_FDATASYNC))
        return -1;
    return (int)then(FAULT_FDATASYNC, store_file_steps_system.fdatasync(fd));
}

static int fault_fsync(int fd)
{
    if (fails(FAULT_FSYNC))
        return -1;
    return (int)then(FAULT_FSYNC, store_file_steps_system.fsync(fd));
}

static int fault_flock(int fd, int operation)
{
    if (fails(FAULT_FLOCK))
        return -1;
    return (int)then(FAULT_FLOCK, store_file_steps_system.flock(fd, operation));
}

static int fault_dup3(int from_fd, int to_fd, int flags)
{
    if (fails(FAULT_DUP3))
        return -1;
    return (int)then(FAULT_DUP3, store_file_steps_system.dup3(from_fd, to_fd, flags));
}

static int fault_renameat2(int dir_fd, const char *from, int to_dir_fd, const char *to,
                           unsigned flags)
{
    if (fails(FAULT_RENAMEAT2))
        return -1;
    return (int)then(FAULT_RENAMEAT2,
                     store_file_steps_system.renameat2(dir_fd, from, to_dir_fd, to, flags));
}

static int fault_unlinkat(int dir_fd, const char *name, int flags)
{
    if (fails(FAULT_UNLINKAT))
        return -1;
    return (int)then(FAULT_UNLINKAT, store_file_steps_system.unlinkat(dir_fd, name, flags));
}

static void fault_pause_us(gulong microseconds)
{
    (void)microseconds;
    faults.pauses++;
    if (faults.on_pause != NULL)
        faults.on_pause(faults.on_pause_data);
}

static gint64 fault_wall_us(void)
{
    return faults.wall_us;
}

const StoreFileSteps fault_steps = {
    .openat = fault_openat,
    .close = fault_close,
    .fstat = fault_fstat,
    .fstatat = fault_fstatat,
    .read = fault_read,
    .write = fault_write,
    .pread = fault_pread,
    .pwrite = fault_pwrite,
    .fdatasync = fault_fdatasync,
    .fsync = fault_fsync,
    .flock = fault_flock,
    .dup3 = fault_dup3,
    .renameat2 = fault_renameat2,
    .unlinkat = fault_unlinkat,
    .pause_us = fault_pause_us,
    .wall_us = fault_wall_us,
};

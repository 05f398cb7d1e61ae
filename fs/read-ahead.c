/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "read-ahead.h"
#include "mounts.h"
#include "util.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define USUAL_KIB      128 /* VM_READAHEAD_PAGES of the kernel */
#define READ_AHEAD_KIB 512

/* Of the device number in mountinfo: to ask the mount itself would wait for what is not yet
 * answered. 0 where it is not there. */
static guint find_device_minor(const char *mountpoint)
{
    g_autoptr(GPtrArray) mounts = leasefs_mounts_read(NULL);

    for (guint i = 0; mounts && i < mounts->len; i++) {
        const LeasefsMount *mount = g_ptr_array_index(mounts, i);

        if (strcmp(mount->mountpoint, mountpoint) == 0)
            return mount->minor;
    }
    return 0;
}

guint32 read_ahead_raise(const char *mountpoint)
{
    guint minor = find_device_minor(mountpoint);
    /* an anonymous device: its major number is 0 */
    g_autofree char *path = g_strdup_printf("/sys/class/bdi/0:%u/read_ahead_kb", minor);
    char text[32];
    autofd fd = minor != 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (g_ascii_strtoull(text, NULL, 10) != USUAL_KIB)
        return 0; /* somebody, or a rule of udev, has chosen */
    n = snprintf(text, sizeof text, "%d", READ_AHEAD_KIB);
    return pwrite(fd, text, (size_t)n, 0) == n ? READ_AHEAD_KIB * 1024 : 0;
}

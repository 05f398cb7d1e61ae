/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"
#include "util.h"
#include "warden.h"
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

/* The file flags (ioctl_iflags(2)) and their extended form, an inode's generation, and the label:
 * what programs ask any filesystem for, and what fits the kernel's restricted form. */
typedef struct FlagsIoctl {
    unsigned cmd;
    size_t size;
    gboolean sets;
} FlagsIoctl;

static const FlagsIoctl *find_ioctl(unsigned cmd)
{
    /* FS_IOC_*FLAGS and FS_IOC_GETVERSION are declared with long, and move an int */
    static const FlagsIoctl known[] = {
        {FS_IOC_GETFLAGS, sizeof(int), FALSE},
        {FS_IOC_SETFLAGS, sizeof(int), TRUE},
        {FS_IOC_FSGETXATTR, sizeof(struct fsxattr), FALSE},
        {FS_IOC_FSSETXATTR, sizeof(struct fsxattr), TRUE},
        {FS_IOC_GETVERSION, sizeof(int), FALSE},
        {FS_IOC_GETFSLABEL, FSLABEL_MAX, FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].cmd == cmd)
            return &known[i];
    return NULL;
}

static int set_flags(const Change *change, int fd, unsigned cmd, void *value)
{
    guard_assert_admitted(change);
    return ioctl(fd, cmd, value) >= 0 ? 0 : -errno;
}

static int guarded_set(fuse_req_t req, Fs *fs, fuse_ino_t ino, int fd, unsigned cmd, void *value)
{
    Caller caller = caller_of(req);
    Change change;
    int r;

    r = guard_begin_node(fs->guard, &caller, fs_node(fs, ino), FALSE, &change);
    if (r == 0) {
        r = set_flags(&change, fd, cmd, value);
        if (r == 0)
            warden_forget_attributes(fs->warden, fs_node(fs, ino)); /* its ctime */
        guard_end(fs->guard, &change, r);
    }
    return r;
}

static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg G_GNUC_UNUSED,
                     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_size,
                     size_t out_size)
{
    Fs *fs = fs_of(req);
    const FlagsIoctl *known = find_ioctl(cmd);
    autofd own_fd = -1;
    int fd;
    union {
        long flags;
        struct fsxattr xattr;
        char label[FSLABEL_MAX];
    } value = {0};
    int r;

    if (!known || (flags & FUSE_IOCTL_COMPAT)) {
        fuse_reply_err(req, ENOTTY);
        return;
    }
    if (known->sets ? in_size < known->size : out_size < known->size) {
        fuse_reply_err(req, EINVAL);
        return;
    }
    fd = flags & FUSE_IOCTL_DIR ? ops_dir_fd(fs, ino, fi, &own_fd)
                                : handle_fd(fs->handles, handle_of(fi->fh));
    if (fd < 0) {
        r = fd;
    } else if (known->sets) {
        memcpy(&value, in, MIN(in_size, sizeof value));
        r = guarded_set(req, fs, ino, fd, cmd, &value);
    } else {
        r = ioctl(fd, cmd, &value) >= 0 ? 0 : -errno;
    }
    if (r != 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_ioctl(req, 0, known->sets ? NULL : &value, known->sets ? 0 : known->size);
}

void ops_add_ioctl(struct fuse_lowlevel_ops *ops)
{
    ops->ioctl = op_ioctl;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Makes what a request creates belong to its caller: user, group and umask of the process that
 * asked, in the thread that serves it.
 * Thread safety: what is switched belongs to the calling thread, and is switched back by it.
 */
#include "fs.h"

/* Before the first request: TRUE where workers can have an umask of their own, so that the kernel
 * may leave masking to the daemon (FUSE_CAP_DONT_MASK). */
gboolean creds_can_mask(void);

/* Whether the daemon may read any file and directory of a disk: CAP_DAC_READ_SEARCH, and not in a
 * user namespace, where it counts for some. */
gboolean creds_can_read_all(void);

typedef struct Creds {
    gboolean switched_uid;
    gboolean switched_gid;
    gboolean no_fsetid;
    gid_t own_gid;
    GArray *groups; /* the daemon's own, while the thread has the caller's; else NULL */
} Creds;

/* From here to creds_restore the thread creates as the caller, something of this mode. Permissions
 * are not judged by it: where others than the daemon's user are let in, the kernel has judged them
 * already. */
Creds creds_become(fuse_req_t req, Fs *fs, mode_t mode);
/* From here to creds_restore the thread takes space of the disk as the caller: none of what is kept
 * for root. It can do all that it could. */
Creds creds_spend_as(fuse_req_t req, Fs *fs);
void creds_restore(Creds *creds);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Creds, creds_restore)

/* What the kernel would do to a file that a process without CAP_FSETID writes to, and cannot for a
 * daemon that is root: clears suid and sgid. Best effort, as there: the write stands already. */
void creds_clear_suid(fuse_req_t req, Fs *fs, Node *node, int fd);
/* After an ACL was set, which takes sgid from a file whose group the caller is not of. 0 or -errno.
 */
int creds_clear_sgid_of_stranger(fuse_req_t req, Fs *fs, const NodeFd *fd);

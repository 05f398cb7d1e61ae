/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon that is root creates files for others, and each has to come out as if its caller had
 * made it on the disk.
 *
 * Owner and group: setfsuid(2) and setfsgid(2) are per thread, and the backing filesystem applies
 * setgid directories by itself. Leaving uid 0 would take the capabilities that override permissions
 * from the thread. It has to keep them, because the daemon does not know the caller's supplementary
 * groups and would refuse what those allow, while the kernel has checked all of it before the
 * request was sent (default_permissions): a securebit says so, capabilities(7). The groups are
 * asked for only where they decide: sgid of a file in a setgid directory. There CAP_FSETID goes for
 * as long, too.
 *
 * Space: a filesystem keeps some for root, and knows root by the uid or by CAP_SYS_RESOURCE. The
 * threads that serve go without that, as root has the other.
 *
 * Mode: a directory with a default ACL ignores the umask, and only the backing filesystem knows
 * whether there is one. So the kernel is told not to mask, and the umask is set around the call.
 * It is shared by all threads of a process, unless unshare(2) gives a thread a copy of its own:
 * each worker does so at its first creation, and then keeps the umask of its last caller, as most
 * have the same. Elsewhere it stays 0.
 */
#include "creds.h"
#include "util.h"
#include "warden.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_WORDS _LINUX_CAPABILITY_U32S_3

/* Overriding permissions, owning everything, and device files. */
#define OVERRIDING_CAPS                                                                            \
    (1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER | 1u << CAP_MKNOD)

#define FIRST_USER_NS 0xeffffffdu /* PROC_USER_INIT_INO of the kernel's include/linux/proc_ns.h */

static _Thread_local gboolean has_own_umask;
static _Thread_local mode_t own_umask; /* as it stands */

static gboolean take_own_umask(void)
{
    if (!has_own_umask)
        has_own_umask = unshare(CLONE_FS) == 0;
    return has_own_umask;
}

gboolean creds_can_mask(void)
{
    return take_own_umask();
}

/* Of capabilities below 32, as bits. FALSE where they could not be changed. */
static gboolean set_effective(guint32 caps, gboolean on)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[CAP_WORDS];

    if (syscall(SYS_capget, &header, data) != 0)
        return FALSE;
    if (on)
        data[0].effective |= caps & data[0].permitted;
    else
        data[0].effective &= ~caps;
    return syscall(SYS_capset, &header, data) == 0;
}

gboolean creds_can_read_all(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[CAP_WORDS];
    struct stat st;

    if (stat("/proc/self/ns/user", &st) != 0 || st.st_ino != FIRST_USER_NS)
        return FALSE;
    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & 1u << CAP_DAC_READ_SEARCH) != 0;
}

/* FALSE where the thread's capabilities still follow its uid: without CAP_SETPCAP. */
static gboolean untie_caps(void)
{
    static _Thread_local gboolean tried, untied;
    static _Atomic gboolean told;
    int bits;

    if (tried)
        return untied;
    tried = TRUE;
    bits = prctl(PR_GET_SECUREBITS);
    untied = bits >= 0 && prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP) == 0;
    if (!untied && !atomic_exchange(&told, TRUE))
        g_message("cannot keep capabilities over a change of uid (%s): other users may fill what "
                  "the disk keeps for root",
                  g_strerror(errno));
    set_effective(1u << CAP_SYS_RESOURCE, FALSE);
    return untied;
}

/* The caller's supplementary groups: proc_pid_status(5), `Groups:` and the ids, separated by
 * blanks. Owned; empty where the caller cannot be read. */
static GArray *read_groups(fuse_req_t req)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)fuse_req_ctx(req)->pid);
    GArray *groups = g_array_new(FALSE, FALSE, sizeof(gid_t));
    g_autofree char *status = NULL;
    const char *at = NULL;

    if (g_file_get_contents(path, &status, NULL, NULL))
        at = strstr(status, "\nGroups:");
    if (!at)
        return groups;
    at += strlen("\nGroups:");
    for (const char *end = at + strcspn(at, "\n"); at < end;) {
        char *rest;
        gid_t id = (gid_t)g_ascii_strtoull(at, &rest, 10);

        if (rest == at || rest > end)
            break;
        g_array_append_val(groups, id);
        at = rest;
    }
    return groups;
}

static gboolean in_group(fuse_req_t req, gid_t gid)
{
    g_autoptr(GArray) groups = NULL;

    if (fuse_req_ctx(req)->gid == gid)
        return TRUE;
    groups = read_groups(req);
    for (guint i = 0; i < groups->len; i++) {
        if (g_array_index(groups, gid_t, i) == gid)
            return TRUE;
    }
    return FALSE;
}

/* glibc's setgroups(3) sets those of every thread. */
static gboolean set_own_groups(const GArray *groups)
{
    return syscall(SYS_setgroups, groups->len, groups->data) == 0;
}

/* Returns those that were there before, owned; NULL where nothing was changed. */
static GArray *take_callers_groups(fuse_req_t req)
{
    g_autoptr(GArray) callers = read_groups(req);
    g_autoptr(GArray) own = g_array_new(FALSE, FALSE, sizeof(gid_t));
    int n = getgroups(0, NULL);

    if (n < 0)
        return NULL;
    g_array_set_size(own, (guint)n);
    if (getgroups(n, (gid_t *)(gpointer)own->data) != n || !set_own_groups(callers))
        return NULL;
    return g_steal_pointer(&own);
}

Creds creds_become(fuse_req_t req, Fs *fs, mode_t mode)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    Creds creds = {0};
    gboolean untied;

    if (fs->masks && ctx->umask != own_umask && take_own_umask()) {
        umask(ctx->umask);
        own_umask = ctx->umask;
    }
    if (!fs->as_root)
        return creds;
    untied = untie_caps();
    /* They report no error: the old value comes back either way. */
    if (ctx->gid != fs->gid) {
        setfsgid(ctx->gid);
        creds.switched_gid = TRUE;
        creds.own_gid = fs->gid;
    }
    if (ctx->uid != 0) {
        if (S_ISREG(mode) && (mode & S_ISGID)) {
            creds.groups = take_callers_groups(req);
            creds.no_fsetid = set_effective(1u << CAP_FSETID, FALSE);
        }
        setfsuid(ctx->uid);
        creds.switched_uid = TRUE;
        /* Failing leaves less than there was, and the call that follows tells. */
        if (!untied)
            set_effective(OVERRIDING_CAPS, TRUE);
    }
    return creds;
}

Creds creds_spend_as(fuse_req_t req, Fs *fs)
{
    const uid_t uid = fuse_req_ctx(req)->uid;

    if (!fs->as_root)
        return (Creds){0};
    if (!untie_caps() || uid == 0)
        return (Creds){0};
    setfsuid(uid);
    return (Creds){.switched_uid = TRUE};
}

/* Only root's daemon switches. */
void creds_restore(Creds *creds)
{
    if (creds->switched_uid)
        setfsuid(0);
    if (creds->switched_gid)
        setfsgid(creds->own_gid);
    if (creds->no_fsetid)
        set_effective(1u << CAP_FSETID, TRUE);
    if (creds->groups)
        set_own_groups(creds->groups);
    g_clear_pointer(&creds->groups, g_array_unref);
    *creds = (Creds){0};
}

void creds_clear_suid(fuse_req_t req, Fs *fs, Node *node, int fd)
{
    struct stat st;
    mode_t drop;

    if (!fs->as_root || fuse_req_ctx(req)->uid == 0 || fstat(fd, &st) != 0)
        return;
    drop = st.st_mode & (S_ISUID | S_ISGID);
    if (!S_ISREG(st.st_mode) || drop == 0)
        return;
    if (drop & S_ISGID && !(st.st_mode & S_IXGRP) && in_group(req, st.st_gid))
        drop &= ~(mode_t)S_ISGID;
    if (drop == 0)
        return;
    if (fchmod(fd, st.st_mode & 07777 & ~drop) != 0)
        g_debug("cannot clear suid after a write: %s", g_strerror(errno));
    /* no reply to a write tells of a mode */
    warden_forget_attributes(fs->warden, node);
}

int creds_clear_sgid_of_stranger(fuse_req_t req, Fs *fs, const NodeFd *fd)
{
    struct stat st;
    NodePath path;

    if (!fs->as_root || fuse_req_ctx(req)->uid == 0)
        return 0;
    if (fstatat(fd->fd, "", &st, AT_EMPTY_PATH) != 0)
        return -errno;
    if (!(st.st_mode & S_ISGID) || in_group(req, st.st_gid))
        return 0;
    node_fd_path(fd, &path);
    return chmod(path.text, st.st_mode & 07777 & ~(mode_t)S_ISGID) == 0 ? 0 : -errno;
}

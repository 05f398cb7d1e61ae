/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * old-kernel FEATURE PROGRAM [ARGUMENT...]: runs the program, and all that it starts, as on a
 * kernel without the feature. What a system call asks for is answered by a seccomp filter as such a
 * kernel would; what the FUSE connection negotiates is withheld by the daemon itself
 * (LEASEFS_WITHOUT).
 *
 * Filters need CAP_SYS_ADMIN here: without it they would take fusermount3 its suid bit
 * (PR_SET_NO_NEW_PRIVS), and a user could not mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOCTL_TYPE_AND_NUMBER 0xffffu
#define PIDFD_GET_INFO_NUMBER 0xff0bu /* _IOWR(0xFF, 11, ...) of any size */

typedef struct Refusal {
    const char *feature;
    guint32 system_call;
    guint argument;
    guint32 mask, value; /* refused where (argument & mask) == value */
    guint32 error;
} Refusal;

static const Refusal refusals[] = {
    /* before 6.11, and in 6.11 and 6.12 */
    {"pidfd_get_info", SYS_ioctl, 1, IOCTL_TYPE_AND_NUMBER, PIDFD_GET_INFO_NUMBER, ENOTTY},
    {"pidfd_get_info_einval", SYS_ioctl, 1, IOCTL_TYPE_AND_NUMBER, PIDFD_GET_INFO_NUMBER, EINVAL},
    {"pidfd_thread", SYS_pidfd_open, 1, O_EXCL, O_EXCL, EINVAL},
};

static const Refusal *find_refusal(const char *feature)
{
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        if (strcmp(refusals[i].feature, feature) == 0)
            return &refusals[i];
    }
    return NULL;
}

static int refuse(const Refusal *refusal)
{
    guint32 at = (guint32)(offsetof(struct seccomp_data, args) + refusal->argument * 8);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->system_call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at + (G_BYTE_ORDER == G_BIG_ENDIAN ? 4 : 0)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal->mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = G_N_ELEMENTS(filter), .filter = filter};

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
    const Refusal *refusal;

    if (argc < 3) {
        g_printerr("usage: old-kernel FEATURE PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    refusal = find_refusal(argv[1]);
    if (!refusal) {
        g_setenv("LEASEFS_WITHOUT", argv[1], TRUE);
    } else if (refuse(refusal) != 0) {
        g_printerr("old-kernel: cannot do without %s: %s\n", argv[1], g_strerror(errno));
        return 1;
    }
    execv(argv[2], argv + 2);
    g_printerr("old-kernel: cannot run %s: %s\n", argv[2], g_strerror(errno));
    return 1;
}

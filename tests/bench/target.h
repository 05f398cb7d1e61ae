/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * One way to reach a directory of the image: bare, through leasefs, or through a peer.
 * Thread safety: one thread.
 */
#include "place.h"

#include <sys/types.h>

typedef enum TargetKind {
    TARGET_BARE,
    TARGET_LEASEFS, /* enforcing, the lease held by the client's session */
    TARGET_BLOCKED, /* enforcing, the lease held by another session */
    TARGET_BINDFS,
    TARGET_FUSE_OVERLAYFS,
    TARGET_MERGERFS,
    TARGET_PASSTHROUGH_HP,
    TARGET_KINDS,
} TargetKind;

typedef struct TargetSettings {
    const char *leasefs;        /* the program */
    const char *leasefs_opts;   /* more for -o, or NULL */
    gboolean elsewhere;         /* leasefs not in place */
    const char *passthrough_hp; /* the program, or NULL */
} TargetSettings;

typedef struct Target {
    TargetKind kind;
    const char *name;
    char *backing; /* the directory of the image, by the path that a mount in place covers */
    char *below;   /* the same, past any mount */
    char *path;    /* where the client works */
    char *version; /* one line, or NULL */
    pid_t daemon;  /* 0: not mounted */
    pid_t holder;  /* 0: none; the session that blocks the client */
    int holder_fd; /* a line asks for a change, a line is the answer; -1: none */
} Target;

const char *target_kind_name(TargetKind kind);
/* Whether what it needs is installed. */
gboolean target_is_there(TargetKind kind, const TargetSettings *settings);
/* Somebody else's filesystem. */
gboolean target_is_peer(TargetKind kind);
/* It neither refuses a writer nor could: the kernel passes contents by. */
gboolean target_cannot_refuse(TargetKind kind);

Target *target_new(TargetKind kind, Place *place, const TargetSettings *settings, GError **error);
/* Ends what runs. */
void target_free(Target *target);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Target, target_free)

/* A fresh mount, ready: in leasefs the lease is held by whom it should be. Bare: nothing. */
gboolean target_mount(Target *target, Place *place, const TargetSettings *settings, GError **error);
gboolean target_unmount(Target *target, const TargetSettings *settings, GError **error);
/* As it stands, whatever hangs or has failed. */
void target_abandon(Target *target);
/* Processor time of all threads of the daemon so far, in ns; 0 without one. */
guint64 target_daemon_ns(const Target *target);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The mount options: `-o` text to a plain value. No FUSE header: pure, tested without a mount.
 * Thread safety: values; no shared state.
 */
#include <glib.h>

typedef enum GuardMode {
    GUARD_ENFORCE, /* refuse */
    GUARD_OBSERVE, /* let through, log what would have been refused */
} GuardMode;

typedef enum CacheMode {
    CACHE_AUTO,   /* long in place while nobody is known to reach past the mount, else a second */
    CACHE_ALWAYS, /* long */
    CACHE_NEVER,  /* a second... of nothing: each look asks the backing filesystem */
} CacheMode;

typedef struct MountOptions {
    gint64 ttl_ms; /* 5 minutes unless said */
    GuardMode mode;
    CacheMode cache;
    gboolean unknown_allowed; /* unknown=allow */
    gboolean refuse_nested;   /* nested=refuse */
    char *boundary;           /* NULL: the default list */
    GStrv passive;            /* globs; the default list unless said */
    GStrv shared;             /* globs; empty unless said */
    char *state_dir;          /* NULL: the default */
    gboolean allow_other;
    gboolean no_atime, no_diratime;
    gboolean read_only;     /* ro */
    guint32 max_read_bytes; /* 0: as the kernel likes */
    GPtrArray *fuse;        /* options handed on to libfuse and mount(8), `allow_other` too */
} MountOptions;

MountOptions *mount_options_new(void);
void mount_options_free(MountOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountOptions, mount_options_free)

/* Takes in one `-o` argument (comma-separated, `\,` for a comma). Unknown names, bad values:
 * FALSE, and a message that names the option and what it takes. Options of fstab that mean nothing
 * here (defaults, auto, noauto, nofail, user, users, _netdev, x-*) are accepted and dropped. */
gboolean mount_options_parse(MountOptions *options, const char *text, GError **error);

/* `500ms`, `30s`, `5m`, `12h`, or seconds; more than 0, at most 365 days. -1 with an error. */
gint64 duration_parse_ms(const char *text, GError **error);
/* `2m05s`, `45s`, `1h02m`, `3d04h` for people. Owned. */
char *duration_format(gint64 ms);

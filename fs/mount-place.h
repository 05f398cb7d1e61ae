/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Finds out where a workspace may be mounted: resolves the paths, replaces a dead mount, takes the
 * workspace's lock, and says in one line what is wrong.
 * Thread safety: none; called once, before the mount.
 */
#include <glib.h>
#include <sys/types.h>

typedef struct MountPlace {
    char *workspace;  /* resolved */
    char *mountpoint; /* resolved; the same string value in place */
    gboolean in_place;
    int root_fd; /* the backing directory, flocked for the daemon's life */
    dev_t dev;
    ino_t ino;
} MountPlace;

gboolean mount_place_find(MountPlace *place, const char *workspace, const char *mountpoint,
                          GError **error);
void mount_place_clear(MountPlace *place);

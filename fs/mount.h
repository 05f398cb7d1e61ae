/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Mounts a workspace and serves it until it is unmounted.
 * Thread safety: once in a process; forks must be over before it is called.
 */
#include "options.h"

typedef struct MountRequest {
    const char *workspace;
    const char *mountpoint; /* NULL: in place */
    const MountOptions *options;
} MountRequest;

#define MOUNT_ERROR mount_error_quark()
GQuark mount_error_quark(void);
typedef enum MountError {
    MOUNT_ERROR_FAILED,
    MOUNT_ERROR_BUSY, /* mounted already, or inside or around another mount */
} MountError;

typedef struct MountNotice {
    const char *mountpoint;
    GPtrArray *past; /* of BypassProcess: those that reach past the mount; borrowed */
} MountNotice;

/* Called once, when the mount answers and before it is used. */
typedef void (*MountReady)(const MountNotice *notice, gpointer data);

/* Everything that is wrong with the request, the machine or the state directory is found before
 * `ready`; a dead mount left by a killed daemon of the same workspace is replaced. FALSE with a
 * message of one line that names the thing and the mend; nothing is left behind then. Returns when
 * the mount is gone; TRUE after an orderly end. */
gboolean mount_serve(const MountRequest *request, MountReady ready, gpointer data, GError **error);

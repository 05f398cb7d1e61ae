/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Finds the mount that a path lies in, and speaks with its daemon through `user.leasefs.*`.
 * Always by path, never through an inherited working directory: that may be from before the mount.
 * Thread safety: values; no shared state.
 */
#include "mount-status.h"
#include "mounts.h"

typedef struct Client {
    char *path; /* resolved; what the attributes are read of */
    char *mountpoint;
    char *workspace;
    guint minor; /* of the mount's device */
} Client;

/* G_IO_ERROR_NOT_MOUNTED where the path is in no leasefs mount, G_IO_ERROR_CONNECTION_CLOSED where
 * that mount's daemon is gone, else G_IO_ERROR_FAILED. The message names the path and the mend. */
Client *client_new(const char *path, GError **error);
/* For a mount out of mountinfo; nothing is asked of it. */
Client *client_new_for_mount(const LeasefsMount *mount);
void client_free(Client *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Client, client_free)

/* The value of user.leasefs.NAME. NULL and 0 in *errno_out where there is no such value (ENODATA),
 * else NULL and an errno. Owned. */
char *client_read(const Client *client, const char *name, int *errno_out);
/* Writes a message of fs/control.h to user.leasefs.control: 0 or an errno. */
int client_control(const Client *client, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The status document as this process sees it; text_out may be NULL. */
MountStatus *client_status(const Client *client, char **text_out, GError **error);

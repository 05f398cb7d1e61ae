/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Takes a mount away: umount(2) where this process may, else fusermount3.
 * Thread safety: spawns, so only while the process has one thread.
 */
#include <glib.h>

/* `lazy` detaches it now and ends it when nobody uses it any more. FALSE and an error:
 * G_IO_ERROR_BUSY where it is in use, else one that names the path. */
gboolean unmount_path(const char *mountpoint, gboolean lazy, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Changes the flags of a mount that exists, for `mount -o remount`: ro, noatime, nosuid...
 * What the daemon decides by (ttl=, passive=...) stays as it was mounted.
 * Thread safety: none; the command has one thread.
 */
#include <glib.h>

/* texts: options as after -o; may be NULL. */
gboolean remount_is_asked(char **texts);
gboolean remount(const char *mountpoint, char **texts, GError **error);

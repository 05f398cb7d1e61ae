/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * How much of a file the kernel asks for ahead of who reads it.
 *
 * It would be 128 KiB, and a request each: the connection can only lower that. Root may raise it,
 * in /sys/class/bdi (Documentation/ABI/testing/sysfs-class-bdi); a user's mount keeps it. Four
 * times as much is read in a third less time. More than that no longer fits into the pipe through
 * which large replies go, and costs each page fault of a file mapped at random more than it saves.
 *
 * Thread safety: called once, before the connection is set up.
 */
#include <glib.h>

/* Bytes, or 0 where it stays as it is. `mountpoint`: resolved; just mounted. */
guint32 read_ahead_raise(const char *mountpoint);

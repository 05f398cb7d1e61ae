/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The one thread that holds no request, and so may tell the kernel to drop or write back what it
 * caches: expiry, releases that wait, the end of sessions, the queue, signals, the log.
 *
 * Such a notification waits for write-back, which comes as requests to the workers. From inside a
 * request it would wait for itself; therefore only this thread sends one, and it takes part in no
 * request. The exceptions are what only takes something off a list in the kernel's memory, with no
 * lock and no page to wait for: that attributes, or all names, are to be asked for again; and what
 * puts pages into a file that nobody else has open (preload.h). At the end it is done before the
 * workers are, else a notification would wait for them for ever.
 *
 * Thread safety: the functions that queue something may be called from any thread.
 */
#include "bypass.h"
#include "fs.h"

/* `past` (taken): the processes that reach past the mount. registry_fd and processes_fd become
 * readable when registrations changed or processes died; borrowed. */
Warden *warden_new(Fs *fs, int registry_fd, int processes_fd, GPtrArray *past, GError **error);
void warden_free(Warden *warden);

/* Starts the thread, which ends the workers when a signal asks for it. SIGTERM, SIGINT and SIGHUP
 * have to be blocked in every thread. */
void warden_start(Warden *warden);
/* Ends it; the workers have ended. */
void warden_stop(Warden *warden);

/* Something is due for keeper_tick. */
void warden_wake(Warden *warden);
/* Gives freed memory back to the system. */
void warden_trim(Warden *warden);
/* A directory has lost its search permission: the kernel shall look up the names in it again. At
 * once where it can be told from within a request, else soon, and those that are there only. */
void warden_close_directory(Warden *warden, Node *directory);
/* What a name leads to is no longer there: the kernel shall look it up again, soon. */
void warden_forget_name(Warden *warden, Node *node);
/* The kernel shall drop a page that was refused, so that readers see what the file holds. */
void warden_drop_pages(Warden *warden, Node *node, off_t off, off_t length);

/* The kernel shall ask for a file's attributes again: something changed them that it does not know
 * of, or knows without taking an answer that is on its way, a listing's, for an old one. At once,
 * from within a request that names the file, which keeps its inode. */
void warden_forget_attributes(Warden *warden, Node *node);

/* The processes that still reach past the mount: GPtrArray of BypassProcess, owned. */
GPtrArray *warden_list_past(Warden *warden);

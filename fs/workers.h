/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * The threads that read the kernel's requests and answer them.
 *
 * libfuse parses and dispatches, but its own loop is not used: it ends its threads by
 * pthread_cancel, which can strike one that holds a lock of the C library, and then the daemon
 * never ends. These leave by themselves. And a request that libfuse does not know can be taken
 * here.
 *
 * Thread safety: workers_end and workers_will_block may be called from any thread, once workers_new
 * has returned.
 */
#include "fs.h"
#include <linux/fuse.h>

/* The longest write that one request may bring; to be told to the kernel at INIT. */
#define WORKERS_MAX_WRITE (1024 * 1024)

typedef struct Workers Workers;

/* A request that libfuse has no operation for. TRUE where it was answered, on reply_fd. */
typedef gboolean (*WorkersTake)(Fs *fs, const struct fuse_in_header *request, int reply_fd);

/* The session must be mounted. Before it is destroyed, and after workers_run: workers_free. NULL
 * and *error_out, an errno, where libfuse refuses. */
Workers *workers_new(Fs *fs, WorkersTake take, int *error_out);
void workers_free(Workers *workers);

/* Serves until the mount is gone or workers_end is called, and all threads have ended. 0 after such
 * an end; -errno where reading requests failed. */
int workers_run(Workers *workers);
/* Does not wait. Requests that were taken are answered. */
void workers_end(Workers *workers);

/* How many requests somebody waited for; not RELEASE or FORGET. */
guint64 workers_count_requests(Workers *workers);

/* To be said by an operation before a call that is known to wait for a disk: somebody else reads
 * meanwhile. Where nothing is said, that happens a few milliseconds later. */
void workers_will_block(Workers *workers);

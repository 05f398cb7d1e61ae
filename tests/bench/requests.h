/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Counts the requests that the kernel sends to a FUSE daemon, by the tracepoint
 * fuse:fuse_request_send. Forgets do not pass it.
 * Thread safety: one thread.
 */
#include "place.h"

#include <sys/types.h>

typedef struct Requests Requests;

/* For the mount whose files are on `device`. NULL where this kernel has no such tracepoint. */
Requests *requests_new(Place *place, dev_t device);
void requests_free(Requests *requests);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Requests, requests_free)
guint64 requests_read(Requests *requests);

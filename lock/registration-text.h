/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * What stands in a registration file. Internal to registration.c and registry.c.
 * Thread safety: none needed; no shared state.
 */
#include "registration.h"

#define REGISTRATION_SUFFIX ".json"

void registration_free(Registration *registration);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Registration, registration_free)

/* One JSON object and a newline. Owned. */
char *registration_format(const Registration *registration, const HostIdentity *host);

/* The registration `name` in `text`. `here_out`: it was made in this boot and pid namespace, else
 * its root means nothing here. NULL and G_IO_ERROR_INVALID_DATA where the text is no such thing. */
Registration *registration_parse(const char *text, gsize size_bytes, const char *name,
                                 const HostIdentity *host, gboolean *here_out, GError **error);

/* Opens NAME.json below dir_fd if it is a regular file: a descriptor or -1. */
int registration_open(int dir_fd, const char *name, GError **error);
/* Parses it; the owner is the file's. */
Registration *registration_read(int fd, const char *name, const HostIdentity *host,
                                gboolean *here_out, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * An open file of the mount: its backing descriptor, and what fencing has to know of it.
 * Thread safety: a handle belongs to the kernel's file; its fields do not change after the open,
 * except `seen`, which is atomic, and a directory's position, which the kernel serialises.
 */
#include "file-state.h"
#include "open-files.h"
#include <stdatomic.h>
#include <stdint.h>

typedef struct Handle {
    int fd;
    NodeOpenFile open_file;
    Node *node;           /* referenced */
    FileState *file;      /* NULL for handles that cannot write */
    WriterHandle *writer; /* O_RDWR only */
    Session *session;     /* who opened it, for O_RDWR: referenced; NULL unknown */
    IoMode io_mode;
    PathClass path_class; /* as its name was at the open */
    _Atomic guint64 seen; /* change number */
} Handle;

/* fd is taken, node is referenced. `session` is borrowed and may be NULL. */
Handle *handle_new(NodeTable *nodes, OpenFiles *open_files, Node *node, int fd, int flags,
                   PathClass path_class, Session *session);
void handle_free(NodeTable *nodes, OpenFiles *open_files, Handle *handle);
/* The handle whose file this is. */
Handle *handle_of_file(NodeOpenFile *file);

/* Change numbers this handle's own write was given. */
void handle_saw(Handle *handle, guint64 change);

static inline Handle *handle_of(uint64_t fh)
{
    return (Handle *)(uintptr_t)fh;
}

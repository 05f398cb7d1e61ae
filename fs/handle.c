/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

struct Handles {
    NodeTable *nodes;
    OpenFiles *open_files;
    int open_flags;
};

Handles *handles_new(NodeTable *nodes, OpenFiles *open_files, int open_flags)
{
    Handles *handles = g_new0(Handles, 1);

    handles->nodes = nodes;
    handles->open_files = open_files;
    handles->open_flags = open_flags;
    return handles;
}

void handles_free(Handles *handles)
{
    g_free(handles);
}

int handle_backing_flags(int flags)
{
    return (flags & ~(O_APPEND | O_DIRECT | O_CREAT | O_EXCL | O_NOFOLLOW | O_NOCTTY)) | O_CLOEXEC;
}

/* An append-only file (FS_APPEND_FL) opens for writing only with O_APPEND, and O_NOATIME is for its
 * owner: the one is kept where the file asks for it, the other left where it cannot be had. */
int handle_open_file(Handles *handles, Node *node, int flags)
{
    int unseen = handles->open_flags;
    int backing = handle_backing_flags(flags);
    int fd = node_open(handles->nodes, node, backing | unseen);

    if (fd == -EPERM && (flags & O_APPEND))
        fd = node_open(handles->nodes, node, backing | O_APPEND | unseen);
    if (fd == -EPERM && unseen)
        fd = node_open(handles->nodes, node, backing);
    return fd;
}

Handle *handle_new(Handles *handles, Node *node, int fd, int flags, PathClass path_class,
                   Session *session)
{
    Handle *handle = g_new0(Handle, 1);
    int mode = flags & O_ACCMODE;

    handle->fd = fd;
    handle->node = node;
    node_add_open_file(handles->nodes, node, fd, &handle->open_file);
    handle->io_mode = io_mode_take(node_io_modes(node), flags);
    handle->path_class = path_class;
    if (mode == O_RDONLY)
        return handle;
    handle->file = file_state_of(node);
    handle->seen = file_state_change_number(handle->file);
    if (mode != O_RDWR)
        return handle;
    handle->session = session ? session_ref(session) : NULL;
    handle->writer = file_state_add_handle(handle->file, session, handle->seen);
    open_files_add(handles->open_files, session, node);
    return handle;
}

void handle_free(Handles *handles, Handle *handle)
{
    if (!handle)
        return;
    if (handle->writer) {
        open_files_remove(handles->open_files, handle->session, handle->node);
        file_state_remove_handle(handle->file, handle->writer);
    }
    if (handle->session)
        session_unref(handle->session);
    node_remove_open_file(handles->nodes, handle->node, &handle->open_file);
    io_mode_drop(node_io_modes(handle->node), handle->io_mode);
    node_unref(handles->nodes, handle->node);
    g_free(handle);
}

Handle *handle_of_file(NodeOpenFile *file)
{
    return (Handle *)((char *)file - offsetof(Handle, open_file));
}

void handle_saw(Handle *handle, guint64 change)
{
    atomic_store(&handle->seen, change);
    if (handle->writer)
        file_state_handle_saw(handle->file, handle->writer, change);
}

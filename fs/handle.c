/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"
#include <fcntl.h>
#include <stddef.h>

Handle *handle_new(NodeTable *nodes, OpenFiles *open_files, Node *node, int fd, int flags,
                   PathClass path_class, Session *session)
{
    Handle *handle = g_new0(Handle, 1);
    int mode = flags & O_ACCMODE;

    handle->fd = fd;
    handle->node = node;
    node_add_open_file(nodes, node, fd, &handle->open_file);
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
    open_files_add(open_files, session, node);
    return handle;
}

void handle_free(NodeTable *nodes, OpenFiles *open_files, Handle *handle)
{
    if (!handle)
        return;
    if (handle->writer) {
        open_files_remove(open_files, handle->session, handle->node);
        file_state_remove_handle(handle->file, handle->writer);
    }
    if (handle->session)
        session_unref(handle->session);
    node_remove_open_file(nodes, handle->node, &handle->open_file);
    io_mode_drop(node_io_modes(handle->node), handle->io_mode);
    node_unref(nodes, handle->node);
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

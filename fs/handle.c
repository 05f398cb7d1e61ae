/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"
#include "descriptors.h"
#include "mutex.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

struct Handles {
    NodeTable *nodes;
    OpenFiles *open_files;
    int open_flags;
    guint max_deferred;
    _Atomic guint n_places; /* of those put off, also after they were opened */
    Mutex lock;
    GQueue deferred; /* (lock) of Handle */
};

Handles *handles_new(NodeTable *nodes, OpenFiles *open_files, int open_flags, guint max_deferred)
{
    Handles *handles = g_new0(Handles, 1);

    handles->nodes = nodes;
    handles->open_files = open_files;
    handles->open_flags = open_flags;
    handles->max_deferred = max_deferred;
    mutex_init(&handles->lock);
    g_queue_init(&handles->deferred);
    return handles;
}

void handles_free(Handles *handles)
{
    if (!handles)
        return;
    g_assert(handles->deferred.length == 0);
    mutex_clear(&handles->lock);
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

static Handle *add_handle(Node *node, int fd, int flags)
{
    Handle *handle = g_new0(Handle, 1);

    ref_count_init(&handle->refs);
    atomic_init(&handle->fd, fd);
    handle->flags = flags;
    handle->node = node;
    handle->io_mode = io_mode_take(node_io_modes(node), flags);
    return handle;
}

Handle *handle_new(Handles *handles, Node *node, int fd, int flags, PathClass path_class,
                   Session *session)
{
    Handle *handle = add_handle(node, fd, flags);
    int mode = flags & O_ACCMODE;

    node_add_open_file(handles->nodes, node, fd, &handle->open_file);
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

/* --- put off ---------------------------------------------------------------------------------- */

/* One in the reserve, which is given back when the handle is freed. */
static gboolean take_place(Handles *handles)
{
    if (atomic_fetch_add(&handles->n_places, 1) < handles->max_deferred)
        return TRUE;
    atomic_fetch_sub(&handles->n_places, 1);
    return FALSE;
}

static void give_place_back(Handles *handles)
{
    atomic_fetch_sub(&handles->n_places, 1);
}

static void join_deferred(Handles *handles, Handle *handle)
{
    MUTEX_GUARD(&handles->lock);

    handle->link.data = handle;
    g_queue_push_tail_link(&handles->deferred, &handle->link);
}

static void leave_deferred(Handles *handles, Handle *handle)
{
    MUTEX_GUARD(&handles->lock);

    g_queue_unlink(&handles->deferred, &handle->link);
}

Handle *handle_new_deferred(Handles *handles, Node *node, int flags)
{
    Handle *handle;

    if (!io_mode_reads_known_pages(node_io_modes(node)) || !take_place(handles))
        return NULL;
    if (!node_is_at_its_name(handles->nodes, node)) {
        give_place_back(handles);
        return NULL;
    }
    handle = add_handle(node_ref(handles->nodes, node), -1, flags);
    handle->has_place = TRUE;
    join_deferred(handles, handle);
    return handle;
}

static int open_with_reserve(Handles *handles, const Handle *handle)
{
    int fd = handle_open_file(handles, handle->node, handle->flags);

    if (fd != -EMFILE)
        return fd;
    descriptors_take_reserve();
    fd = handle_open_file(handles, handle->node, handle->flags);
    descriptors_give_back_reserve();
    return fd;
}

/* Of several that need it at the same time, one is the first. */
static int open_now(Handles *handles, Handle *handle)
{
    int fd = open_with_reserve(handles, handle);
    int none = -1;

    /* renamed past the mount, or in a directory where a name has several spellings */
    if (fd == -ESTALE)
        fd = node_open_by_number(handles->nodes, handle->node, handle_backing_flags(handle->flags));
    if (fd < 0)
        return fd;
    if (!atomic_compare_exchange_strong(&handle->fd, &none, fd)) {
        close(fd);
        return none;
    }
    leave_deferred(handles, handle);
    node_add_open_file(handles->nodes, handle->node, fd, &handle->open_file);
    node_unref(handles->nodes, handle->node);
    return fd;
}

int handle_fd(Handles *handles, Handle *handle)
{
    int fd = atomic_load(&handle->fd);

    return fd >= 0 ? fd : open_now(handles, handle);
}

int handle_statx(Handles *handles, Handle *handle, struct statx *stx_out)
{
    int fd = atomic_load(&handle->fd);

    if (fd < 0 && node_stat(handles->nodes, handle->node, stx_out) == 0)
        return 0;
    fd = handle_fd(handles, handle);
    return fd >= 0 ? node_statx(fd, "", AT_EMPTY_PATH, stx_out) : fd;
}

static GPtrArray *list_deferred(Handles *handles, const Node *node)
{
    GPtrArray *found = g_ptr_array_new();
    MUTEX_GUARD(&handles->lock);

    for (GList *at = handles->deferred.head; at; at = at->next) {
        Handle *handle = at->data;

        /* who frees one takes it off the list last */
        if (handle->node == node && ref_count_inc_unless_zero(&handle->refs))
            g_ptr_array_add(found, handle);
    }
    return found;
}

int handles_open_deferred(Handles *handles, Node *node)
{
    g_autoptr(GPtrArray) found = NULL;
    int result = 0;

    if (atomic_load(&handles->n_places) == 0)
        return 0;
    found = list_deferred(handles, node);
    for (guint i = 0; i < found->len; i++) {
        int fd = handle_fd(handles, found->pdata[i]);

        if (fd < 0 && fd != -ESTALE) /* with that it is lost already */
            result = fd;
        handle_free(handles, found->pdata[i]);
    }
    return result;
}

void handles_free_deferred(Handles *handles)
{
    Handle *handle;

    while ((handle = g_queue_peek_head(&handles->deferred)))
        handle_free(handles, handle);
}

/* --- its end ---------------------------------------------------------------------------------- */

void handle_free(Handles *handles, Handle *handle)
{
    if (!handle || !ref_count_dec(&handle->refs))
        return;
    if (handle->writer) {
        open_files_remove(handles->open_files, handle->session, handle->node);
        file_state_remove_handle(handle->file, handle->writer);
    }
    if (handle->session)
        session_unref(handle->session);
    if (atomic_load(&handle->fd) >= 0)
        node_remove_open_file(handles->nodes, handle->node, &handle->open_file);
    else
        leave_deferred(handles, handle);
    if (handle->has_place)
        give_place_back(handles);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dir-handle.h"
#include "mutex.h"
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#define KEPT 64 /* listings that were begun, and may never be read on */

struct DirHandles {
    NodeTable *nodes; /* borrowed */
    int open_flags;
    Mutex lock;
    gboolean without; /* (lock) the kernel has been told that there are none */
    guint held;       /* (lock) that the kernel has, or is about to get */
    GQueue kept;      /* (lock) of DirHandle, the latest first */
};

DirHandles *dir_handles_new(NodeTable *nodes, int open_flags)
{
    DirHandles *handles = g_new0(DirHandles, 1);

    handles->nodes = nodes;
    handles->open_flags = open_flags;
    mutex_init(&handles->lock);
    g_queue_init(&handles->kept);
    return handles;
}

static int open_by_path(const NodeFd *path_fd)
{
    NodePath path;

    node_fd_path(path_fd, &path);
    return open(path.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int dir_handles_open(DirHandles *handles, Node *node, DirHandle **dir_out)
{
    g_auto(NodeFd) path_fd = NODE_FD_INIT;
    DirHandle *dir;
    int fd, r;

    r = node_fd_get(handles->nodes, node, &path_fd);
    if (r != 0)
        return r;
    fd = openat(path_fd.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | handles->open_flags);
    if (fd < 0 && errno == EPERM)
        fd = openat(path_fd.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* that one wants to be searched, too */
    if (fd < 0 && errno == EACCES)
        fd = open_by_path(&path_fd);
    if (fd < 0)
        return -errno;
    dir = g_new0(DirHandle, 1);
    dir->fd = fd;
    dir->node = node;
    dir->link.data = dir;
    node_add_open_file(handles->nodes, node, fd, &dir->open_file);
    *dir_out = dir;
    return 0;
}

void dir_handles_close(DirHandles *handles, DirHandle *dir)
{
    Node *node = dir->node;

    node_remove_open_file(handles->nodes, node, &dir->open_file);
    node_unref(handles->nodes, node);
    g_free(dir);
}

DirHandle *dir_handle_of_file(NodeOpenFile *file)
{
    return (DirHandle *)((char *)file - offsetof(DirHandle, open_file));
}

gboolean dir_handles_refuse(DirHandles *handles, gboolean can)
{
    MUTEX_GUARD(&handles->lock);

    handles->without |= can && handles->held == 0;
    if (!handles->without)
        handles->held++;
    return handles->without;
}

void dir_handles_returned(DirHandles *handles)
{
    MUTEX_GUARD(&handles->lock);

    handles->held--;
}

static DirHandle *take_kept(DirHandles *handles, Node *node, off_t off)
{
    MUTEX_GUARD(&handles->lock);

    for (GList *link = handles->kept.head; link; link = link->next) {
        DirHandle *dir = link->data;

        if (dir->node == node && dir->next == off) {
            g_queue_unlink(&handles->kept, link);
            return dir;
        }
    }
    return NULL;
}

int dir_handles_take(DirHandles *handles, Node *node, off_t off, DirHandle **dir_out)
{
    DirHandle *dir = off != 0 ? take_kept(handles, node, off) : NULL;

    if (!dir)
        return dir_handles_open(handles, node, dir_out);
    *dir_out = dir;
    return 0;
}

void dir_handles_keep(DirHandles *handles, DirHandle *dir)
{
    DirHandle *oldest = NULL;
    Node *node = dir->node; /* which a request names */

    mutex_lock(&handles->lock);
    g_queue_push_head_link(&handles->kept, &dir->link);
    if (handles->kept.length > KEPT)
        oldest = g_queue_pop_tail_link(&handles->kept)->data;
    mutex_unlock(&handles->lock);
    if (oldest)
        dir_handles_close(handles, oldest);
    /* since the part was read: who removed it may have looked here before */
    if (node_is_unlinked(handles->nodes, node))
        dir_handles_close_removed(handles);
}

static DirHandle *take_removed(DirHandles *handles)
{
    MUTEX_GUARD(&handles->lock);

    for (GList *link = handles->kept.head; link; link = link->next) {
        DirHandle *dir = link->data;

        if (node_is_unlinked(handles->nodes, dir->node)) {
            g_queue_unlink(&handles->kept, link);
            return dir;
        }
    }
    return NULL;
}

void dir_handles_close_removed(DirHandles *handles)
{
    DirHandle *dir;

    while ((dir = take_removed(handles)))
        dir_handles_close(handles, dir);
}

static DirHandle *take_oldest(DirHandles *handles)
{
    const GList *link;
    MUTEX_GUARD(&handles->lock);

    link = g_queue_pop_tail_link(&handles->kept);
    return link ? link->data : NULL;
}

void dir_handles_close_kept(DirHandles *handles)
{
    DirHandle *dir;

    while ((dir = take_oldest(handles)))
        dir_handles_close(handles, dir);
}

void dir_handles_free(DirHandles *handles)
{
    if (!handles)
        return;
    dir_handles_close_kept(handles);
    mutex_clear(&handles->lock);
    g_free(handles);
}

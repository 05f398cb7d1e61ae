/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file-state.h"
#include "mutex.h"

struct WriterHandle {
    Session *session; /* NULL: could not be identified */
    guint64 seen;
};

struct FileState {
    Mutex lock;
    guint64 change;
    guint64 other_change;
    Session *changed_by; /* of `change`; NULL: nobody, or not identified */
    Session *written_by; /* last change of any kind */
    gint64 written_ms;
    guint64 written_epoch;
    Session *creator;
    GPtrArray *handles; /* of WriterHandle; NULL while there is none */
};

static void session_replace(Session **slot, Session *session)
{
    if (*slot == session)
        return;
    if (session)
        session_ref(session);
    g_clear_pointer(slot, session_unref);
    *slot = session;
}

static void file_state_free(gpointer data)
{
    FileState *file = data;

    session_replace(&file->changed_by, NULL);
    session_replace(&file->written_by, NULL);
    session_replace(&file->creator, NULL);
    g_clear_pointer(&file->handles, g_ptr_array_unref);
    mutex_clear(&file->lock);
    g_free(file);
}

FileState *file_state_peek(Node *node)
{
    return node_data(node);
}

FileState *file_state_of(Node *node)
{
    FileState *file = node_data(node);
    FileState *standing;

    if (file)
        return file;
    file = g_new0(FileState, 1);
    mutex_init(&file->lock);
    standing = node_set_data(node, file, file_state_free);
    if (standing != file)
        file_state_free(file);
    return standing;
}

guint64 file_state_change_number(FileState *file)
{
    MUTEX_GUARD(&file->lock);

    return file->change;
}

static gboolean changed_since_locked(FileState *file, Session *session, guint64 seen)
{
    guint64 last = file->change;

    if (file->changed_by == session)
        last = file->other_change;
    return last > seen;
}

gboolean file_state_changed_since(FileState *file, Session *session, guint64 seen)
{
    MUTEX_GUARD(&file->lock);

    return changed_since_locked(file, session, seen);
}

guint64 file_state_note_change(FileState *file, Session *session, gint64 wall_ms, guint64 epoch,
                               gboolean of_data)
{
    MUTEX_GUARD(&file->lock);

    session_replace(&file->written_by, session);
    file->written_ms = wall_ms;
    file->written_epoch = epoch;
    if (!of_data)
        return file->change;
    if (file->changed_by != session) {
        file->other_change = file->change;
        session_replace(&file->changed_by, session);
    }
    return ++file->change;
}

void file_state_set_creator(FileState *file, Session *session)
{
    MUTEX_GUARD(&file->lock);

    if (!file->creator)
        session_replace(&file->creator, session);
}

gboolean file_state_is_creator(FileState *file, Session *session)
{
    MUTEX_GUARD(&file->lock);

    return session && file->creator == session;
}

static void writer_handle_free(gpointer data)
{
    WriterHandle *handle = data;

    if (handle->session)
        session_unref(handle->session);
    g_free(handle);
}

WriterHandle *file_state_add_handle(FileState *file, Session *session, guint64 seen)
{
    MUTEX_GUARD(&file->lock);
    WriterHandle *handle = g_new0(WriterHandle, 1);

    handle->session = session ? session_ref(session) : NULL;
    handle->seen = seen;
    if (!file->handles)
        file->handles = g_ptr_array_new_with_free_func(writer_handle_free);
    g_ptr_array_add(file->handles, handle);
    return handle;
}

void file_state_remove_handle(FileState *file, WriterHandle *handle)
{
    MUTEX_GUARD(&file->lock);

    g_ptr_array_remove_fast(file->handles, handle);
    if (file->handles->len == 0)
        g_clear_pointer(&file->handles, g_ptr_array_unref);
}

void file_state_handle_saw(FileState *file, WriterHandle *handle, guint64 seen)
{
    MUTEX_GUARD(&file->lock);

    handle->seen = seen;
}

StoreOwner file_state_judge_store(FileState *file, Session **session_out)
{
    MUTEX_GUARD(&file->lock);
    Session *owner = NULL;
    gboolean any_current = FALSE;

    for (guint i = 0; file->handles && i < file->handles->len; i++) {
        const WriterHandle *handle = g_ptr_array_index(file->handles, i);

        if (!handle->session || (owner && owner != handle->session))
            return STORE_OWNER_MANY;
        owner = handle->session;
        any_current |= !changed_since_locked(file, owner, handle->seen);
    }
    if (!owner)
        return STORE_OWNER_MANY;
    *session_out = session_ref(owner);
    return any_current ? STORE_OWNER_ONE : STORE_OWNER_STALE;
}

void file_state_get_writer(FileState *file, FileWriter *writer_out)
{
    MUTEX_GUARD(&file->lock);

    *writer_out = (FileWriter){
        .session = file->written_by ? session_dup_id(file->written_by) : NULL,
        .wall_ms = file->written_ms,
        .epoch = file->written_epoch,
    };
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "open-files.h"
#include "mutex.h"

typedef struct SessionFiles {
    Session *session;  /* referenced; NULL: not identified */
    GHashTable *nodes; /* Node -> count */
    guint handles;
} SessionFiles;

struct OpenFiles {
    Mutex lock;
    GHashTable *sessions; /* Session (or NULL) -> SessionFiles */
};

static void session_files_free(gpointer data)
{
    SessionFiles *of = data;

    if (of->session)
        session_unref(of->session);
    g_hash_table_unref(of->nodes);
    g_free(of);
}

OpenFiles *open_files_new(void)
{
    OpenFiles *files = g_new0(OpenFiles, 1);

    mutex_init(&files->lock);
    files->sessions = g_hash_table_new_full(NULL, NULL, NULL, session_files_free);
    return files;
}

void open_files_free(OpenFiles *files)
{
    if (!files)
        return;
    g_hash_table_unref(files->sessions);
    mutex_clear(&files->lock);
    g_free(files);
}

void open_files_add(OpenFiles *files, Session *session, Node *node)
{
    MUTEX_GUARD(&files->lock);
    SessionFiles *of = g_hash_table_lookup(files->sessions, session);
    guint count;

    if (!of) {
        of = g_new0(SessionFiles, 1);
        of->session = session ? session_ref(session) : NULL;
        of->nodes = g_hash_table_new(NULL, NULL);
        g_hash_table_insert(files->sessions, session, of);
    }
    count = GPOINTER_TO_UINT(g_hash_table_lookup(of->nodes, node));
    g_hash_table_insert(of->nodes, node, GUINT_TO_POINTER(count + 1));
    of->handles++;
}

void open_files_remove(OpenFiles *files, Session *session, Node *node)
{
    MUTEX_GUARD(&files->lock);
    SessionFiles *of = g_hash_table_lookup(files->sessions, session);
    guint count;

    g_return_if_fail(of);
    count = GPOINTER_TO_UINT(g_hash_table_lookup(of->nodes, node));
    if (count > 1)
        g_hash_table_insert(of->nodes, node, GUINT_TO_POINTER(count - 1));
    else
        g_hash_table_remove(of->nodes, node);
    if (--of->handles == 0)
        g_hash_table_remove(files->sessions, session);
}

gboolean open_files_any(OpenFiles *files, Session *session)
{
    MUTEX_GUARD(&files->lock);

    return g_hash_table_contains(files->sessions, session);
}

static void collect_nodes(const SessionFiles *of, GHashTable *seen, NodeTable *nodes,
                          GPtrArray *found)
{
    GHashTableIter iter;
    gpointer node;

    g_hash_table_iter_init(&iter, of->nodes);
    while (g_hash_table_iter_next(&iter, &node, NULL))
        if (g_hash_table_add(seen, node))
            g_ptr_array_add(found, node_ref(nodes, node));
}

GPtrArray *open_files_nodes(OpenFiles *files, Session *session, gboolean everyone, NodeTable *nodes)
{
    GPtrArray *found = g_ptr_array_new();
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    MUTEX_GUARD(&files->lock);
    GHashTableIter iter;
    gpointer key, of;

    g_hash_table_iter_init(&iter, files->sessions);
    while (g_hash_table_iter_next(&iter, &key, &of))
        if (everyone || key == session)
            collect_nodes(of, seen, nodes, found);
    return found;
}

static void open_files_of_clear(gpointer data)
{
    OpenFilesOf *of = data;

    session_unref(of->session);
}

GArray *open_files_by_session(OpenFiles *files)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(OpenFilesOf));
    MUTEX_GUARD(&files->lock);
    GHashTableIter iter;
    gpointer value;

    g_array_set_clear_func(all, open_files_of_clear);
    g_hash_table_iter_init(&iter, files->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const SessionFiles *of = value;
        OpenFilesOf copy;

        if (!of->session)
            continue;
        copy = (OpenFilesOf){.session = session_ref(of->session), .handles = of->handles};
        g_array_append_val(all, copy);
    }
    return all;
}

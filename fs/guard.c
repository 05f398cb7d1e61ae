/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"
#include "mutex.h"
#include <errno.h>
#include <stdatomic.h>

struct Guard {
    Keeper *keeper;
    SessionTable *sessions;
    NodeTable *nodes;
    const Policy *policy;
    Clock *clock;
    gboolean observe;
    gboolean unknown_allowed;
    _Atomic guint64 changes, refused, fenced, stores_lost, passive, shared;
    Mutex lock;
    GuardNamesChanged names_changed;
    gpointer names_changed_data;
    GHashTable *refusals; /* (lock) session serial -> how often */
};

Guard *guard_new(Keeper *keeper, SessionTable *sessions, NodeTable *nodes, const Policy *policy,
                 const MountOptions *options, Clock *clock)
{
    Guard *guard = g_new0(Guard, 1);

    guard->keeper = keeper;
    guard->sessions = sessions;
    guard->nodes = nodes;
    guard->policy = policy;
    guard->clock = clock;
    guard->observe = options->mode == GUARD_OBSERVE;
    guard->unknown_allowed = options->unknown_allowed;
    guard->refusals = g_hash_table_new(NULL, NULL);
    mutex_init(&guard->lock);
    return guard;
}

void guard_free(Guard *guard)
{
    if (!guard)
        return;
    g_hash_table_unref(guard->refusals);
    mutex_clear(&guard->lock);
    g_free(guard);
}

static void count(_Atomic guint64 *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

PathClass guard_classify(Guard *guard, Node *node, const char *name)
{
    g_autofree char *path = NULL;

    if (name && !policy_may_match(guard->policy, name))
        return PATH_ORDINARY;
    path = node_dup_path(guard->nodes, node, name);
    return path ? policy_classify(guard->policy, path) : PATH_ORDINARY;
}

static PathClass classify_rename(Guard *guard, Node *parent, const char *name, Node *new_parent,
                                 const char *new_name)
{
    g_autofree char *from = NULL;
    g_autofree char *to = NULL;
    PathClass from_class, to_class;

    if (!policy_may_match(guard->policy, name))
        return PATH_ORDINARY;
    from = node_dup_path(guard->nodes, parent, name);
    to = node_dup_path(guard->nodes, new_parent, new_name);
    if (!from || !to)
        return PATH_ORDINARY;
    from_class = policy_classify(guard->policy, from);
    to_class = policy_classify(guard->policy, to);
    if (from_class == to_class)
        return from_class;
    if (from_class == PATH_PASSIVE && policy_is_passive_rename(guard->policy, from, to))
        return PATH_PASSIVE;
    return PATH_ORDINARY; /* moving something in or out of a shared path changes the other end */
}

static void note_refusal(Guard *guard, Session *session)
{
    gpointer key = GSIZE_TO_POINTER(session ? session_serial(session) : 0);

    count(&guard->refused);
    mutex_lock(&guard->lock);
    g_hash_table_insert(
        guard->refusals, key,
        GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(guard->refusals, key)) + 1));
    mutex_unlock(&guard->lock);
}

/* A refusal, which a mount that only observes lets through. */
static int refuse(Guard *guard, Session *session)
{
    note_refusal(guard, session);
    return guard->observe ? 0 : -EROFS;
}

/* Passive: never counts, but keeps out of a fresh lease, except for who made the file. */
static int admit_passive(Guard *guard, Change *change, FileState *file)
{
    count(&guard->passive);
    if (keeper_permits(guard->keeper, change->session))
        return 0;
    if (file && file_state_is_creator(file, change->session))
        return 0;
    return refuse(guard, change->session);
}

static int admit(Guard *guard, Change *change, FileState *file)
{
    if (!change->session && !guard->unknown_allowed)
        return refuse(guard, NULL);
    switch (change->path_class) {
    case PATH_SHARED:
        count(&guard->shared);
        return 0;
    case PATH_PASSIVE:
        return admit_passive(guard, change, file);
    default:
        break;
    }
    if (!change->session)
        return keeper_permits(guard->keeper, NULL) ? 0 : refuse(guard, NULL);
    change->slot = keeper_begin(guard->keeper, change->session);
    if (!change->slot)
        return refuse(guard, change->session);
    change->epoch = keeper_slot_epoch(change->slot);
    return 0;
}

/* Fills in who asks. CALLER_KERNEL is for the handle's own rule. */
static CallerKind identify(Guard *guard, const Caller *caller, Change *change)
{
    return session_table_resolve(guard->sessions, caller->tid, &change->session);
}

static int admit_or_clear(Guard *guard, Change *change, FileState *file)
{
    int r = admit(guard, change, file);

    if (r != 0)
        g_clear_pointer(&change->session, session_unref);
    return r;
}

int guard_begin_name(Guard *guard, const Caller *caller, Node *parent, const char *name,
                     Change *change_out)
{
    Node *child = NULL;
    int r;

    *change_out = (Change){.touched = {parent}, .of_names = TRUE};
    identify(guard, caller, change_out);
    change_out->path_class = guard_classify(guard, parent, name);
    if (change_out->path_class == PATH_PASSIVE)
        child = node_peek_child(guard->nodes, parent, name);
    r = admit_or_clear(guard, change_out, child ? file_state_peek(child) : NULL);
    if (child)
        node_unref(guard->nodes, child);
    return r;
}

int guard_begin_link(Guard *guard, const Caller *caller, Node *node, Node *parent, const char *name,
                     Change *change_out)
{
    PathClass path_class = guard_classify(guard, parent, name);

    *change_out = (Change){.touched = {parent}, .of_names = TRUE};
    identify(guard, caller, change_out);
    if (path_class != PATH_ORDINARY && guard_classify(guard, node, NULL) == path_class)
        change_out->path_class = path_class;
    return admit_or_clear(guard, change_out, NULL);
}

int guard_begin_rename(Guard *guard, const Caller *caller, Node *parent, const char *name,
                       Node *new_parent, const char *new_name, Change *change_out)
{
    *change_out = (Change){.touched = {parent, new_parent}, .of_names = TRUE};
    identify(guard, caller, change_out);
    change_out->path_class = classify_rename(guard, parent, name, new_parent, new_name);
    /* Having made the lock file is no right to put it in place of the index. */
    return admit_or_clear(guard, change_out, NULL);
}

int guard_begin_node(Guard *guard, const Caller *caller, Node *node, gboolean of_data,
                     Change *change_out)
{
    *change_out = (Change){.touched = {node}, .of_data = of_data};
    identify(guard, caller, change_out);
    change_out->path_class = guard_classify(guard, node, NULL);
    return admit_or_clear(guard, change_out, file_state_peek(node));
}

static void tell_lost_store(Guard *guard, Handle *handle, Session *session)
{
    g_autofree char *path = node_dup_path(guard->nodes, handle->node, NULL);
    g_autofree char *id = session ? session_dup_id(session) : NULL;

    count(&guard->stores_lost);
    keeper_report(guard->keeper, KEEPER_EVENT_STORE_LOST, id, NULL, path ? path : "(deleted)");
}

/* Gives back an admission that is not used: nothing was changed. */
static void give_back(Guard *guard, Change *change)
{
    if (change->slot)
        keeper_end(guard->keeper, g_steal_pointer(&change->slot));
    g_clear_pointer(&change->session, session_unref);
}

/* A store through a mapping, or of a kernel thread: admitted as the one session that can have made
 * it, while that session may change the workspace. */
static int begin_store(Guard *guard, Handle *handle, Change *change)
{
    g_autoptr(Session) again = NULL;
    StoreOwner owner;
    int r;

    if (change->path_class == PATH_SHARED) {
        count(&guard->shared);
        return 0;
    }
    owner = file_state_judge_store(handle->file, &change->session);
    r = owner == STORE_OWNER_ONE ? admit(guard, change, handle->file)
                                 : refuse(guard, change->session);
    /* Looked at once more now that nobody else can change it: a tenure may have come and gone. */
    if (r == 0 && change->slot && file_state_judge_store(handle->file, &again) != STORE_OWNER_ONE)
        r = refuse(guard, change->session);
    if (r != 0) {
        tell_lost_store(guard, handle, change->session);
        give_back(guard, change);
    }
    return r;
}

static int refuse_fenced(Guard *guard, Handle *handle, Change *change)
{
    g_autofree char *id = change->session ? session_dup_id(change->session) : NULL;
    g_autofree char *path = node_dup_path(guard->nodes, handle->node, NULL);
    FileWriter writer;

    count(&guard->fenced);
    file_state_get_writer(handle->file, &writer);
    keeper_report(guard->keeper, KEEPER_EVENT_FENCED, id, writer.session,
                  path ? path : "(deleted)");
    g_free(writer.session);
    return guard->observe ? 0 : -ESTALE;
}

static int check_fence(Guard *guard, Handle *handle, Change *change)
{
    if (change->path_class == PATH_SHARED ||
        !file_state_changed_since(handle->file, change->session, atomic_load(&handle->seen)))
        return 0;
    return refuse_fenced(guard, handle, change);
}

/* A passive or shared file may have been renamed to an ordinary one since it was opened. Deleted,
 * it stays what it was. */
static PathClass class_of_handle(Guard *guard, const Handle *handle)
{
    g_autofree char *path = NULL;

    if (handle->path_class == PATH_ORDINARY)
        return PATH_ORDINARY;
    path = node_dup_path(guard->nodes, handle->node, NULL);
    return path ? policy_classify(guard->policy, path) : handle->path_class;
}

int guard_begin_handle(Guard *guard, const Caller *caller, Handle *handle, Change *change_out)
{
    CallerKind kind = CALLER_KERNEL;
    int r;

    *change_out = (Change){
        .touched = {handle->node},
        .of_data = TRUE,
        .handle = handle,
        .path_class = class_of_handle(guard, handle),
    };
    if (!caller->from_page)
        kind = identify(guard, caller, change_out);
    if (kind == CALLER_KERNEL)
        return begin_store(guard, handle, change_out);
    /* Before the gate, because a fenced write must not take the lease; and behind it, because a
     * whole tenure may have come and gone in between, and nobody else can change it any more. */
    r = check_fence(guard, handle, change_out);
    if (r == 0)
        r = admit(guard, change_out, handle->file);
    if (r == 0 && change_out->slot)
        r = check_fence(guard, handle, change_out);
    if (r != 0)
        give_back(guard, change_out);
    return r;
}

void guard_created(Guard *guard, const Change *change, Node *node)
{
    FileState *file;

    if (change->path_class == PATH_SHARED)
        return;
    file = file_state_of(node);
    file_state_note_change(file, change->session, guard->clock->wall_ms(guard->clock),
                           change->epoch, TRUE);
    if (change->path_class == PATH_PASSIVE)
        file_state_set_creator(file, change->session);
}

void guard_on_names_changed(Guard *guard, GuardNamesChanged forget, gpointer data)
{
    guard->names_changed = forget;
    guard->names_changed_data = data;
}

static void untell(Guard *guard, const Change *change)
{
    for (guint i = 0; i < G_N_ELEMENTS(change->touched) && change->touched[i]; i++) {
        Node *node = change->touched[i];

        if (atomic_exchange(node_told(node), 0) != 0 && change->of_names && guard->names_changed)
            guard->names_changed(node, guard->names_changed_data);
    }
}

void guard_end(Guard *guard, Change *change, gssize result)
{
    untell(guard, change);
    if (result >= 0 && change->path_class != PATH_SHARED) {
        gint64 wall_ms = guard->clock->wall_ms(guard->clock);
        guint64 number;

        count(&guard->changes);
        for (guint i = 0; i < G_N_ELEMENTS(change->touched) && change->touched[i]; i++) {
            number = file_state_note_change(file_state_of(change->touched[i]), change->session,
                                            wall_ms, change->epoch, change->of_data);
            if (change->handle)
                handle_saw(change->handle, number);
        }
    }
    if (change->slot)
        keeper_end(guard->keeper, change->slot);
    g_clear_pointer(&change->session, session_unref);
    change->slot = NULL;
}

/* The rule of guard_check_open and of `writable`. */
static gboolean permits(Guard *guard, CallerKind kind, Session *session, PathClass path_class,
                        Node *node)
{
    FileState *file = node ? file_state_peek(node) : NULL;

    if (kind == CALLER_KERNEL) /* opens for others, which are judged when they write */
        return TRUE;
    if (kind == CALLER_UNKNOWN && !guard->unknown_allowed)
        return FALSE;
    if (path_class == PATH_SHARED)
        return TRUE;
    if (kind == CALLER_UNKNOWN)
        return keeper_permits(guard->keeper, NULL);
    if (keeper_permits(guard->keeper, session))
        return TRUE;
    return path_class == PATH_PASSIVE && file && file_state_is_creator(file, session);
}

gboolean guard_permits_on(Guard *guard, const Caller *caller, Node *node)
{
    g_autoptr(Session) session = NULL;
    CallerKind kind = session_table_resolve(guard->sessions, caller->tid, &session);
    PathClass path_class = node ? guard_classify(guard, node, NULL) : PATH_ORDINARY;

    return guard->observe || permits(guard, kind, session, path_class, node);
}

int guard_check_open(Guard *guard, const Caller *caller, Node *node, PathClass *class_out,
                     Session **session_out)
{
    g_autoptr(Session) session = NULL;
    CallerKind kind = session_table_resolve(guard->sessions, caller->tid, &session);

    *class_out = guard_classify(guard, node, NULL);
    if (!permits(guard, kind, session, *class_out, node)) {
        int r = refuse(guard, session);

        if (r != 0)
            return r;
    }
    *session_out = g_steal_pointer(&session);
    return 0;
}

void guard_read_counters(Guard *guard, GuardCounters *counters_out)
{
    *counters_out = (GuardCounters){
        .changes = atomic_load(&guard->changes),
        .refused = atomic_load(&guard->refused),
        .fenced = atomic_load(&guard->fenced),
        .stores_lost = atomic_load(&guard->stores_lost),
        .passive = atomic_load(&guard->passive),
        .shared = atomic_load(&guard->shared),
    };
}

guint guard_refusals_of(Guard *guard, Session *session)
{
    MUTEX_GUARD(&guard->lock);

    return GPOINTER_TO_UINT(
        g_hash_table_lookup(guard->refusals, GSIZE_TO_POINTER(session_serial(session))));
}

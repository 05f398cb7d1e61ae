/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-private.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

/* Processes remembered: each costs a descriptor, and open files need those too. */
#define MAX_MEMBERS   4096u
#define MEMBERS_SHARE 4 /* of RLIMIT_NOFILE, at most: a quarter */
#define REAP_BATCH    64
#define MANY_ADDED    32 /* and as many as there were: then the dead are looked for */
#define ADDED_SHARE   8  /* of the most there may be: at the latest then */

static guint root_hash(gconstpointer key)
{
    const ProcessId *id = key;

    return (guint)id->pid * 2654435761u ^ (guint)id->start_time;
}

static gboolean root_equal(gconstpointer a, gconstpointer b)
{
    return process_id_equal(a, b);
}

static guint choose_max_members(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return MAX_MEMBERS;
    return (guint)MIN(limit.rlim_cur / MEMBERS_SHARE, (rlim_t)MAX_MEMBERS);
}

SessionTable *session_table_new(ProcessTable *processes, Registry *registry,
                                const Boundaries *boundaries)
{
    SessionTable *table = g_new0(SessionTable, 1);

    table->processes = processes;
    table->registry = registry;
    table->boundaries = boundaries;
    mutex_init(&table->lock);
    table->members = g_hash_table_new(NULL, NULL);
    table->sessions = g_hash_table_new(root_hash, root_equal);
    table->taken_in = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    table->chain = session_chain_new();
    table->dropped = g_ptr_array_new_with_free_func((GDestroyNotify)member_unref);
    table->just_ended = g_ptr_array_new_with_free_func((GDestroyNotify)session_unref);
    table->orphans = g_ptr_array_new();
    table->next_serial = 1;
    table->max_members = choose_max_members();
    return table;
}

static void look_after_members_locked(SessionTable *table)
{
    guint many = MIN(table->n_left + MANY_ADDED, table->max_members / ADDED_SHARE);

    session_table_adopt_orphans_locked(table, TRUE);
    if (table->n_added > many)
        session_table_sweep_locked(table);
}

static void unlock_and_tell(SessionTable *table)
{
    g_autoptr(GPtrArray) dropped G_GNUC_UNUSED = NULL;
    g_autoptr(GPtrArray) ended = NULL;
    SessionEnded on_ended = table->on_ended;
    gpointer data = table->on_ended_data;

    look_after_members_locked(table);
    dropped = g_steal_pointer(&table->dropped);
    ended = g_steal_pointer(&table->just_ended);
    table->dropped = g_ptr_array_new_with_free_func((GDestroyNotify)member_unref);
    table->just_ended = g_ptr_array_new_with_free_func((GDestroyNotify)session_unref);
    mutex_unlock(&table->lock);

    for (guint i = 0; on_ended != NULL && i < ended->len; i++)
        on_ended(g_ptr_array_index(ended, i), data);
}

void session_table_free(SessionTable *table)
{
    GHashTableIter iter;
    gpointer session;
    Member *member;

    if (table == NULL)
        return;
    while ((member = g_queue_peek_head(&table->recent)) != NULL) {
        g_queue_unlink(&table->recent, &member->link);
        member_unref(member);
    }
    g_hash_table_iter_init(&iter, table->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &session)) {
        g_hash_table_iter_steal(&iter);
        session_unref(session);
    }
    g_ptr_array_unref(table->dropped);
    g_ptr_array_unref(table->just_ended);
    g_ptr_array_unref(table->orphans);
    g_hash_table_unref(table->members);
    g_hash_table_unref(table->sessions);
    g_hash_table_unref(table->taken_in);
    g_array_unref(table->chain);
    mutex_clear(&table->lock);
    g_free(table);
}

static Session *add_session_locked(SessionTable *table, const ProcessInfo *root, const char *id,
                                   SessionRule rule)
{
    Session *session = session_new(table->next_serial++, &root->id, root->comm, id, rule);

    g_hash_table_insert(table->sessions, &session->root, session);
    return session;
}

static Session *session_for_locked(SessionTable *table, const ProcessInfo *root, SessionRule rule)
{
    Session *session = g_hash_table_lookup(table->sessions, &root->id);
    const Registration *registration = NULL;
    g_autofree char *id = NULL;

    if (rule == SESSION_RULE_REGISTERED)
        registration = registry_find(table->registry, root);
    if (session == NULL) {
        id = registration != NULL ? g_strdup(registration->name) : session_format_id(root);
        return add_session_locked(table, root, id, rule);
    }
    if (registration != NULL)
        session_set_registered(session, registration->name);
    return session;
}

/* --- what registrations change ------------------------------------------------------------- */

static gboolean is_of_session(SessionTable *table G_GNUC_UNUSED, const Member *member,
                              gconstpointer session)
{
    return member->session == session;
}

/* Whether the new registration of `root` takes the member over. A registered session is taken over
 * whole, if its own root stands below; else it is the outer one and stays. */
static gboolean is_taken_over(SessionTable *table, const Member *member, gconstpointer root)
{
    const ProcessId *own_root = &member->session->root;

    if (process_id_equal(own_root, root))
        return FALSE;
    if (session_rule(member->session) == SESSION_RULE_REGISTERED)
        return process_is_alive(table->processes, own_root) &&
               process_descends_from(table->processes, own_root->pid, root);
    return process_descends_from(table->processes, member->pid, root);
}

static void take_in_new_locked(SessionTable *table, const Registration *registration)
{
    ProcessInfo root;
    Session *session;

    /* One whose root is dead, or that is not believed, changes nothing. */
    if (table->processes->ops->read(table->processes, registration->root.pid, &root) < 0 ||
        !process_id_equal(&root.id, &registration->root) ||
        registry_find(table->registry, &root) == NULL)
        return;
    session_table_drop_all_locked(table, is_taken_over, &registration->root);
    session = g_hash_table_lookup(table->sessions, &registration->root);
    if (session != NULL)
        session_set_registered(session, registration->name);
}

static char *registration_key(const char *name, const ProcessId *root)
{
    return g_strdup_printf("%s %d %" G_GUINT64_FORMAT, name, (int)root->pid, root->start_time);
}

/* The registration is gone from the disk, which is its orderly end, whoever still runs. */
static void end_unregistered_locked(SessionTable *table, GHashTable *present)
{
    g_autoptr(GList) sessions = g_hash_table_get_values(table->sessions);

    for (GList *at = sessions; at != NULL; at = at->next) {
        Session *session = at->data;
        g_autofree char *id = session_dup_id(session);
        g_autofree char *key = registration_key(id, &session->root);

        if (session_rule(session) == SESSION_RULE_REGISTERED &&
            !g_hash_table_contains(present, key))
            session_table_drop_all_locked(table, is_of_session, session);
    }
}

static void take_in_registrations_locked(SessionTable *table)
{
    const GPtrArray *registrations = registry_list(table->registry);
    GHashTable *present = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; i < registrations->len; i++) {
        const Registration *registration = g_ptr_array_index(registrations, i);

        g_hash_table_add(present, registration_key(registration->name, &registration->root));
    }
    end_unregistered_locked(table, present);
    for (guint i = 0; i < registrations->len; i++) {
        const Registration *registration = g_ptr_array_index(registrations, i);
        g_autofree char *key = registration_key(registration->name, &registration->root);

        if (!g_hash_table_contains(table->taken_in, key))
            take_in_new_locked(table, registration);
    }
    g_hash_table_unref(table->taken_in);
    table->taken_in = present;
}

static void refresh_locked(SessionTable *table)
{
    if (registry_refresh(table->registry, FALSE))
        take_in_registrations_locked(table);
}

/* --- resolving ----------------------------------------------------------------------------- */

typedef struct KnownSearch {
    SessionTable *table;
    Session *found;
} KnownSearch;

/* Whether the process bears the name of a boundary by now, whatever it was called when its session
 * was found; or nobody can tell. */
static gboolean is_boundary_now(SessionTable *table, pid_t pid)
{
    char comm[PROCESS_COMM_SIZE];

    return table->processes->ops->read_comm(table->processes, pid, comm) < 0 ||
           boundaries_contain(table->boundaries, comm);
}

static gboolean is_known_locked(pid_t pid, const ProcessInfo *read, gboolean past_boundary,
                                gpointer data)
{
    KnownSearch *search = data;
    SessionTable *table = search->table;
    Member *member = session_table_find_locked(table, pid);

    if (member == NULL)
        return FALSE;
    if (session_rule(member->session) != SESSION_RULE_REGISTERED &&
        (past_boundary || (read == NULL && is_boundary_now(table, pid))))
        return FALSE;
    /* The member has been there since before the walk: if it lives on, the pid was its own all the
     * time, both as the parent of the process below and when the comm was read. */
    member = session_table_find_live_locked(table, pid);
    if (member == NULL)
        return FALSE;
    session_table_touch_locked(table, member);
    search->found = member->session;
    return TRUE;
}

static gboolean remember_chain_locked(SessionTable *table, Session *session, guint count)
{
    ProcessLink *caller = &g_array_index(table->chain, ProcessLink, 0);
    /* The caller first: it waits for its answer and cannot die meanwhile, so the session lives on
     * through it even if all of the others do. */
    int r = session_table_remember_locked(table, session, caller);

    if (r < 0 && r != -ESRCH)
        session_table_complain_locked(table, caller->info.id.pid, r);
    /* Gone already; or nobody would see the end of this session. */
    if (r == -ESRCH || session_has_ended(session))
        return FALSE;
    for (guint i = 1; i < count && !session_has_ended(session); i++)
        session_table_remember_locked(table, session, &g_array_index(table->chain, ProcessLink, i));
    return TRUE;
}

/* Below a known parent, the caller was not read by the walk: only one that may be a root is. */
static gboolean complete_caller_locked(SessionTable *table, SessionRule known_rule)
{
    ProcessLink *caller = &g_array_index(table->chain, ProcessLink, 0);
    const ProcessTableOps *ops = table->processes->ops;

    if (caller->info.id.start_time != 0 ||
        !session_may_be_inner_root(table->chain, known_rule, table->registry, table->processes))
        return TRUE;
    return ops->read(table->processes, caller->info.id.pid, &caller->info) == 0 &&
           !caller->info.dead && !ops->has_ended(table->processes, caller->hold);
}

/* The session of the process at the chain's start, which with all up to the root is remembered;
 * never what is above the root, for that belongs to others too. Borrowed, or NULL. */
static Session *settle_locked(SessionTable *table, Session *known, guint below)
{
    const GArray *chain = table->chain;
    guint count = chain->len;
    SessionRule rule = SESSION_RULE_OUTERMOST;
    Session *session = known;
    gint root;

    if (known != NULL && !complete_caller_locked(table, session_rule(known)))
        return NULL;
    if (known != NULL)
        root = session_find_inner_root(chain, session_rule(known), table->registry, &rule);
    else
        root = (gint)session_find_root(chain, below, table->registry, &rule);
    if (root >= 0) {
        session = session_for_locked(table, &g_array_index(chain, ProcessLink, root).info, rule);
        count = (guint)root + 1;
    }
    return remember_chain_locked(table, session, count) ? session : NULL;
}

static SessionWalkEnd walk_locked(SessionTable *table, pid_t pid, Session **known_out,
                                  guint *below_out)
{
    KnownSearch search = {.table = table};
    SessionWalkEnd end;

    end = session_walk(table->processes, table->boundaries, pid, is_known_locked, &search,
                       table->chain, below_out);
    if (end == SESSION_WALK_SHORT && session_table_make_room_locked(table)) {
        search.found = NULL;
        end = session_walk(table->processes, table->boundaries, pid, is_known_locked, &search,
                           table->chain, below_out);
    }
    *known_out = search.found;
    return end;
}

static CallerKind resolve_anew_locked(SessionTable *table, pid_t pid, Session **session_out)
{
    Member *member = session_table_find_live_locked(table, pid);
    CallerKind kind = CALLER_UNKNOWN;
    Session *session = NULL;
    Session *known;
    guint below;

    /* Another thread was faster. */
    if (member != NULL) {
        *session_out = session_ref(member->session);
        return CALLER_SESSION;
    }
    switch (walk_locked(table, pid, &known, &below)) {
    case SESSION_WALK_KERNEL:
        kind = CALLER_KERNEL;
        break;
    case SESSION_WALK_LOST:
    case SESSION_WALK_SHORT:
        break;
    case SESSION_WALK_KNOWN:
    case SESSION_WALK_TOP:
        session = settle_locked(table, known, below);
        break;
    }
    session_chain_clear(table->processes, table->chain);
    if (session == NULL)
        return kind;
    *session_out = session_ref(session);
    return CALLER_SESSION;
}

/* The hot path: no allocation, no walk, and the only system call outside the lock. */
static gboolean resolve_known(SessionTable *table, pid_t pid, Session **session_out)
{
    Session *session = NULL;
    Member *member;

    mutex_lock(&table->lock);
    member = session_table_find_locked(table, pid);
    if (member != NULL) {
        ref_count_inc(&member->refs);
        session_table_touch_locked(table, member);
    }
    mutex_unlock(&table->lock);
    if (member == NULL)
        return FALSE;
    if (!member_has_ended(member) && !session_has_ended(member->session))
        session = session_ref(member->session);
    member_unref(member);
    if (session == NULL)
        return FALSE;
    *session_out = session;
    return TRUE;
}

/* TRUE where the answer is there without a walk; else `pid_out` is the process to walk from, as far
 * as is known: a thread that nobody asked about yet is taken for a process. A process's first
 * thread bears its pid, so a held pid that lives cannot be the id of another's thread; any other
 * thread id is asked about each time. */
static gboolean resolve_quickly(SessionTable *table, pid_t tid, pid_t *pid_out,
                                Session **session_out)
{
    if (resolve_known(table, tid, session_out))
        return TRUE;
    *pid_out = table->processes->ops->leader_again(table->processes, tid);
    if (*pid_out != 0)
        return resolve_known(table, *pid_out, session_out);
    *pid_out = tid;
    return FALSE;
}

static CallerKind resolve_slowly_locked(SessionTable *table, pid_t tid, Session **session_out)
{
    CallerKind kind = resolve_anew_locked(table, tid, session_out);
    pid_t pid;

    if (kind == CALLER_UNKNOWN && table->processes->ops->leader(table->processes, tid, &pid) == 0 &&
        pid != tid)
        kind = resolve_anew_locked(table, pid, session_out);
    return kind;
}

CallerKind session_table_resolve(SessionTable *table, pid_t tid, Session **session_out)
{
    CallerKind kind;
    pid_t pid;

    if (tid <= 0)
        return CALLER_UNKNOWN;
    if (resolve_quickly(table, tid, &pid, session_out))
        return CALLER_SESSION;
    mutex_lock(&table->lock);
    refresh_locked(table);
    kind = resolve_slowly_locked(table, pid, session_out);
    unlock_and_tell(table);
    return kind;
}

/* Tells nobody and leaves the registrations as they were last seen: what ended meanwhile is told by
 * the next call that may, which the descriptors to poll bring about. */
static Session *resolve_silently(SessionTable *table, pid_t tid)
{
    Session *session = NULL;
    pid_t pid;

    if (tid > 0 && !resolve_quickly(table, tid, &pid, &session)) {
        mutex_lock(&table->lock);
        resolve_slowly_locked(table, pid, &session);
        session_table_adopt_orphans_locked(table, FALSE);
        mutex_unlock(&table->lock);
    }
    return session;
}

gboolean session_table_covers(SessionTable *table, Session *session, pid_t pid)
{
    g_autoptr(Session) own = resolve_silently(table, pid);
    ProcessInfo process;

    if (own == session)
        return TRUE;
    /* Everything stands below a boundary; that makes nobody the holder. */
    if (pid <= 1 || table->processes->ops->read(table->processes, pid, &process) < 0 ||
        process.dead || boundaries_contain(table->boundaries, process.comm))
        return FALSE;
    /* Alive afterwards: so its pid was its own all through the walk. */
    return process_descends_from(table->processes, session->root.pid, &process.id) &&
           process_is_alive(table->processes, &session->root);
}

static Session *adopt_living_locked(SessionTable *table, const char *id, ProcessLink *link)
{
    const ProcessInfo *root = &link->info;
    const Registration *registration = registry_find(table->registry, root);
    Session *session;

    if (registration != NULL)
        session = add_session_locked(table, root, registration->name, SESSION_RULE_REGISTERED);
    else
        session = add_session_locked(table, root, id,
                                     session_is_terminal_leader(root) ? SESSION_RULE_TERMINAL
                                                                      : SESSION_RULE_OUTERMOST);
    return session_table_remember_locked(table, session, link) == 0 ? session : NULL;
}

Session *session_table_adopt(SessionTable *table, const char *id, const ProcessId *root,
                             const char *comm)
{
    MUTEX_GUARD(&table->lock);
    Session *session = g_hash_table_lookup(table->sessions, root);
    ProcessLink now;

    if (session == NULL && root->pid > 0 &&
        process_link_open(table->processes, root->pid, &now) == 0) {
        if (process_id_equal(&now.info.id, root))
            session = adopt_living_locked(table, id, &now);
        process_link_release(table->processes, &now);
        session_table_adopt_orphans_locked(table, FALSE);
    }
    if (session != NULL)
        return session_ref(session);
    /* No id of a session that was not registered is a name (registration_check_name). */
    session = session_new(table->next_serial++, root, comm != NULL ? comm : "", id,
                          registration_check_name(id, NULL) ? SESSION_RULE_REGISTERED
                                                            : SESSION_RULE_OUTERMOST);
    session_set_ended(session);
    return session;
}

/* --- keeping up ---------------------------------------------------------------------------- */

gboolean session_table_add_directory(SessionTable *table, int dir_fd, GError **error)
{
    gboolean added;

    mutex_lock(&table->lock);
    added = registry_add_directory(table->registry, dir_fd, error);
    refresh_locked(table);
    unlock_and_tell(table);
    return added;
}

void session_table_reload(SessionTable *table)
{
    mutex_lock(&table->lock);
    refresh_locked(table);
    unlock_and_tell(table);
}

void session_table_reap(SessionTable *table)
{
    guint64 cookies[REAP_BATCH];
    gsize n;

    mutex_lock(&table->lock);
    do {
        n = table->processes->ops->ended(table->processes, cookies, REAP_BATCH);
        for (gsize i = 0; i < n; i++) {
            Member *member = session_table_find_locked(table, (pid_t)(guint32)cookies[i]);

            if (member != NULL && member->cookie == cookies[i])
                session_table_drop_locked(table, member);
        }
    } while (n == REAP_BATCH);
    unlock_and_tell(table);
}

void session_table_on_ended(SessionTable *table, SessionEnded ended, gpointer data)
{
    MUTEX_GUARD(&table->lock);

    table->on_ended = ended;
    table->on_ended_data = data;
}

static int compare_serials(gconstpointer a, gconstpointer b)
{
    const Session *const *left = a;
    const Session *const *right = b;

    return (*left)->serial < (*right)->serial ? -1 : (*left)->serial > (*right)->serial;
}

GPtrArray *session_table_list(SessionTable *table)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)session_unref);
    MUTEX_GUARD(&table->lock);
    GHashTableIter iter;
    gpointer session;

    g_hash_table_iter_init(&iter, table->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &session))
        g_ptr_array_add(list, session_ref(session));
    g_ptr_array_sort(list, compare_serials);
    return list;
}

guint session_table_process_count(SessionTable *table)
{
    guint count;

    mutex_lock(&table->lock);
    session_table_sweep_locked(table);
    count = table->recent.length;
    unlock_and_tell(table);
    return count;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-private.h"

#include <errno.h>

#define ROOM_FOR_A_WALK 8  /* descriptors */
#define SWEEP_SHARE     64 /* of a full table, to be added before its dead are looked for */

void member_unref(Member *member)
{
    if (!ref_count_dec(&member->refs))
        return;
    if (member->watched)
        member->processes->ops->unwatch(member->processes, member->hold);
    else
        member->processes->ops->release(member->processes, member->hold);
    session_unref(member->session);
    g_free(member);
}

gboolean member_has_ended(const Member *member)
{
    return member->processes->ops->has_ended(member->processes, member->hold);
}

Member *session_table_find_locked(SessionTable *table, pid_t pid)
{
    return g_hash_table_lookup(table->members, GINT_TO_POINTER(pid));
}

void session_table_touch_locked(SessionTable *table, Member *member)
{
    if (table->recent.head == &member->link)
        return;
    g_queue_unlink(&table->recent, &member->link);
    g_queue_push_head_link(&table->recent, &member->link);
}

void session_table_end_locked(SessionTable *table, Session *session)
{
    session_set_ended(session);
    g_ptr_array_remove_fast(table->orphans, session);
    g_hash_table_remove(table->sessions, &session->root);
    g_ptr_array_add(table->just_ended, session); /* with the table's reference */
}

void session_table_drop_locked(SessionTable *table, Member *member)
{
    Session *session = member->session;

    g_hash_table_remove(table->members, GINT_TO_POINTER(member->pid));
    g_queue_unlink(&table->recent, &member->link);
    g_queue_unlink(&session->members, &member->link_in_session);
    g_ptr_array_add(table->dropped, member);
    if (session->watched == member) {
        session->watched = NULL;
        g_ptr_array_add(table->orphans, session);
    }
    if (--session->member_count == 0)
        session_table_end_locked(table, session);
}

void session_table_drop_all_locked(SessionTable *table, MemberTest test, gconstpointer data)
{
    /* By way of a list: dropping changes what is iterated. */
    g_autoptr(GPtrArray) found = g_ptr_array_new();

    for (GList *link = table->recent.head; link != NULL; link = link->next) {
        if (test(table, link->data, data))
            g_ptr_array_add(found, link->data);
    }
    for (guint i = 0; i < found->len; i++)
        session_table_drop_locked(table, g_ptr_array_index(found, i));
}

Member *session_table_find_live_locked(SessionTable *table, pid_t pid)
{
    Member *member = session_table_find_locked(table, pid);

    if (member == NULL || !member_has_ended(member))
        return member;
    session_table_drop_locked(table, member);
    return NULL;
}

/* --- whose end is seen ---------------------------------------------------------------------- */

static void set_watched_locked(SessionTable *table, Member *member)
{
    member->watched = TRUE;
    member->session->watched = member;
    g_ptr_array_remove_fast(table->orphans, member->session);
}

static gboolean is_dead_unwatched(SessionTable *table G_GNUC_UNUSED, const Member *member,
                                  gconstpointer data G_GNUC_UNUSED)
{
    return !member->watched && member_has_ended(member);
}

void session_table_sweep_locked(SessionTable *table)
{
    session_table_drop_all_locked(table, is_dead_unwatched, NULL);
    table->n_left = table->recent.length;
    table->n_added = 0;
}

static void drop_dead_of_locked(SessionTable *table, Session *session)
{
    GList *next;

    for (GList *link = session->members.head; link != NULL; link = next) {
        next = link->next;
        if (member_has_ended(link->data))
            session_table_drop_locked(table, link->data);
    }
}

/* The root, or else the one that is known for longest: most processes live shortly. */
static Member *choose_watched_locked(SessionTable *table, const Session *session)
{
    Member *root = session_table_find_locked(table, session->root.pid);

    if (root != NULL && root->session == session && root->is_root)
        return root;
    return session->members.head->data;
}

void session_table_adopt_orphans_locked(SessionTable *table, gboolean may_end)
{
    const ProcessTableOps *ops = table->processes->ops;

    for (guint i = table->orphans->len; i-- > 0;) {
        Session *session = g_ptr_array_index(table->orphans, i);
        Member *member;
        int r;

        if (may_end)
            drop_dead_of_locked(table, session);
        if (session_has_ended(session))
            continue;
        member = choose_watched_locked(table, session);
        r = ops->watch(table->processes, member->hold, member->cookie);
        if (r == 0)
            set_watched_locked(table, member);
        else
            session_table_complain_locked(table, member->pid, r); /* and try again */
    }
}

void session_table_complain_locked(SessionTable *table, pid_t pid, int error)
{
    if (!table->complained)
        g_warning("cannot watch process %d: %s; raise the limit of open files (RLIMIT_NOFILE)",
                  (int)pid, g_strerror(-error));
    table->complained = TRUE;
}

/* --- how many are remembered ---------------------------------------------------------------- */

/* Only what a new walk finds again may be forgotten: a root finds itself, and the others find it as
 * long as it lives and is known. */
static gboolean may_evict_locked(SessionTable *table, const Member *member)
{
    const Member *known = session_table_find_locked(table, member->session->root.pid);

    if (member->watched)
        return FALSE;
    return known != NULL && known != member && known->is_root && known->session == member->session;
}

static gboolean evict_one_locked(SessionTable *table)
{
    for (guint n = table->recent.length; n > 0; n--) {
        Member *member = g_queue_peek_tail(&table->recent);

        if (may_evict_locked(table, member)) {
            session_table_drop_locked(table, member);
            return TRUE;
        }
        /* To the front, so that the next look does not pass it again. */
        session_table_touch_locked(table, member);
    }
    return FALSE;
}

/* Closes what was dropped since there were n_before, and says how much that was: none of it is
 * watched, so nobody waits to be told of it. */
static guint close_dropped_locked(SessionTable *table, guint n_before)
{
    guint n = table->dropped->len - n_before;

    if (n > 0)
        g_ptr_array_remove_range(table->dropped, n_before, n);
    return n;
}

gboolean session_table_make_room_locked(SessionTable *table)
{
    guint n_before = table->dropped->len;
    guint room;

    session_table_sweep_locked(table);
    room = close_dropped_locked(table, n_before);
    while (room < ROOM_FOR_A_WALK && evict_one_locked(table))
        room += close_dropped_locked(table, n_before);
    return room > 0;
}

/* FALSE where the table is full of those that may not be forgotten. */
static gboolean make_place_locked(SessionTable *table)
{
    if (table->recent.length >= table->max_members &&
        table->n_added > table->max_members / SWEEP_SHARE)
        session_table_sweep_locked(table);
    if (table->recent.length < table->max_members || evict_one_locked(table))
        return TRUE;
    if (table->n_added > 0)
        session_table_sweep_locked(table);
    return table->recent.length < table->max_members;
}

/* For a link that the walk could not keep: a hold on that very process. */
static int hold_again(SessionTable *table, ProcessLink *link)
{
    ProcessLink now;
    int r = process_link_open(table->processes, link->info.id.pid, &now);

    if (r < 0)
        return r;
    if (process_id_equal(&now.info.id, &link->info.id)) {
        link->hold = now.hold;
        return 0;
    }
    process_link_release(table->processes, &now);
    return -ESRCH;
}

static Member *add_member_locked(SessionTable *table, Session *session, ProcessLink *link,
                                 guint64 cookie)
{
    Member *member = g_new0(Member, 1);

    ref_count_init(&member->refs);
    member->processes = table->processes;
    member->pid = link->info.id.pid;
    member->is_root = process_id_equal(&link->info.id, &session->root);
    member->session = session_ref(session);
    member->cookie = cookie;
    member->hold = fd_steal(&link->hold);
    member->link.data = member;
    member->link_in_session.data = member;
    session->member_count++;
    table->n_added++;
    g_hash_table_insert(table->members, GINT_TO_POINTER(member->pid), member);
    g_queue_push_head_link(&table->recent, &member->link);
    g_queue_push_tail_link(&session->members, &member->link_in_session);
    return member;
}

static int replace_member_locked(SessionTable *table, Session *session, ProcessLink *link)
{
    const ProcessTableOps *ops = table->processes->ops;
    pid_t pid = link->info.id.pid;
    gboolean watched = FALSE;
    guint64 cookie;
    Member *member;
    int r;

    if (link->hold < 0 && (r = hold_again(table, link)) < 0)
        return r;
    /* The member was there before the walk: if it lives, it is the process that the link holds. */
    member = session_table_find_live_locked(table, pid);
    if (member != NULL && member->session == session) {
        session_table_touch_locked(table, member);
        return 0;
    }
    /* A session's first process is remembered at any rate: else nobody would see its end. (The
     * caller counts for one.) */
    if (!make_place_locked(table) && session->member_count > 1)
        return -ENOSPC;
    cookie = table->next_cookie++ << MEMBER_COOKIE_PID_BITS | (guint32)pid;
    if (session->watched == NULL) {
        r = ops->watch(table->processes, link->hold, cookie);
        if (r < 0)
            return r;
        watched = TRUE;
    }
    member = session_table_find_locked(table, pid);
    if (member != NULL)
        session_table_drop_locked(table, member);
    member = add_member_locked(table, session, link, cookie);
    if (watched)
        set_watched_locked(table, member);
    return 0;
}

int session_table_remember_locked(SessionTable *table, Session *session, ProcessLink *link)
{
    int r;

    /* Counted before an old membership of the pid goes, which may have been the session's last. */
    session->member_count++;
    r = replace_member_locked(table, session, link);
    if (--session->member_count == 0)
        session_table_end_locked(table, session);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session.h"

#include <errno.h>
#include <string.h>

#define MAX_DEPTH 512 /* ancestors; a tree this deep is a fault or an attack */
#define MAX_WALKS 8   /* begun anew because a process on the way died */
#define MAX_HELD  64  /* of a chain, each by a descriptor; the others are held anew when needed */

/*
 * What starts programs on behalf of many, and so joins nothing: service managers, login and remote
 * login, multiplexers, schedulers, container monitors, and what a desktop session hangs from.
 * Terminal emulators and editors are not here: below them the leader of each terminal is a root.
 */
static const char *const default_boundaries[] = {
    /* service managers */
    "systemd",
    "init",
    "openrc-init",
    "runsvdir",
    "runsv",
    "s6-svscan",
    "s6-supervise",
    "supervisord",
    /* logging in */
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "mosh-server",
    "login",
    "agetty",
    "getty",
    "in.telnetd",
    "xrdp-sesman",
    /* multiplexers */
    "tmux: server",
    "screen",
    "dtach",
    "abduco",
    /* schedulers */
    "cron",
    "crond",
    "anacron",
    "atd",
    "fcron",
    /* containers */
    "dockerd",
    "containerd",
    "containerd-shim",
    "conmon",
    "crio",
    "lxc-start",
    /* display managers */
    "gdm",
    "gdm3",
    "gdm-session-worker",
    "gdm-wayland-session",
    "gdm-x-session",
    "lightdm",
    "sddm",
    "sddm-helper",
    "lxdm",
    "lxdm-session",
    "greetd",
    "xdm",
    "Xorg",
    "Xwayland",
    "xinit",
    "startx",
    /* desktops */
    "gnome-shell",
    "gnome-session-binary",
    "plasmashell",
    "kwin_wayland",
    "kwin_x11",
    "startplasma-wayland",
    "startplasma-x11",
    "plasma_session",
    "ksmserver",
    "kdeinit5",
    "xfce4-session",
    "lxsession",
    "lxqt-session",
    "mate-session",
    "cinnamon-session",
    "cinnamon",
    "sway",
    "Hyprland",
    "river",
    "niri",
    "labwc",
    "wayfire",
    "weston",
    "i3",
    "bspwm",
    "dwm",
    "awesome",
    "openbox",
    "fluxbox",
    "icewm-session",
};

struct Boundaries {
    GHashTable *comms; /* set of char * */
};

static void add_comm(Boundaries *boundaries, const char *comm, gsize length)
{
    if (length > 0)
        g_hash_table_add(boundaries->comms, g_strndup(comm, MIN(length, PROCESS_COMM_SIZE - 1)));
}

static void add_comms(Boundaries *boundaries, const char *spec)
{
    const char *start = spec;

    for (const char *at = spec;; at++) {
        if (*at != '\0' && (*at != ':' || at[1] == ' '))
            continue;
        add_comm(boundaries, start, (gsize)(at - start));
        if (*at == '\0')
            break;
        start = at + 1;
    }
}

Boundaries *boundaries_new(const char *spec)
{
    Boundaries *boundaries = g_new0(Boundaries, 1);

    boundaries->comms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (spec == NULL || *spec == '+') {
        for (gsize i = 0; i < G_N_ELEMENTS(default_boundaries); i++)
            add_comm(boundaries, default_boundaries[i], strlen(default_boundaries[i]));
    }
    if (spec != NULL)
        add_comms(boundaries, *spec == '+' ? spec + 1 : spec);
    return boundaries;
}

void boundaries_free(Boundaries *boundaries)
{
    if (boundaries == NULL)
        return;
    g_hash_table_unref(boundaries->comms);
    g_free(boundaries);
}

gboolean boundaries_contain(const Boundaries *boundaries, const char *comm)
{
    return g_hash_table_contains(boundaries->comms, comm);
}

GArray *session_chain_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(ProcessLink));
}

void session_chain_clear(ProcessTable *processes, GArray *chain)
{
    for (guint i = 0; i < chain->len; i++)
        process_link_release(processes, &g_array_index(chain, ProcessLink, i));
    g_array_set_size(chain, 0);
}

typedef struct Walk {
    ProcessTable *processes;
    const Boundaries *boundaries;
    SessionKnown known;
    gpointer data;
    GArray *chain;
    guint below;
    ProcessLink at;    /* the outermost process so far */
    gboolean in_chain; /* which owns its hold then */
    gboolean past_boundary;
} Walk;

static void enter(Walk *walk, const ProcessLink *link, gboolean in_chain)
{
    walk->at = *link;
    walk->in_chain = in_chain;
    if (in_chain)
        g_array_append_val(walk->chain, *link);
    if (!walk->past_boundary)
        walk->below = walk->chain->len;
}

/* Its parent is held, or nobody asks for it any more. */
static void leave(Walk *walk)
{
    if (!walk->in_chain)
        process_link_release(walk->processes, &walk->at);
    else if (walk->chain->len > MAX_HELD)
        process_link_release(walk->processes,
                             &g_array_index(walk->chain, ProcessLink, walk->chain->len - 1));
}

static gboolean is_known(const Walk *walk, pid_t pid, const ProcessInfo *read)
{
    return pid > 1 && walk->known(pid, read, walk->past_boundary, walk->data);
}

/* Of descriptors or memory, which is not the same as an ancestor that nobody may see. */
static gboolean is_shortage(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* The process itself. FALSE where that is all there is to say, which *end_out is. */
static gboolean walk_in(Walk *walk, pid_t pid, SessionWalkEnd *end_out)
{
    const ProcessTableOps *ops = walk->processes->ops;
    ProcessLink link = {.info.id.pid = pid, .hold = ops->hold(walk->processes, pid)};
    gboolean lost;

    *end_out = is_shortage(link.hold) ? SESSION_WALK_SHORT : SESSION_WALK_LOST;
    if (link.hold < 0)
        return FALSE;
    lost = ops->parent(walk->processes, link.hold, pid, &link.info.ppid) < 0;
    /* What a process of a session started is no kernel thread, and is not read. */
    if (!lost && is_known(walk, link.info.ppid, NULL))
        *end_out = SESSION_WALK_KNOWN;
    else if (!lost && ops->read(walk->processes, pid, &link.info) == 0)
        *end_out = link.info.kernel ? SESSION_WALK_KERNEL : SESSION_WALK_TOP;
    /* Alive afterwards: so it was this process that was read, and no other that had its pid. */
    if (*end_out != SESSION_WALK_LOST &&
        (link.info.dead || ops->has_ended(walk->processes, link.hold)))
        *end_out = SESSION_WALK_LOST;
    if (*end_out == SESSION_WALK_LOST || *end_out == SESSION_WALK_KERNEL) {
        process_link_release(walk->processes, &link);
        return FALSE;
    }
    enter(walk, &link, TRUE);
    return *end_out == SESSION_WALK_TOP;
}

/* An ancestor, whose hold is taken. FALSE where the walk ends with it, as *end_out says. */
static gboolean walk_on(Walk *walk, ProcessLink *link, SessionWalkEnd *end_out)
{
    gboolean is_boundary = boundaries_contain(walk->boundaries, link->info.comm);

    if (is_boundary)
        walk->past_boundary = TRUE;
    if (link->info.kernel)
        *end_out = SESSION_WALK_KERNEL;
    else if (is_known(walk, link->info.id.pid, &link->info))
        *end_out = SESSION_WALK_KNOWN;
    if (*end_out != SESSION_WALK_TOP || link->info.id.pid == 1) {
        process_link_release(walk->processes, link);
        return FALSE;
    }
    enter(walk, link, !is_boundary);
    return TRUE;
}

/* FALSE where a process on the way died, so that what was read above it may not be the caller's
 * ancestry any more. */
static gboolean walk_once(Walk *walk, pid_t pid, SessionWalkEnd *end_out)
{
    gboolean more = TRUE;

    session_chain_clear(walk->processes, walk->chain);
    walk->below = 0;
    walk->past_boundary = FALSE;
    if (!walk_in(walk, pid, end_out))
        return TRUE;
    for (guint depth = 0; more && depth < MAX_DEPTH && walk->at.info.ppid > 1; depth++) {
        ProcessLink parent;
        int r = process_link_open_parent(walk->processes, &walk->at, &parent);

        leave(walk);
        if (r == -ECHILD)
            return FALSE;
        if (is_shortage(r))
            *end_out = SESSION_WALK_SHORT;
        if (r < 0)
            return TRUE;
        more = walk_on(walk, &parent, end_out);
    }
    if (more)
        leave(walk);
    return TRUE;
}

SessionWalkEnd session_walk(ProcessTable *processes, const Boundaries *boundaries, pid_t pid,
                            SessionKnown known, gpointer data, GArray *chain, guint *below_out)
{
    Walk walk = {
        .processes = processes,
        .boundaries = boundaries,
        .known = known,
        .data = data,
        .chain = chain,
    };
    SessionWalkEnd end = SESSION_WALK_LOST;

    for (guint i = 0; i < MAX_WALKS; i++) {
        if (walk_once(&walk, pid, &end)) {
            *below_out = walk.below;
            return end;
        }
    }
    /* Ancestors that die faster than they can be read: nobody can say whose process this is. */
    *below_out = 0;
    return SESSION_WALK_LOST;
}

static const ProcessInfo *link_at(const GArray *chain, guint i)
{
    return &g_array_index(chain, ProcessLink, i).info;
}

static gint find_registered(const GArray *chain, Registry *registry)
{
    for (guint i = chain->len; i-- > 0;) {
        if (registry_find(registry, link_at(chain, i)) != NULL)
            return (gint)i;
    }
    return -1;
}

gboolean session_is_terminal_leader(const ProcessInfo *process)
{
    return process->has_tty && process->id.pid == process->sid;
}

static gint find_terminal(const GArray *chain, guint below)
{
    for (guint i = below; i-- > 0;) {
        if (session_is_terminal_leader(link_at(chain, i)))
            return (gint)i;
    }
    return -1;
}

guint session_find_root(const GArray *chain, guint below, Registry *registry, SessionRule *rule_out)
{
    gint i = find_registered(chain, registry);

    if (i >= 0) {
        *rule_out = SESSION_RULE_REGISTERED;
        return (guint)i;
    }
    i = find_terminal(chain, below);
    if (i >= 0) {
        *rule_out = SESSION_RULE_TERMINAL;
        return (guint)i;
    }
    *rule_out = SESSION_RULE_OUTERMOST;
    return below - 1;
}

gint session_find_inner_root(const GArray *chain, SessionRule known_rule, Registry *registry,
                             SessionRule *rule_out)
{
    gint i;

    if (known_rule == SESSION_RULE_REGISTERED)
        return -1;
    i = find_registered(chain, registry);
    if (i >= 0) {
        *rule_out = SESSION_RULE_REGISTERED;
        return i;
    }
    if (known_rule == SESSION_RULE_TERMINAL)
        return -1;
    i = find_terminal(chain, chain->len);
    if (i >= 0)
        *rule_out = SESSION_RULE_TERMINAL;
    return i;
}

gboolean session_may_be_inner_root(const GArray *chain, SessionRule known_rule, Registry *registry,
                                   ProcessTable *processes)
{
    pid_t pid = link_at(chain, 0)->id.pid;
    pid_t sid = 0;

    if (known_rule == SESSION_RULE_REGISTERED)
        return FALSE;
    if (registry_names_pid(registry, pid))
        return TRUE;
    return known_rule == SESSION_RULE_OUTERMOST &&
           (processes->ops->terminal_session(processes, pid, &sid) < 0 || sid == pid);
}

char *session_format_id(const ProcessInfo *root)
{
    g_autofree char *comm = g_strdup(root->comm);

    g_strcanon(comm, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._@:-", '_');
    return g_strdup_printf("%s.%d.%" G_GUINT64_FORMAT, comm, (int)root->id.pid,
                           root->id.start_time);
}

const char *session_rule_describe(SessionRule rule)
{
    switch (rule) {
    case SESSION_RULE_REGISTERED:
        return "the outermost registered ancestor";
    case SESSION_RULE_TERMINAL:
        return "the leader of the outermost terminal session";
    case SESSION_RULE_OUTERMOST:
        return "the outermost process below the boundary";
    }
    return "unknown";
}

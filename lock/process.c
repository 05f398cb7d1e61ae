/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#define BOOT_ID_LENGTH   36
#define MAX_DEPTH        512 /* ancestors; a tree this deep is a fault or an attack */
#define MAX_REPARENTINGS 16  /* seen while one parent is read */
#define MAX_WALKS        8   /* begun anew because a process on the way died */

/* include/linux/sched.h; in user space systemd and procps rest on it as well. A pid of 2 says
 * nothing: in a container it is a process like any other. */
#define PF_KTHREAD G_GUINT64_CONSTANT(0x00200000)

/* What this module reads of proc_pid_stat(5), counted from 3 (the first field after the comm). */
enum {
    FIELD_STATE = 3,
    FIELD_PPID = 4,
    FIELD_SESSION = 6,
    FIELD_TTY_NR = 7,
    FIELD_FLAGS = 9,
    FIELD_NUM_THREADS = 20,
    FIELD_STARTTIME = 22,
    FIELD_PROCESSOR = 39, /* since Linux 2.2.8 */
};

/* The numbers of the line from field 4 on. Some are negative (tpgid, nice): they are kept as the
 * kernel wrote them. FALSE where the line ends too early or holds something else. */
static gboolean parse_numbers(const char *at, gint64 numbers[FIELD_STARTTIME + 1],
                              guint64 *start_time_out, const char **rest_out)
{
    for (guint field = FIELD_PPID; field <= FIELD_STARTTIME; field++) {
        char *end = NULL;

        if (*at++ != ' ' || !(g_ascii_isdigit(*at) || *at == '-'))
            return FALSE;
        if (field == FIELD_STARTTIME)
            *start_time_out = g_ascii_strtoull(at, &end, 10);
        else
            numbers[field] = (gint64)g_ascii_strtoll(at, &end, 10);
        if (end == at)
            return FALSE;
        at = end;
    }
    *rest_out = at;
    return *at == ' ' || *at == '\n' || *at == '\0';
}

static int parse_cpu(const char *rest)
{
    gint64 cpu;

    for (guint field = FIELD_STARTTIME + 1; field < FIELD_PROCESSOR && rest; field++)
        rest = *rest == ' ' ? strchr(rest + 1, ' ') : NULL;
    if (!rest || !g_ascii_isdigit(rest[1]))
        return -1;
    cpu = g_ascii_strtoll(rest + 1, NULL, 10);
    return cpu <= G_MAXINT32 ? (int)cpu : -1;
}

gboolean process_info_parse_stat(const char *line, ProcessInfo *info_out)
{
    gint64 numbers[FIELD_STARTTIME + 1] = {0};
    ProcessInfo info = {0};
    const char *close_paren = NULL, *rest = NULL;
    char *open_paren = NULL;
    gint64 pid;
    char state;

    if (!g_ascii_isdigit(*line))
        return FALSE;
    pid = g_ascii_strtoll(line, &open_paren, 10);
    if (pid <= 0 || pid > G_MAXINT32 || open_paren[0] != ' ' || open_paren[1] != '(')
        return FALSE;
    /* The comm may hold anything, also `) R 1`; nothing after it holds a parenthesis. */
    close_paren = strrchr(line, ')');
    if (close_paren == NULL || close_paren < open_paren + 2 || close_paren[1] != ' ')
        return FALSE;
    state = close_paren[2];
    if (!g_ascii_isalpha(state) ||
        !parse_numbers(close_paren + 3, numbers, &info.id.start_time, &rest))
        return FALSE;
    if (numbers[FIELD_PPID] < 0 || numbers[FIELD_PPID] > G_MAXINT32 ||
        numbers[FIELD_SESSION] < -1 || numbers[FIELD_SESSION] > G_MAXINT32)
        return FALSE;

    info.id.pid = (pid_t)pid;
    info.ppid = (pid_t)numbers[FIELD_PPID];
    info.sid = (pid_t)numbers[FIELD_SESSION];
    info.has_tty = numbers[FIELD_TTY_NR] != 0;
    info.kernel = ((guint64)numbers[FIELD_FLAGS] & PF_KTHREAD) != 0;
    info.cpu = parse_cpu(rest);
    /* The first thread of a living process is a zombie too, once it called pthread_exit(3). */
    info.dead = state == 'X' || state == 'x' || (state == 'Z' && numbers[FIELD_NUM_THREADS] <= 1);
    memcpy(info.comm, open_paren + 2,
           MIN((gsize)(close_paren - open_paren - 2), sizeof info.comm - 1));
    *info_out = info;
    return TRUE;
}

gboolean process_is_alive(ProcessTable *table, const ProcessId *id)
{
    ProcessInfo info;

    return id->pid > 0 && table->ops->read(table, id->pid, &info) == 0 && !info.dead &&
           process_id_equal(&info.id, id);
}

void process_link_release(ProcessTable *table, ProcessLink *link)
{
    if (link->hold >= 0)
        table->ops->release(table, link->hold);
    link->hold = -1;
}

static int hold_and_read(ProcessTable *table, pid_t pid, ProcessLink *link_out)
{
    ProcessLink link = {.hold = table->ops->hold(table, pid)};
    int r;

    if (link.hold < 0)
        return link.hold;
    r = table->ops->read(table, pid, &link.info);
    if (r < 0) {
        process_link_release(table, &link);
        return r;
    }
    *link_out = link;
    return 0;
}

/* Alive afterwards: so it was this process that was read, and no other that had its pid. */
static int check_link(ProcessTable *table, ProcessLink *link)
{
    if (!link->info.dead && !table->ops->has_ended(table, link->hold))
        return 0;
    process_link_release(table, link);
    return -ESRCH;
}

int process_link_open(ProcessTable *table, pid_t pid, ProcessLink *link_out)
{
    int r = hold_and_read(table, pid, link_out);

    return r < 0 ? r : check_link(table, link_out);
}

int process_link_open_parent(ProcessTable *table, ProcessLink *child, ProcessLink *parent_out)
{
    for (guint i = 0; i < MAX_REPARENTINGS; i++) {
        ProcessLink parent = {.hold = -1};
        int r = -ESRCH;
        pid_t ppid;

        if (child->info.ppid > 0)
            r = hold_and_read(table, child->info.ppid, &parent);
        if (table->ops->parent(table, child->hold, child->info.id.pid, &ppid) < 0) {
            process_link_release(table, &parent);
            return -ECHILD;
        }
        /* A child is given to another parent before the old one shows as dead; so if it still names
         * this one, and that lives on, then the process that is held is its parent and not a later
         * one of that pid. */
        if (ppid == child->info.ppid) {
            if (r == 0)
                r = check_link(table, &parent);
            if (r == 0)
                *parent_out = parent;
            return r;
        }
        process_link_release(table, &parent);
        child->info.ppid = ppid;
    }
    return -EAGAIN;
}

/* 1: it does, 0: it does not, -ECHILD: a process on the way died, the answer is open. */
static int walk_to(ProcessTable *table, pid_t pid, const ProcessId *ancestor)
{
    ProcessLink at, parent;
    int r = 0;

    if (process_link_open(table, pid, &at) < 0)
        return 0;
    for (guint depth = 0; depth < MAX_DEPTH; depth++) {
        r = process_id_equal(&at.info.id, ancestor);
        /* Nothing that started before it descends from it, which spares most of the steps. */
        if (r == 1 || at.info.ppid <= 0 || at.info.id.start_time < ancestor->start_time)
            break;
        r = process_link_open_parent(table, &at, &parent);
        if (r < 0) {
            r = r == -ECHILD && depth > 0 ? r : 0;
            break;
        }
        process_link_release(table, &at);
        at = parent;
    }
    process_link_release(table, &at);
    return r;
}

gboolean process_descends_from(ProcessTable *table, pid_t pid, const ProcessId *ancestor)
{
    if (pid <= 0)
        return FALSE;
    for (guint i = 0; i < MAX_WALKS; i++) {
        int r = walk_to(table, pid, ancestor);

        if (r != -ECHILD)
            return r == 1;
    }
    return FALSE;
}

void process_table_free(ProcessTable *table)
{
    if (table != NULL)
        table->ops->free(table);
}

gboolean host_identity_init(HostIdentity *host, GError **error)
{
    static const char boot_id_path[] = "/proc/sys/kernel/random/boot_id";
    g_autofree char *boot_id = NULL;
    struct utsname names;
    struct stat st;

    if (!g_file_get_contents(boot_id_path, &boot_id, NULL, NULL)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot read %s: /proc has to be mounted",
                    boot_id_path);
        return FALSE;
    }
    g_strchomp(boot_id);
    if (!g_uuid_string_is_valid(boot_id)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s does not hold a boot id",
                    boot_id_path);
        return FALSE;
    }
    if (stat("/proc/self/ns/pid", &st) < 0) {
        int saved = errno;

        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved),
                    "cannot tell the pid namespace from /proc/self/ns/pid: %s", g_strerror(saved));
        return FALSE;
    }
    *host = (HostIdentity){.pid_ns = st.st_ino};
    G_STATIC_ASSERT(sizeof host->boot_id == BOOT_ID_LENGTH + 1);
    g_strlcpy(host->boot_id, boot_id, sizeof host->boot_id);
    host->host = g_strdup(uname(&names) == 0 ? names.nodename : "localhost");
    return TRUE;
}

void host_identity_clear(HostIdentity *host)
{
    if (host != NULL)
        g_clear_pointer(&host->host, g_free);
}

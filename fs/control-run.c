/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control-run.h"
#include "warden.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int run_acquire(Fs *fs, Session *session, const ControlMessage *message)
{
    return lease_verdict_grants(keeper_acquire(fs->keeper, session, message->ttl_ms)) ? 0 : -EROFS;
}

static int run_wait(Fs *fs, const Caller *caller, Session *session, const ControlMessage *message)
{
    return keeper_enqueue(fs->keeper, session, caller->tid, message->ttl_ms, message->for_ms)
               ? -EINPROGRESS
               : 0;
}

static int run_release(Fs *fs, Session *session)
{
    switch (keeper_release(fs->keeper, session)) {
    case KEEPER_RELEASE_DONE:
        return 0;
    case KEEPER_RELEASE_PENDING:
        return 0; /* the warden ends it; nobody waits in a request */
    default:
        return -EPERM;
    }
}

/* The caller is the root of a registered session: what its parent's session holds becomes its. */
static int run_inherit(Fs *fs, const Caller *caller, Session *session)
{
    g_autoptr(Session) parent = NULL;
    ProcessInfo info;
    ProcessId root;

    session_get_root(session, &root);
    if (session_rule(session) != SESSION_RULE_REGISTERED || root.pid != caller->tid)
        return -EPERM;
    if (fs->processes->ops->read(fs->processes, caller->tid, &info) != 0)
        return -ESRCH;
    if (session_table_resolve(fs->sessions, info.ppid, &parent) != CALLER_SESSION)
        return 0;
    return keeper_hand_on(fs->keeper, parent, session) == KEEPER_RELEASE_PENDING ? -EBUSY : 0;
}

/* The registered session whose root is process `pid`, for which the caller may speak: its parent
 * process is of the caller's own session, which it was taken out of. Owned; NULL where the caller
 * may not. */
static Session *session_spoken_for(Fs *fs, Session *session, pid_t pid)
{
    g_autoptr(Session) named = NULL;
    g_autoptr(Session) parent = NULL;
    ProcessInfo info;
    ProcessId root;

    if (session_table_resolve(fs->sessions, pid, &named) != CALLER_SESSION ||
        fs->processes->ops->read(fs->processes, pid, &info) != 0)
        return NULL;
    session_get_root(named, &root);
    if (named == session)
        return g_steal_pointer(&named);
    if (session_rule(named) != SESSION_RULE_REGISTERED || !process_id_equal(&root, &info.id) ||
        session_table_resolve(fs->sessions, info.ppid, &parent) != CALLER_SESSION ||
        parent != session)
        return NULL;
    return g_steal_pointer(&named);
}

/* A directory of registrations that the caller owns: what a user registers counts for that user's
 * processes, which the registry checks file by file. */
static int run_sessions(Fs *fs, uid_t uid, const char *dir)
{
    g_autoptr(GError) error = NULL;
    struct stat st;
    int fd;

    if (!dir || dir[0] != '/')
        return -EINVAL;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0 || (st.st_uid != uid && uid != 0)) {
        close(fd);
        return -EPERM;
    }
    if (!session_table_add_directory(fs->sessions, fd, &error)) {
        g_debug("%s", error->message);
        return -EIO;
    }
    session_table_reload(fs->sessions);
    return 0;
}

static int run_unmount(Fs *fs, uid_t uid)
{
    if (uid != fs->uid && uid != 0)
        return -EPERM;
    atomic_store(&fs->unmount_asked, TRUE);
    return 0;
}

static int run_for_session(Fs *fs, const Caller *caller, Session *session,
                           const ControlMessage *message)
{
    switch (message->verb) {
    case CONTROL_ACQUIRE:
        return run_acquire(fs, session, message);
    case CONTROL_WAIT:
        return run_wait(fs, caller, session, message);
    case CONTROL_REFRESH:
        return keeper_refresh(fs->keeper, session) ? 0 : -EPERM;
    case CONTROL_RELEASE:
        return run_release(fs, session);
    case CONTROL_INHERIT:
        return run_inherit(fs, caller, session);
    default:
        return -EINVAL;
    }
}

int control_run(Fs *fs, const Caller *caller, uid_t uid, const ControlMessage *message)
{
    g_autoptr(Session) session = NULL;

    switch (message->verb) {
    case CONTROL_SESSIONS:
        return run_sessions(fs, uid, message->dir);
    case CONTROL_UNMOUNT:
        return run_unmount(fs, uid);
    case CONTROL_UNWAIT:
        keeper_dequeue(fs->keeper, caller->tid);
        return 0;
    default:
        break;
    }
    if (session_table_resolve(fs->sessions, caller->tid, &session) != CALLER_SESSION)
        return message->verb == CONTROL_ACQUIRE || message->verb == CONTROL_WAIT ? -EROFS : -EPERM;
    if (message->pid != 0) {
        Session *named = session_spoken_for(fs, session, message->pid);

        if (!named)
            return -EPERM;
        session_unref(session);
        session = named;
    }
    return run_for_session(fs, caller, session, message);
}

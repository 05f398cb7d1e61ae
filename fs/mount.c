/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"
#include "descriptors.h"
#include "mount-place.h"
#include "mounts.h"
#include "ops.h"
#include "read-ahead.h"
#include "warden.h"
#include "withheld.h"
#include "util.h"
#include "workers.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>

G_DEFINE_QUARK(mount - error - quark, mount_error)

/* All that one mount owns, in the order in which it is made; cleared in reverse. */
typedef struct Mounting {
    Fs fs;
    MountPlace place;
    HostIdentity host;
    ProcessTable *processes;
    Registry *registry;
    Boundaries *boundaries;
    SessionTable *sessions;
    Policy *policy;
    Keeper *keeper;
    gboolean mounted;
    MountReady ready;
    gpointer ready_data;
    gboolean answered; /* the kernel's INIT came */
} Mounting;

/* libfuse tells why a mount failed on its log only; it is kept for the one line that we print. */
static char *last_complaint;

static void keep_complaint(enum fuse_log_level level, const char *format, va_list args)
    G_GNUC_PRINTF(2, 0);

static void keep_complaint(enum fuse_log_level level, const char *format, va_list args)
{
    g_autofree char *text = g_strchomp(g_strdup_vprintf(format, args));

    g_debug("libfuse: %s", text);
    if (level > FUSE_LOG_ERR)
        return;
    g_free(last_complaint);
    last_complaint = g_steal_pointer(&text);
}

static void on_session_ended(Session *session G_GNUC_UNUSED, gpointer data)
{
    Mounting *mounting = data;

    if (mounting->fs.warden)
        warden_wake(mounting->fs.warden);
}

static gboolean may_be_dirty(gpointer data, Session *holder)
{
    Mounting *mounting = data;

    return open_files_any(mounting->fs.open_files, holder);
}

static void wake(gpointer data)
{
    Mounting *mounting = data;

    if (mounting->fs.warden)
        warden_wake(mounting->fs.warden);
}

static void choose_features(Fs *fs, struct fuse_conn_info *conn)
{
    static const uint64_t always[] = {
        FUSE_CAP_ASYNC_READ,
        FUSE_CAP_ATOMIC_O_TRUNC,
        FUSE_CAP_IOCTL_DIR,
        FUSE_CAP_READDIRPLUS,
        FUSE_CAP_READDIRPLUS_AUTO,
        FUSE_CAP_PARALLEL_DIROPS,
        FUSE_CAP_HANDLE_KILLPRIV_V2,
        FUSE_CAP_CACHE_SYMLINKS,
        FUSE_CAP_SPLICE_WRITE,
        /* a file beside a direct writer is direct, and mapped as any other */
        FUSE_CAP_DIRECT_IO_ALLOW_MMAP,
    };
    static const uint64_t never[] = {
        /* refused writes would report success */
        FUSE_CAP_WRITEBACK_CACHE,
        /* Pages that a reader fills while a direct write is under way have to go when it is done:
         * the kernel drops them only where the writer waits. */
        FUSE_CAP_ASYNC_DIO,
        FUSE_CAP_SPLICE_READ,
        FUSE_CAP_SPLICE_MOVE,
        FUSE_CAP_PASSTHROUGH,
    };

    withhold_features(conn);
    for (guint i = 0; i < G_N_ELEMENTS(always); i++)
        fuse_set_feature_flag(conn, always[i]);
    for (guint i = 0; i < G_N_ELEMENTS(never); i++)
        fuse_unset_feature_flag(conn, never[i]);
    /* In place only the mount itself changes data; elsewhere the kernel compares mtimes. */
    if (fs->in_place && (conn->capable_ext & FUSE_CAP_EXPLICIT_INVAL_DATA)) {
        fuse_unset_feature_flag(conn, FUSE_CAP_AUTO_INVAL_DATA);
        fuse_set_feature_flag(conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
    } else {
        fuse_set_feature_flag(conn, FUSE_CAP_AUTO_INVAL_DATA);
    }
    if (fs->kernel_checks)
        fuse_set_feature_flag(conn, FUSE_CAP_POSIX_ACL);
    if (node_table_opens_by_number(fs->nodes))
        fuse_set_feature_flag(conn, FUSE_CAP_EXPORT_SUPPORT);
    fs->spares_dir_handles =
        fs->is_plain && fuse_set_feature_flag(conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
    fs->masks = creds_can_mask() && fuse_set_feature_flag(conn, FUSE_CAP_DONT_MASK);
    conn->no_interrupt = 1;
    conn->max_write = MIN(conn->max_write, WORKERS_MAX_WRITE);
    if (fs->options->max_read_bytes > 0)
        conn->max_read = fs->options->max_read_bytes; /* libfuse wants it said twice */
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    Fs *fs = userdata;
    Mounting *mounting = (Mounting *)fs; /* its first member */
    guint32 read_ahead_bytes = 0;
    MountNotice notice;

    choose_features(fs, conn);
    /* who sets the size of reads wants those */
    if (fs->options->max_read_bytes == 0)
        read_ahead_bytes = read_ahead_raise(fs->mountpoint);
    if (read_ahead_bytes > 0)
        conn->max_readahead = read_ahead_bytes;
    mounting->answered = TRUE;
    if (!mounting->ready)
        return;
    notice.mountpoint = fs->mountpoint;
    notice.past = warden_list_past(fs->warden);
    mounting->ready(&notice, mounting->ready_data);
    g_ptr_array_unref(notice.past);
}

static void fill_operations(struct fuse_lowlevel_ops *ops)
{
    *ops = (struct fuse_lowlevel_ops){.init = op_init};
    ops_add_lookup(ops);
    ops_add_attr(ops);
    ops_add_open(ops);
    ops_add_io(ops);
    ops_add_tree(ops);
    ops_add_dir(ops);
    ops_add_xattr(ops);
    ops_add_ioctl(ops);
    /* getlk, setlk and flock stay unset: the kernel keeps locks among the mount's processes */
}

static gboolean add_sessions_of(Mounting *mounting, const char *state_dir, GError **error)
{
    autofd state_fd = store_open_directory(state_dir, error);
    int sessions_fd;

    if (state_fd < 0)
        return FALSE;
    sessions_fd = store_open_sessions_directory(state_fd, error);
    return sessions_fd >= 0 && session_table_add_directory(mounting->sessions, sessions_fd, error);
}

static gboolean set_up_sessions(Mounting *mounting, const MountOptions *options, GError **error)
{
    g_autofree char *usual = store_default_directory(NULL);

    if (!host_identity_init(&mounting->host, error))
        return FALSE;
    mounting->fs.pid_ns = mounting->host.pid_ns;
    mounting->processes = process_table_new_proc(error);
    if (!mounting->processes)
        return FALSE;
    mounting->registry = registry_new(&mounting->host, mounting->processes);
    mounting->boundaries = boundaries_new(options->boundary);
    mounting->sessions =
        session_table_new(mounting->processes, mounting->registry, mounting->boundaries);
    session_table_on_ended(mounting->sessions, on_session_ended, mounting);
    mounting->fs.sessions = mounting->sessions;
    mounting->fs.processes = mounting->processes;
    if (!add_sessions_of(mounting, mounting->fs.state_dir, error))
        return FALSE;
    /* A mount with a state directory of its own still honours what its user registers as usual. */
    if (strcmp(usual, mounting->fs.state_dir) != 0 && g_file_test(usual, G_FILE_TEST_IS_DIR) &&
        !add_sessions_of(mounting, usual, NULL))
        g_message("cannot read the sessions registered in %s", usual);
    return TRUE;
}

static gboolean set_up_lease(Mounting *mounting, const MountOptions *options, GError **error)
{
    Fs *fs = &mounting->fs;
    autofd state_fd = store_open_directory(fs->state_dir, error);
    KeeperOptions keeper_options = {.workspace = fs->workspace, .ttl_ms = options->ttl_ms};
    KeeperHooks hooks = {.may_be_dirty = may_be_dirty, .wake = wake, .data = mounting};
    g_autoptr(GError) reason = NULL;
    Store *store;

    if (state_fd < 0)
        return FALSE;
    store = store_file_new(fd_steal(&state_fd), fs->workspace, &reason);
    if (!store) {
        /* Past one that is busy, two daemons would not know of each other. */
        if (g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_BUSY))
            g_propagate_error(error, g_steal_pointer(&reason));
        else
            g_set_error(error, reason->domain, reason->code,
                        "%s; or choose another state directory with --state-dir", reason->message);
        return FALSE;
    }
    fs->open_files = open_files_new();
    mounting->keeper = keeper_new(&keeper_options, store, clock_system(), mounting->sessions,
                                  mounting->processes, &mounting->host, &hooks);
    fs->keeper = mounting->keeper;
    keeper_load(mounting->keeper);
    return TRUE;
}

static gboolean set_up_tree(Mounting *mounting, const MountOptions *options, GError **error)
{
    Fs *fs = &mounting->fs;
    int root_fd = fcntl(mounting->place.root_fd, F_DUPFD_CLOEXEC, 3);

    fs->nodes = node_table_new(root_fd, descriptors_for_nodes(), error);
    if (!fs->nodes)
        return FALSE;
    if (options->refuse_nested)
        node_table_refuse_nested(fs->nodes);
    /* in place nobody can: it is covered */
    if (!fs->in_place)
        node_table_let_nested_go(fs->nodes);
    fs->dir_advice = dir_advice_new();
    fs->xattr_memory = xattr_memory_new();
    fs->handles = handles_new(fs->nodes, fs->open_files, options->no_atime ? O_NOATIME : 0,
                              fs->is_plain ? descriptors_reserve() : 0);
    fs->dir_handles =
        dir_handles_new(fs->nodes, options->no_atime || options->no_diratime ? O_NOATIME : 0);
    mounting->policy =
        policy_new((const char *const *)options->passive, (const char *const *)options->shared);
    fs->guard =
        guard_new(fs->keeper, fs->sessions, fs->nodes, mounting->policy, options, clock_system());
    return TRUE;
}

static void forget_attributes(Node *directory, gpointer data)
{
    const Fs *fs = data;

    warden_forget_attributes(fs->warden, directory);
}

static gboolean set_up_warden(Mounting *mounting, GError **error)
{
    Fs *fs = &mounting->fs;
    GPtrArray *past =
        fs->in_place
            ? bypass_scan(fs->processes, fs->workspace, fs->backing_dev, fs->backing_ino, getpid())
            : g_ptr_array_new_with_free_func((GDestroyNotify)bypass_process_free);
    g_autofree char *shown = fs->in_place ? leasefs_mounts_read_other(fs->workspace) : NULL;

    if (shown)
        g_message("%s shows files of %s past the mount: what is changed there is seen within a "
                  "second",
                  shown, fs->workspace);
    fs_begin_telling(fs);
    fs->cache_long = fs->options->cache == CACHE_ALWAYS ||
                     (fs->options->cache == CACHE_AUTO && fs->in_place && past->len == 0 && !shown);
    fs->warden = warden_new(fs, registry_poll_fd(mounting->registry),
                            process_table_proc_poll_fd(mounting->processes), past, error);
    guard_on_names_changed(fs->guard, forget_attributes, fs);
    return fs->warden != NULL;
}

/* libfuse splits at commas, and takes a backslash before one. */
static char *escape_option(const char *value)
{
    GString *escaped = g_string_new(NULL);

    for (; *value; value++) {
        if (*value == ',' || *value == '\\')
            g_string_append_c(escaped, '\\');
        g_string_append_c(escaped, *value);
    }
    return g_string_free(escaped, FALSE);
}

static gboolean make_session(Mounting *mounting, const MountOptions *options, GError **error)
{
    Fs *fs = &mounting->fs;
    g_autofree char *source = escape_option(fs->workspace);
    g_autofree char *source_option = g_strdup_printf("fsname=%s,subtype=leasefs", source);
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_lowlevel_ops ops;

    fuse_opt_add_arg(&args, "leasefs");
    fuse_opt_add_arg(&args, "-o");
    fuse_opt_add_arg(&args, source_option);
    for (guint i = 0; i < options->fuse->len; i++) {
        fuse_opt_add_arg(&args, "-o");
        fuse_opt_add_arg(&args, g_ptr_array_index(options->fuse, i));
    }
    if (fs->kernel_checks)
        fuse_opt_add_arg(&args, "-odefault_permissions");
    fill_operations(&ops);
    withhold_operations(&ops);
    fs->se = fuse_session_new(&args, &ops, sizeof ops, fs);
    fuse_opt_free_args(&args);
    if (fs->se)
        return TRUE;
    g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_FAILED, "cannot set up FUSE: %s",
                last_complaint ? last_complaint : "libfuse gave no reason");
    return FALSE;
}

/* fusermount3 explains itself on standard error: taken from there, so that one line says it all.
 * The daemon has no other thread yet. Owned; NULL where it said nothing. */
static char *mount_and_listen(struct fuse_session *se, const char *mountpoint, int *result_out)
{
    autofd heard_fd = memfd_create("leasefs-mount", MFD_CLOEXEC);
    autofd stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    char text[512];
    ssize_t n;

    if (heard_fd >= 0 && stderr_fd >= 0)
        dup2(heard_fd, STDERR_FILENO);
    *result_out = fuse_session_mount(se, mountpoint);
    if (heard_fd < 0 || stderr_fd < 0)
        return NULL;
    dup2(stderr_fd, STDERR_FILENO);
    n = pread(heard_fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return NULL;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return g_strdup(g_str_has_prefix(text, "fusermount3: ") ? text + strlen("fusermount3: ")
                                                            : text);
}

static gboolean do_mount(Mounting *mounting, GError **error)
{
    Fs *fs = &mounting->fs;
    g_autofree char *heard = NULL;
    int r;

    heard = mount_and_listen(fs->se, fs->mountpoint, &r);
    if (r != 0) {
        const char *why = heard ? heard : last_complaint;

        g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_FAILED, "cannot mount on %s: %s",
                    fs->mountpoint, why ? why : "fusermount3 or mount(2) refused it");
        return FALSE;
    }
    mounting->mounted = TRUE;
    fs->workers = workers_new(fs, withhold_requests(ops_take), &r);
    if (fs->workers)
        return TRUE;
    g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_FAILED, "cannot serve %s: %s", fs->mountpoint,
                g_strerror(r));
    return FALSE;
}

/* The warden takes the ending signals from a descriptor. */
static void prepare_signals(void)
{
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static gboolean serve(Mounting *mounting, GError **error)
{
    Fs *fs = &mounting->fs;
    int r;

    keeper_start(fs->keeper);
    warden_start(fs->warden);
    r = workers_run(fs->workers);
    if (!atomic_load(&fs->unmount_asked))
        g_message("%s is no longer mounted, and nobody asked leasefs umount for it",
                  fs->mountpoint);
    keeper_stop(fs->keeper, TRUE);
    warden_stop(fs->warden);
    fuse_session_unmount(fs->se);
    mounting->mounted = FALSE;
    if (mounting->answered && r == 0)
        return TRUE;
    g_set_error(error, MOUNT_ERROR, MOUNT_ERROR_FAILED, "the mount on %s failed: %s",
                fs->mountpoint, r != 0 ? g_strerror(-r) : "the kernel ended it");
    return FALSE;
}

static void mounting_clear(Mounting *mounting)
{
    Fs *fs = &mounting->fs;

    if (mounting->mounted)
        fuse_session_unmount(fs->se);
    if (fs->se)
        fuse_session_destroy(fs->se);
    workers_free(fs->workers);
    if (fs->nodes)
        ops_close_all(fs);
    dir_handles_free(fs->dir_handles);
    handles_free(fs->handles);
    g_clear_pointer(&fs->warden, warden_free);
    guard_free(fs->guard);
    node_table_free(fs->nodes);
    dir_advice_free(fs->dir_advice);
    xattr_memory_free(fs->xattr_memory);
    keeper_free(mounting->keeper);
    open_files_free(fs->open_files);
    policy_free(mounting->policy);
    session_table_free(mounting->sessions);
    boundaries_free(mounting->boundaries);
    registry_free(mounting->registry);
    process_table_free(mounting->processes);
    host_identity_clear(&mounting->host);
    mount_place_clear(&mounting->place);
    g_free(fs->state_dir);
}

/* Others, as XFS and Btrfs, share blocks, and write back before that what was written just now. */
static gboolean copies_pages(int fd)
{
    struct statfs st;

    return fstatfs(fd, &st) == 0 && (st.f_type == EXT4_SUPER_MAGIC || st.f_type == TMPFS_MAGIC);
}

/* Nothing comes to it later. */
static gboolean is_whole(const MountPlace *place)
{
    return place->in_place && !leasefs_mounts_read_inside(place->workspace);
}

static gboolean is_ext4_or_xfs(int fd)
{
    struct statfs st;

    return fstatfs(fd, &st) == 0 && (st.f_type == EXT4_SUPER_MAGIC || st.f_type == XFS_SUPER_MAGIC);
}

static gboolean prepare(Mounting *mounting, const MountRequest *request, GError **error)
{
    Fs *fs = &mounting->fs;
    const MountOptions *options = request->options;

    if (!mount_place_find(&mounting->place, request->workspace, request->mountpoint, error))
        return FALSE;
    fs->options = options;
    fs->workspace = mounting->place.workspace;
    fs->mountpoint = mounting->place.mountpoint;
    fs->in_place = mounting->place.in_place;
    fs->backing_dev = mounting->place.dev;
    fs->backing_ino = mounting->place.ino;
    fs->copies_pages = copies_pages(mounting->place.root_fd);
    fs->is_whole = is_whole(&mounting->place);
    fs->is_plain = fs->is_whole && is_ext4_or_xfs(mounting->place.root_fd) && creds_can_read_all();
    fs->uid = geteuid();
    fs->gid = getegid();
    fs->as_root = fs->uid == 0;
    fs->kernel_checks = options->allow_other;
    fs->state_dir = store_default_directory(options->state_dir);
    return set_up_sessions(mounting, options, error) && set_up_lease(mounting, options, error) &&
           set_up_tree(mounting, options, error) && set_up_warden(mounting, error) &&
           make_session(mounting, options, error);
}

gboolean mount_serve(const MountRequest *request, MountReady ready, gpointer data, GError **error)
{
    Mounting *mounting = g_new0(Mounting, 1);
    gboolean done;

    mounting->ready = ready;
    mounting->ready_data = data;
    mounting->place.root_fd = -1;
    umask(0);
    descriptors_prepare();
    prctl(PR_SET_DUMPABLE, 0);
    fuse_set_log_func(keep_complaint);
    prepare_signals();
    done = prepare(mounting, request, error) && do_mount(mounting, error) && serve(mounting, error);
    mounting_clear(mounting);
    g_free(mounting);
    g_clear_pointer(&last_complaint, g_free);
    return done;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target.h"
#include "bench.h"
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define PAUSE_US    2000

static const char *const names[TARGET_KINDS] = {
    [TARGET_BARE] = "bare",
    [TARGET_LEASEFS] = "leasefs",
    [TARGET_BLOCKED] = "blocked",
    [TARGET_BINDFS] = "bindfs",
    [TARGET_FUSE_OVERLAYFS] = "fuse-overlayfs",
    [TARGET_MERGERFS] = "mergerfs",
    [TARGET_PASSTHROUGH_HP] = "passthrough_hp",
};

const char *target_kind_name(TargetKind kind)
{
    return names[kind];
}

static gboolean is_leasefs(TargetKind kind)
{
    return kind == TARGET_LEASEFS || kind == TARGET_BLOCKED;
}

gboolean target_is_there(TargetKind kind, const TargetSettings *settings)
{
    g_autofree char *program = NULL;

    if (kind == TARGET_BARE || is_leasefs(kind))
        return TRUE;
    if (kind == TARGET_PASSTHROUGH_HP)
        return settings->passthrough_hp != NULL;
    program = g_find_program_in_path(names[kind]);
    return program != NULL;
}

gboolean target_is_peer(TargetKind kind)
{
    return kind != TARGET_BARE && !is_leasefs(kind);
}

gboolean target_cannot_refuse(TargetKind kind)
{
    return kind == TARGET_PASSTHROUGH_HP;
}

/* The line that names the program: some tell of their libraries first. */
static char *read_version(const char *program)
{
    g_autofree char *name = g_path_get_basename(program);
    g_autofree char *quoted = g_shell_quote(program);
    g_autofree char *command = g_strconcat(quoted, " --version", NULL);
    g_autofree char *text = NULL;
    g_autofree char *said = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_spawn_command_line_sync(command, &text, &said, NULL, NULL))
        return NULL;
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line != NULL; line++) {
        if (strstr(*line, name) != NULL)
            return g_strdup(*line);
    }
    return NULL;
}

Target *target_new(TargetKind kind, Place *place, const TargetSettings *settings, GError **error)
{
    g_autoptr(Target) target = g_new0(Target, 1);
    g_autofree char *dir = g_build_filename(place->image, names[kind], NULL);

    target->kind = kind;
    target->name = names[kind];
    target->holder_fd = -1;
    target->backing = g_build_filename(dir, "files", NULL);
    target->below = g_build_filename(place->below, names[kind], "files", NULL);
    if (kind == TARGET_BARE || (is_leasefs(kind) && !settings->elsewhere))
        target->path = g_strdup(target->backing);
    else
        target->path = g_build_filename(place->mounts, names[kind], NULL);
    if (is_leasefs(kind))
        target->version = read_version(settings->leasefs);
    else if (kind != TARGET_BARE && kind != TARGET_PASSTHROUGH_HP)
        target->version = read_version(names[kind]);
    if (g_mkdir_with_parents(target->backing, 0755) != 0 ||
        g_mkdir_with_parents(target->path, 0755) != 0) {
        bench_fail_errno(error, "%s", target->path);
        return NULL;
    }
    return g_steal_pointer(&target);
}

void target_abandon(Target *target)
{
    holder_stop(target);
    if (target->daemon > 0) {
        umount2(target->path, MNT_DETACH);
        kill(target->daemon, SIGKILL);
        waitpid(target->daemon, NULL, 0);
    }
    target->daemon = 0;
}

void target_free(Target *target)
{
    if (target == NULL)
        return;
    target_abandon(target);
    g_free(target->backing);
    g_free(target->below);
    g_free(target->path);
    g_free(target->version);
    g_free(target);
}

static void add_overlay_options(GPtrArray *argv, const Target *target)
{
    g_autofree char *dir = g_path_get_dirname(target->backing);
    g_autofree char *lower = g_build_filename(dir, "lower", NULL);
    g_autofree char *work = g_build_filename(dir, "work", NULL);

    g_mkdir_with_parents(lower, 0755);
    g_mkdir_with_parents(work, 0755);
    g_ptr_array_add(argv, g_strdup("-o"));
    g_ptr_array_add(argv, g_strdup_printf("lowerdir=%s,upperdir=%s,workdir=%s,writeback=0", lower,
                                          target->backing, work));
}

static void add_words(GPtrArray *argv, const char *first, ...) G_GNUC_NULL_TERMINATED;
static void add_words(GPtrArray *argv, const char *first, ...)
{
    va_list words;

    va_start(words, first);
    for (const char *word = first; word != NULL; word = va_arg(words, const char *))
        g_ptr_array_add(argv, g_strdup(word));
    va_end(words);
}

static void add_leasefs_options(GPtrArray *argv, const TargetSettings *settings)
{
    /* the directory below is shown elsewhere, to be looked at (place.c) */
    if (!settings->elsewhere)
        add_words(argv, "-o", "cache=always", NULL);
    if (settings->leasefs_opts != NULL)
        add_words(argv, "-o", settings->leasefs_opts, NULL);
}

/* Every one in the foreground and with its own defaults, but for what keeps it from working on a
 * small image. */
static GStrv daemon_command(const Target *target, const TargetSettings *settings)
{
    GPtrArray *argv = g_ptr_array_new();

    switch (target->kind) {
    case TARGET_BINDFS:
        add_words(argv, "bindfs", "-f", target->backing, target->path, NULL);
        break;
    case TARGET_FUSE_OVERLAYFS:
        add_words(argv, "fuse-overlayfs", "-f", NULL);
        add_overlay_options(argv, target);
        add_words(argv, target->path, NULL);
        break;
    case TARGET_MERGERFS:
        add_words(argv, "mergerfs", "-f", "-o", "minfreespace=0", target->backing, target->path,
                  NULL);
        break;
    case TARGET_PASSTHROUGH_HP:
        add_words(argv, settings->passthrough_hp, "--foreground", target->backing, target->path,
                  NULL);
        break;
    default:
        add_words(argv, settings->leasefs, "mount", "-f", NULL);
        add_leasefs_options(argv, settings);
        add_words(argv, target->backing, NULL);
        if (strcmp(target->path, target->backing) != 0)
            add_words(argv, target->path, NULL);
    }
    g_ptr_array_add(argv, NULL);
    return (GStrv)g_ptr_array_free(argv, FALSE);
}

/* In a terminal session of its own, as daemons are: the scheduler puts each into a group, and
 * shares processors between groups otherwise than within one (autogroup of sched(7)). */
static pid_t start_daemon(char **argv, const char *log)
{
    pid_t pid = fork();
    int log_fd;

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(open("/dev/null", O_RDWR | O_CLOEXEC), 0);
    dup2(log_fd, 1);
    dup2(log_fd, 2);
    if (chdir("/") == 0)
        execvp(argv[0], argv);
    _exit(127);
}

/* It answers when another device shows. */
static gboolean wait_for_mount(Target *target, dev_t before, const char *log, GError **error)
{
    g_autofree char *said = NULL;
    struct stat st;

    for (int waited = 0; waited < PATIENCE_MS * 1000; waited += PAUSE_US) {
        if (waitpid(target->daemon, NULL, WNOHANG) != 0) {
            target->daemon = 0;
            break;
        }
        if (stat(target->path, &st) == 0 && st.st_dev != before)
            return TRUE;
        g_usleep(PAUSE_US);
    }
    g_file_get_contents(log, &said, NULL, NULL);
    return bench_fail(error, "%s does not mount: %s", target->name,
                      said != NULL ? g_strstrip(said) : "");
}

static gboolean check_attribute(const Target *target, const char *name, const char *wanted,
                                GError **error)
{
    char value[65536];
    ssize_t n = getxattr(target->path, name, value, sizeof value - 1);

    if (n < 0)
        return bench_fail_errno(error, "%s: %s", target->name, name);
    value[n] = '\0';
    if (strstr(value, wanted) == NULL)
        return bench_fail(error, "%s: %s is not %s: %s", target->name, name, wanted, value);
    return TRUE;
}

static gboolean take_lease(const Target *target, GError **error)
{
    g_autofree char *path = g_build_filename(target->path, ".first-change", NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || unlink(path) != 0)
        return bench_fail_errno(error, "%s", path);
    close(fd);
    return check_attribute(target, "user.leasefs.writable", "yes", error);
}

/* A mount in place forgets after a second while it knows of somebody who reaches past it: the
 * figures would then be of another mode than the usual one. */
static gboolean prepare_leasefs(Target *target, const TargetSettings *settings, GError **error)
{
    if (target->kind == TARGET_LEASEFS && !take_lease(target, error))
        return FALSE;
    if (target->kind == TARGET_BLOCKED &&
        (!holder_start(target, settings->leasefs, error) ||
         !check_attribute(target, "user.leasefs.writable", "no", error)))
        return FALSE;
    if (settings->elsewhere || settings->leasefs_opts != NULL)
        return TRUE;
    return check_attribute(target, "user.leasefs.status", "\"cache\":\"long\"", error);
}

gboolean target_mount(Target *target, Place *place, const TargetSettings *settings, GError **error)
{
    g_autofree char *log_name = g_strconcat(target->name, ".log", NULL);
    g_autofree char *log = g_build_filename(place->scratch, log_name, NULL);
    g_auto(GStrv) argv = NULL;
    struct stat before;

    if (target->kind == TARGET_BARE)
        return TRUE;
    if (stat(target->path, &before) != 0)
        return bench_fail_errno(error, "%s", target->path);
    argv = daemon_command(target, settings);
    target->daemon = start_daemon(argv, log);
    if (target->daemon < 0)
        return bench_fail_errno(error, "fork");
    if (!wait_for_mount(target, before.st_dev, log, error))
        return FALSE;
    return !is_leasefs(target->kind) || prepare_leasefs(target, settings, error);
}

static gboolean wait_for_end(Target *target, GError **error)
{
    for (int waited = 0; waited < PATIENCE_MS * 1000; waited += PAUSE_US) {
        if (waitpid(target->daemon, NULL, WNOHANG) == target->daemon) {
            target->daemon = 0;
            return TRUE;
        }
        g_usleep(PAUSE_US);
    }
    return bench_fail(error, "%s does not end", target->name);
}

gboolean target_unmount(Target *target, const TargetSettings *settings, GError **error)
{
    if (target->daemon == 0)
        return TRUE;
    holder_stop(target);
    if (is_leasefs(target->kind)) {
        if (!bench_run(NULL, error, settings->leasefs, "umount", target->path))
            return FALSE;
    } else if (umount2(target->path, 0) != 0) {
        return bench_fail_errno(error, "%s", target->path);
    }
    return wait_for_end(target, error);
}

guint64 target_daemon_ns(const Target *target)
{
    struct timespec used;
    clockid_t clock;

    if (target->daemon == 0 || clock_getcpuclockid(target->daemon, &clock) != 0 ||
        clock_gettime(clock, &used) != 0)
        return 0;
    return (guint64)used.tv_sec * 1000000000u + (guint64)used.tv_nsec;
}

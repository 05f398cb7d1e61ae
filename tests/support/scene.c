/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LIMIT_MS 10000
#define POLL_US  5000

static const char *program(void)
{
    const char *path = g_getenv("LEASEFS");

    if (!path)
        g_error("LEASEFS has to name the command under test");
    return path;
}

/* $TMPDIR, else on a disk, as workspaces are: /tmp is memory on many systems. */
static char *make_directory(void)
{
    const char *parent = g_getenv("TMPDIR");

    return g_mkdtemp(g_build_filename(parent ? parent : "/var/tmp", "leasefs-scene-XXXXXX", NULL));
}

gboolean scene_is_on(Scene *scene, long magic)
{
    struct statfs fs;

    return statfs(scene->dir, &fs) == 0 && (long)fs.f_type == magic;
}

gboolean scene_is_one_line(const char *output, const char *part)
{
    const char *end = output ? strchr(output, '\n') : NULL;
    gboolean is_one = end && end[1] == '\0' && strstr(output, part);

    if (!is_one)
        printf("# not one line with \"%s\" in it: %s\n", part, output ? output : "(nothing)");
    return is_one;
}

/* Those that a test left behind because it failed: an assertion jumps out of it. */
static GPtrArray *scenes;
static pid_t scenes_owner;

static void free_scenes(void)
{
    while (getpid() == scenes_owner && scenes->len > 0)
        scene_free(g_ptr_array_index(scenes, 0));
}

static void remember_scene(Scene *scene)
{
    if (!scenes) {
        scenes = g_ptr_array_new();
        scenes_owner = getpid();
        atexit(free_scenes);
    }
    g_ptr_array_add(scenes, scene);
}

Scene *scene_new(gboolean in_place)
{
    Scene *scene = g_new0(Scene, 1);

    scene->dir = make_directory();
    if (!scene->dir)
        g_error("cannot make a private directory");
    remember_scene(scene);
    scene->backing = g_build_filename(scene->dir, "ws", NULL);
    scene->in_place = in_place;
    scene->mountpoint =
        in_place ? g_strdup(scene->backing) : g_build_filename(scene->dir, "mnt", NULL);
    scene->state_dir = g_build_filename(scene->dir, "state", NULL);
    scene->log = g_build_filename(scene->dir, "log", NULL);
    scene->agents = g_ptr_array_new();
    g_mkdir(scene->backing, 0755);
    g_mkdir(scene->mountpoint, 0755);
    g_setenv("LEASEFS_STATE_DIR", scene->state_dir, TRUE);
    return scene;
}

Scene *scene_new_in_memory(void)
{
    g_autofree char *usual = g_strdup(g_getenv("TMPDIR"));
    Scene *scene;

    if (access("/dev/shm", W_OK) == 0)
        g_setenv("TMPDIR", "/dev/shm", TRUE);
    scene = scene_new(TRUE);
    if (usual)
        g_setenv("TMPDIR", usual, TRUE);
    else
        g_unsetenv("TMPDIR");
    return scene;
}

static int remove_one(const char *path, const struct stat *st G_GNUC_UNUSED, int type G_GNUC_UNUSED,
                      struct FTW *ftw G_GNUC_UNUSED)
{
    return remove(path);
}

static void wait_for_process(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void scene_kill_daemon(Scene *scene)
{
    if (scene->daemon <= 0)
        return;
    kill(scene->daemon, SIGKILL);
    wait_for_process(scene->daemon);
    scene->daemon = 0;
}

static void agent_free(Agent *agent);

static void tell_log(Scene *scene)
{
    g_autofree char *log = NULL;

    if (g_file_get_contents(scene->log, &log, NULL, NULL))
        fprintf(stderr, "%s\n", log);
}

static gboolean has_complaints(Scene *scene)
{
    g_autofree char *log = NULL;

    return g_file_get_contents(scene->log, &log, NULL, NULL) && strstr(log, "Sanitizer");
}

static void tell_threads(pid_t pid)
{
    static const char *const files[] = {"comm", "wchan", "syscall", "stack"};
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
    const char *tid;

    fprintf(stderr, "process %d has not ended; its threads:\n", (int)pid);
    while (dir && (tid = g_dir_read_name(dir))) {
        for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
            g_autofree char *path = g_build_filename(tasks, tid, files[i], NULL);
            g_autofree char *text = NULL;

            if (g_file_get_contents(path, &text, NULL, NULL))
                fprintf(stderr, "  %s %s: %s\n", tid, files[i], g_strchomp(text));
        }
    }
}

/* The daemon ends by itself when its mount is gone and nobody uses it. */
static gboolean daemon_ends_well(Scene *scene)
{
    gint64 limit_us = g_get_monotonic_time() + LIMIT_MS * 1000;
    int status;

    while (g_get_monotonic_time() < limit_us) {
        if (waitpid(scene->daemon, &status, WNOHANG) == scene->daemon) {
            scene->daemon = 0;
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
        g_usleep(POLL_US);
    }
    tell_threads(scene->daemon);
    return FALSE;
}

/* What the kernel has not delivered when the mount goes is never delivered: a file that was closed
 * just before stays open in the daemon, a leak for a sanitizer. This comes after it. */
static void deliver_releases(Scene *scene)
{
    if (scene->daemon > 0)
        g_free(scene_attribute(scene, "state"));
}

/* Only root may call umount2(2); fusermount3 does it for who mounted. */
static gboolean detach(const char *mountpoint)
{
    g_autofree char *quoted = g_shell_quote(mountpoint);
    g_autofree char *command = g_strconcat("fusermount3 -u -z -q ", quoted, NULL);
    int status;

    if (umount2(mountpoint, MNT_DETACH) == 0)
        return TRUE;
    return errno == EPERM && g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) &&
           status == 0;
}

/* Also directories that a test has closed, for who is bound by that. */
static void remove_tree(const char *directory)
{
    g_autofree char *quoted = g_shell_quote(directory);
    g_autofree char *command =
        g_strconcat("find ", quoted, " -xdev -type d -exec chmod u+rwx {} ;", NULL);
    const int flags = FTW_DEPTH | FTW_PHYS | FTW_MOUNT;

    nftw(directory, remove_one, 32, flags);
    if (access(directory, F_OK) != 0)
        return;
    if (g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL))
        nftw(directory, remove_one, 32, flags);
}

gboolean scene_free(Scene *scene)
{
    gboolean healthy = TRUE;

    g_ptr_array_remove(scenes, scene);
    for (guint i = 0; i < scene->agents->len; i++)
        agent_free(g_ptr_array_index(scene->agents, i));
    g_ptr_array_unref(scene->agents);
    deliver_releases(scene);
    detach(scene->mountpoint);
    if (scene->daemon > 0)
        healthy = daemon_ends_well(scene);
    scene_kill_daemon(scene);
    while (detach(scene->mountpoint))
        ;
    healthy = healthy && !has_complaints(scene);
    if (!healthy)
        tell_log(scene);
    remove_tree(scene->dir);
    g_free(scene->dir);
    g_free(scene->backing);
    g_free(scene->mountpoint);
    g_free(scene->state_dir);
    g_free(scene->log);
    g_free(scene);
    return healthy;
}

static void exec_daemon(Scene *scene, const char *options)
{
    int log_fd = open(scene->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no mount is left behind by a test that was killed */
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    if (scene->in_place)
        execl(program(), "leasefs", "mount", "-f", "-o", options, scene->backing, NULL);
    else
        execl(program(), "leasefs", "mount", "-f", "-o", options, scene->backing, scene->mountpoint,
              NULL);
    _exit(127);
}

static gboolean has_ended(pid_t pid)
{
    return waitpid(pid, NULL, WNOHANG) == pid;
}

gboolean scene_mount(Scene *scene, const char *options)
{
    gint64 limit_us = g_get_monotonic_time() + LIMIT_MS * 1000;

    scene->daemon = fork();
    if (scene->daemon == 0)
        exec_daemon(scene, options);
    while (g_get_monotonic_time() < limit_us) {
        g_autofree char *state = scene_attribute(scene, "state");

        if (state)
            return TRUE;
        if (has_ended(scene->daemon)) {
            scene->daemon = 0;
            break;
        }
        g_usleep(POLL_US);
    }
    tell_log(scene);
    return FALSE;
}

int scene_umount(Scene *scene)
{
    g_autofree char *said = NULL;
    int status = scene_command(scene, &said, "umount", scene->mountpoint, NULL);

    if (status != 0 && said)
        fprintf(stderr, "%s", said);
    if (status == 0 && scene->daemon > 0) {
        wait_for_process(scene->daemon);
        scene->daemon = 0;
    }
    return status;
}

int scene_command(Scene *scene G_GNUC_UNUSED, char **output_out, ...)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *output = NULL;
    g_autofree char *complaints = NULL;
    const char *argument;
    va_list args;
    int status;

    g_ptr_array_add(argv, (gpointer)(guintptr)program());
    va_start(args, output_out);
    while ((argument = va_arg(args, const char *)))
        g_ptr_array_add(argv, (gpointer)(guintptr)argument);
    va_end(args);
    g_ptr_array_add(argv, NULL);
    if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL, &output,
                      &complaints, &status, NULL))
        return -1;
    if (output_out)
        *output_out = g_strconcat(output, complaints, NULL);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

char *scene_attribute(Scene *scene, const char *name)
{
    g_autofree char *full = g_strconcat("user.leasefs.", name, NULL);
    g_autofree char *value = g_malloc(65537);
    ssize_t n = getxattr(scene->mountpoint, full, value, 65536);

    if (n < 0)
        return NULL;
    value[n] = '\0';
    return g_steal_pointer(&value);
}

gboolean scene_wait_for(Scene *scene, const char *name, const char *value)
{
    gint64 limit_us = g_get_monotonic_time() + LIMIT_MS * 1000;

    while (g_get_monotonic_time() < limit_us) {
        g_autofree char *now = scene_attribute(scene, name);

        if (g_strcmp0(now, value) == 0)
            return TRUE;
        g_usleep(POLL_US);
    }
    return FALSE;
}

char *scene_record_path(Scene *scene)
{
    g_autofree char *resolved = realpath(scene->in_place ? scene->dir : scene->backing, NULL);
    g_autofree char *workspace =
        scene->in_place ? g_build_filename(resolved, "ws", NULL) : g_strdup(resolved);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_MD5, workspace, -1);
    g_autofree char *name = g_strdup_printf("session-lock-%.12s.json", hash);

    return g_build_filename(scene->state_dir, name, NULL);
}

char *scene_record(Scene *scene)
{
    g_autofree char *path = scene_record_path(scene);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

/* --- fingerprint ---------------------------------------------------------------------------- */

static GString *print; /* nftw(3) hands nothing on */

static int print_one(const char *path, const struct stat *st, int type G_GNUC_UNUSED,
                     struct FTW *ftw G_GNUC_UNUSED)
{
    g_autofree char *contents = NULL;
    char names[4096] = "", value[4096] = "";
    ssize_t n = llistxattr(path, names, sizeof names);
    gsize size = 0;

    if (S_ISREG(st->st_mode) && !g_file_get_contents(path, &contents, &size, NULL))
        return -1;
    if (S_ISLNK(st->st_mode) && readlink(path, value, sizeof value - 1) < 0)
        return -1;
    g_string_append_printf(print, "%s %o %u:%u %ld %lu %ld.%09ld %s ", path, st->st_mode,
                           st->st_uid, st->st_gid, (long)st->st_size, (unsigned long)st->st_nlink,
                           (long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec, value);
    if (contents) {
        g_autofree char *sum =
            g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)contents, size);

        g_string_append_printf(print, "%s ", sum);
    }
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
        g_string_append_printf(print, "%s ", names + at);
    g_string_append_printf(print, "%ld.%09ld\n", (long)st->st_ctim.tv_sec,
                           (long)st->st_ctim.tv_nsec);
    return 0;
}

static int compare_lines(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, because nftw goes through a directory in the order of its cookies. */
char *scene_fingerprint(const char *directory)
{
    g_auto(GStrv) lines = NULL;

    print = g_string_new(NULL);
    if (nftw(directory, print_one, 32, FTW_PHYS) != 0)
        g_string_append(print, "(unreadable)");
    lines = g_strsplit(print->str, "\n", -1);
    g_string_free(print, TRUE);
    qsort(lines, g_strv_length(lines), sizeof *lines, compare_lines);
    return g_strjoinv("\n", lines);
}

/* --- agents --------------------------------------------------------------------------------- */

typedef struct Request {
    AgentTask task; /* the same address in every fork */
    char argument[256];
} Request;

struct Agent {
    pid_t pid; /* no child of this process */
    int pid_fd;
    int request_fd, reply_fd;
};

static void serve(const char *mountpoint, int request_fd, int reply_fd)
{
    void *state = g_malloc0(65536);
    Request request;

    while (read(request_fd, &request, sizeof request) == (ssize_t)sizeof request) {
        int r = chdir(mountpoint) == 0 ? request.task(state, request.argument) : -errno;

        if (write(reply_fd, &r, sizeof r) != (ssize_t)sizeof r)
            break;
    }
    _exit(0);
}

Agent *scene_add_agent(Scene *scene)
{
    Agent *agent = g_new0(Agent, 1);
    int request[2], reply[2];
    pid_t between;

    if (pipe2(request, O_CLOEXEC) != 0 || pipe2(reply, O_CLOEXEC) != 0)
        g_error("pipe: %s", g_strerror(errno));
    between = fork();
    if (between == 0) {
        pid_t pid;

        setsid();
        pid = fork();
        if (pid == 0) {
            close(request[1]);
            close(reply[0]);
            /* not an earlier agent's other end: that one would never see its end */
            for (guint i = 0; i < scene->agents->len; i++) {
                const Agent *other = g_ptr_array_index(scene->agents, i);

                close(other->request_fd);
                close(other->reply_fd);
                close(other->pid_fd);
            }
            pid = getpid();
            if (write(reply[1], &pid, sizeof pid) == (ssize_t)sizeof pid)
                serve(scene->mountpoint, request[0], reply[1]);
        }
        _exit(0);
    }
    wait_for_process(between);
    close(request[0]);
    close(reply[1]);
    agent->request_fd = request[1];
    agent->reply_fd = reply[0];
    if (read(agent->reply_fd, &agent->pid, sizeof agent->pid) != (ssize_t)sizeof agent->pid)
        g_error("an agent did not start");
    agent->pid_fd = (int)syscall(SYS_pidfd_open, agent->pid, 0);
    if (agent->pid_fd < 0)
        g_error("pidfd_open: %s", g_strerror(errno));
    g_ptr_array_add(scene->agents, agent);
    return agent;
}

int agent_do(Agent *agent, AgentTask task, const char *argument)
{
    Request request = {.task = task};
    int r;

    g_strlcpy(request.argument, argument ? argument : "", sizeof request.argument);
    if (write(agent->request_fd, &request, sizeof request) != (ssize_t)sizeof request ||
        read(agent->reply_fd, &r, sizeof r) != (ssize_t)sizeof r)
        return -EPIPE;
    return r;
}

pid_t agent_pid(const Agent *agent)
{
    return agent->pid;
}

void agent_kill(Agent *agent)
{
    syscall(SYS_pidfd_send_signal, agent->pid_fd, SIGKILL, NULL, 0);
}

gboolean agent_end(Agent *agent)
{
    struct pollfd end = {.fd = agent->pid_fd, .events = POLLIN};

    agent_kill(agent);
    return poll(&end, 1, LIMIT_MS) == 1;
}

static void agent_free(Agent *agent)
{
    close(agent->request_fd);
    close(agent->reply_fd);
    agent_end(agent);
    close(agent->pid_fd);
    g_free(agent);
}

int task_control(void *state G_GNUC_UNUSED, const char *message)
{
    return setxattr(".", "user.leasefs.control", message, strlen(message), 0) == 0 ? 0 : -errno;
}

int task_touch(void *state G_GNUC_UNUSED, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int r;

    if (fd < 0)
        return -errno;
    r = write(fd, "t", 1) == 1 ? 0 : -errno;
    close(fd);
    return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What cannot be done is said in one line, with the right exit status, and leaves nothing behind:
 * no mount, no process, no record.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

/* Sanitizers need /proc themselves. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static int set_up(void **state)
{
    *state = scene_new(FALSE);
    return 0;
}

static int tear_down(void **state)
{
    return scene_free(*state) ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

/* --- what could be left ------------------------------------------------------------------------
 */

/* The fifth field of a line of mountinfo is the mountpoint: proc_pid_mountinfo(5). */
static guint count_mounts_below(const char *directory)
{
    g_autofree char *table = NULL;
    g_auto(GStrv) lines = NULL;
    guint count = 0;

    if (!g_file_get_contents("/proc/self/mountinfo", &table, NULL, NULL))
        return G_MAXUINT;
    lines = g_strsplit(table, "\n", -1);
    for (guint i = 0; lines[i]; i++) {
        g_auto(GStrv) fields = g_strsplit(lines[i], " ", 6);

        if (g_strv_length(fields) > 4 && g_str_has_prefix(fields[4], directory))
            count++;
    }
    return count;
}

/* Processes whose command line names the directory: daemons of ours. */
static guint count_processes_of(const char *directory)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;
    guint count = 0;

    while (proc && (name = g_dir_read_name(proc))) {
        g_autofree char *path = g_strdup_printf("/proc/%s/cmdline", name);
        g_autofree char *line = NULL;
        gsize length = 0;

        if (g_ascii_isdigit(*name) && g_file_get_contents(path, &line, &length, NULL) &&
            g_strstr_len(line, (gssize)length, "leasefs") &&
            memmem(line, length, directory, strlen(directory)))
            count++;
    }
    return count;
}

static guint count_records(Scene *scene)
{
    g_autoptr(GDir) dir = g_dir_open(scene->state_dir, 0, NULL);
    const char *name;
    guint count = 0;

    while (dir && (name = g_dir_read_name(dir)))
        count += g_str_has_suffix(name, ".json");
    return count;
}

/* A process that has said its line may still be on its way out. */
static gboolean no_process_is_left(Scene *scene)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (count_processes_of(scene->dir) > 0) {
        if (g_get_monotonic_time() > limit_us)
            return FALSE;
        g_usleep(5000);
    }
    return TRUE;
}

static void expect_nothing_left(Scene *scene)
{
    assert_int_equal(count_mounts_below(scene->dir), 0);
    assert_true(no_process_is_left(scene));
    assert_int_equal(count_records(scene), 0);
}

/* --- mount --------------------------------------------------------------------------------------
 */

static void mountpoint_that_is_missing_or_a_file_is_named(void **state)
{
    Scene *scene = *state;
    g_autofree char *missing = g_build_filename(scene->dir, "missing", NULL);
    g_autofree char *file = g_build_filename(scene->dir, "file", NULL);
    g_autofree char *output = NULL;
    g_autofree char *of_file = NULL;

    g_file_set_contents(file, "x", -1, NULL);
    assert_int_equal(scene_command(scene, &output, "mount", scene->backing, missing, NULL), 1);
    assert_true(scene_is_one_line(output, missing));
    assert_int_equal(scene_command(scene, &of_file, "mount", scene->backing, file, NULL), 1);
    assert_true(scene_is_one_line(of_file, file));
    expect_nothing_left(scene);
}

static void bad_option_values_are_wrong_usage(void **state)
{
    static const char *const options[] = {
        "ttl=0",      "ttl=-5s",       "ttl=5x",        "ttl=",       "ttl=99999999999999999999s",
        "mode=maybe", "unknown=often", "cache=perhaps", "state_dir=",
    };
    Scene *scene = *state;

    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *name = g_strndup(options[i], strcspn(options[i], "="));
        g_autofree char *output = NULL;
        int status = scene_command(scene, &output, "mount", "-o", options[i], scene->backing,
                                   scene->mountpoint, NULL);

        if (status != 2)
            fail_msg("%s: status %d: %s", options[i], status, output);
        assert_true(scene_is_one_line(output, name));
        expect_nothing_left(scene);
    }
}

static void daemon_that_cannot_use_its_state_directory_says_so_itself(void **state)
{
    Scene *scene = *state;
    g_autofree char *file = g_build_filename(scene->dir, "file", NULL);
    g_autofree char *option = g_strconcat("state_dir=", file, NULL);
    g_autofree char *output = NULL;

    g_file_set_contents(file, "x", -1, NULL);
    assert_int_equal(scene_command(scene, &output, "mount", "-o", option, scene->backing,
                                   scene->mountpoint, NULL),
                     1);
    assert_true(scene_is_one_line(output, file));
    expect_nothing_left(scene);
}

static void lock_file_that_cannot_be_opened_is_named(void **state)
{
    Scene *scene = *state;
    g_autofree char *record = scene_record_path(scene);
    g_autofree char *output = NULL;
    GString *lock = g_string_new(record);

    g_string_replace(lock, ".json", ".lock", 0);
    assert_int_equal(g_mkdir_with_parents(lock->str, 0700), 0);
    assert_int_equal(
        scene_command(scene, &output, "mount", scene->backing, scene->mountpoint, NULL), 1);
    assert_true(scene_is_one_line(output, lock->str));
    assert_true(scene_is_one_line(output, "--state-dir"));
    assert_int_equal(g_rmdir(lock->str), 0);
    g_string_free(lock, TRUE);
}

/* A /dev of the calling process's own, in which nobody else misses or meets anything. */
static gboolean enter_own_dev(gboolean with_fuse)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev", "tmpfs", 0, NULL) != 0 ||
        mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) != 0)
        return FALSE;
    return !with_fuse || (mknod("/dev/fuse", S_IFCHR | 0666, makedev(10, 229)) == 0 &&
                          chmod("/dev/fuse", 0666) == 0 && chmod("/dev/null", 0666) == 0);
}

/* The build's directory may be closed to other users. */
static gboolean copy_command(const char *to)
{
    g_autofree char *program = NULL;
    gsize size;

    return g_file_get_contents(g_getenv("LEASEFS"), &program, &size, NULL) &&
           g_file_set_contents_full(to, program, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0755,
                                    NULL);
}

static gboolean become_nobody(const char *own, const char *program)
{
    g_setenv("LEASEFS_STATE_DIR", own, TRUE);
    g_setenv("LEASEFS", program, TRUE);
    return chown(own, 65534, 65534) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
}

/* Mounts in a /dev of its own. `own` NULL: as root, without /dev/fuse; else as nobody, with this
 * directory for the state. One line that names `part`, and nothing left. */
static void expect_mount_refused(Scene *scene, const char *own, const char *part)
{
    g_autofree char *program = g_build_filename(scene->dir, "leasefs", NULL);
    int status;
    pid_t pid;

    assert_true(copy_command(program));
    pid = fork();
    if (pid == 0) {
        g_autofree char *output = NULL;

        if (!enter_own_dev(own != NULL) || (own && !become_nobody(own, program)))
            _exit(101);
        if (scene_command(scene, &output, "mount", scene->backing, NULL) != 1)
            _exit(102);
        _exit(scene_is_one_line(output, part) ? 0 : 103);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    expect_nothing_left(scene);
}

static void missing_device_is_named(void **state)
{
    expect_mount_refused(*state, NULL, "/dev/fuse");
}

#ifndef SANITIZED
static void missing_proc_is_told(void **state)
{
    static const char *const commands[] = {"mount", "umount", "status", "whoami", "run"};
    Scene *scene = *state;
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", "/proc", "tmpfs", 0, NULL) != 0)
            _exit(101);
        for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
            g_autofree char *output = NULL;

            if (scene_command(scene, &output, commands[i], scene->backing, NULL) != 1 ||
                !scene_is_one_line(output, "/proc has to be mounted"))
                _exit(102 + (int)i);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    expect_nothing_left(scene);
}
#endif

static void user_without_permission_is_told(void **state)
{
    Scene *scene = *state;
    g_autofree char *own = g_build_filename(scene->dir, "own", NULL);

    g_mkdir(own, 0755);
    assert_int_equal(chmod(scene->dir, 0755), 0);
    expect_mount_refused(scene, own, scene->backing);
    assert_int_equal(g_rmdir(own), 0); /* not even a lock file */
}

static void refused_second_mount_leaves_the_first_as_it_was(void **state)
{
    Scene *scene = *state;
    g_autofree char *other = g_build_filename(scene->dir, "other", NULL);
    g_autofree char *output = NULL;
    Agent *alice;

    g_mkdir(other, 0755);
    alice = scene_add_agent(scene);
    assert_true(scene_mount(scene, "ttl=1h"));
    expect(agent_do(alice, task_touch, "a"), 0, "change");
    assert_int_equal(scene_command(scene, &output, "mount", scene->backing, other, NULL), 1);
    assert_true(scene_is_one_line(output, scene->mountpoint));
    assert_int_equal(count_mounts_below(other), 0);
    assert_int_equal(count_mounts_below(scene->mountpoint), 1);
    expect(agent_do(alice, task_touch, "a"), 0, "the holder's next change");
    g_clear_pointer(&output, g_free);
    output = scene_attribute(scene, "epoch");
    assert_string_equal(output, "1");
}

static void workspace_in_the_mount_of_another_is_refused(void **state)
{
    Scene *scene = *state;
    g_autofree char *below = g_build_filename(scene->backing, "below", NULL);
    g_autofree char *inside = g_build_filename(scene->mountpoint, "below", NULL);
    g_autofree char *output = NULL;

    g_mkdir(below, 0755);
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(scene_command(scene, &output, "mount", inside, NULL), 1);
    assert_true(scene_is_one_line(output, scene->mountpoint));
    assert_int_equal(count_mounts_below(scene->dir), 1);
}

/* --- the other commands ------------------------------------------------------------------------
 */

static void dead_mount_elsewhere_is_replaced(void **state)
{
    Scene *scene = *state;
    g_autofree char *other = g_build_filename(scene->dir, "other", NULL);
    g_autofree char *output = NULL;

    g_mkdir(other, 0755);
    assert_true(scene_mount(scene, "ttl=1h"));
    scene_kill_daemon(scene);
    assert_int_equal(scene_command(scene, &output, "mount", scene->backing, other, NULL), 0);
    assert_int_equal(count_mounts_below(scene->mountpoint), 0);
    assert_int_equal(count_mounts_below(other), 1);
    g_clear_pointer(&output, g_free);
    assert_int_equal(scene_command(scene, &output, "umount", other, NULL), 0);
    assert_int_equal(g_rmdir(other), 0);
}

static void umount_of_what_is_no_mount_of_ours_is_refused(void **state)
{
    static const char *const odd[] = {"/proc", "/nonexistent/leasefs"};
    Scene *scene = *state;
    g_autofree char *output = NULL;

    assert_int_equal(scene_command(scene, &output, "umount", scene->backing, NULL), 1);
    assert_true(scene_is_one_line(output, scene->backing));
    for (guint i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autofree char *said = NULL;

        assert_int_equal(scene_command(scene, &said, "umount", odd[i], NULL), 1);
        assert_true(scene_is_one_line(said, odd[i]));
    }
    assert_true(g_file_test("/proc/self", G_FILE_TEST_EXISTS));
}

static void bad_durations_and_names_are_wrong_usage(void **state)
{
    static const char *const wrong[][4] = {
        {"acquire", "--ttl", "soon", "soon"},       {"acquire", "--ttl", "0", "ttl"},
        {"acquire", "--wait=never", NULL, "never"}, {"acquire", "--wait", "30s", "--wait=30s"},
        {"acquire", "--session", "a b", "a b"},     {"acquire", "--session", "", "session"},
        {"run", "--name", "work.1.2", "work.1.2"},  {"run", "--name", "a/b", "a/b"},
        {"run", "--wait=5x", "true", "5x"},         {"run", "--wait", "5m", "--wait=5m"},
    };
    Scene *scene = *state;
    char *back = g_get_current_dir();

    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(chdir(scene->mountpoint), 0);
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++) {
        const char *const *row = wrong[i];
        const char *rest = strcmp(row[0], "run") == 0 && row[2] ? "true" : NULL;
        g_autofree char *output = NULL;
        int status = scene_command(scene, &output, row[0], row[1], row[2] ? row[2] : rest,
                                   row[2] ? rest : NULL, NULL);

        if (status != 2)
            fail_msg("%s %s: status %d: %s", row[0], row[1], status, output);
        assert_true(scene_is_one_line(output, row[3]));
    }
    assert_int_equal(chdir(back), 0);
    g_free(back);
    assert_true(scene_wait_for(scene, "state", "free"));
}

/* As a path, what a script has in a variable that is not set is the working directory. */
static void empty_arguments_are_wrong_usage(void **state)
{
    static const char *const commands[] = {"mount", "umount", "status", "acquire", "run"};
    Scene *scene = *state;

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *output = NULL;

        assert_int_equal(scene_command(scene, &output, commands[i], "", NULL), 2);
        assert_true(scene_is_one_line(output, "empty"));
    }
    expect_nothing_left(scene);
}

/* Else its daemon would hold the workspace for as long as that namespace lives. */
static void umount_ends_what_another_namespace_still_has(void **state)
{
    Scene *scene = *state;
    g_autofree char *output = NULL;
    int ready[2];
    char byte;
    pid_t pid;

    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
            _exit(1);
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(scene_command(scene, &output, "umount", scene->mountpoint, NULL), 0);
    assert_true(scene_is_one_line(output, "another mount namespace"));
    assert_int_equal(waitpid(scene->daemon, NULL, 0), scene->daemon);
    scene->daemon = 0;
    assert_true(scene_mount(scene, "ttl=1h"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(ready[0]);
}

static void umount_of_a_busy_mount_says_who(void **state)
{
    Scene *scene = *state;
    g_autofree char *output = NULL;
    g_autofree char *pid = NULL;
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, "ttl=1h"));
    expect(agent_do(alice, task_touch, "a"), 0, "change"); /* its directory is inside now */
    pid = g_strdup_printf("%d", (int)agent_pid(alice));
    assert_int_equal(scene_command(scene, &output, "umount", scene->mountpoint, NULL), 1);
    assert_true(scene_is_one_line(output, pid));
    expect(agent_do(alice, task_touch, "a"), 0, "change afterwards");
    g_clear_pointer(&output, g_free);
    output = scene_attribute(scene, "epoch");
    assert_string_equal(output, "1");
}

/* --- a daemon that ends -------------------------------------------------------------------------
 */

static int task_open_many(void *state G_GNUC_UNUSED, const char *unused G_GNUC_UNUSED)
{
    for (int i = 0; i < 400; i++) {
        g_autofree char *name = g_strdup_printf("many%d", i);

        if (open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644) < 0 || unlink(name) != 0)
            return -errno;
    }
    return 0;
}

/* The kernel cuts the connection while the dead agent's files are being closed. Whether a reader of
 * the device meets that is a matter of luck: hence several rounds. */
static void lazy_unmount_under_many_open_files_ends_the_daemon_well(void **state)
{
    Scene *scene = *state;

    for (int i = 0; i < 12; i++) {
        Agent *alice = scene_add_agent(scene);
        int status;

        assert_true(scene_mount(scene, "ttl=1h"));
        expect(agent_do(alice, task_open_many, NULL), 0, "open");
        agent_kill(alice);
        assert_int_equal(umount2(scene->mountpoint, MNT_DETACH), 0);
        assert_int_equal(waitpid(scene->daemon, &status, 0), scene->daemon);
        scene->daemon = 0;
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* umount(8) has returned, and the daemon is still about to end. */
static void workspace_can_be_mounted_again_at_once(void **state)
{
    Scene *scene = *state;

    for (int i = 0; i < 10; i++) {
        g_autofree char *output = NULL;

        if (scene_command(scene, &output, "mount", scene->backing, scene->mountpoint, NULL) != 0)
            fail_msg("round %d: %s", i, output);
        assert_int_equal(umount2(scene->mountpoint, 0), 0);
    }
    assert_true(no_process_is_left(scene));
}

static void terminated_daemon_unmounts_and_releases(void **state)
{
    Scene *scene = *state;
    g_autofree char *record = NULL;
    int status;
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, "ttl=1h"));
    expect(agent_do(alice, task_touch, "a"), 0, "change");
    assert_int_equal(kill(scene->daemon, SIGTERM), 0);
    assert_int_equal(waitpid(scene->daemon, &status, 0), scene->daemon);
    scene->daemon = 0;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(count_mounts_below(scene->dir), 0);
    record = scene_record(scene);
    assert_non_null(record);
    assert_non_null(strstr(record, "\"session_id\":\"\""));
    assert_non_null(strstr(record, "\"epoch\":1"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(mountpoint_that_is_missing_or_a_file_is_named),
        CASE(bad_option_values_are_wrong_usage),
        CASE(daemon_that_cannot_use_its_state_directory_says_so_itself),
        CASE(lock_file_that_cannot_be_opened_is_named),
        CASE(missing_device_is_named),
#ifndef SANITIZED
        CASE(missing_proc_is_told),
#endif
        CASE(user_without_permission_is_told),
        CASE(refused_second_mount_leaves_the_first_as_it_was),
        CASE(workspace_in_the_mount_of_another_is_refused),
        CASE(dead_mount_elsewhere_is_replaced),
        CASE(umount_of_what_is_no_mount_of_ours_is_refused),
        CASE(bad_durations_and_names_are_wrong_usage),
        CASE(empty_arguments_are_wrong_usage),
        CASE(umount_ends_what_another_namespace_still_has),
        CASE(umount_of_a_busy_mount_says_who),
        CASE(lazy_unmount_under_many_open_files_ends_the_daemon_well),
        CASE(workspace_can_be_mounted_again_at_once),
        CASE(terminated_daemon_unmounts_and_releases),
    };

    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}

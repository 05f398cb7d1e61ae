/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Real child processes that hold something of a directory. It is not mounted over here, so that
 * everything below its path counts as reaching past.
 */
#include "bypass.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

typedef struct Place {
    ProcessTable *processes;
    char *dir; /* dir/ws is the workspace, dir/wsx beside it */
    char *workspace;
    struct stat st;
} Place;

/* A child that did `hold` and waits to be told to go on (`let_go`) and then to end. */
typedef struct Child {
    pid_t pid;
    int in_fd;
    int out_fd;
} Child;

typedef gboolean (*Step)(const Place *place);

static gboolean stay_away(const Place *place)
{
    (void)place;
    return chdir("/") == 0;
}

static gboolean enter(const Place *place)
{
    return chdir(place->workspace) == 0 && chdir("sub") == 0;
}

static gboolean enter_neighbour(const Place *place)
{
    return chdir(place->dir) == 0 && chdir("wsx") == 0;
}

static int open_in(const Place *place)
{
    g_autofree char *path = g_build_filename(place->workspace, "sub", "file", NULL);

    return open(path, O_RDWR | O_CLOEXEC);
}

static gboolean keep_open(const Place *place)
{
    return open_in(place) >= 0;
}

static gboolean keep_removed_open(const Place *place)
{
    g_autofree char *path = g_build_filename(place->workspace, "gone", NULL);

    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) >= 0 && unlink(path) == 0;
}

static gboolean keep_mapped(const Place *place)
{
    autofd fd = open_in(place);

    return fd >= 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED;
}

static gboolean leave_namespace(const Place *place)
{
    (void)place;
    return unshare(CLONE_NEWNS) == 0;
}

static void run_child(const Place *place, Step hold, Step let_go, int in_fd, int out_fd)
{
    Step steps[] = {stay_away, hold, let_go};
    char byte;

    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++) {
        byte = steps[i](place) ? 'y' : 'n';
        if (i == 0)
            continue;
        if (write(out_fd, &byte, 1) != 1 || read(in_fd, &byte, 1) != 1)
            break;
    }
    _exit(0);
}

static void await_step(const Child *child)
{
    char byte = 'n';

    assert_int_equal(read(child->out_fd, &byte, 1), 1);
    assert_int_equal(byte, 'y');
}

static Child start_child(const Place *place, Step hold, Step let_go)
{
    int in[2], out[2];
    Child child;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    child.pid = fork();
    assert_true(child.pid >= 0);
    if (child.pid == 0) {
        close(in[1]);
        close(out[0]);
        run_child(place, hold, let_go, in[0], out[1]);
    }
    close(in[0]);
    close(out[1]);
    child.in_fd = in[1];
    child.out_fd = out[0];
    await_step(&child);
    return child;
}

static void tell_child(const Child *child)
{
    assert_int_equal(write(child->in_fd, "x", 1), 1);
}

static void end_child(Child *child)
{
    autofd_clear(&child->in_fd);
    autofd_clear(&child->out_fd);
    assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static const BypassProcess *find(GPtrArray *found, pid_t pid)
{
    for (guint i = 0; i < found->len; i++) {
        const BypassProcess *process = found->pdata[i];

        if (process->id.pid == pid)
            return process;
    }
    return NULL;
}

static GPtrArray *scan(const Place *place, pid_t except)
{
    return bypass_scan(place->processes, place->workspace, place->st.st_dev, place->st.st_ino,
                       except);
}

/* *how_out (owned) is NULL where the child is not found. */
static char *scan_for(const Place *place, Step hold)
{
    Child child = start_child(place, hold, stay_away);
    g_autoptr(GPtrArray) found = scan(place, 0);
    const BypassProcess *process = find(found, child.pid);
    char *how = process != NULL ? g_strdup(process->how) : NULL;

    end_child(&child);
    return how;
}

static void working_directory_below_is_found(void **state)
{
    g_autofree char *how = scan_for(*state, enter);

    assert_string_equal(how, "working directory");
}

static void open_file_is_found_and_named(void **state)
{
    const Place *place = *state;
    g_autofree char *how = scan_for(place, keep_open);
    g_autofree char *expected = g_strdup_printf("open file %s/sub/file", place->workspace);

    assert_string_equal(how, expected);
}

static void removed_file_that_is_open_is_found(void **state)
{
    const Place *place = *state;
    g_autofree char *how = scan_for(place, keep_removed_open);
    g_autofree char *expected = g_strdup_printf("open file %s/gone (deleted)", place->workspace);

    assert_string_equal(how, expected);
}

static void mapping_without_a_descriptor_is_found(void **state)
{
    const Place *place = *state;
    g_autofree char *how = scan_for(place, keep_mapped);
    g_autofree char *expected = g_strdup_printf("mapping of %s/sub/file", place->workspace);

    assert_string_equal(how, expected);
}

static void other_mount_namespace_is_found(void **state)
{
    g_autofree char *how = NULL;

    if (geteuid() != 0) {
        print_message("not as root: no mount namespace of its own can be made\n");
        skip();
    }
    how = scan_for(*state, leave_namespace);
    assert_string_equal(how, "other mount namespace");
}

/* In a mount namespace of its own: how many kernel threads the scan names. */
static void count_kernel_threads(const Place *place)
{
    g_autoptr(GPtrArray) found = NULL;
    ProcessInfo info;
    int n = 0;

    if (unshare(CLONE_NEWNS) != 0)
        _exit(255);
    found = scan(place, 0);
    for (guint i = 0; i < found->len; i++) {
        const BypassProcess *process = found->pdata[i];

        if (place->processes->ops->read(place->processes, process->id.pid, &info) == 0 &&
            info.kernel)
            n++;
    }
    _exit(MIN(n, 254));
}

static void kernel_threads_are_not_found(void **state)
{
    int status = 0;
    pid_t pid;

    if (geteuid() != 0) {
        print_message("not as root: no mount namespace of its own can be made\n");
        skip();
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        count_kernel_threads(*state);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void process_elsewhere_is_not_found(void **state)
{
    g_autofree char *away = scan_for(*state, stay_away);
    g_autofree char *beside = scan_for(*state, enter_neighbour);

    assert_null(away);
    assert_null(beside);
}

static void found_process_is_identified(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, enter, stay_away);
    g_autoptr(GPtrArray) found = scan(place, 0);
    const BypassProcess *process = find(found, child.pid);
    ProcessInfo info;

    assert_non_null(process);
    assert_int_equal(place->processes->ops->read(place->processes, child.pid, &info), 0);
    assert_true(process_id_equal(&process->id, &info.id));
    assert_string_equal(process->comm, info.comm);
    end_child(&child);
}

static void excepted_process_is_left_out(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, enter, stay_away);
    g_autoptr(GPtrArray) found = scan(place, child.pid);

    assert_null(find(found, child.pid));
    end_child(&child);
}

/* The scan of a machine may find others' processes in mount namespaces of their own. */
static GPtrArray *scan_for_only(const Place *place, pid_t pid)
{
    GPtrArray *found = scan(place, 0);

    for (guint i = found->len; i-- > 0;) {
        if (((const BypassProcess *)found->pdata[i])->id.pid != pid)
            g_ptr_array_remove_index(found, i);
    }
    return found;
}

static gboolean recheck(const Place *place, GPtrArray *known)
{
    return bypass_recheck(known, place->processes, place->workspace, place->st.st_dev,
                          place->st.st_ino);
}

static void recheck_drops_what_left(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, enter, stay_away);
    g_autoptr(GPtrArray) known = scan_for_only(place, child.pid);

    assert_true(recheck(place, known));
    assert_int_equal(known->len, 1);
    tell_child(&child);
    await_step(&child);
    assert_false(recheck(place, known));
    assert_int_equal(known->len, 0);
    end_child(&child);
}

static void recheck_notes_how_it_reaches_past_now(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, keep_open, enter);
    g_autoptr(GPtrArray) known = scan_for_only(place, child.pid);

    tell_child(&child);
    await_step(&child);
    assert_true(recheck(place, known));
    assert_string_equal(((const BypassProcess *)known->pdata[0])->how, "working directory");
    end_child(&child);
}

static void recheck_drops_the_dead_and_zombies(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, enter, stay_away);
    g_autoptr(GPtrArray) known = scan_for_only(place, child.pid);
    siginfo_t info;

    assert_int_equal(known->len, 1);
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(recheck(place, known));
    end_child(&child);
}

static void recheck_does_not_take_a_later_process_for_it(void **state)
{
    const Place *place = *state;
    Child child = start_child(place, enter, stay_away);
    g_autoptr(GPtrArray) known = scan_for_only(place, child.pid);

    ((BypassProcess *)known->pdata[0])->id.start_time--;
    assert_false(recheck(place, known));
    end_child(&child);
}

static int set_up(void **state)
{
    Place *place = g_new0(Place, 1);
    g_autofree char *made = g_dir_make_tmp("leasefs-bypass-XXXXXX", NULL);
    g_autofree char *sub = NULL, *beside = NULL, *file = NULL, *text = g_strnfill(4096, 'x');

    if (made == NULL)
        return -1;
    place->dir = realpath(made, NULL);
    place->workspace = g_build_filename(place->dir, "ws", NULL);
    sub = g_build_filename(place->workspace, "sub", NULL);
    beside = g_build_filename(place->dir, "wsx", NULL);
    file = g_build_filename(sub, "file", NULL);
    place->processes = process_table_new_proc(NULL);
    *state = place;
    return g_mkdir_with_parents(sub, 0700) < 0 || g_mkdir_with_parents(beside, 0700) < 0 ||
                   !g_file_set_contents(file, text, -1, NULL) ||
                   stat(place->workspace, &place->st) < 0 || place->processes == NULL
               ? -1
               : 0;
}

static int tear_down(void **state)
{
    Place *place = *state;
    g_autofree char *file = g_build_filename(place->workspace, "sub", "file", NULL);
    g_autofree char *sub = g_build_filename(place->workspace, "sub", NULL);
    g_autofree char *beside = g_build_filename(place->dir, "wsx", NULL);

    remove(file);
    remove(sub);
    remove(place->workspace);
    remove(beside);
    remove(place->dir);
    process_table_free(place->processes);
    g_free(place->workspace);
    free(place->dir);
    g_free(place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(working_directory_below_is_found),
        cmocka_unit_test(open_file_is_found_and_named),
        cmocka_unit_test(removed_file_that_is_open_is_found),
        cmocka_unit_test(mapping_without_a_descriptor_is_found),
        cmocka_unit_test(other_mount_namespace_is_found),
        cmocka_unit_test(kernel_threads_are_not_found),
        cmocka_unit_test(process_elsewhere_is_not_found),
        cmocka_unit_test(found_process_is_identified),
        cmocka_unit_test(excepted_process_is_left_out),
        cmocka_unit_test(recheck_drops_what_left),
        cmocka_unit_test(recheck_notes_how_it_reaches_past_now),
        cmocka_unit_test(recheck_drops_the_dead_and_zombies),
        cmocka_unit_test(recheck_does_not_take_a_later_process_for_it),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

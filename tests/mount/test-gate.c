/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every mutation of the design passes the gate: done for the holder, refused to a blocked session
 * with nothing changed, acquiring where the lease is free, fenced through an outdated handle.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

#define CONTENT "0123456789"

/* What an agent keeps: one handle and one mapping for each mutation. */
typedef struct Kept {
    int fd[64];
    char *map[64];
} Kept;

typedef int (*Act)(int fd, char *map);

#define DIRECTORY_OP(name, call)                                                                   \
    static int name(int fd G_GNUC_UNUSED, char *map G_GNUC_UNUSED)                                 \
    {                                                                                              \
        return (call) < 0 ? -errno : 0;                                                            \
    }
#define HANDLE_OP(name, call)                                                                      \
    static int name(int fd, char *map G_GNUC_UNUSED)                                               \
    {                                                                                              \
        return (call) < 0 ? -errno : 0;                                                            \
    }

static int open_and_close(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);

    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int tmpfile_and_link(void)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
    char path[64];
    int r;

    if (fd < 0)
        return -1;
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    r = linkat(AT_FDCWD, path, AT_FDCWD, "from-tmpfile", AT_SYMLINK_FOLLOW);
    close(fd);
    return r;
}

static int toggle_noatime(void)
{
    int fd = open("f", O_RDONLY | O_CLOEXEC);
    int flags = 0, r;

    if (fd < 0)
        return -1;
    r = ioctl(fd, FS_IOC_GETFLAGS, &flags);
    if (r == 0) {
        flags ^= FS_NOATIME_FL;
        r = ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    close(fd);
    return r;
}

DIRECTORY_OP(op_create, open_and_close("new", O_WRONLY | O_CREAT | O_EXCL))
DIRECTORY_OP(op_open_trunc, open_and_close("f", O_WRONLY | O_TRUNC))
DIRECTORY_OP(op_truncate, truncate("f", 3))
DIRECTORY_OP(op_mkfifo, mknod("fifo", S_IFIFO | 0644, 0))
DIRECTORY_OP(op_mkdir, mkdir("dir", 0755))
DIRECTORY_OP(op_unlink, unlink("f"))
DIRECTORY_OP(op_rmdir, rmdir("d"))
DIRECTORY_OP(op_symlink, symlink("f", "link"))
DIRECTORY_OP(op_link, link("f", "hard"))
DIRECTORY_OP(op_rename, rename("f", "h"))
DIRECTORY_OP(op_rename_over, rename("f", "g"))
DIRECTORY_OP(op_rename_noreplace, renameat2(AT_FDCWD, "f", AT_FDCWD, "h", RENAME_NOREPLACE))
DIRECTORY_OP(op_rename_exchange, renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE))
DIRECTORY_OP(op_chmod, chmod("f", 0600))
DIRECTORY_OP(op_chown, chown("f", 1, 1))
DIRECTORY_OP(op_lchown, lchown("s", 1, 1))
DIRECTORY_OP(op_utimens, utimensat(AT_FDCWD, "f", NULL, 0))
DIRECTORY_OP(op_setxattr, setxattr("f", "user.x", "1", 1, 0))
DIRECTORY_OP(op_removexattr, removexattr("f", "user.kept"))
DIRECTORY_OP(op_tmpfile, tmpfile_and_link())
DIRECTORY_OP(op_setflags, toggle_noatime())
HANDLE_OP(op_write, write(fd, "X", 1))
HANDLE_OP(op_pwrite, pwrite(fd, "X", 1, 5))
HANDLE_OP(op_extend, pwrite(fd, "X", 1, 5000))
HANDLE_OP(op_ftruncate, ftruncate(fd, 2))
HANDLE_OP(op_fallocate, fallocate(fd, 0, 0, 8192))
HANDLE_OP(op_punch, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5))
HANDLE_OP(op_zero, fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 5))
HANDLE_OP(op_fchmod, fchmod(fd, 0600))
HANDLE_OP(op_fchown, fchown(fd, 1, 1))
HANDLE_OP(op_futimens, futimens(fd, NULL))
HANDLE_OP(op_fsetxattr, fsetxattr(fd, "user.x", "1", 1, 0))

static int op_copy_range(int fd, char *map G_GNUC_UNUSED)
{
    int from = open("g", O_RDONLY | O_CLOEXEC);
    loff_t in = 0, out = 4;
    ssize_t n;
    int r;

    if (from < 0)
        return -errno;
    n = copy_file_range(from, &in, fd, &out, 3, 0);
    r = n < 0 ? -errno : 0;
    close(from);
    return r;
}

static int op_store(int fd G_GNUC_UNUSED, char *map)
{
    map[1] = 'S';
    return msync(map, 4096, MS_SYNC) == 0 ? 0 : -errno;
}

typedef struct Mutation {
    const char *name;
    Act act;
    int open_flags;  /* of the handle made before; -1: none */
    gboolean mapped; /* judged by the file: refused with EROFS, fenced or not */
    gboolean fenced; /* of data or size, through the handle */
} Mutation;

static const Mutation mutations[] = {
    {"create", op_create, -1, FALSE, FALSE},
    {"open with O_TRUNC", op_open_trunc, -1, FALSE, FALSE},
    {"truncate", op_truncate, -1, FALSE, FALSE},
    {"mknod", op_mkfifo, -1, FALSE, FALSE},
    {"mkdir", op_mkdir, -1, FALSE, FALSE},
    {"unlink", op_unlink, -1, FALSE, FALSE},
    {"rmdir", op_rmdir, -1, FALSE, FALSE},
    {"symlink", op_symlink, -1, FALSE, FALSE},
    {"link", op_link, -1, FALSE, FALSE},
    {"rename", op_rename, -1, FALSE, FALSE},
    {"rename over a file", op_rename_over, -1, FALSE, FALSE},
    {"rename without replacing", op_rename_noreplace, -1, FALSE, FALSE},
    {"exchange of two names", op_rename_exchange, -1, FALSE, FALSE},
    {"chmod", op_chmod, -1, FALSE, FALSE},
    {"chown", op_chown, -1, FALSE, FALSE},
    {"chown of a symbolic link", op_lchown, -1, FALSE, FALSE},
    {"utimensat", op_utimens, -1, FALSE, FALSE},
    {"setxattr", op_setxattr, -1, FALSE, FALSE},
    {"removexattr", op_removexattr, -1, FALSE, FALSE},
    {"O_TMPFILE", op_tmpfile, -1, FALSE, FALSE},
    {"FS_IOC_SETFLAGS", op_setflags, -1, FALSE, FALSE},
    {"fchmod", op_fchmod, O_RDONLY, FALSE, FALSE},
    {"fchown", op_fchown, O_RDONLY, FALSE, FALSE},
    {"futimens", op_futimens, O_RDONLY, FALSE, FALSE},
    {"fsetxattr", op_fsetxattr, O_RDONLY, FALSE, FALSE},
    {"write, write-only", op_write, O_WRONLY, FALSE, TRUE},
    {"write, read-write", op_write, O_RDWR, FALSE, TRUE},
    {"append", op_write, O_WRONLY | O_APPEND, FALSE, TRUE},
    {"pwrite", op_pwrite, O_RDWR, FALSE, TRUE},
    {"write past the end", op_extend, O_WRONLY, FALSE, TRUE},
    {"ftruncate", op_ftruncate, O_RDWR, FALSE, TRUE},
    {"fallocate", op_fallocate, O_RDWR, FALSE, TRUE},
    {"punch hole", op_punch, O_RDWR, FALSE, TRUE},
    {"zero range", op_zero, O_RDWR, FALSE, TRUE},
    {"copy_file_range", op_copy_range, O_WRONLY, FALSE, TRUE},
    {"store into a shared mapping", op_store, O_RDWR, TRUE, TRUE},
};

/* --- what agents do: the argument is the number of the mutation ------------------------------ */

static int enter(const char *number)
{
    return chdir(number) == 0 ? 0 : -errno;
}

static int task_prepare(void *state, const char *number)
{
    Kept *kept = state;
    int i = atoi(number);
    const Mutation *mutation = &mutations[i];
    int r = enter(number);

    if (r != 0 || mutation->open_flags < 0)
        return r;
    kept->fd[i] = open("f", mutation->open_flags | O_CLOEXEC);
    if (kept->fd[i] < 0)
        return -errno;
    if (!mutation->mapped)
        return 0;
    kept->map[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd[i], 0);
    return kept->map[i] != MAP_FAILED ? 0 : -errno;
}

static int task_act(void *state, const char *number)
{
    Kept *kept = state;
    int i = atoi(number);
    int r = enter(number);

    return r == 0 ? mutations[i].act(kept->fd[i], kept->map[i]) : r;
}

static int task_drop(void *state, const char *number)
{
    Kept *kept = state;
    int i = atoi(number);

    if (kept->map[i])
        munmap(kept->map[i], 4096);
    if (mutations[i].open_flags >= 0)
        close(kept->fd[i]);
    kept->map[i] = NULL;
    return 0;
}

static int task_append_a_byte(void *state G_GNUC_UNUSED, const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = write(fd, "b", 1) == 1 ? 0 : -errno;
    close(fd);
    return r;
}

static int task_reads_all(void *state G_GNUC_UNUSED, const char *number)
{
    char bytes[16];
    struct stat st;
    int fd, r = enter(number);

    if (r != 0)
        return r;
    fd = open("f", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (read(fd, bytes, sizeof bytes) != (ssize_t)strlen(CONTENT) || fstat(fd, &st) != 0 ||
        fsync(fd) != 0 || access("f", R_OK) != 0 || getxattr("f", "user.kept", NULL, 0) < 0)
        r = -errno;
    close(fd);
    return r;
}

static int task_reads_the_rest(void *state G_GNUC_UNUSED, const char *number)
{
    g_autoptr(GDir) dir = NULL;
    struct statvfs fs;
    char bytes[64];
    void *map;
    int fd, r = enter(number);

    if (r != 0)
        return r;
    dir = g_dir_open(".", 0, NULL);
    fd = open("f", O_RDONLY | O_CLOEXEC);
    if (!dir || !g_dir_read_name(dir) || fd < 0)
        return -errno;
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED || memcmp(map, CONTENT, strlen(CONTENT)) != 0 ||
        flock(fd, LOCK_EX | LOCK_NB) != 0 || flock(fd, LOCK_UN) != 0 || statvfs(".", &fs) != 0 ||
        readlink("s", bytes, sizeof bytes) != 1 || flistxattr(fd, bytes, sizeof bytes) < 0 ||
        fdatasync(fd) != 0)
        r = -errno;
    close(fd);
    return r;
}

static int task_may_write(void *state G_GNUC_UNUSED, const char *number)
{
    int r = enter(number);

    return r != 0 ? r : access("f", W_OK) == 0 ? 0 : -errno;
}

static int task_open_for_writing(void *state G_GNUC_UNUSED, const char *number)
{
    int r = enter(number);

    if (r != 0)
        return r;
    if (open_and_close("f", O_WRONLY) != 0)
        return -errno;
    return open_and_close("f", O_RDWR) != 0 ? -errno : 0;
}

/* --- the scene ------------------------------------------------------------------------------ */

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
} Stage;

static void furnish(Scene *scene)
{
    for (guint i = 0; i < G_N_ELEMENTS(mutations); i++) {
        g_autofree char *dir = g_strdup_printf("%s/%u", scene->backing, i);
        g_autofree char *f = g_build_filename(dir, "f", NULL);
        g_autofree char *g = g_build_filename(dir, "g", NULL);
        g_autofree char *d = g_build_filename(dir, "d", NULL);
        g_autofree char *s = g_build_filename(dir, "s", NULL);

        g_mkdir(dir, 0755);
        g_mkdir(d, 0755);
        g_file_set_contents(f, CONTENT, -1, NULL);
        g_file_set_contents(g, "abcdefghij", -1, NULL);
        if (symlink("f", s) != 0 || setxattr(f, "user.kept", "1", 1, 0) != 0)
            g_error("cannot furnish %s: %s", dir, g_strerror(errno));
    }
}

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);

    stage->scene = scene_new(FALSE);
    furnish(stage->scene);
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    *state = stage;
    return scene_mount(stage->scene, "ttl=5m") ? 0 : -1;
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    gboolean healthy = scene_free(stage->scene);

    g_free(stage);
    return healthy ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

static void expect_holder(Stage *stage, Agent *agent)
{
    g_autofree char *pid = scene_attribute(stage->scene, "holder_pid");

    assert_non_null(pid);
    assert_int_equal(atoi(pid), agent_pid(agent));
}

static void give_back(Stage *stage, Agent *agent)
{
    expect(agent_do(agent, task_control, "release"), 0, "release");
    assert_true(scene_wait_for(stage->scene, "state", "free"));
}

/* Some filesystems have no FALLOC_FL_ZERO_RANGE: what the disk refuses the mount does too. */
static gboolean can_disk_do(Stage *stage, const Mutation *mutation)
{
    return mutation->act != op_zero || !scene_is_on(stage->scene, TMPFS_MAGIC);
}

static void blocked_session_changes_nothing(void **state)
{
    Stage *stage = *state;

    for (guint i = 0; i < G_N_ELEMENTS(mutations); i++) {
        g_autofree char *number = g_strdup_printf("%u", i);
        g_autofree char *before = NULL;
        g_autofree char *after = NULL;

        expect(agent_do(stage->bob, task_prepare, number), 0, mutations[i].name);
        expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
        before = scene_fingerprint(stage->scene->backing);
        expect(agent_do(stage->bob, task_act, number), -EROFS, mutations[i].name);
        after = scene_fingerprint(stage->scene->backing);
        assert_string_equal(before, after);
        expect_holder(stage, stage->alice);
        expect(agent_do(stage->bob, task_drop, number), 0, "close");
        give_back(stage, stage->alice);
    }
}

static void blocked_session_reads_on(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->alice, task_control, "acquire"), 0, "acquire");
    expect(agent_do(stage->bob, task_reads_all, "0"), 0, "reading");
    expect(agent_do(stage->bob, task_reads_the_rest, "0"), 0, "reading the rest");
    expect(agent_do(stage->bob, task_may_write, "0"), -EROFS, "access(W_OK)");
    expect(agent_do(stage->bob, task_open_for_writing, "0"), -EROFS, "open for writing");
    expect(agent_do(stage->alice, task_may_write, "0"), 0, "access(W_OK) of the holder");
    expect(agent_do(stage->alice, task_open_for_writing, "0"), 0, "open of the holder");
}

static void holder_changes_everything(void **state)
{
    Stage *stage = *state;

    expect(agent_do(stage->bob, task_control, "acquire"), 0, "acquire");
    for (guint i = 0; i < G_N_ELEMENTS(mutations); i++) {
        g_autofree char *number = g_strdup_printf("%u", i);
        g_autofree char *before = scene_fingerprint(stage->scene->backing);
        g_autofree char *after = NULL;

        if (!can_disk_do(stage, &mutations[i]))
            continue;
        expect(agent_do(stage->bob, task_prepare, number), 0, mutations[i].name);
        expect(agent_do(stage->bob, task_act, number), 0, mutations[i].name);
        after = scene_fingerprint(stage->scene->backing);
        if (strcmp(before, after) == 0)
            fail_msg("%s changed nothing", mutations[i].name);
    }
    expect_holder(stage, stage->bob);
}

static void first_change_takes_a_free_lease(void **state)
{
    Stage *stage = *state;

    for (guint i = 0, tenures = 0; i < G_N_ELEMENTS(mutations); i++) {
        g_autofree char *number = g_strdup_printf("%u", i);
        g_autofree char *epoch = NULL;

        if (!can_disk_do(stage, &mutations[i]))
            continue;
        expect(agent_do(stage->bob, task_prepare, number), 0, mutations[i].name);
        expect(agent_do(stage->bob, task_may_write, number), 0, "access(W_OK)");
        assert_true(scene_wait_for(stage->scene, "state", "free"));
        expect(agent_do(stage->bob, task_act, number), 0, mutations[i].name);
        expect_holder(stage, stage->bob);
        epoch = scene_attribute(stage->scene, "epoch");
        assert_int_equal(atoi(epoch), (int)++tenures);
        expect(agent_do(stage->bob, task_drop, number), 0, "close");
        give_back(stage, stage->bob);
    }
}

static void outdated_handle_is_fenced(void **state)
{
    Stage *stage = *state;

    for (guint i = 0; i < G_N_ELEMENTS(mutations); i++) {
        g_autofree char *number = g_strdup_printf("%u", i);
        g_autofree char *file = g_strdup_printf("%u/f", i);
        g_autofree char *before = NULL;
        g_autofree char *after = NULL;

        if (!mutations[i].fenced || !can_disk_do(stage, &mutations[i]))
            continue;
        expect(agent_do(stage->bob, task_prepare, number), 0, mutations[i].name);
        expect(agent_do(stage->alice, task_append_a_byte, file), 0, mutations[i].name);
        before = scene_fingerprint(stage->scene->backing);
        expect(agent_do(stage->bob, task_act, number), mutations[i].mapped ? -EROFS : -ESTALE,
               mutations[i].name);
        give_back(stage, stage->alice);
        expect(agent_do(stage->bob, task_act, number), mutations[i].mapped ? -EROFS : -ESTALE,
               mutations[i].name);
        after = scene_fingerprint(stage->scene->backing);
        assert_string_equal(before, after);
        expect(agent_do(stage->bob, task_drop, number), 0, "close");
        expect(agent_do(stage->bob, task_prepare, number), 0, "opening again");
        expect(agent_do(stage->bob, task_act, number), 0, mutations[i].name);
        expect(agent_do(stage->bob, task_drop, number), 0, "close");
        give_back(stage, stage->bob);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blocked_session_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocked_session_reads_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holder_changes_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_change_takes_a_free_lease, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outdated_handle_is_fenced, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

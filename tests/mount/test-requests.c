/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many requests reach the daemon: each is a round trip that somebody waits for. What is counted
 * is in the status; the least numbers are those of the kernel's protocol.
 */
#include "scene.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/xattr.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define TIMES 20 /* each deed, on as many files */
#define DIRS  4
#define FILES 50 /* in each of them */

#define LARGE_BYTES (8 * 1024 * 1024)
#define PART_BYTES  (128 * 1024)
#define WHOLE_KIB   1024 /* of one read, at most */

typedef struct Stage {
    Scene *scene;
    Agent *agent;
} Stage;

static void unmount(Stage *stage)
{
    assert_true(agent_end(stage->agent));
    assert_int_equal(scene_umount(stage->scene), 0);
}

static void mount_with(Stage *stage, const char *options)
{
    stage->agent = scene_add_agent(stage->scene);
    assert_true(scene_mount(stage->scene, options));
}

/* The kernel knows nothing of the files then. */
static void mount_again(Stage *stage)
{
    mount_with(stage, "ttl=1h,cache=always");
}

/* To be freed with json_node_unref. */
static JsonNode *read_status(Stage *stage)
{
    g_autofree char *status = scene_attribute(stage->scene, "status");
    JsonNode *root;

    assert_non_null(status);
    root = json_from_string(status, NULL);
    assert_non_null(root);
    return root;
}

static gint64 count(Stage *stage)
{
    g_autoptr(JsonNode) root = read_status(stage);
    JsonObject *counters = json_object_get_object_member(json_node_get_object(root), "counters");

    return json_object_get_int_member(counters, "requests");
}

static gboolean has_cache(Stage *stage, const char *name)
{
    g_autoptr(JsonNode) root = read_status(stage);

    return strcmp(json_object_get_string_member(json_node_get_object(root), "cache"), name) == 0;
}

/* FALSE after ten seconds. */
static gboolean wait_for_cache(Stage *stage, const char *name)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (!has_cache(stage, name) && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return has_cache(stage, name);
}

static int task_nothing(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return 0;
}

/* The requests of a task alone, without those of asking. */
static gint64 requests_of(Stage *stage, AgentTask task)
{
    gint64 begin = count(stage);
    gint64 nothing, all;

    assert_int_equal(agent_do(stage->agent, task_nothing, ""), 0);
    nothing = count(stage);
    assert_int_equal(agent_do(stage->agent, task, ""), 0);
    all = count(stage);
    return (all - nothing) - (nothing - begin);
}

typedef int (*Deed)(const char *name);

static int do_often(Deed deed, const char *prefix)
{
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *name = g_strdup_printf("%s%d", prefix, i);

        if (deed(name) != 0)
            return -errno;
    }
    return 0;
}

static int create(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    return fd >= 0 && write(fd, "text", 4) == 4 && close(fd) == 0 ? 0 : -1;
}

static int read_once(const char *name)
{
    char text[16];
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && read(fd, text, sizeof text) == 4 && close(fd) == 0 ? 0 : -1;
}

static int rename_away(const char *name)
{
    g_autofree char *to = g_strconcat("renamed-", name, NULL);

    return rename(name, to);
}

static int make_directory(const char *name)
{
    return mkdir(name, 0755);
}

static int task_create(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(create, "f");
}

static int task_read(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(read_once, "f");
}

static int task_rename(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(rename_away, "f");
}

static int task_unlink(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(unlink, "renamed-f");
}

static int task_mkdir(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(make_directory, "d");
}

/* The directory that they stand in may have to be looked at anew once. */
static void expect_each(Stage *stage, AgentTask task, gint64 each)
{
    assert_in_range(requests_of(stage, task), each * TIMES, each * TIMES + 2);
}

static void changes_cost_what_the_protocol_asks_for(void **state)
{
    Stage *stage = *state;

    expect_each(stage, task_create, 3); /* LOOKUP, CREATE, WRITE */
    assert_int_equal(agent_do(stage->agent, task_read, ""), 0);
    expect_each(stage, task_read, 1);   /* OPEN */
    expect_each(stage, task_rename, 2); /* LOOKUP, RENAME */
    expect_each(stage, task_unlink, 1); /* UNLINK */
    expect_each(stage, task_mkdir, 2);  /* LOOKUP, MKDIR */
}

static int task_make_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (int d = 0; d < DIRS; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        if (mkdir(dir, 0755) != 0)
            return -errno;
        for (int f = 0; f < FILES; f++) {
            g_autofree char *file = g_strdup_printf("%s/f%d", dir, f);

            if (create(file) != 0)
                return -errno;
        }
    }
    return 0;
}

static int walk(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    struct stat st;
    int seen = 0;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            seen += fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    closedir(dir);
    return seen == FILES ? 0 : -EIO;
}

static int task_walk(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int r = 0;

    for (int d = 0; d < DIRS && r == 0; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        r = walk(dir);
    }
    return r;
}

static int task_stat(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    struct stat st;

    for (int i = 0; i < DIRS * FILES; i++) {
        g_autofree char *file = g_strdup_printf("tree%d/f%d", i / FILES, i % FILES);

        if (stat(file, &st) != 0)
            return -errno;
    }
    return 0;
}

static void what_was_seen_costs_nothing_to_see_again(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    /* what was written has other attributes than those that the kernel has seen */
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
    assert_int_equal(requests_of(stage, task_stat), 0);
    assert_in_range(requests_of(stage, task_walk), 0, DIRS * FILES / 25);
}

/* Whether the kernel needs no handle of a directory: root's daemon, over ext4 or XFS. */
static gboolean spares_handles(const Stage *stage)
{
    const char *without = g_getenv("LEASEFS_WITHOUT");

    return geteuid() == 0 && (!without || strcmp(without, "no_opendir_support") != 0) &&
           (scene_is_on(stage->scene, EXT4_SUPER_MAGIC) ||
            scene_is_on(stage->scene, XFS_SUPER_MAGIC));
}

static int list(const char *directory)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    int seen = 0;

    while (dir && g_dir_read_name(dir))
        seen++;
    return seen;
}

static int task_list_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int seen = 0;

    for (int d = 0; d < DIRS; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        seen += list(dir);
    }
    return seen == DIRS * FILES ? 0 : -EIO;
}

/* LOOKUP, READDIRPLUS and READDIR; OPENDIR before each, or once for all. */
static void small_directory_is_listed_with_as_few_as_can_be(void **state)
{
    Stage *stage = *state;
    gboolean spares = spares_handles(stage);

    if (!spares)
        print_message("# not root, or neither ext4 nor XFS: the kernel has handles\n");
    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_list_tree), DIRS * 3, spares ? DIRS * 3 + 2 : DIRS * 4);
    /* the access time, once after it was read */
    assert_in_range(requests_of(stage, task_list_tree), 0, spares ? DIRS : DIRS * 2);
    assert_int_equal(requests_of(stage, task_list_tree), spares ? 0 : DIRS);
}

#define MANY         2000
#define SMALL_BUFFER 4096 /* also what older kernels ask for at once */
#define WITH_NAME    176  /* of 17 to 24 characters, with attributes: linux/fuse.h */

static int task_make_many(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    if (mkdir("many", 0755) != 0 || create("many/one") != 0)
        return -errno;
    for (int i = 1; i < MANY; i++) {
        g_autofree char *name = g_strdup_printf("many/name-of-18-ch-%04d", i);

        if (link("many/one", name) != 0)
            return -errno;
    }
    return 0;
}

static int task_list_in_small_parts(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    _Alignas(8) char buffer[SMALL_BUFFER];
    int fd = open("many", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int seen = 0;
    long n;

    while ((n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n; seen++)
            at += ((struct dirent64 *)(buffer + at))->d_reclen;
    close(fd);
    return seen == MANY + 2 ? 0 : -EIO;
}

/* What was read below and does not fit has to be read again, and less than fits is asked for more
 * often. */
static void parts_of_a_listing_are_filled(void **state)
{
    Stage *stage = *state;
    gint64 parts = MANY / (SMALL_BUFFER / WITH_NAME) + 1;

    assert_int_equal(agent_do(stage->agent, task_make_many, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_list_in_small_parts), 1, parts * 11 / 10 + 4);
}

/* Entries of a new mount: attributes come with the listing where they are looked at, a request for
 * a file where they are not asked for would be ten times as many. */
static void cold_walk_costs_less_than_a_request_a_file(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
    assert_int_equal(requests_of(stage, task_stat), 0);
}

/* Reads each file, and has the kernel forget its listings. */
static int task_read_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (int i = 0; i < DIRS * FILES; i++) {
        g_autofree char *file = g_strdup_printf("tree%d/f%d", i / FILES, i % FILES);

        if (read_once(file) != 0)
            return -errno;
    }
    for (int d = 0; d < DIRS; d++) {
        g_autofree char *file = g_strdup_printf("tree%d/new", d);

        if (create(file) != 0 || unlink(file) != 0)
            return -errno;
    }
    return 0;
}

/* After a READ the kernel asks for the access time. */
static void files_that_were_read_are_listed_with_attributes(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    assert_int_equal(agent_do(stage->agent, task_walk, ""), 0);
    assert_int_equal(agent_do(stage->agent, task_read_tree, ""), 0);
    assert_in_range(requests_of(stage, task_walk), 1, FILES + DIRS * 8);
}

/* How many of the files are still shown as they were when they were looked up: 4 bytes long. */
static int task_count_old(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    int old = 0;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *name = g_strdup_printf("f%d", i);
        struct stat st;

        if (stat(name, &st) != 0)
            return -errno;
        old += st.st_size == 4;
    }
    return old;
}

static int task_list(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return list(".");
}

/* As git does: it looks up all files, then it lists. That no file is looked at once more is seen by
 * what nobody should do, a change past a mount with cache=always. */
static void what_was_looked_up_is_listed_without_another_look(void **state)
{
    Stage *stage = *state;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_true(g_file_set_contents(path, "text", 4, NULL));
    }
    assert_int_equal(agent_do(stage->agent, task_count_old, ""), TIMES);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_int_equal(truncate(path, 5), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_list, ""), TIMES);
    assert_in_range(agent_do(stage->agent, task_count_old, ""), TIMES - 1, TIMES);
}

/* How many files have the attribute that is set below. */
static int task_count_attributes(void *state G_GNUC_UNUSED, const char *name)
{
    int having = 0;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("f%d", i);

        having += getxattr(path, name, NULL, 0) >= 0;
    }
    return having;
}

/* Seen by what nobody should do, as above. */
static void attribute_that_was_absent_is_not_looked_for_again(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->agent, task_create, ""), 0);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);

        assert_int_equal(setxattr(path, "user.early", "v", 1, 0), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.early"), TIMES);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, XATTR_NAME_CAPS), 0);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.late"), 0);
    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", stage->scene->backing, i);
        struct vfs_cap_data caps = {.magic_etc = GUINT32_TO_LE(VFS_CAP_REVISION_2)};

        assert_int_equal(setxattr(path, "user.late", "v", 1, 0), 0);
        if (geteuid() == 0)
            assert_int_equal(setxattr(path, XATTR_NAME_CAPS, &caps, sizeof caps, 0), 0);
    }
    assert_int_equal(agent_do(stage->agent, task_count_attributes, "user.late"), TIMES);
    assert_int_equal(agent_do(stage->agent, task_count_attributes, XATTR_NAME_CAPS), 0);
}

#define SMALL_TEXT "text"

/* With access times that a reading would not set, relatime or not. FALSE where the filesystem below
 * cannot tell what is in memory, or where each reading sets them. */
static gboolean make_small_files(const char *directory)
{
    const struct timespec times[2] = {
        {.tv_sec = time(NULL) + 60 * 60},
        {.tv_nsec = UTIME_OMIT},
    };
    struct statvfs fs;
    gboolean tells = FALSE;

    for (int i = 0; i < TIMES; i++) {
        g_autofree char *path = g_strdup_printf("%s/f%d", directory, i);
        char byte;
        struct iovec iov = {.iov_base = &byte, .iov_len = 1};
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        assert_int_equal(write(fd, SMALL_TEXT, strlen(SMALL_TEXT)), strlen(SMALL_TEXT));
        tells = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
    }
    assert_int_equal(statvfs(directory, &fs), 0);
    return tells && (fs.f_flag & (ST_NOATIME | ST_RELATIME));
}

static int look_and_read(const char *name)
{
    char text[16];
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    gboolean well = fd >= 0 && fstat(fd, &st) == 0 && read(fd, text, sizeof text) == st.st_size &&
                    memcmp(text, SMALL_TEXT, strlen(SMALL_TEXT)) == 0;

    return close(fd) == 0 && well ? 0 : -1;
}

static int task_look_and_read(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return do_often(look_and_read, "f");
}

static void small_file_comes_with_its_open(void **state)
{
    Stage *stage = *state;
    gboolean comes;

    unmount(stage);
    comes = make_small_files(stage->scene->mountpoint);
    mount_again(stage);
    expect_each(stage, task_look_and_read, comes ? 2 : 3); /* LOOKUP, OPEN; READ */
    expect_each(stage, task_look_and_read, comes ? 1 : 2); /* OPEN; GETATTR after a READ */
    expect_each(stage, task_look_and_read, 1);
}

static int task_make_large(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree char *text = g_malloc0(LARGE_BYTES);

    return g_file_set_contents("large", text, LARGE_BYTES, NULL) ? 0 : -EIO;
}

static int task_read_large(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree char *part = g_malloc(PART_BYTES);
    int fd = open("large", O_RDONLY | O_CLOEXEC);
    ssize_t n, all = 0;

    while ((n = read(fd, part, PART_BYTES)) > 0)
        all += n;
    close(fd);
    return all == LARGE_BYTES ? 0 : -EIO;
}

/* In KiB; 0 where the system does not show it. */
static guint64 read_ahead_of(const char *directory, gboolean *may_write_out)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    struct stat st;

    assert_int_equal(stat(directory, &st), 0);
    path =
        g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
    *may_write_out = access(path, W_OK) == 0;
    return g_file_get_contents(path, &text, NULL, NULL) ? g_ascii_strtoull(text, NULL, 10) : 0;
}

/* A daemon that may not say how large reads them in smaller ones. */
static void large_file_is_read_in_large_parts(void **state)
{
    Stage *stage = *state;
    gboolean may_write;
    guint64 part_kib;

    assert_int_equal(agent_do(stage->agent, task_make_large, ""), 0);
    unmount(stage);
    mount_again(stage);
    part_kib = read_ahead_of(stage->scene->mountpoint, &may_write);
    /* a rule of udev may have chosen another size than the kernel's or ours */
    if (may_write)
        assert_int_not_equal(part_kib, PART_BYTES / 1024);
    else
        part_kib = PART_BYTES / 1024;
    part_kib = CLAMP(part_kib, 4, WHOLE_KIB);
    /* the window opens by and by; open and the like */
    assert_in_range(requests_of(stage, task_read_large), 1, LARGE_BYTES / 1024 / part_kib + 8);
}

/* --- handles of directories, while somebody reaches past the mount -----------------------------
 */

/* Stands in a directory until it is killed, and has told so. */
static pid_t stand_in(const char *directory)
{
    int told[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(told), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        byte = chdir(directory) == 0;
        (void)!write(told[1], &byte, 1);
        for (;;)
            pause();
    }
    close(told[1]);
    assert_int_equal(read(told[0], &byte, 1), 1);
    close(told[0]);
    assert_true(byte);
    return pid;
}

/* How many descriptors the daemon has by which a directory can be read: proc_pid_fdinfo(5). */
static guint count_open_directories(Scene *scene)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fdinfo", scene->daemon);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;
    guint n = 0;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *info = g_build_filename(path, name, NULL);
        g_autofree char *text = NULL;
        const char *flags = NULL;

        if (g_file_get_contents(info, &text, NULL, NULL))
            flags = strstr(text, "flags:\t");
        if (flags)
            n += (g_ascii_strtoull(flags + strlen("flags:\t"), NULL, 8) & (O_DIRECTORY | O_PATH)) ==
                 O_DIRECTORY;
    }
    return n;
}

typedef struct Holding {
    DIR *dir;
} Holding;

static int task_hold(void *state, const char *directory)
{
    Holding *holding = state;

    holding->dir = opendir(directory);
    return holding->dir && readdir(holding->dir) ? 0 : -errno;
}

static int task_let_go(void *state, const char *argument G_GNUC_UNUSED)
{
    Holding *holding = state;
    int seen = 1;

    while (readdir(holding->dir))
        seen++;
    if (closedir(holding->dir) != 0)
        return -errno;
    return seen == FILES + 2 ? 0 : -EIO;
}

/* Whether listing again comes to cost so much, or less: the first time it is not in the kernel's
 * memory, the second time the access time is asked for, and what was looked up before the mount was
 * alone is looked up again after a second. FALSE after ten seconds. */
static gboolean comes_to_cost(Stage *stage, gint64 requests)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    gint64 last;

    while ((last = requests_of(stage, task_list_tree)) > requests &&
           g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return last <= requests;
}

/* The kernel does not wait for RELEASEDIR. FALSE after ten seconds. */
static gboolean comes_to_open_directories(Scene *scene, guint count)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (count_open_directories(scene) != count && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return count_open_directories(scene) == count;
}

/* As long as the kernel may not keep listings it has handles, and when it need not have any more it
 * does not forget to give back the last one. */
static void handles_go_with_the_last_who_reaches_past(void **state)
{
    Stage *stage = *state;
    pid_t insider;
    guint before;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_with(stage, "ttl=1h");
    if (!has_cache(stage, "long")) {
        print_message("# not seen: a process of another mount namespace reaches past any mount\n");
        return;
    }
    unmount(stage);
    insider = stand_in(stage->scene->mountpoint);
    mount_with(stage, "ttl=1h");
    assert_true(has_cache(stage, "short"));
    before = count_open_directories(stage->scene);
    assert_int_equal(agent_do(stage->agent, task_hold, "tree0"), 0);
    assert_int_equal(agent_do(stage->agent, task_list_tree, ""), 0);
    assert_in_range(requests_of(stage, task_list_tree), DIRS * 2, DIRS * 5);
    kill(insider, SIGKILL);
    assert_int_equal(waitpid(insider, NULL, 0), insider);
    assert_true(wait_for_cache(stage, "long"));
    assert_true(comes_to_cost(stage, DIRS));
    /* OPENDIR: one is still held */
    assert_int_equal(requests_of(stage, task_list_tree), DIRS);
    assert_int_equal(agent_do(stage->agent, task_let_go, ""), 0);
    assert_true(comes_to_cost(stage, spares_handles(stage) ? 0 : DIRS));
    assert_true(comes_to_open_directories(stage->scene, before));
}

/* Reads the first part alone, then removes the directory, or renames another over it. */
static int task_give_up_and_remove(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    static const char *const names[] = {"tree0", "tree1"};

    for (guint d = 0; d < G_N_ELEMENTS(names); d++) {
        DIR *dir = opendir(names[d]);

        if (!dir || !readdir(dir) || closedir(dir) != 0)
            return -errno;
        for (int f = 0; f < FILES; f++) {
            g_autofree char *file = g_strdup_printf("%s/f%d", names[d], f);

            if (unlink(file) != 0)
                return -errno;
        }
    }
    return rmdir(names[0]) == 0 && rename("tree2", names[1]) == 0 ? 0 : -errno;
}

static void listing_that_was_given_up_lets_the_directory_go(void **state)
{
    Stage *stage = *state;
    guint before;

    assert_int_equal(agent_do(stage->agent, task_make_tree, ""), 0);
    unmount(stage);
    mount_again(stage);
    before = count_open_directories(stage->scene);
    assert_int_equal(agent_do(stage->agent, task_give_up_and_remove, ""), 0);
    assert_true(comes_to_open_directories(stage->scene, before));
}

static int set_up_at(void **state, gboolean in_place)
{
    Stage *stage = g_new0(Stage, 1);

    stage->scene = scene_new(in_place);
    stage->agent = scene_add_agent(stage->scene);
    *state = stage;
    return scene_mount(stage->scene, "ttl=1h,cache=always") ? 0 : -1;
}

static int set_up(void **state)
{
    return set_up_at(state, TRUE);
}

static int set_up_elsewhere(void **state)
{
    return set_up_at(state, FALSE);
}

static int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean well = scene_free(stage->scene);

    g_free(stage);
    return well ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_cost_what_the_protocol_asks_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_seen_costs_nothing_to_see_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(cold_walk_costs_less_than_a_request_a_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(small_directory_is_listed_with_as_few_as_can_be, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_listing_are_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_were_read_are_listed_with_attributes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_looked_up_is_listed_without_another_look,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(attribute_that_was_absent_is_not_looked_for_again,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(small_file_comes_with_its_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_file_is_read_in_large_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(listing_that_was_given_up_lets_the_directory_go, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(handles_go_with_the_last_who_reaches_past, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}

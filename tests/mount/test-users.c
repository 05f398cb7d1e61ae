/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other users on a root's mount (allow_other): what they create is theirs as on the disk, what they
 * may not do they may not do here, and suid and sgid go when they write.
 */
#include "twin.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

#define USER     1234
#define GROUP    1234
#define TEAM     2345 /* a supplementary group of USER */
#define STRANGER 4321

typedef struct Stage {
    Scene *scene;
    Agent *alice;
} Stage;

static int set_up_at(void **state, gboolean in_place)
{
    Stage *stage = g_new0(Stage, 1);

    stage->scene = scene_new(in_place);
    stage->alice = scene_add_agent(stage->scene);
    *state = stage;
    if (chmod(stage->scene->dir, 0755) != 0 || chmod(stage->scene->backing, 0777) != 0)
        return -1;
    return scene_mount(stage->scene, "allow_other,suid,dev,ttl=1h,cache=always") ? 0 : -1;
}

static int set_up(void **state)
{
    return set_up_at(state, FALSE);
}

static int set_up_in_place(void **state)
{
    return set_up_at(state, TRUE);
}

static int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean well = scene_free(stage->scene);

    g_free(stage);
    return well ? 0 : -1;
}

/* --- what is done, in the working directory ----------------------------------------------------
 */

typedef int (*Deed)(void);

static int done(int r)
{
    return r >= 0 ? 0 : -errno;
}

static int create(const char *name, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    return fd >= 0 ? done(close(fd)) : -errno;
}

static int deed_create(void)
{
    return create("new", 0666);
}

static int deed_create_with_umask(void)
{
    umask(027);
    return create("new", 0777);
}

static int deed_mkdir(void)
{
    return done(mkdir("new", 0777));
}

static int deed_create_in_team(void)
{
    return create("team/new", 0666);
}

static int deed_mkdir_in_team(void)
{
    return done(mkdir("team/new", 0777));
}

static int deed_create_sgid_in_team(void)
{
    return create("team/new", 02777);
}

static int deed_mkdir_in_acl(void)
{
    umask(077);
    return done(mkdir("acl/new", 0777));
}

static int deed_create_in_acl(void)
{
    umask(077);
    return create("acl/new", 0666);
}

static int deed_mknod_in_acl(void)
{
    umask(077);
    return done(mkfifo("acl/new", 0666));
}

static int deed_tmpfile_in_acl(void)
{
    g_autofree char *path = NULL;
    int fd, r;

    umask(077);
    fd = open("acl", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    path = g_strdup_printf("/proc/self/fd/%d", fd);
    r = done(linkat(AT_FDCWD, path, AT_FDCWD, "acl/new", AT_SYMLINK_FOLLOW));
    close(fd);
    return r;
}

static int deed_symlink(void)
{
    return done(symlink("target", "new"));
}

static int deed_create_in_roots(void)
{
    return create("roots/new", 0666);
}

static int deed_remove_from_sticky(void)
{
    return done(unlink("sticky/roots"));
}

static int deed_read_secret(void)
{
    return done(open("secret", O_RDONLY | O_CLOEXEC));
}

static int deed_chmod_anothers(void)
{
    return done(chmod("suid", 0777));
}

static int deed_mknod_device(void)
{
    return done(mknod("new", S_IFCHR | 0666, makedev(1, 3)));
}

static int write_to(const char *name, int flags)
{
    int fd = open(name, flags | O_WRONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return -errno;
    r = flags & O_TRUNC ? 0 : done((int)write(fd, "x", 1));
    close(fd);
    return r;
}

static int deed_write_suid(void)
{
    return write_to("suid", 0);
}

static int deed_write_sgid(void)
{
    return write_to("sgid", O_APPEND);
}

static int deed_open_truncating_suid(void)
{
    return write_to("suid", O_TRUNC);
}

static int deed_truncate_suid(void)
{
    return done(truncate("suid", 0));
}

static int deed_fallocate_suid(void)
{
    int fd = open("suid", O_WRONLY | O_CLOEXEC);
    int r = fd >= 0 ? done(fallocate(fd, 0, 0, 8192)) : -errno;

    close(fd);
    return r;
}

/* On the disk it fails, with the bits there; here it may succeed without any effect. */
static int deed_chown_anothers_to_nobody(void)
{
    (void)!chown("suid", (uid_t)-1, (gid_t)-1);
    return 0;
}

static int deed_write_own_suid(void)
{
    if (chmod("own", 04755) != 0)
        return -errno;
    return write_to("own", 0);
}

static int deed_chown_own(void)
{
    return done(chown("own", (uid_t)-1, TEAM));
}

static int deed_chown_own_to_strangers_group(void)
{
    return done(chown("own", (uid_t)-1, STRANGER));
}

static int deed_chmod_own_sgid(void)
{
    return done(chmod("anothers-group", 02755));
}

/* acl(5) in the form of linux/posix_acl_xattr.h: a version, then tag, permissions and id. */
static int set_acl(const char *path, const char *name, const guint16 (*entries)[2], guint count)
{
    struct {
        guint32 version;
        struct {
            guint16 tag, perm;
            guint32 id;
        } entries[4];
    } acl = {.version = htole32(2)};

    for (guint i = 0; i < count; i++) {
        acl.entries[i].tag = htole16(entries[i][0]);
        acl.entries[i].perm = htole16(entries[i][1]);
        acl.entries[i].id = G_MAXUINT32;
    }
    return done(setxattr(path, name, &acl, sizeof acl.version + count * sizeof acl.entries[0], 0));
}

static const guint16 open_to_group[][2] = {{1, 7}, {4, 7}, {0x20, 0}};

static int deed_acl_on_sgid(void)
{
    return set_acl("anothers-group-sgid", "system.posix_acl_access", open_to_group, 3);
}

static int deed_list_attributes(void)
{
    char names[64] = "";

    return listxattr("own", names, sizeof names) == (ssize_t)sizeof "user.seen" &&
                   strcmp(names, "user.seen") == 0
               ? 0
               : -EEXIST;
}

typedef struct UserDeed {
    const char *name;
    Deed deed;
    const char *made; /* what to look at afterwards */
} UserDeed;

static const UserDeed deeds[] = {
    {"create", deed_create, "new"},
    {"create with an umask", deed_create_with_umask, "new"},
    {"mkdir", deed_mkdir, "new"},
    {"symlink", deed_symlink, "new"},
    {"create by a supplementary group in a setgid directory", deed_create_in_team, "team/new"},
    {"mkdir there", deed_mkdir_in_team, "team/new"},
    {"create with sgid there", deed_create_sgid_in_team, "team/new"},
    {"mkdir under a default ACL", deed_mkdir_in_acl, "acl/new"},
    {"create under a default ACL", deed_create_in_acl, "acl/new"},
    {"mkfifo under a default ACL", deed_mknod_in_acl, "acl/new"},
    {"O_TMPFILE under a default ACL", deed_tmpfile_in_acl, "acl/new"},
    {"create in another's directory", deed_create_in_roots, "roots/new"},
    {"unlink in a sticky directory", deed_remove_from_sticky, "sticky/roots"},
    {"read another's file", deed_read_secret, "secret"},
    {"chmod of another's file", deed_chmod_anothers, "suid"},
    {"mknod of a device", deed_mknod_device, "new"},
    {"write to a suid file", deed_write_suid, "suid"},
    {"append to a sgid file", deed_write_sgid, "sgid"},
    {"open a suid file with O_TRUNC", deed_open_truncating_suid, "suid"},
    {"truncate a suid file", deed_truncate_suid, "suid"},
    {"fallocate a suid file", deed_fallocate_suid, "suid"},
    {"chown of another's suid file to nobody else", deed_chown_anothers_to_nobody, "suid"},
    {"write to an own suid file", deed_write_own_suid, "own"},
    {"chown to an own group", deed_chown_own, "own"},
    {"chown to a stranger's group", deed_chown_own_to_strangers_group, "own"},
    {"chmod g+s where the group is another's", deed_chmod_own_sgid, "anothers-group"},
    {"an ACL on a sgid file whose group is another's", deed_acl_on_sgid, "anothers-group-sgid"},
    {"list the attributes of a file with a trusted one", deed_list_attributes, "own"},
};

/* --- by another user, the same below and in the mount -------------------------------------------
 */

static int make_file(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, "content", 7) != 7 || fchown(fd, uid, gid) != 0 ||
        fchmod(fd, mode) != 0)
        return -errno;
    return done(close(fd));
}

/* All that the deeds need, made by root. */
static int prepare(void)
{
    umask(0);
    if (mkdir("team", 02770) != 0 || chown("team", 0, TEAM) != 0 || chmod("team", 02770) != 0 ||
        mkdir("acl", 0777) != 0 || mkdir("roots", 0755) != 0 || mkdir("sticky", 01777) != 0)
        return -errno;
    if (make_file("sticky/roots", 0, 0, 0666) != 0 || make_file("secret", 0, 0, 0600) != 0 ||
        make_file("suid", 0, 0, 04777) != 0 || make_file("sgid", 0, 0, 02777) != 0 ||
        make_file("own", USER, GROUP, 06755) != 0 ||
        make_file("anothers-group", USER, STRANGER, 0755) != 0 ||
        make_file("anothers-group-sgid", USER, STRANGER, 02755) != 0)
        return -EIO;
    if (setxattr("own", "user.seen", "v", 1, 0) != 0 ||
        setxattr("own", "trusted.hidden", "v", 1, 0) != 0)
        return -errno;
    return set_acl("acl", "system.posix_acl_default", open_to_group, 3);
}

static int become_user(void)
{
    const gid_t groups[] = {TEAM};

    if (setgroups(1, groups) != 0 || setgid(GROUP) != 0 || setuid(USER) != 0)
        return -errno;
    return 0;
}

static void perform(gconstpointer data, GString *said)
{
    const UserDeed *deed = data;
    int status, r;
    pid_t pid;

    r = prepare();
    if (r != 0) {
        g_string_append_printf(said, "not done: %s", g_strerror(-r));
        return;
    }
    pid = fork();
    if (pid == 0) {
        r = become_user();
        _exit(r == 0 ? -deed->deed() : 200);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) == 200) {
        g_string_append(said, "not done: cannot become another user");
        return;
    }
    errno = WEXITSTATUS(status);
    twin_say(said, "result", errno == 0 ? 0 : -1);
    twin_say_stat(said, deed->made);
}

static void users_meet_the_rules_of_the_disk(void **state)
{
    Stage *stage = *state;
    guint different = 0;

    for (guint i = 0; i < G_N_ELEMENTS(deeds); i++)
        different += !twin_is_alike(stage->scene, stage->alice, deeds[i].name, perform, &deeds[i]);
    assert_int_equal(different, 0);
}

/* 0 or -errno. */
static int as_user(int (*deed)(const char *name), const char *name)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(become_user() == 0 ? -deed(name) : 200);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -ECHILD;
    return -WEXITSTATUS(status);
}

static int write_in_place(const char *name)
{
    return write_to(name, 0);
}

static int task_write_as_user(void *state G_GNUC_UNUSED, const char *name)
{
    return as_user(write_in_place, name);
}

/* What the kernel remembers of a mode has to go, too: a reply to a write tells of none, and a mode
 * alone is asked for without a look at the file. */
static void cleared_suid_is_seen_at_once(void **state)
{
    Stage *stage = *state;
    g_autofree char *below = g_build_filename(stage->scene->backing, "suid", NULL);
    g_autofree char *above = g_build_filename(stage->scene->mountpoint, "suid", NULL);
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    struct statx stx = {.stx_mode = S_ISUID};

    assert_int_equal(make_file(below, 0, 0, 04777), 0);
    assert_int_equal(statx(AT_FDCWD, above, 0, STATX_MODE, &stx), 0);
    assert_true(stx.stx_mode & S_ISUID);
    assert_int_equal(agent_do(stage->alice, task_write_as_user, "suid"), 0);
    while (statx(AT_FDCWD, above, 0, STATX_MODE, &stx) == 0 && stx.stx_mode & S_ISUID &&
           g_get_monotonic_time() < limit_us)
        g_usleep(1000);
    assert_false(stx.stx_mode & S_ISUID);
}

static int open_directory(const char *name)
{
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 ? done(close(fd)) : -errno;
}

static int task_open_as_user(void *state G_GNUC_UNUSED, const char *name)
{
    return as_user(open_directory, name);
}

static int task_make_directories(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    umask(0);
    if (mkdir("for-all", 0755) != 0 || mkdir("for-root", 0700) != 0 || mkdir("blind", 0711) != 0)
        return -errno;
    return 0;
}

/* Also where the kernel opens directories without asking the daemon. */
static void directory_that_may_not_be_read_is_not_opened(void **state)
{
    Stage *stage = *state;

    assert_int_equal(agent_do(stage->alice, task_make_directories, ""), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(agent_do(stage->alice, task_open_as_user, "for-all"), 0);
        assert_int_equal(agent_do(stage->alice, task_open_as_user, "for-root"), -EACCES);
        assert_int_equal(agent_do(stage->alice, task_open_as_user, "blind"), -EACCES);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(users_meet_the_rules_of_the_disk),
        CASE(cleared_suid_is_seen_at_once),
        cmocka_unit_test_setup_teardown(directory_that_may_not_be_read_is_not_opened,
                                        set_up_in_place, tear_down),
    };

    return cmocka_run_group_tests_name("users", tests, NULL, NULL);
}

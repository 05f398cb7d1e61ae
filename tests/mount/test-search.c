/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory without search permission is closed at once, by whatever name or handle someone
 * comes, in a mount of one user: the kernel checks no permissions there, and remembers names.
 * For root the capabilities are dropped that override permissions.
 */
#include "twin.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

/* Neither here nor in what is run from here. */
static int drop_overrides(void **state G_GNUC_UNUSED)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    const guint32 overrides = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH;

    if (geteuid() != 0)
        return 0;
    if (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) != 0 ||
        prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH) != 0 || syscall(SYS_capget, &header, caps) != 0)
        return -1;
    caps[0].effective &= ~overrides;
    caps[0].permitted &= ~overrides;
    caps[0].inheritable &= ~overrides;
    return (int)syscall(SYS_capset, &header, caps);
}

static void make(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0 && write(fd, "content", 7) == 7)
        close(fd);
}

static long size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static long count_at(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    long n = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static long count_in(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    long n = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* All of it known to the kernel, names that are not there, too. */
static void prepare(void)
{
    mkdir("d", 0755);
    mkdir("d/e", 0755);
    make("d/f");
    make("d/e/g");
    (void)size_of("d/f");
    (void)size_of("d/e/g");
    (void)size_of("d/none");
    (void)count_in("d");
}

static void deed_by_name(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    prepare();
    twin_say(said, "chmod", chmod("d", 0));
    twin_say(said, "stat", size_of("d/f"));
    twin_say(said, "missing", size_of("d/none"));
    twin_say(said, "deeper", size_of("d/e/g"));
    twin_say(said, "open", open("d/f", O_RDONLY | O_CLOEXEC));
    twin_say(said, "access", access("d/f", F_OK));
    twin_say(said, "create", open("d/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "unlink", unlink("d/f"));
    twin_say(said, "rename", rename("d/f", "f"));
    twin_say(said, "link", link("d/f", "f"));
    twin_say(said, "list", count_in("d"));
    twin_say(said, "enter", chdir("d"));
    twin_say(said, "search only", chmod("d", 0100));
    twin_say(said, "stat", size_of("d/f"));
    twin_say(said, "missing", size_of("d/none"));
    twin_say(said, "list", count_in("d"));
    twin_say(said, "read only", chmod("d", 0400));
    twin_say(said, "stat", size_of("d/f"));
    twin_say(said, "missing", size_of("d/none"));
    twin_say(said, "list", count_in("d"));
    twin_say(said, "no writing", chmod("d", 0500));
    twin_say(said, "create", open("d/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "unlink", unlink("d/f"));
    twin_say(said, "for others", chmod("d", 0711) == 0 ? chmod("d", 0700) : -1);
    twin_say(said, "stat", size_of("d/f"));
}

static void deed_from_within(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    prepare();
    twin_say(said, "enter", chdir("d"));
    twin_say(said, "stat", size_of("f"));
    twin_say(said, "missing", size_of("none"));
    twin_say(said, "chmod", chmod(".", 0));
    twin_say(said, "stat", size_of("f"));
    twin_say(said, "missing", size_of("none"));
    twin_say(said, "create", open("new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "deeper", size_of("e/g"));
}

/* What was opened before stays open. */
static void deed_by_handles(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int file_fd, dir_fd, below_fd;
    struct stat st;
    char byte;

    prepare();
    file_fd = open("d/f", O_RDWR | O_CLOEXEC);
    dir_fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    below_fd = open("d/e", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    twin_say(said, "chmod", fchmod(dir_fd, 0));
    twin_say(said, "read", pread(file_fd, &byte, 1, 0));
    twin_say(said, "write", pwrite(file_fd, "x", 1, 0));
    twin_say(said, "fstat", fstat(file_fd, &st));
    twin_say(said, "fchmod", fchmod(file_fd, 0600));
    twin_say(said, "attribute", fsetxattr(file_fd, "user.a", "v", 1, 0));
    twin_say(said, "from the directory", openat(dir_fd, "f", O_RDONLY | O_CLOEXEC));
    twin_say(said, "list it again", count_at(dir_fd));
    twin_say(said, "from below", openat(below_fd, "g", O_RDONLY | O_CLOEXEC) >= 0);
    twin_say(said, "create below",
             openat(below_fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644) >= 0);
    twin_say(said, "list below", count_at(below_fd));
    twin_say(said, "open it", fchmod(dir_fd, 0700));
    twin_say_stat(said, "d/f");
}

/* Kernels before 6.16 cannot be told so from within a request: there it is soon, not at once, as
 * long as they remember names at all. */
static const char *options(void)
{
    struct utsname name;
    int major = 0, minor = 0;
    gboolean is_told = uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
                       (major > 6 || (major == 6 && minor >= 16));

    return is_told ? "ttl=1h" : "ttl=1h,cache=never";
}

static void directories_close_as_on_the_disk(void **state G_GNUC_UNUSED)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        Scene *scene = scene_new(in_place);
        Agent *alice = scene_add_agent(scene);
        guint different = 0;

        assert_true(scene_mount(scene, options()));
        different += !twin_is_alike(scene, alice, "by name", deed_by_name, NULL);
        different += !twin_is_alike(scene, alice, "from within", deed_from_within, NULL);
        different += !twin_is_alike(scene, alice, "by handles", deed_by_handles, NULL);
        assert_true(scene_free(scene));
        assert_int_equal(different, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_close_as_on_the_disk),
    };

    return cmocka_run_group_tests_name("search", tests, drop_overrides, NULL);
}

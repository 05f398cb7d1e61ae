/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names, directories, links, renames and special files do in the mount what they do on the disk
 * below it.
 */
#include "twin.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <dirent.h>
#include <unistd.h>
#include <cmocka.h>

static void make(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd >= 0 && write(fd, text, strlen(text)) >= 0)
        close(fd);
}

static void say_content(GString *said, const char *path)
{
    g_autofree char *text = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL))
        g_string_append_printf(said, "%s holds %.60s\n", path, text);
    else
        g_string_append_printf(said, "%s cannot be read\n", path);
}

/* --- names ------------------------------------------------------------------------------------ */

/* 255 bytes of every value that a name may hold, in the order of `turn`. */
static void every_byte(char *name_out, guint turn)
{
    guint length = 0;

    for (guint i = 0; length < NAME_MAX; i++) {
        char byte = (char)(1 + (i + turn) % 255);

        name_out[length++] = byte == '/' ? '_' : byte;
    }
    name_out[length] = '\0';
}

static guint count_entries(const char *path, const char *wanted)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    guint n = 0;

    while (dir && (entry = readdir(dir)))
        n += wanted ? strcmp(entry->d_name, wanted) == 0 : entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void deed_any_bytes(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char name[NAME_MAX + 2], other[NAME_MAX + 1], target[PATH_MAX] = "";

    for (guint turn = 0; turn < 5; turn++) {
        every_byte(name, turn * 50);
        every_byte(other, turn * 50 + 7);
        make(name, "x");
        twin_say(said, "rename", rename(name, other));
        twin_say(said, "listed", count_entries(".", other));
        twin_say(said, "link", link(other, name));
        twin_say(said, "unlink", unlink(other));
        twin_say(said, "symlink", symlink(name, other));
        twin_say(said, "readlink", readlink(other, target, sizeof target));
        twin_say(said, "the same", strncmp(target, name, NAME_MAX));
        twin_say(said, "unlink", unlink(other));
        twin_say(said, "mkdir", mkdir(other, 0755));
    }
    memset(name, 'n', NAME_MAX + 1);
    name[NAME_MAX + 1] = '\0';
    twin_say(said, "create 256", open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "mkdir 256", mkdir(name, 0755));
    twin_say(said, "symlink 256", symlink("x", name));
    twin_say(said, "look up 256", access(name, F_OK));
    twin_say(said, "rename to 256", rename(other, name));
    memset(target, 't', sizeof target - 1);
    target[sizeof target - 1] = '\0';
    twin_say(said, "the longest symlink", symlink(target, "l"));
    twin_say_stat(said, "l");
    twin_say(said, "read it", readlink("l", target, sizeof target));
    twin_say(said, "follow it", access("l", F_OK));
    twin_say(said, "an empty symlink", symlink("", "empty"));
    twin_say(said, "an empty name", mkdir("", 0755));
    twin_say(said, "entries", count_entries(".", NULL));
}

/* 40 levels of 200 bytes: twice PATH_MAX. */
static void deed_beyond_path_max(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char name[201], whole[PATH_MAX + 100];
    int dirs[41];

    memset(name, 'd', 200);
    name[200] = '\0';
    dirs[0] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 40; i++) {
        if (mkdirat(dirs[i], name, 0755) != 0)
            twin_say(said, "mkdirat", -1);
        dirs[i + 1] = openat(dirs[i], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    twin_say(said, "create", openat(dirs[40], "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644) >= 0);
    twin_say(said, "read it", faccessat(dirs[40], "f", R_OK, 0));
    twin_say(said, "rename", renameat(dirs[40], "f", dirs[39], "g"));
    twin_say(said, "down there", fchdir(dirs[40]));
    twin_say(said, "from there", access("../g", F_OK));
    twin_say(said, "where", getcwd(whole, PATH_MAX) ? 0 : -1);
    memset(whole, '/', sizeof whole - 1);
    whole[PATH_MAX] = '\0';
    whole[PATH_MAX - 1] = '.';
    twin_say(said, "a path of PATH_MAX", access(whole, F_OK));
    whole[PATH_MAX - 1] = '\0';
    whole[PATH_MAX - 2] = '.';
    twin_say(said, "one shorter", access(whole, F_OK));
    twin_say(said, "unlink", unlinkat(dirs[39], "g", 0));
    for (int i = 40; i-- > 0;) {
        if (unlinkat(dirs[i], name, AT_REMOVEDIR) != 0)
            twin_say(said, "rmdir", -1);
    }
    twin_say(said, "nothing left", count_entries("/proc/self/cwd", NULL));
}

/* --- directories ------------------------------------------------------------------------------ */

static void deed_directories(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd;

    twin_say(said, "mkdir", mkdir("d", 0777));
    twin_say(said, "again", mkdir("d", 0777));
    twin_say(said, "with a slash", mkdir("d/e/", 0700));
    twin_say(said, "below nothing", mkdir("no/e", 0700));
    twin_say_stat(said, "d");
    make("f", "x");
    twin_say(said, "below a file", mkdir("f/e", 0700));
    twin_say(said, "create with a slash", open("new/", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "a file with a slash", access("f/", F_OK));
    twin_say(said, "not empty", rmdir("d"));
    twin_say(said, "not a directory", rmdir("f"));
    twin_say(said, "a directory", unlink("d"));
    twin_say(said, "dot", rmdir("d/."));
    twin_say(said, "dots", rmdir("d/e/.."));
    twin_say(said, "into itself", rename("d", "d/e/d"));
    twin_say(said, "onto its parent", rename("d/e", "d"));
    twin_say(said, "a file onto a directory", rename("f", "d"));
    twin_say(said, "a directory onto a file", rename("d", "f"));
    twin_say(said, "the last", rename("d/e/.", "x"));
    twin_say(said, "sgid", mkdir("s", 02775) == 0 ? chmod("s", 02775) : -1);
    twin_say(said, "below", mkdir("s/t", 0775));
    twin_say_stat(said, "s/t");
    fd = open("d/e", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    twin_say(said, "rmdir while open", rmdir("d/e"));
    twin_say_stat(said, "d");
    twin_say(said, "create in it", openat(fd, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    twin_say(said, "its dots", openat(fd, "..", O_PATH | O_CLOEXEC) >= 0);
    twin_say(said, "in it", fchdir(fd));
    twin_say(said, "where", getcwd((char[PATH_MAX]){0}, PATH_MAX) ? 0 : -1);
    twin_say(said, "mkdir in it", mkdir("new", 0755));
    twin_say(said, "list it", count_entries("/proc/self/cwd", NULL));
    twin_say(said, "chmod it", fchmod(fd, 0700));
}

/* --- links ------------------------------------------------------------------------------------ */

static void say_same(GString *said, const char *a, const char *b)
{
    struct stat first, second;
    gboolean same = lstat(a, &first) == 0 && lstat(b, &second) == 0 &&
                    first.st_ino == second.st_ino && first.st_dev == second.st_dev;

    g_string_append_printf(said, "%s and %s are %s\n", a, b, same ? "one" : "two");
}

static void deed_links(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd;

    make("f", "abc");
    twin_say(said, "mkdir", mkdir("d", 0755));
    twin_say(said, "link", link("f", "g"));
    twin_say_stat(said, "f");
    say_same(said, "f", "g");
    twin_say(said, "elsewhere", link("g", "d/h"));
    twin_say_stat(said, "g");
    say_same(said, "f", "d/h");
    fd = open("f", O_RDWR | O_CLOEXEC);
    twin_say(said, "unlink", unlink("f"));
    twin_say_stat(said, "g");
    twin_say(said, "write", pwrite(fd, "X", 1, 0));
    say_content(said, "d/h");
    twin_say(said, "onto its own link", rename("g", "d/h"));
    twin_say_stat(said, "g");
    twin_say(said, "over another", link("g", "d/h"));
    twin_say(said, "of a directory", link("d", "e"));
    twin_say(said, "of nothing", link("no", "e"));
    twin_say(said, "symlink", symlink("g", "l"));
    twin_say(said, "of the symlink itself", link("l", "m"));
    say_same(said, "l", "m");
    twin_say_stat(said, "m");
    twin_say(said, "of what it names", linkat(AT_FDCWD, "l", AT_FDCWD, "n", AT_SYMLINK_FOLLOW));
    say_same(said, "g", "n");
    twin_say(said, "to another filesystem", link("g", "/proc/self/g"));
    twin_say(said, "unlink", unlink("g"));
    twin_say(said, "unlink", unlink("n"));
    twin_say(said, "unlink", unlink("d/h"));
    twin_say(said, "of a deleted file", linkat(fd, "", AT_FDCWD, "back", AT_EMPTY_PATH));
}

static void deed_nameless(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    char path[40];
    struct stat st;

    twin_say(said, "write", write(fd, "abc", 3));
    twin_say(said, "stat", fstat(fd, &st));
    g_string_append_printf(said, "mode %o, links %lu, size %ld\n", st.st_mode, (gulong)st.st_nlink,
                           (long)st.st_size);
    twin_say(said, "chmod", fchmod(fd, 0600));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    twin_say(said, "link", linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
    twin_say(said, "link again", linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
    twin_say_stat(said, "f");
    twin_say(said, "write", write(fd, "def", 3));
    say_content(said, "g");
    fd = open(".", O_TMPFILE | O_WRONLY | O_EXCL | O_CLOEXEC, 0640);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    twin_say(said, "exclusive", linkat(AT_FDCWD, path, AT_FDCWD, "h", AT_SYMLINK_FOLLOW));
    twin_say(said, "read-only", open(".", O_TMPFILE | O_RDONLY | O_CLOEXEC, 0640));
    twin_say(said, "in a file", open("f", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
    twin_say(said, "entries", count_entries(".", NULL));
}

static void deed_symlinks(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char target[64] = "";

    twin_say(said, "symlink", symlink("target", "l"));
    twin_say_stat(said, "l");
    twin_say(said, "again", symlink("other", "l"));
    twin_say(said, "short", readlink("l", target, 3));
    twin_say(said, "chmod of it", fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
    twin_say(said, "user attribute", lsetxattr("l", "user.a", "v", 1, 0));
    twin_say(said, "trusted attribute", lsetxattr("l", "trusted.a", "v", 1, 0));
    twin_say(said, "read back", lgetxattr("l", "trusted.a", target, sizeof target));
    twin_say(said, "list", llistxattr("l", target, sizeof target));
    twin_say(said, "remove", lremovexattr("l", "trusted.a"));
    twin_say(said, "mkdir through it", mkdir("l", 0755));
    twin_say(said, "exclusive", open("l", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    twin_say(said, "replace by rename", symlink("new", "k") == 0 ? rename("k", "l") : -1);
    twin_say(said, "read", readlink("l", target, sizeof target));
    g_string_append_printf(said, "%.3s\n", target);
    twin_say(said, "unlink", unlink("l"));
    twin_say(said, "not a link", readlink(".", target, sizeof target));
}

/* --- renames ---------------------------------------------------------------------------------- */

static void say_names(GString *said)
{
    static const char *const names[] = {"a", "b", "d", "d/a", "e", "e/a"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        twin_say_stat(said, names[i]);
    say_content(said, "a");
    say_content(said, "b");
    say_content(said, "d/a");
}

static void deed_renames(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    make("a", "a");
    make("b", "bb");
    mkdir("d", 0755);
    mkdir("e", 0700);
    twin_say(said, "noreplace", renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
    twin_say(said, "noreplace, free", renameat2(AT_FDCWD, "a", AT_FDCWD, "d/a", RENAME_NOREPLACE));
    say_names(said);
    twin_say(said, "exchange", renameat2(AT_FDCWD, "b", AT_FDCWD, "d/a", RENAME_EXCHANGE));
    say_names(said);
    twin_say(said, "exchange kinds", renameat2(AT_FDCWD, "b", AT_FDCWD, "e", RENAME_EXCHANGE));
    say_names(said);
    twin_say(said, "and back", renameat2(AT_FDCWD, "b", AT_FDCWD, "e", RENAME_EXCHANGE));
    twin_say(said, "with nothing", renameat2(AT_FDCWD, "b", AT_FDCWD, "no", RENAME_EXCHANGE));
    twin_say(said, "with an ancestor", renameat2(AT_FDCWD, "d/a", AT_FDCWD, "d", RENAME_EXCHANGE));
    twin_say(said, "both",
             renameat2(AT_FDCWD, "b", AT_FDCWD, "d", RENAME_EXCHANGE | RENAME_NOREPLACE));
    twin_say(said, "unknown", renameat2(AT_FDCWD, "b", AT_FDCWD, "d", 1u << 10));
    twin_say(said, "whiteout", renameat2(AT_FDCWD, "b", AT_FDCWD, "a", RENAME_WHITEOUT));
    say_names(said);
    twin_say(said, "whiteout over", renameat2(AT_FDCWD, "d/a", AT_FDCWD, "a", RENAME_WHITEOUT));
    say_names(said);
    twin_say(said, "remove it", unlink("d/a"));
    twin_say(said, "empty over empty", rename("d", "e"));
    say_names(said);
    twin_say(said, "to another filesystem", rename("a", "/proc/self/a"));
    twin_say(said, "onto itself", rename("a", "a"));
    twin_say(said, "from nothing", rename("no", "a"));
    say_names(said);
}

/* --- an overlay whose upper layer is there ---------------------------------------------------- */

static void deed_upper_layer(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    static const char *const dirs[] = {"lower", "lower/d", "upper", "work", "merged"};

    for (guint i = 0; i < G_N_ELEMENTS(dirs); i++)
        mkdir(dirs[i], 0755);
    make("lower/a", "lower a");
    make("lower/b", "lower b");
    make("lower/d/c", "lower c");
    twin_say(said, "unshare", unshare(CLONE_NEWNS));
    twin_say(said, "private", mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    if (twin_say(said, "mount",
                 mount("overlay", "merged", "overlay", 0,
                       "lowerdir=lower,upperdir=upper,workdir=work")) != 0)
        return;
    twin_say(said, "whiteout", unlink("merged/a"));
    twin_say_stat(said, "upper/a");
    twin_say(said, "is gone", access("merged/a", F_OK));
    make("merged/b", "changed");
    say_content(said, "upper/b");
    say_content(said, "lower/b");
    twin_say(said, "rename", rename("merged/b", "merged/e"));
    twin_say_stat(said, "upper/b");
    twin_say(said, "remove a directory", unlink("merged/d/c"));
    twin_say(said, "remove a directory", rmdir("merged/d"));
    twin_say(said, "and make it anew", mkdir("merged/d", 0755));
    twin_say(said, "opaque", lgetxattr("upper/d", "trusted.overlay.opaque", NULL, 0));
    twin_say(said, "entries", count_entries("merged/d", NULL));
    twin_say(said, "nameless", open("merged", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) >= 0);
    twin_say(said, "entries", count_entries("merged", NULL));
    twin_say(said, "umount", umount2("merged", MNT_DETACH));
}

/* --- special files ---------------------------------------------------------------------------- */

static void deed_fifo(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char bytes[8] = "";
    int fd, status;
    pid_t pid;

    twin_say(said, "mkfifo", mkfifo("p", 0640));
    twin_say_stat(said, "p");
    twin_say(said, "nobody reads", open("p", O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    pid = fork();
    if (pid == 0) {
        fd = open("p", O_WRONLY | O_CLOEXEC);
        _exit(fd >= 0 && write(fd, "hello", 5) == 5 ? 0 : 1);
    }
    fd = open("p", O_RDONLY | O_CLOEXEC);
    twin_say(said, "read", read(fd, bytes, 5));
    g_string_append_printf(said, "%s\n", bytes);
    waitpid(pid, &status, 0);
    twin_say(said, "the writer", status);
    twin_say(said, "end", read(fd, bytes, 5));
    twin_say(said, "rename", rename("p", "q"));
    twin_say(said, "unlink", unlink("q"));
}

static void deed_socket(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char bytes[8] = "";
    int accepted;

    twin_say(said, "bind", bind(server, (struct sockaddr *)&address, sizeof address));
    twin_say_stat(said, "s");
    twin_say(said, "again", bind(client, (struct sockaddr *)&address, sizeof address));
    twin_say(said, "before listen", connect(client, (struct sockaddr *)&address, sizeof address));
    twin_say(said, "listen", listen(server, 1));
    twin_say(said, "connect", connect(client, (struct sockaddr *)&address, sizeof address));
    accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    twin_say(said, "send", write(client, "hello", 5));
    twin_say(said, "receive", read(accepted, bytes, 5));
    twin_say(said, "open", open("s", O_RDWR | O_CLOEXEC));
    twin_say(said, "link", link("s", "t"));
    g_strlcpy(address.sun_path, "t", sizeof address.sun_path);
    close(client);
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    twin_say(said, "by its link", connect(client, (struct sockaddr *)&address, sizeof address));
    twin_say(said, "unlink", unlink("s"));
    twin_say(said, "mknod", mknod("n", S_IFSOCK | 0600, 0));
    twin_say_stat(said, "n");
}

static void deed_devices(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    twin_say(said, "null", mknod("null", S_IFCHR | 0666, makedev(1, 3)));
    twin_say_stat(said, "null");
    twin_say(said, "large", mknod("large", S_IFBLK | 0600, makedev(4000, 1000000)));
    twin_say_stat(said, "large");
    twin_say(said, "whiteout", mknod("whiteout", S_IFCHR, 0));
    twin_say_stat(said, "whiteout");
    twin_say(said, "regular", mknod("regular", S_IFREG | 0600, 0));
    twin_say_stat(said, "regular");
    twin_say(said, "directory", mknod("directory", S_IFDIR | 0700, 0));
}

/* --- programs that are replaced while they run ------------------------------------------------ */

/* Returns when the program runs; -1 and errno where it cannot. Not vfork(2), which a sanitizer
 * makes a fork(2) of. */
static pid_t start_sleep(void)
{
    char *const argv[] = {(char *)(guintptr) "sleep", (char *)(guintptr) "100", NULL};
    int ends[2], error = 0;
    ssize_t told;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        execv("./sleep", argv);
        error = errno;
        told = write(ends[1], &error, sizeof error);
        _exit(told < 0);
    }
    close(ends[1]);
    told = read(ends[0], &error, sizeof error); /* nothing, where exec closed the other end */
    close(ends[0]);
    if (told == 0)
        return pid;
    waitpid(pid, NULL, 0);
    errno = error;
    return -1;
}

static void deed_busy_program(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    g_autofree char *program = NULL;
    gsize size = 0;
    int status, fd;
    pid_t pid;

    g_file_get_contents("/bin/sleep", &program, &size, NULL);
    for (int i = 0; i < 2; i++) {
        fd = open(i == 0 ? "sleep" : "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        twin_say(said, "copy", fd >= 0 && write(fd, program, size) == (ssize_t)size);
        close(fd);
    }
    fd = open("sleep", O_WRONLY | O_CLOEXEC);
    twin_say(said, "run while it is written", start_sleep());
    close(fd);
    pid = start_sleep();
    if (pid < 0) {
        twin_say(said, "run", pid);
        return;
    }
    twin_say(said, "write while it runs", open("sleep", O_WRONLY | O_CLOEXEC));
    twin_say(said, "truncate", truncate("sleep", 0));
    twin_say(said, "replace", rename("new", "sleep"));
    twin_say(said, "write the new one", open("sleep", O_WRONLY | O_CLOEXEC) >= 0);
    twin_say(said, "it runs on", kill(pid, 0));
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    twin_say(said, "until it is ended", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

static const struct {
    const char *name;
    TwinDeed deed;
} deeds[] = {
    {"names of any bytes", deed_any_bytes},
    {"paths beyond PATH_MAX", deed_beyond_path_max},
    {"directories", deed_directories},
    {"hard links", deed_links},
    {"O_TMPFILE", deed_nameless},
    {"symbolic links", deed_symlinks},
    {"renames and their flags", deed_renames},
    {"an overlay's upper layer", deed_upper_layer},
    {"named pipes", deed_fifo},
    {"sockets", deed_socket},
    {"devices", deed_devices},
    {"programs that run", deed_busy_program},
};

static void compare_all(gboolean in_place, const char *options)
{
    Scene *scene = scene_new(in_place);
    Agent *alice = scene_add_agent(scene);
    guint different = 0;

    assert_true(scene_mount(scene, options));
    for (guint i = 0; i < G_N_ELEMENTS(deeds); i++)
        different += !twin_is_alike(scene, alice, deeds[i].name, deeds[i].deed, NULL);
    assert_true(scene_free(scene));
    assert_int_equal(different, 0);
}

static void names_do_what_they_do_on_the_disk(void **state G_GNUC_UNUSED)
{
    compare_all(FALSE, "ttl=1h");
}

static void names_do_so_in_place(void **state G_GNUC_UNUSED)
{
    compare_all(TRUE, SCENE_ALONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_do_what_they_do_on_the_disk),
        cmocka_unit_test(names_do_so_in_place),
    };

    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}

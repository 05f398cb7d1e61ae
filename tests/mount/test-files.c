/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files, by their data and attributes, do in the mount what they do on the disk below it.
 */
#include "twin.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define KIB 1024L
#define MIB (1024L * KIB)

static void say_content(GString *said, const char *path)
{
    g_autofree char *text = NULL;
    gsize size;

    if (g_file_get_contents(path, &text, &size, NULL))
        g_string_append_printf(said, "%s holds %lu: %.60s\n", path, (gulong)size, text);
    else
        g_string_append_printf(said, "%s cannot be read\n", path);
}

static int make(const char *path, const char *text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd >= 0 && write(fd, text, strlen(text)) < 0)
        return -1;
    return fd;
}

/* --- offsets and appending -------------------------------------------------------------------- */

static void deed_append(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int plain = make("f", "0123456789");
    int append = open("f", O_RDWR | O_APPEND | O_CLOEXEC);

    twin_say(said, "append", write(append, "AB", 2));
    twin_say(said, "write", pwrite(plain, "xyz", 3, 11));
    twin_say(said, "append again", write(append, "CD", 2));
    twin_say(said, "offset", lseek(append, 0, SEEK_CUR));
    twin_say(said, "pwrite appends", pwrite(append, "EF", 2, 0)); /* BUGS of pwrite(2) */
    twin_say(said, "clear", fcntl(append, F_SETFL, 0));
    twin_say(said, "seek", lseek(append, 1, SEEK_SET));
    twin_say(said, "write in place", write(append, "--", 2));
    twin_say(said, "set", fcntl(append, F_SETFL, O_APPEND));
    twin_say(said, "append once more", write(append, "GH", 2));
    say_content(said, "f");
}

static void deed_append_by_two(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    close(make("f", ""));
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            int fd = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
            for (int n = 0; n < 500; n++) {
                if (write(fd, "0123456789abcde\n", 16) != 16)
                    _exit(1);
            }
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    twin_say(said, "size", open("f", O_RDONLY | O_CLOEXEC) >= 0 ? 0 : -1);
    twin_say_stat(said, "f");
}

static void deed_beyond_the_end(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char bytes[16];
    int fd = make("f", "abc");

    twin_say(said, "read at the end", pread(fd, bytes, sizeof bytes, 3));
    twin_say(said, "read beyond", pread(fd, bytes, sizeof bytes, 100));
    twin_say(said, "write beyond", pwrite(fd, "x", 1, 9));
    twin_say(said, "read the hole", pread(fd, bytes, sizeof bytes, 2));
    g_string_append_printf(said, "%d %d %d\n", bytes[0], bytes[1], bytes[7]);
    twin_say(said, "shrink", ftruncate(fd, 5));
    twin_say(said, "grow", ftruncate(fd, 8));
    twin_say(said, "read zeros", pread(fd, bytes, sizeof bytes, 0));
    g_string_append_printf(said, "%d %d\n", bytes[5], bytes[7]);
    twin_say(said, "negative", ftruncate(fd, -1));
    twin_say(said, "negative by name", truncate("f", -1));
    twin_say(said, "seek before the start", lseek(fd, -1, SEEK_SET));
    twin_say(said, "seek from the end", lseek(fd, -2, SEEK_END));
    twin_say_stat(said, "f");
}

static void deed_limit_of_size(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    const struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    int fd = make("f", "");
    g_autofree char *bytes = g_malloc0(8192);

    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    twin_say(said, "across the limit", write(fd, bytes, 8192));
    twin_say(said, "at the limit", write(fd, bytes, 1));
    twin_say(said, "truncate", ftruncate(fd, 8192));
    twin_say_stat(said, "f");
}

/* --- holes and blocks ------------------------------------------------------------------------- */

static void deed_holes(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = make("f", "");

    twin_say(said, "size", ftruncate(fd, MIB));
    twin_say(said, "data", pwrite(fd, "x", 1, 256 * KIB));
    fsync(fd);
    twin_say(said, "SEEK_DATA", lseek(fd, 0, SEEK_DATA));
    twin_say(said, "SEEK_HOLE", lseek(fd, 256 * KIB, SEEK_HOLE));
    twin_say(said, "SEEK_HOLE at the start", lseek(fd, 0, SEEK_HOLE));
    twin_say(said, "SEEK_DATA after the last", lseek(fd, 512 * KIB, SEEK_DATA));
    twin_say(said, "SEEK_HOLE beyond", lseek(fd, 2 * MIB, SEEK_HOLE));
    twin_say(said, "where it stands", lseek(fd, 0, SEEK_CUR));
}

static void say_blocks(GString *said, int fd, const char *what)
{
    struct stat st;

    fsync(fd);
    if (fstat(fd, &st) == 0)
        g_string_append_printf(said, "%s: size %ld, blocks %ld\n", what, (long)st.st_size,
                               (long)st.st_blocks);
}

static void deed_fallocate(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = make("f", "");

    twin_say(said, "default", fallocate(fd, 0, 0, MIB));
    say_blocks(said, fd, "default");
    twin_say(said, "keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, MIB, MIB));
    say_blocks(said, fd, "keep size");
    twin_say(said, "punch",
             fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * KIB, 64 * KIB));
    say_blocks(said, fd, "punch");
    twin_say(said, "zero", fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 64 * KIB));
    say_blocks(said, fd, "zero");
    twin_say(said, "length 0", fallocate(fd, 0, 0, 0));
    twin_say(said, "punch without keep", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    close(fd);
    fd = open("f", O_RDONLY | O_CLOEXEC);
    twin_say(said, "read-only", fallocate(fd, 0, 0, 1));
}

/* --- attributes ------------------------------------------------------------------------------- */

static void deed_times(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    struct timespec both[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789},
                               {.tv_sec = 1100000000, .tv_nsec = 987654321}};
    struct timespec mtime[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1200000000, .tv_nsec = 1}};
    struct timespec atime[2] = {{.tv_sec = -5, .tv_nsec = 7}, {.tv_nsec = UTIME_OMIT}};
    struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    struct timespec bad[2] = {{.tv_nsec = 1000000000}, {.tv_nsec = 0}};
    int fd = make("f", "x");
    struct stat st;

    twin_say(said, "both", utimensat(AT_FDCWD, "f", both, 0));
    twin_say(said, "mtime", futimens(fd, mtime));
    fstat(fd, &st);
    g_string_append_printf(said, "%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec,
                           st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    twin_say(said, "atime", utimensat(AT_FDCWD, "f", atime, 0));
    stat("f", &st);
    g_string_append_printf(said, "%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec,
                           st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    twin_say(said, "now", utimensat(AT_FDCWD, "f", now, 0));
    stat("f", &st);
    g_string_append_printf(said, "%d %ld\n", time(NULL) - st.st_mtim.tv_sec < 60,
                           st.st_atim.tv_sec);
    twin_say(said, "bad", utimensat(AT_FDCWD, "f", bad, 0));
    twin_say(said, "link", symlink("f", "l"));
    twin_say(said, "of a link", utimensat(AT_FDCWD, "l", both, AT_SYMLINK_NOFOLLOW));
    lstat("l", &st);
    g_string_append_printf(said, "%ld\n", st.st_mtim.tv_sec);
}

static void deed_modes(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = make("f", "x");

    for (mode_t mode = 0; mode <= 07777; mode += 0111) {
        if (fchmod(fd, mode) != 0)
            twin_say(said, "fchmod", -1);
        twin_say_stat(said, "f");
    }
    twin_say(said, "chown clears suid", chown("f", 1, 2));
    twin_say_stat(said, "f");
    twin_say(said, "suid again", fchmod(fd, 06777));
    twin_say(said, "chown to nobody else", chown("f", (uid_t)-1, (gid_t)-1));
    twin_say_stat(said, "f");
    twin_say(said, "chmod of a link", symlink("f", "l"));
    twin_say(said, "follows", chmod("l", 0640));
    twin_say_stat(said, "f");
    twin_say(said, "lchown", lchown("l", 3, 4));
    twin_say_stat(said, "l");
}

static void deed_flags(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = make("f", "x");
    struct fsxattr extended = {0};
    int kept = 0, generation = 0, flags, other;
    char label[FSLABEL_MAX] = "";

    twin_say(said, "get", ioctl(fd, FS_IOC_GETFLAGS, &kept));
    flags = kept | FS_APPEND_FL;
    twin_say(said, "append-only", ioctl(fd, FS_IOC_SETFLAGS, &flags));
    twin_say(said, "open for writing", open("f", O_WRONLY | O_CLOEXEC));
    twin_say(said, "truncate", truncate("f", 0));
    other = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
    twin_say(said, "open to append", other >= 0 ? 0 : -1);
    twin_say(said, "append", write(other, "y", 1));
    close(other);
    twin_say(said, "unlink", unlink("f"));
    flags = kept | FS_IMMUTABLE_FL;
    twin_say(said, "immutable", ioctl(fd, FS_IOC_SETFLAGS, &flags));
    twin_say(said, "open to append", open("f", O_WRONLY | O_APPEND | O_CLOEXEC));
    twin_say(said, "chmod", chmod("f", 0));
    twin_say(said, "link", link("f", "g"));
    flags = kept | FS_NODUMP_FL;
    twin_say(said, "nodump", ioctl(fd, FS_IOC_SETFLAGS, &flags));
    twin_say(said, "extended", ioctl(fd, FS_IOC_FSGETXATTR, &extended));
    g_string_append_printf(said, "%x\n", extended.fsx_xflags);
    twin_say(said, "generation", ioctl(fd, FS_IOC_GETVERSION, &generation));
    twin_say(said, "label", ioctl(fd, FS_IOC_GETFSLABEL, label));
    g_string_append_printf(said, "%.*s\n", FSLABEL_MAX, label);
    twin_say(said, "unlink now", unlink("f"));
}

/* --- handles ---------------------------------------------------------------------------------- */

static void deed_deleted_while_open(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char bytes[16] = "";
    int fd = make("f", "abc");
    struct stat st;

    twin_say(said, "unlink", unlink("f"));
    twin_say(said, "write", pwrite(fd, "def", 3, 3));
    twin_say(said, "read", pread(fd, bytes, 15, 0));
    twin_say(said, "truncate", ftruncate(fd, 4));
    twin_say(said, "chmod", fchmod(fd, 0600));
    fstat(fd, &st);
    g_string_append_printf(said, "%s %lu %o %ld\n", bytes, (gulong)st.st_nlink, (guint)st.st_mode,
                           (long)st.st_size);
    twin_say(said, "no name", access("f", F_OK));
    close(make("f", "new"));
    twin_say(said, "still the old one", pread(fd, bytes, 15, 0));
    close(make("g", "over"));
    fd = open("f", O_RDWR | O_CLOEXEC);
    twin_say(said, "rename over", rename("g", "f"));
    twin_say(said, "read what was there", pread(fd, bytes, 15, 0));
    g_string_append_printf(said, "%.3s\n", bytes);
    say_content(said, "f");
}

static void deed_open_flags(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    char byte;
    int fd;

    close(make("f", "abc"));
    fd = open("f", O_WRONLY | O_SYNC | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
    twin_say(said, "flags", fcntl(fd, F_GETFL) & (O_ACCMODE | O_SYNC | O_NOATIME | O_NONBLOCK));
    twin_say(said, "read from write-only", read(fd, &byte, 1));
    fd = open("f", O_RDONLY | O_CLOEXEC);
    twin_say(said, "write to read-only", write(fd, "x", 1));
    twin_say(said, "truncate read-only", ftruncate(fd, 0));
    twin_say(said, "exclusive", open("f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644));
    twin_say(said, "as a directory", open("f", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    twin_say(said, "a directory for writing", open(".", O_RDWR | O_CLOEXEC));
    twin_say(said, "missing", open("missing", O_RDONLY | O_CLOEXEC));
    twin_say(said, "a link", symlink("f", "l"));
    twin_say(said, "not followed", open("l", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    twin_say(said, "a loop", symlink("loop", "loop"));
    twin_say(said, "followed", open("loop", O_RDONLY | O_CLOEXEC));
    twin_say(said, "dangling", symlink("made", "dangling"));
    fd = open("dangling", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    twin_say(said, "created through it", fd >= 0 ? 0 : -1);
    twin_say_stat(said, "made");
    fd = open("f", O_PATH | O_CLOEXEC);
    twin_say(said, "read by O_PATH", read(fd, &byte, 1));
}

static void deed_created_without_permission(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    int fd = open("f", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0);
    char byte = 0;

    twin_say(said, "write", write(fd, "x", 1));
    twin_say(said, "read", pread(fd, &byte, 1, 0));
    twin_say_stat(said, "f");
    close(fd);
    fd = open("g", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    twin_say(said, "write to 0444", write(fd, "x", 1));
    twin_say(said, "truncate it", ftruncate(fd, 0));
    twin_say_stat(said, "g");
}

static void deed_unaligned_direct(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    _Alignas(4096) static char page[4096];
    int fd = open("f", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);

    memset(page, 'd', sizeof page);
    twin_say(said, "a page", pwrite(fd, page, 4096, 0));
    memset(page, 0, sizeof page);
    twin_say(said, "read", pread(fd, page, 4096, 0));
    g_string_append_printf(said, "%c %c\n", page[0], page[4095]);
}

static void deed_locks(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = make("f", "x");
    int status;

    twin_say(said, "flock", flock(fd, LOCK_EX));
    twin_say(said, "OFD", fcntl(fd, F_OFD_SETLK, &whole));
    if (fork() == 0) {
        int other = open("f", O_RDWR | O_CLOEXEC);
        int r = flock(other, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;

        whole = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
        r += 2 * (fcntl(other, F_OFD_SETLK, &whole) != 0 && errno == EAGAIN);
        whole = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
        r += 4 * (fcntl(other, F_SETLK, &whole) != 0 && errno == EAGAIN);
        _exit(r);
    }
    wait(&status);
    twin_say(said, "kept out", WEXITSTATUS(status));
    close(fd);
    fd = open("f", O_RDWR | O_CLOEXEC);
    twin_say(said, "free at the last close", flock(fd, LOCK_EX | LOCK_NB));
}

/* --- mappings --------------------------------------------------------------------------------- */

static void deed_mappings(gconstpointer in_memory, GString *said)
{
    int fd = make("f", "0123456789");
    int other = open("f", O_RDWR | O_CLOEXEC);
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    struct timespec past[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char bytes[16] = "";
    struct stat st;

    twin_say(said, "write", pwrite(other, "AB", 2, 0));
    g_string_append_printf(said, "seen in the mapping: %.4s\n", shared);
    shared[4] = 'C';
    twin_say(said, "read", pread(other, bytes, 10, 0));
    g_string_append_printf(said, "seen in the file: %s\n", bytes);
    own[5] = 'D';
    twin_say(said, "msync", msync(shared, 4096, MS_SYNC));
    twin_say(said, "times", futimens(fd, past));
    shared[6] = 'E';
    twin_say(said, "msync", msync(shared, 4096, MS_SYNC));
    fstat(fd, &st);
    if (!in_memory) /* a store into a mapping changes no times in tmpfs */
        g_string_append_printf(said, "mtime moved %d\n", st.st_mtim.tv_sec > 1000);
    shared[9] = 'F';
    munmap(shared, 4096);
    close(fd);
    say_content(said, "f");
    fd = open("f", O_RDONLY | O_CLOEXEC);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    twin_say(said, "a shared mapping to write through a read-only handle",
             shared == MAP_FAILED ? -1 : 0);
}

/* --- copying ---------------------------------------------------------------------------------- */

static void deed_copies(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
    int from = make("f", "0123456789");
    int to = make("t", "");
    struct stat st;
    loff_t off_in = 2, off_out = 4;
    off_t off = 1;
    int pipes[2];

    twin_say(said, "times", futimens(from, times));
    twin_say(said, "copy_file_range", copy_file_range(from, &off_in, to, &off_out, 5, 0));
    stat("f", &st);
    g_string_append_printf(said, "read %s\n", st.st_atim.tv_sec == 1000 ? "then" : "now");
    twin_say(said, "sendfile", sendfile(to, from, &off, 3));
    twin_say(said, "beyond the end", copy_file_range(from, &(loff_t){100}, to, NULL, 5, 0));
    if (pipe2(pipes, O_CLOEXEC) == 0) {
        twin_say(said, "splice in", splice(from, &(loff_t){0}, pipes[1], NULL, 10, 0));
        twin_say(said, "splice out", splice(pipes[0], NULL, to, &(loff_t){20}, 10, 0));
    }
    twin_say(said, "onto itself", copy_file_range(from, &(loff_t){0}, from, &(loff_t){1}, 4, 0));
    twin_say_stat(said, "t");
}

/* --- a reader beside a writer ------------------------------------------------------------------
 */

#define RECORDS     20000L
#define RECORD_SIZE 64L

/* Follows the file as it grows; how many bytes it saw that nobody wrote. */
static long follow(int fd)
{
    g_autofree char *bytes = g_malloc(64 * KIB);
    gint64 limit_us = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    long wrong = 0;

    for (off_t at = 0; at < RECORDS * RECORD_SIZE;) {
        ssize_t n = pread(fd, bytes, 64 * KIB, at);

        if (n < 0 || g_get_monotonic_time() > limit_us)
            return -1;
        for (ssize_t i = 0; i < n; i++)
            wrong += bytes[i] != 'x';
        at += n;
    }
    return wrong;
}

static long append_all(int fd)
{
    char record[RECORD_SIZE];

    memset(record, 'x', sizeof record);
    for (long i = 0; i < RECORDS; i++) {
        if (write(fd, record, sizeof record) != (ssize_t)sizeof record)
            return -1;
    }
    return 0;
}

static void deed_follow(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    for (int writer_first = 0; writer_first < 2; writer_first++) {
        int writer_fd = -1, reader_fd;
        int status;
        pid_t pid;

        close(make("log", ""));
        if (writer_first)
            writer_fd = open("log", O_WRONLY | O_APPEND | O_CLOEXEC);
        reader_fd = open("log", O_RDONLY | O_CLOEXEC);
        if (!writer_first)
            writer_fd = open("log", O_WRONLY | O_APPEND | O_CLOEXEC);
        pid = fork();
        if (pid == 0)
            _exit(follow(reader_fd) == 0 ? 0 : 1);
        twin_say(said, "append", append_all(writer_fd));
        waitpid(pid, &status, 0);
        twin_say(said, "the reader saw what was not written", WEXITSTATUS(status));
        close(reader_fd);
        close(writer_fd);
    }
}

static const struct {
    const char *name;
    TwinDeed deed;
} deeds[] = {
    {"appending", deed_append},
    {"appending by two processes", deed_append_by_two},
    {"beyond the end", deed_beyond_the_end},
    {"RLIMIT_FSIZE", deed_limit_of_size},
    {"holes", deed_holes},
    {"fallocate", deed_fallocate},
    {"times", deed_times},
    {"modes and owners", deed_modes},
    {"file flags", deed_flags},
    {"deleted and replaced while open", deed_deleted_while_open},
    {"flags of open", deed_open_flags},
    {"created without permission", deed_created_without_permission},
    {"O_DIRECT", deed_unaligned_direct},
    {"locks", deed_locks},
    {"mappings", deed_mappings},
    {"copies", deed_copies},
    {"a reader beside a writer", deed_follow},
};

static void compare_all(gboolean in_place)
{
    Scene *scene = scene_new(in_place);
    Agent *alice = scene_add_agent(scene);
    gconstpointer in_memory = GINT_TO_POINTER(scene_is_on(scene, TMPFS_MAGIC));
    guint different = 0;

    assert_true(scene_mount(scene, in_place ? SCENE_ALONE : "ttl=1h"));
    for (guint i = 0; i < G_N_ELEMENTS(deeds); i++)
        different += !twin_is_alike(scene, alice, deeds[i].name, deeds[i].deed, in_memory);
    assert_true(scene_free(scene));
    assert_int_equal(different, 0);
}

static void files_do_what_they_do_on_the_disk(void **state G_GNUC_UNUSED)
{
    compare_all(FALSE);
}

static void files_do_so_in_place(void **state G_GNUC_UNUSED)
{
    compare_all(TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_do_what_they_do_on_the_disk),
        cmocka_unit_test(files_do_so_in_place),
    };

    return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}

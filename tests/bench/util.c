/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

GQuark bench_error_quark(void)
{
    return g_quark_from_static_string("bench-error");
}

gboolean bench_fail(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error != NULL)
        *error = g_error_new_valist(BENCH_ERROR, 0, format, args);
    va_end(args);
    return FALSE;
}

gboolean bench_fail_errno(GError **error, const char *format, ...)
{
    int code = errno;
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    return bench_fail(error, "%s: %s", what, g_strerror(code));
}

guint job_count(const Job *job)
{
    if (job->workload->count == 0)
        return (guint)(job->big_size / job->workload->size);
    return MAX(1, (guint)((guint64)job->workload->count * job->percent / 100));
}

/* What a program said last on `fd`, in one line of at most 400 bytes. Owned. */
static char *last_words(int fd)
{
    char text[401] = "";
    off_t end = lseek(fd, 0, SEEK_END);
    ssize_t n = pread(fd, text, 400, end > 400 ? end - 400 : 0);

    return g_strstrip(g_strndup(text, n > 0 ? (gsize)n : 0));
}

static GStrv copy_words(const char *const *words)
{
    GPtrArray *copies = g_ptr_array_new();

    for (; *words != NULL; words++)
        g_ptr_array_add(copies, g_strdup(*words));
    g_ptr_array_add(copies, NULL);
    return (GStrv)g_ptr_array_free(copies, FALSE);
}

gboolean bench_spawn(const char *const *argv, const char *output, GError **error)
{
    posix_spawn_file_actions_t actions;
    g_autofree char *said = NULL;
    g_auto(GStrv) words = copy_words(argv);
    g_autofree char *command = g_strjoinv(" ", words);
    int words_fd = memfd_create("words", MFD_CLOEXEC);
    int status = -1;
    int result;
    pid_t pid;

    if (words_fd < 0)
        return bench_fail_errno(error, "%s", argv[0]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, output != NULL ? output : "/dev/null",
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, words_fd, 2);
    result = posix_spawnp(&pid, argv[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (result == 0 && waitpid(pid, &status, 0) != pid)
        result = errno;
    said = last_words(words_fd);
    close(words_fd);
    if (result != 0)
        return bench_fail(error, "%s: %s", argv[0], g_strerror(result));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return bench_fail(error, "%.100s: status %#x: %s", command, (guint)status, said);
    return TRUE;
}

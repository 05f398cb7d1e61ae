/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "twin.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

long twin_say(GString *said, const char *what, long result)
{
    int saved = errno;

    if (result == -1)
        g_string_append_printf(said, "%s: %s\n", what, strerrorname_np(saved));
    else
        g_string_append_printf(said, "%s: %ld\n", what, result);
    errno = saved;
    return result;
}

void twin_say_stat(GString *said, const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        twin_say(said, path, -1);
        return;
    }
    g_string_append_printf(said, "%s: mode %o, uid %d, gid %d, links %lu", path, (guint)st.st_mode,
                           (int)st.st_uid, (int)st.st_gid, (gulong)st.st_nlink);
    if (!S_ISDIR(st.st_mode))
        g_string_append_printf(said, ", size %ld", (long)st.st_size);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        g_string_append_printf(said, ", rdev %lx", (gulong)st.st_rdev);
    g_string_append_c(said, '\n');
}

static G_NORETURN void perform(const char *directory, TwinDeed deed, gconstpointer data,
                               const char *report)
{
    g_autoptr(GString) said = g_string_new(NULL);

    umask(0);
    if (mkdir(directory, 0777) != 0 || chdir(directory) != 0)
        _exit(errno);
    umask(022);
    deed(data, said);
    _exit(g_file_set_contents(report, said->str, -1, NULL) ? 0 : EIO);
}

/* "DEED DATA DIRECTORY REPORT": the agent was forked from the test, so that both addresses mean the
 * same to it. */
static int task_perform(void *state G_GNUC_UNUSED, const char *argument)
{
    g_auto(GStrv) words = g_strsplit(argument, " ", 4);
    TwinDeed deed = (TwinDeed)(guintptr)g_ascii_strtoull(words[0], NULL, 16);
    gconstpointer data = (gconstpointer)(guintptr)g_ascii_strtoull(words[1], NULL, 16);
    int status;
    pid_t pid = fork();

    if (pid == 0)
        perform(words[2], deed, data, words[3]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -ECHILD;
    return -WEXITSTATUS(status);
}

/* Owned; what went wrong where the deed could not be done. */
static char *outcome(Scene *scene, Agent *agent, const char *directory, TwinDeed deed,
                     gconstpointer data)
{
    /* above all that a deed's user may not enter */
    g_autofree char *report = g_build_filename(scene->dir, "report", NULL);
    g_autofree char *order =
        g_strdup_printf("%" G_GINTPTR_MODIFIER "x %" G_GINTPTR_MODIFIER "x %s %s", (guintptr)deed,
                        (guintptr)data, directory, report);
    int r = agent_do(agent, task_perform, order);
    char *text = NULL;

    if (r != 0)
        return g_strdup_printf("not done: %s\n", g_strerror(-r));
    g_file_get_contents(report, &text, NULL, NULL);
    return text ? text : g_strdup("no report\n");
}

static void print_lines(const char *where, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] && lines[i][0]; i++)
        printf("#   %s: %s\n", where, lines[i]);
}

gboolean twin_is_alike(Scene *scene, Agent *agent, const char *name, TwinDeed deed,
                       gconstpointer data)
{
    static guint number;
    g_autofree char *in_mount = g_strdup_printf("twin-%u", number);
    g_autofree char *below = g_strdup_printf("%s/disk-%u", scene->dir, number++);
    g_autofree char *expected = outcome(scene, agent, below, deed, data);
    g_autofree char *got = outcome(scene, agent, in_mount, deed, data);

    if (strcmp(expected, got) == 0 && !g_str_has_prefix(expected, "not done"))
        return TRUE;
    printf("# %s\n", name);
    print_lines("on the disk", expected);
    print_lines("in the mount", got);
    return FALSE;
}

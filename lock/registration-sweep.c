/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registration-sweep.h"
#include "registration-text.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

typedef struct Ended {
    char *file_name;
    struct timespec made;
} Ended;

static void ended_free(Ended *ended)
{
    g_free(ended->file_name);
    g_free(ended);
}

static gint newest_first(gconstpointer a, gconstpointer b)
{
    const struct timespec *left = &(*(Ended *const *)a)->made;
    const struct timespec *right = &(*(Ended *const *)b)->made;

    if (left->tv_sec != right->tv_sec)
        return left->tv_sec < right->tv_sec ? 1 : -1;
    return left->tv_nsec < right->tv_nsec ? 1 : left->tv_nsec > right->tv_nsec ? -1 : 0;
}

static GPtrArray *list_files(int dir_fd)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    autofd fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (stream == NULL)
        return g_steal_pointer(&names);
    fd_steal(&fd);
    while ((entry = readdir(stream)) != NULL) {
        if (g_str_has_suffix(entry->d_name, REGISTRATION_SUFFIX))
            g_ptr_array_add(names, g_strdup(entry->d_name));
    }
    closedir(stream);
    return g_steal_pointer(&names);
}

static gboolean has_ended(int fd, const char *name, const HostIdentity *host,
                          ProcessTable *processes)
{
    g_autoptr(Registration) registration = NULL;
    gboolean here = FALSE;

    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return FALSE;
    registration = registration_read(fd, name, host, &here, NULL);
    if (registration == NULL)
        return FALSE;
    if (here)
        return !process_is_alive(processes, &registration->root);
    /* Of another pid namespace the lock alone tells, and only where it was taken. */
    return registration->held || !registration->this_boot;
}

/* NULL where it has not ended, or nobody can tell. */
static Ended *look_at(int dir_fd, const char *file_name, const HostIdentity *host,
                      ProcessTable *processes)
{
    g_autofree char *name = g_strndup(file_name, strlen(file_name) - strlen(REGISTRATION_SUFFIX));
    autofd fd = registration_open(dir_fd, name, NULL);
    struct stat st;
    Ended *ended;

    if (fd < 0 || fstat(fd, &st) < 0 || !has_ended(fd, name, host, processes))
        return NULL;
    ended = g_new0(Ended, 1);
    ended->file_name = g_strdup(file_name);
    ended->made = st.st_mtim;
    return ended;
}

void registration_sweep(int dir_fd, const HostIdentity *host, ProcessTable *processes)
{
    g_autoptr(GPtrArray) names = list_files(dir_fd);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)ended_free);

    if (names->len <= REGISTRATION_SWEEP_KEEP)
        return;
    for (guint i = 0; i < names->len; i++) {
        Ended *ended = look_at(dir_fd, g_ptr_array_index(names, i), host, processes);

        if (ended != NULL)
            g_ptr_array_add(all, ended);
    }
    g_ptr_array_sort(all, newest_first);
    for (guint i = REGISTRATION_SWEEP_KEEP; i < all->len; i++) {
        const Ended *ended = g_ptr_array_index(all, i);

        if (unlinkat(dir_fd, ended->file_name, 0) < 0 && errno != ENOENT)
            g_debug("cannot remove the registration %s: %s", ended->file_name, g_strerror(errno));
    }
}

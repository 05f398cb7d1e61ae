/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <sys/stat.h>

#define SESSIONS_DIRECTORY "sessions"

void store_free(Store *store)
{
    if (store != NULL)
        store->ops->free(store);
}

static const char *nonempty_env(const char *name)
{
    const char *value = g_getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

char *store_default_directory(const char *override)
{
    const char *state_home = nonempty_env("XDG_STATE_HOME");

    if (override != NULL && override[0] != '\0')
        return g_strdup(override);
    if (nonempty_env("LEASEFS_STATE_DIR") != NULL)
        return g_strdup(nonempty_env("LEASEFS_STATE_DIR"));
    if (geteuid() == 0)
        return g_strdup("/var/lib/leasefs");
    /* The XDG Base Directory Specification has relative paths ignored. */
    if (state_home != NULL && g_path_is_absolute(state_home))
        return g_build_filename(state_home, "leasefs", NULL);
    return g_build_filename(g_get_home_dir(), ".local", "state", "leasefs", NULL);
}

static int fail_directory(const char *doing, const char *path, int saved_errno, GError **error)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved_errno),
                "cannot %s state directory %s: %s; choose another with --state-dir", doing, path,
                g_strerror(saved_errno));
    return -1;
}

int store_open_directory(const char *path, GError **error)
{
    autofd fd = -1;
    struct stat st;

    if (g_mkdir_with_parents(path, 0700) != 0)
        return fail_directory("make", path, errno, error);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail_directory("open", path, errno, error);
    /* Anybody could put a lease of their own in place there. With the sticky bit (/tmp) they can
     * only add files. */
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_PERMISSION_DENIED,
                    "cannot use state directory %s: everyone may write to it; chmod o-w it, or "
                    "choose another with --state-dir",
                    path);
        return -1;
    }
    return fd_steal(&fd);
}

int store_open_sessions_directory(int state_dir_fd, GError **error)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", state_dir_fd);
    g_autofree char *parent = g_file_read_link(link, NULL);
    g_autofree char *path =
        g_build_filename(parent != NULL ? parent : ".", SESSIONS_DIRECTORY, NULL);
    autofd fd = -1;

    if (mkdirat(state_dir_fd, SESSIONS_DIRECTORY, 0700) != 0 && errno != EEXIST)
        return fail_directory("make", path, errno, error);
    fd = openat(state_dir_fd, SESSIONS_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail_directory("open", path, errno, error);
    return fd_steal(&fd);
}

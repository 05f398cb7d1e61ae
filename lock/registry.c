/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registration-text.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define MAX_REGISTRATIONS                                                                          \
    4096u /* in one directory: a user must not fill a root daemon's memory                         \
           */

typedef struct Directory {
    int fd;
    dev_t dev;
    ino_t ino;
    gboolean watched;         /* by inotify; else it is read again each time */
    GPtrArray *registrations; /* of Registration, by name */
    GHashTable *complained;   /* names that were logged */
} Directory;

struct Registry {
    const HostIdentity *host;
    ProcessTable *processes;
    uid_t uid; /* the daemon's at its start: threads may act as somebody else for a moment */
    int inotify_fd;
    GPtrArray *directories;
    GPtrArray *all; /* every directory's registrations, borrowed */
    gboolean stale; /* something could not be read, or was not read yet */
};

static void directory_free(Directory *directory)
{
    autofd_clear(&directory->fd);
    g_clear_pointer(&directory->registrations, g_ptr_array_unref);
    g_clear_pointer(&directory->complained, g_hash_table_unref);
    g_free(directory);
}

static GPtrArray *new_list(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)registration_free);
}

Registry *registry_new(const HostIdentity *host, ProcessTable *processes)
{
    Registry *registry = g_new0(Registry, 1);

    registry->host = host;
    registry->processes = processes;
    registry->uid = geteuid();
    registry->directories = g_ptr_array_new_with_free_func((GDestroyNotify)directory_free);
    registry->all = g_ptr_array_new();
    registry->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (registry->inotify_fd < 0)
        g_warning("cannot watch registrations (%s): their directories are read again each time; "
                  "see fs.inotify.max_user_instances",
                  g_strerror(errno));
    return registry;
}

void registry_free(Registry *registry)
{
    if (registry == NULL)
        return;
    g_ptr_array_unref(registry->all);
    g_ptr_array_unref(registry->directories);
    autofd_clear(&registry->inotify_fd);
    g_free(registry);
}

static gboolean watch_directory(Registry *registry, int dir_fd)
{
    const uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                          IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    char path[32];

    if (registry->inotify_fd < 0)
        return FALSE;
    snprintf(path, sizeof path, "/proc/self/fd/%d", dir_fd);
    if (inotify_add_watch(registry->inotify_fd, path, mask) >= 0)
        return TRUE;
    g_warning("cannot watch a directory of registrations (%s): it is read again each time; "
              "see fs.inotify.max_user_watches",
              g_strerror(errno));
    return FALSE;
}

gboolean registry_add_directory(Registry *registry, int dir_fd, GError **error)
{
    autofd owned_fd = dir_fd;
    Directory *directory;
    struct stat st;
    int saved = 0;

    if (fstat(owned_fd, &st) < 0)
        saved = errno;
    else if (!S_ISDIR(st.st_mode))
        saved = ENOTDIR;
    if (saved != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved),
                    "cannot use the directory of registrations: %s", g_strerror(saved));
        return FALSE;
    }
    for (guint i = 0; i < registry->directories->len; i++) {
        directory = g_ptr_array_index(registry->directories, i);
        if (directory->dev == st.st_dev && directory->ino == st.st_ino)
            return TRUE;
    }
    directory = g_new0(Directory, 1);
    directory->dev = st.st_dev;
    directory->ino = st.st_ino;
    directory->registrations = new_list();
    directory->complained = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    /* Watched before it is read: what changes in between is read twice, not missed. */
    directory->watched = watch_directory(registry, owned_fd);
    directory->fd = fd_steal(&owned_fd);
    g_ptr_array_add(registry->directories, directory);
    registry->stale = TRUE;
    return TRUE;
}

int registry_poll_fd(Registry *registry)
{
    return registry->inotify_fd;
}

/* TRUE where a registration may have changed. Temporary and lock files are not worth a look. */
static gboolean drain(Registry *registry)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    gboolean changed = FALSE;
    ssize_t n;

    while ((n = read(registry->inotify_fd, buffer, sizeof buffer)) > 0 ||
           (n < 0 && errno == EINTR)) {
        gsize at = 0;

        while (n > 0 && at + sizeof(struct inotify_event) <= (gsize)n) {
            struct inotify_event event;

            memcpy(&event, buffer + at, sizeof event);
            at += sizeof event;
            if (event.len == 0 || g_str_has_suffix(buffer + at, REGISTRATION_SUFFIX))
                changed = TRUE;
            at += event.len;
        }
    }
    return changed;
}

static void complain(Directory *directory, const char *name, const char *message)
{
    /* File names are anybody's: only what can stand in a terminal is shown. */
    g_autofree char *shown = g_strescape(name, NULL);

    if (g_hash_table_size(directory->complained) >= MAX_REGISTRATIONS ||
        !g_hash_table_add(directory->complained, g_strdup(name)))
        return;
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "LEASEFS_REGISTRATION", shown, "MESSAGE",
                     "ignoring the registration file %s: %s", shown, message);
}

static const Registration *find_in(const GPtrArray *registrations, const char *name)
{
    for (guint i = 0; i < registrations->len; i++) {
        const Registration *registration = g_ptr_array_index(registrations, i);

        if (strcmp(registration->name, name) == 0)
            return registration;
    }
    return NULL;
}

/* What a look at the file says for good. Anything else (no descriptors, no memory, an I/O error) is
 * a look that failed, and must not end a session whose registration is still there. */
static gboolean is_final(const GError *error)
{
    return error->domain == G_IO_ERROR &&
           (error->code == G_IO_ERROR_NOT_FOUND || error->code == G_IO_ERROR_INVALID_DATA ||
            error->code == G_IO_ERROR_NOT_REGULAR_FILE ||
            error->code == G_IO_ERROR_PERMISSION_DENIED ||
            error->code == G_IO_ERROR_TOO_MANY_LINKS);
}

static void keep_as_it_was(Registry *registry, Directory *directory, const char *name,
                           GPtrArray *registrations)
{
    const Registration *known = find_in(directory->registrations, name);

    registry->stale = TRUE;
    if (known != NULL) {
        Registration *copy = g_memdup2(known, sizeof *known);

        copy->name = g_strdup(known->name);
        g_ptr_array_add(registrations, copy);
    }
}

static void read_entry(Registry *registry, Directory *directory, const char *file_name,
                       GPtrArray *registrations)
{
    g_autofree char *name = g_strndup(file_name, strlen(file_name) - strlen(REGISTRATION_SUFFIX));
    g_autoptr(Registration) registration = NULL;
    g_autoptr(GError) error = NULL;
    gboolean here = FALSE;
    autofd fd = -1;

    if (!registration_check_name(name, &error)) {
        complain(directory, file_name, error->message);
        return;
    }
    fd = registration_open(directory->fd, name, &error);
    if (fd >= 0)
        registration = registration_read(fd, name, registry->host, &here, &error);
    if (registration != NULL) {
        /* Left by another boot or pid namespace: no fault, and nothing to it. */
        if (here)
            g_ptr_array_add(registrations, g_steal_pointer(&registration));
        return;
    }
    if (!is_final(error))
        keep_as_it_was(registry, directory, name, registrations);
    if (!g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
        complain(directory, file_name, error->message);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    const Registration *const *left = a;
    const Registration *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

/* NULL where the directory could not be read to its end. */
static GPtrArray *read_entries(Registry *registry, Directory *directory)
{
    g_autoptr(GPtrArray) registrations = new_list();
    autofd fd = openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    guint count = 0;
    int failure;

    if (stream == NULL)
        return NULL;
    fd_steal(&fd);
    while ((errno = 0, entry = readdir(stream)) != NULL) {
        if (!g_str_has_suffix(entry->d_name, REGISTRATION_SUFFIX))
            continue;
        if (++count > MAX_REGISTRATIONS) {
            complain(directory, entry->d_name, "there are too many in its directory");
            break;
        }
        read_entry(registry, directory, entry->d_name, registrations);
    }
    failure = entry == NULL ? errno : 0;
    closedir(stream);
    /* ENOENT: the directory itself was removed, and with it all that was in it (readdir(3)). */
    if (failure != 0 && failure != ENOENT)
        return NULL;
    g_ptr_array_sort(registrations, compare_names);
    return g_steal_pointer(&registrations);
}

static gboolean lists_equal(const GPtrArray *a, const GPtrArray *b)
{
    if (a->len != b->len)
        return FALSE;
    for (guint i = 0; i < a->len; i++) {
        const Registration *left = g_ptr_array_index(a, i);
        const Registration *right = g_ptr_array_index(b, i);

        if (strcmp(left->name, right->name) != 0 || left->owner != right->owner ||
            left->held != right->held || !process_id_equal(&left->root, &right->root))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_directory(Registry *registry, Directory *directory)
{
    g_autoptr(GPtrArray) registrations = read_entries(registry, directory);

    if (registrations == NULL) {
        registry->stale = TRUE;
        return FALSE;
    }
    if (lists_equal(registrations, directory->registrations))
        return FALSE;
    g_ptr_array_unref(directory->registrations);
    directory->registrations = g_steal_pointer(&registrations);
    return TRUE;
}

gboolean registry_refresh(Registry *registry, gboolean force)
{
    /* Drained before the directories are read: what happens meanwhile is told the next time. */
    gboolean all = drain(registry) || force || registry->stale;
    gboolean changed = FALSE;

    registry->stale = FALSE;
    for (guint i = 0; i < registry->directories->len; i++) {
        Directory *directory = g_ptr_array_index(registry->directories, i);

        if (all || !directory->watched)
            changed |= read_directory(registry, directory);
    }
    if (!changed)
        return FALSE;
    g_ptr_array_set_size(registry->all, 0);
    for (guint i = 0; i < registry->directories->len; i++) {
        Directory *directory = g_ptr_array_index(registry->directories, i);

        for (guint j = 0; j < directory->registrations->len; j++)
            g_ptr_array_add(registry->all, g_ptr_array_index(directory->registrations, j));
    }
    return TRUE;
}

const GPtrArray *registry_list(Registry *registry)
{
    return registry->all;
}

static gboolean is_believed(Registry *registry, const Registration *registration)
{
    ProcessTable *processes = registry->processes;
    uid_t uid;

    if (registration->owner == 0 || registration->owner == registry->uid)
        return TRUE;
    /* Alive afterwards: so the owner was that of the root, and not of another with its pid. */
    return processes->ops->read_owner(processes, registration->root.pid, &uid) == 0 &&
           uid == registration->owner && process_is_alive(processes, &registration->root);
}

const Registration *registry_find(Registry *registry, const ProcessInfo *process)
{
    for (guint i = 0; i < registry->all->len; i++) {
        const Registration *registration = g_ptr_array_index(registry->all, i);

        if (process_id_equal(&registration->root, &process->id) && !process->dead &&
            is_believed(registry, registration))
            return registration;
    }
    return NULL;
}

gboolean registry_names_pid(Registry *registry, pid_t pid)
{
    for (guint i = 0; i < registry->all->len; i++) {
        const Registration *registration = g_ptr_array_index(registry->all, i);

        if (registration->root.pid == pid)
            return TRUE;
    }
    return FALSE;
}

const Registration *registry_find_name(Registry *registry, const char *name)
{
    for (guint i = 0; i < registry->all->len; i++) {
        const Registration *registration = g_ptr_array_index(registry->all, i);
        ProcessInfo root;

        if (strcmp(registration->name, name) == 0 &&
            registry->processes->ops->read(registry->processes, registration->root.pid, &root) ==
                0 &&
            !root.dead && process_id_equal(&root.id, &registration->root) &&
            is_believed(registry, registration))
            return registration;
    }
    return NULL;
}

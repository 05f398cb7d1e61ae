/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registration-sweep.h"
#include "registration-text.h"
#include "json-text.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define SCHEMA_VERSION 1
#define NAME_MAX_BYTES 64
#define FILE_MAX_BYTES (64 * 1024)

#define LOCK_NAME     ".lock"
#define NEW_NAME      ".new" /* one is enough: whoever writes it has LOCK_NAME */
#define LOCK_TRIES    1000
#define LOCK_PAUSE_US 2000

struct RegistrationFile {
    int dir_fd;
    int fd;
    char *file_name;
    gboolean held;
};

static gboolean fail_errno(GError **error, int code, const char *what, const char *name)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(code), "cannot %s registration %s: %s",
                what, name, g_strerror(code));
    return FALSE;
}

/* `.digits.digits` at the end is how the ids of sessions that are not registered end. */
static gboolean ends_like_an_id(const char *name)
{
    const char *at = name + strlen(name);

    for (guint i = 0; i < 2; i++) {
        const char *end = at;

        while (at > name && g_ascii_isdigit(at[-1]))
            at--;
        if (at == end || at == name || at[-1] != '.')
            return FALSE;
        at--;
    }
    return TRUE;
}

gboolean registration_check_name(const char *name, GError **error)
{
    g_autofree char *shown = NULL;
    const char *wrong = NULL;

    if (*name == '\0')
        wrong = "it is empty";
    else if (strlen(name) > NAME_MAX_BYTES)
        wrong = "it is longer than 64 characters";
    else if (name[strspn(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "._@:-")] != '\0')
        wrong = "only letters, digits and . _ @ : - may stand in it";
    else if (ends_like_an_id(name))
        wrong = "it ends in .NUMBER.NUMBER, as the ids of unnamed sessions do";
    if (wrong == NULL)
        return TRUE;
    /* Anything may stand in a name that is refused: it must not reach a terminal as it is. */
    shown = g_strescape(name, NULL);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "'%.*s' cannot be the name of a session: %s", NAME_MAX_BYTES, shown, wrong);
    return FALSE;
}

void registration_free(Registration *registration)
{
    if (registration == NULL)
        return;
    g_free(registration->name);
    g_free(registration);
}

char *registration_format(const Registration *registration, const HostIdentity *host)
{
    /* The name is checked and the boot id a UUID: neither needs escaping. */
    return g_strdup_printf("{\"schema_version\":%d,\"name\":\"%s\",\"pid\":%d,"
                           "\"pid_start\":%" G_GUINT64_FORMAT ",\"pid_ns\":%" G_GUINT64_FORMAT ","
                           "\"boot_id\":\"%s\",\"held\":%s}\n",
                           SCHEMA_VERSION, registration->name, (int)registration->root.pid,
                           registration->root.start_time, host->pid_ns, host->boot_id,
                           registration->held ? "true" : "false");
}

static gboolean get_boolean(JsonObject *object, const char *name, gboolean *value_out)
{
    JsonNode *node = json_object_get_member(object, name);

    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node) ||
        json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return FALSE;
    *value_out = json_node_get_boolean(node);
    return TRUE;
}

Registration *registration_parse(const char *text, gsize size_bytes, const char *name,
                                 const HostIdentity *host, gboolean *here_out, GError **error)
{
    g_autoptr(JsonObject) object = json_text_parse(text, size_bytes, error);
    g_autoptr(Registration) registration = g_new0(Registration, 1);
    gint64 version, pid, start, pid_ns;
    const char *named, *boot_id;
    const char *missing = NULL;

    if (object == NULL)
        return NULL;
    named = json_text_get_string(object, "name");
    boot_id = json_text_get_string(object, "boot_id");
    if (!json_text_get_integer(object, "schema_version", SCHEMA_VERSION, SCHEMA_VERSION, &version))
        missing = "schema_version";
    else if (named == NULL || strcmp(named, name) != 0)
        missing = "name (the file's own)";
    else if (!json_text_get_integer(object, "pid", 1, G_MAXINT32, &pid))
        missing = "pid";
    else if (!json_text_get_integer(object, "pid_start", 0, G_MAXINT64, &start))
        missing = "pid_start";
    else if (!json_text_get_integer(object, "pid_ns", 0, G_MAXINT64, &pid_ns))
        missing = "pid_ns";
    else if (boot_id == NULL)
        missing = "boot_id";
    else if (!get_boolean(object, "held", &registration->held))
        missing = "held";
    if (missing != NULL) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "no registration: it has no %s",
                    missing);
        return NULL;
    }
    registration->name = g_strdup(name);
    registration->root = (ProcessId){.pid = (pid_t)pid, .start_time = (guint64)start};
    registration->this_boot = strcmp(boot_id, host->boot_id) == 0;
    *here_out = registration->this_boot && (guint64)pid_ns == host->pid_ns;
    return g_steal_pointer(&registration);
}

int registration_open(int dir_fd, const char *name, GError **error)
{
    g_autofree char *file_name = g_strconcat(name, REGISTRATION_SUFFIX, NULL);
    /* Without O_NONBLOCK a FIFO of that name would stop everything. */
    autofd fd =
        openat(dir_fd, file_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    /* ENXIO: a socket (open(2)). */
    if ((fd < 0 && errno != ENXIO) || (fd >= 0 && fstat(fd, &st) < 0)) {
        fail_errno(error, errno, "open", name);
        return -1;
    }
    if (fd < 0 || !S_ISREG(st.st_mode)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_REGULAR_FILE,
                    "registration %s is not a regular file", name);
        return -1;
    }
    return fd_steal(&fd);
}

Registration *registration_read(int fd, const char *name, const HostIdentity *host,
                                gboolean *here_out, GError **error)
{
    g_autofree char *text = g_malloc(FILE_MAX_BYTES + 1);
    Registration *registration;
    struct stat st;
    gsize size = 0;

    if (fstat(fd, &st) < 0) {
        fail_errno(error, errno, "look at", name);
        return NULL;
    }
    while (size <= FILE_MAX_BYTES) {
        ssize_t n = pread(fd, text + size, FILE_MAX_BYTES + 1 - size, (off_t)size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            fail_errno(error, errno, "read", name);
            return NULL;
        }
        if (n == 0)
            break;
        size += (gsize)n;
    }
    registration = registration_parse(text, size, name, host, here_out, error);
    if (registration != NULL)
        registration->owner = st.st_uid;
    return registration;
}

/* Tries for two seconds: whoever has it needs it for microseconds. A descriptor or -1. */
static int lock_directory(int dir_fd, GError **error)
{
    autofd fd =
        openat(dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC, 0600);

    if (fd < 0) {
        fail_errno(error, errno, "lock", LOCK_NAME);
        return -1;
    }
    for (guint i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd_steal(&fd);
        if (errno != EWOULDBLOCK && errno != EINTR) {
            fail_errno(error, errno, "lock", LOCK_NAME);
            return -1;
        }
        g_usleep(LOCK_PAUSE_US);
    }
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_BUSY,
                        "another leasefs command holds the lock of the registrations; try again");
    return -1;
}

/* The caller has the directory's lock. A file whose flock is free and whose process is dead is what
 * a killed command left behind; so is one that nobody understands, for nothing believes it. */
static gboolean check_free(int dir_fd, const char *name, const HostIdentity *host,
                           ProcessTable *processes, GError **error)
{
    g_autoptr(GError) reason = NULL;
    g_autoptr(Registration) other = NULL;
    autofd fd = registration_open(dir_fd, name, &reason);
    gboolean here = FALSE;
    gboolean busy;

    if (fd < 0) {
        /* A link, a directory or a FIFO fails here too: rename(2) would replace what somebody
         * put there on purpose. */
        if (g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&reason));
        return FALSE;
    }
    busy = flock(fd, LOCK_EX | LOCK_NB) < 0;
    other = registration_read(fd, name, host, &here, &reason);
    if (!busy && other == NULL && !g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_INVALID_DATA)) {
        g_propagate_error(error, g_steal_pointer(&reason));
        return FALSE;
    }
    if (!busy && !(other != NULL && here && process_is_alive(processes, &other->root)))
        return TRUE;
    if (other != NULL)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "a session named %s is running (pid %d); choose another name", name,
                    (int)other->root.pid);
    else
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "a session named %s is running; choose another name", name);
    return FALSE;
}

static gboolean write_all(int fd, const char *text)
{
    gsize left = strlen(text);

    while (left > 0) {
        ssize_t n = write(fd, text, left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FALSE;
        text += n;
        left -= (gsize)n;
    }
    return TRUE;
}

/* Whole before it bears its name, and locked before anybody can see it. */
static int write_file(int dir_fd, const char *file_name, const Registration *registration,
                      const HostIdentity *host, GError **error)
{
    g_autofree char *text = registration_format(registration, host);
    autofd fd = -1;
    int saved;

    if (unlinkat(dir_fd, NEW_NAME, 0) < 0 && errno != ENOENT) {
        fail_errno(error, errno, "write", registration->name);
        return -1;
    }
    fd = openat(dir_fd, NEW_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        fail_errno(error, errno, "write", registration->name);
        return -1;
    }
    if (fchmod(fd, 0600) == 0 && write_all(fd, text) &&
        (!registration->held || flock(fd, LOCK_EX | LOCK_NB) == 0) &&
        renameat(dir_fd, NEW_NAME, dir_fd, file_name) == 0)
        return fd_steal(&fd);
    saved = errno;
    unlinkat(dir_fd, NEW_NAME, 0);
    fail_errno(error, saved, "write", registration->name);
    return -1;
}

RegistrationFile *registration_file_create(int sessions_dir_fd, const char *name,
                                           const ProcessId *root, const HostIdentity *host,
                                           gboolean hold, ProcessTable *processes, GError **error)
{
    g_autofree char *owned_name = g_strdup(name);
    Registration registration = {.name = owned_name, .root = *root, .held = hold};
    g_autofree char *file_name = g_strconcat(name, REGISTRATION_SUFFIX, NULL);
    autofd lock_fd = -1, dir_fd = -1, fd = -1;
    RegistrationFile *file;

    if (!registration_check_name(name, error))
        return NULL;
    dir_fd = fcntl(sessions_dir_fd, F_DUPFD_CLOEXEC, 0);
    if (dir_fd < 0) {
        fail_errno(error, errno, "write", name);
        return NULL;
    }
    lock_fd = lock_directory(dir_fd, error);
    if (lock_fd < 0 || !check_free(dir_fd, name, host, processes, error))
        return NULL;
    fd = write_file(dir_fd, file_name, &registration, host, error);
    if (fd < 0)
        return NULL;
    registration_sweep(dir_fd, host, processes);
    file = g_new0(RegistrationFile, 1);
    file->dir_fd = fd_steal(&dir_fd);
    file->fd = fd_steal(&fd);
    file->file_name = g_steal_pointer(&file_name);
    file->held = hold;
    return file;
}

/* Nobody replaces the file while it is locked, and whoever removed it by hand and made another had
 * to take the directory's lock: between the look and the removal the name cannot change hands. */
static void remove_own(RegistrationFile *file)
{
    autofd lock_fd G_GNUC_UNUSED = lock_directory(file->dir_fd, NULL);
    struct stat own, named;

    if (fstat(file->fd, &own) == 0 &&
        fstatat(file->dir_fd, file->file_name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        own.st_dev == named.st_dev && own.st_ino == named.st_ino)
        unlinkat(file->dir_fd, file->file_name, 0);
}

void registration_file_free(RegistrationFile *file)
{
    if (file == NULL)
        return;
    if (file->held)
        remove_own(file);
    close(file->fd);
    close(file->dir_fd);
    g_free(file->file_name);
    g_free(file);
}

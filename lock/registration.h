/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which processes are registered as the root of a named session, from the files
 * `<state>/sessions/NAME.json`.
 * Thread safety: a Registry is guarded by its owner (the session table); the rest is free-standing.
 */
#include "process.h"

typedef struct Registration {
    char *name;
    ProcessId root;
    uid_t
        owner; /* of the file: believed only about that user's processes, unless it is root or us */
    gboolean held; /* made by `leasefs run`, which holds the file's flock for its life */
    gboolean this_boot;
} Registration;

/* [A-Za-z0-9._@:-], 1 to 64 characters, not ending in `.digits.digits`. FALSE and an error that
 * says which rule is broken. */
gboolean registration_check_name(const char *name, GError **error);

/* A registration that exists as long as this is held. */
typedef struct RegistrationFile RegistrationFile;

/* Writes NAME.json whole (temporary file, flock, rename) below sessions_dir_fd (borrowed), for
 * `root`. With `hold` the flock stays taken until registration_file_free, and the file is
 * removed then; otherwise the file stays and counts as long as `root` lives. Old files of
 * processes that have ended are swept away.
 * G_IO_ERROR_EXISTS where a live registration has the name; the message names its pid. */
RegistrationFile *registration_file_create(int sessions_dir_fd, const char *name,
                                           const ProcessId *root, const HostIdentity *host,
                                           gboolean hold, ProcessTable *processes, GError **error);
/* Ends it: removes the file where it was held and is still this one. NULL is fine. */
void registration_file_free(RegistrationFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RegistrationFile, registration_file_free)

typedef struct Registry Registry;

Registry *registry_new(const HostIdentity *host, ProcessTable *processes);
void registry_free(Registry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Registry, registry_free)

/* Adds a directory of registrations (dir_fd is taken; the same directory twice is added once) and
 * watches it with inotify. */
gboolean registry_add_directory(Registry *registry, int dir_fd, GError **error);

/* Looks at the directories again if inotify says that they changed, or if `force`.
 * TRUE where the set of live registrations may have changed. Unreadable and garbage files are
 * left out and logged once. */
gboolean registry_refresh(Registry *registry, gboolean force);

/* Readable when registry_refresh has something to do; -1 where nothing can be watched. */
int registry_poll_fd(Registry *registry);

/* Every registration that was understood and made here, its root alive or dead: a GPtrArray of
 * Registration, borrowed until the next refresh. */
const GPtrArray *registry_list(Registry *registry);

/* The live registration whose root is this very process, else NULL. Borrowed until the next
 * refresh. */
const Registration *registry_find(Registry *registry, const ProcessInfo *process);
/* Whether one of them has a root of this pid, alive or dead. */
gboolean registry_names_pid(Registry *registry, pid_t pid);
const Registration *registry_find_name(Registry *registry, const char *name);

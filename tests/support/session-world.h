/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A session table over fake processes, with a directory of registrations: what its tests share.
 * Inline, for each of them uses only some of it.
 * Thread safety: none; one test at a time.
 */
#include "fake-processes.h"
#include "scripted-table.h"
#include "session-table.h"
#include "util.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

typedef struct World {
    FakeProcesses *fake;
    ScriptedTable scripted;
    HostIdentity host;
    char *directory;
    int dir_fd;
    Registry *registry;
    Boundaries *boundaries;
    SessionTable *table;
    guint ended;
} World;

static inline void count_end(Session *session G_GNUC_UNUSED, gpointer data)
{
    ((World *)data)->ended++;
}

static inline int set_up(void **state)
{
    World *world = g_new0(World, 1);

    world->fake = fake_processes_new();
    scripted_table_init(&world->scripted, fake_processes_table(world->fake));
    g_strlcpy(world->host.boot_id, "00000000-0000-0000-0000-000000000000",
              sizeof world->host.boot_id);
    world->host.pid_ns = 1;
    world->directory = g_dir_make_tmp("leasefs-sessions-XXXXXX", NULL);
    assert_non_null(world->directory);
    world->dir_fd = open(world->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(world->dir_fd >= 0);
    world->registry = registry_new(&world->host, &world->scripted.base);
    world->boundaries = boundaries_new(NULL);
    world->table = session_table_new(&world->scripted.base, world->registry, world->boundaries);
    session_table_on_ended(world->table, count_end, world);
    assert_true(
        session_table_add_directory(world->table, fcntl(world->dir_fd, F_DUPFD_CLOEXEC, 0), NULL));
    *state = world;
    return 0;
}

static inline void remove_directory(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);

        g_remove(entry);
    }
    g_rmdir(path);
}

static inline int tear_down(void **state)
{
    World *world = *state;

    session_table_free(world->table);
    boundaries_free(world->boundaries);
    registry_free(world->registry);
    fake_processes_free(world->fake);
    autofd_clear(&world->dir_fd);
    remove_directory(world->directory);
    g_free(world->directory);
    g_free(world);
    return 0;
}

static inline RegistrationFile *enter(World *world, const char *name, pid_t pid)
{
    ProcessId root = fake_processes_id(world->fake, pid);
    RegistrationFile *file = registration_file_create(world->dir_fd, name, &root, &world->host,
                                                      TRUE, &world->scripted.base, NULL);

    assert_non_null(file);
    return file;
}

static inline Session *session_of(World *world, pid_t tid)
{
    Session *session = NULL;

    assert_int_equal(session_table_resolve(world->table, tid, &session), CALLER_SESSION);
    return session;
}

static inline void expect_root(World *world, pid_t tid, pid_t expected, SessionRule rule)
{
    g_autoptr(Session) session = session_of(world, tid);
    ProcessId root;

    session_get_root(session, &root);
    assert_int_equal(root.pid, expected);
    assert_int_equal(session_rule(session), rule);
}

static inline void expect_id(World *world, pid_t tid, const char *expected)
{
    g_autoptr(Session) session = session_of(world, tid);
    g_autofree char *id = session_dup_id(session);

    assert_string_equal(id, expected);
}

static inline void add_terminal(World *world, pid_t pid, pid_t ppid, const char *comm)
{
    fake_processes_add(world->fake, pid, ppid, comm);
    fake_processes_make_leader(world->fake, pid, TRUE);
}

/* A terminal with an orchestrator and two agents. */
static inline void add_orchestrator(World *world)
{
    add_terminal(world, 100, 1, "bash");
    fake_processes_add(world->fake, 110, 100, "orchestrator");
    fake_processes_add(world->fake, 120, 110, "leasefs");
    fake_processes_add(world->fake, 121, 120, "agent");
    fake_processes_add(world->fake, 130, 110, "leasefs");
    fake_processes_add(world->fake, 131, 130, "agent");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

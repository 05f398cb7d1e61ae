/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names, registration files and the registry, in a directory of their own and over fake processes.
 */
#include "fake-processes.h"
#include "registration-sweep.h"
#include "registration-text.h"
#include "util.h"
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#define AGENT 100
#define OTHER 200

typedef struct World {
    FakeProcesses *fake;
    ProcessTable *processes;
    HostIdentity host;
    char *directory;
    int dir_fd;
    Registry *registry;
} World;

static guint warnings;

static GLogWriterOutput count_warnings(GLogLevelFlags level, const GLogField *fields G_GNUC_UNUSED,
                                       gsize n_fields G_GNUC_UNUSED, gpointer data G_GNUC_UNUSED)
{
    warnings += (level & G_LOG_LEVEL_WARNING) != 0;
    return G_LOG_WRITER_HANDLED;
}

static int set_up(void **state)
{
    World *world = g_new0(World, 1);

    world->fake = fake_processes_new();
    world->processes = fake_processes_table(world->fake);
    fake_processes_add(world->fake, AGENT, 1, "agent");
    fake_processes_add(world->fake, OTHER, 1, "other");
    g_strlcpy(world->host.boot_id, "00000000-0000-0000-0000-000000000000",
              sizeof world->host.boot_id);
    world->host.pid_ns = 1;
    world->directory = g_dir_make_tmp("leasefs-registration-XXXXXX", NULL);
    assert_non_null(world->directory);
    world->dir_fd = open(world->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(world->dir_fd >= 0);
    world->registry = registry_new(&world->host, world->processes);
    assert_true(
        registry_add_directory(world->registry, fcntl(world->dir_fd, F_DUPFD_CLOEXEC, 0), NULL));
    warnings = 0;
    *state = world;
    return 0;
}

static void remove_directory(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *entry = g_build_filename(path, name, NULL);

        g_remove(entry);
    }
    g_rmdir(path);
}

static int tear_down(void **state)
{
    World *world = *state;

    registry_free(world->registry);
    fake_processes_free(world->fake);
    autofd_clear(&world->dir_fd);
    remove_directory(world->directory);
    g_free(world->directory);
    g_free(world);
    return 0;
}

static RegistrationFile *enter(World *world, const char *name, pid_t pid, gboolean hold,
                               GError **error)
{
    ProcessId root = fake_processes_id(world->fake, pid);

    return registration_file_create(world->dir_fd, name, &root, &world->host, hold,
                                    world->processes, error);
}

static gboolean exists(World *world, const char *file_name)
{
    return faccessat(world->dir_fd, file_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void put_file(World *world, const char *file_name, const char *text, gssize size_bytes)
{
    g_autofree char *path = g_build_filename(world->directory, file_name, NULL);

    assert_true(g_file_set_contents(path, text, size_bytes, NULL));
}

static const Registration *find(World *world, pid_t pid)
{
    ProcessInfo info;

    assert_int_equal(world->processes->ops->read(world->processes, pid, &info), 0);
    registry_refresh(world->registry, FALSE);
    return registry_find(world->registry, &info);
}

/* --- names -------------------------------------------------------------------------------------
 */

static void names_are_checked(void **state G_GNUC_UNUSED)
{
    static const char *const good[] = {"a", "agent-1", "A_b@c:d.e", "1.2", "a.1",
                                       "1", "a.1.",    "a.1.b2",    "..",  "a..1"};
    static const char *const bad[] = {"",    "a b",   "a/b",       "a\n",   "\xc3\xa9",
                                      "a,b", "a.1.2", "a.b.10.20", "..1.2", "bash.4242.987654"};
    g_autofree char *longest = g_strnfill(64, 'x');
    g_autofree char *too_long = g_strnfill(65, 'x');

    for (guint i = 0; i < G_N_ELEMENTS(good); i++)
        assert_true(registration_check_name(good[i], NULL));
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        assert_false(registration_check_name(bad[i], &error));
        assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT));
    }
    assert_true(registration_check_name(longest, NULL));
    assert_false(registration_check_name(too_long, NULL));
}

static void refused_name_makes_no_file(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;

    assert_null(enter(world, "../evil", AGENT, TRUE, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT));
    assert_false(exists(world, "../evil.json"));
}

/* --- files -------------------------------------------------------------------------------------
 */

static void held_registration_ends_with_its_file(void **state)
{
    World *world = *state;
    RegistrationFile *file = enter(world, "agent", AGENT, TRUE, NULL);
    struct stat st;

    assert_non_null(file);
    assert_int_equal(fstatat(world->dir_fd, "agent.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    registration_file_free(file);
    assert_false(exists(world, "agent.json"));
    assert_false(exists(world, ".new"));
}

static void registration_that_is_not_held_outlives_the_command(void **state)
{
    World *world = *state;
    RegistrationFile *file = enter(world, "agent", AGENT, FALSE, NULL);

    assert_non_null(file);
    registration_file_free(file);
    assert_true(exists(world, "agent.json"));
    assert_non_null(find(world, AGENT));
}

static void live_name_is_not_given_twice(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) held G_GNUC_UNUSED = enter(world, "held", AGENT, TRUE, NULL);
    g_autoptr(GError) first = NULL;
    g_autoptr(GError) second = NULL;

    assert_null(enter(world, "held", OTHER, TRUE, &first));
    assert_true(g_error_matches(first, G_IO_ERROR, G_IO_ERROR_EXISTS));
    assert_non_null(strstr(first->message, "pid 100"));

    registration_file_free(enter(world, "loose", AGENT, FALSE, NULL));
    assert_null(enter(world, "loose", OTHER, TRUE, &second));
    assert_true(g_error_matches(second, G_IO_ERROR, G_IO_ERROR_EXISTS));
}

/* The command that holds it lives on, whatever became of the root. */
static void held_name_of_a_dead_root_is_not_given_away(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) held G_GNUC_UNUSED = enter(world, "agent", AGENT, TRUE, NULL);
    g_autoptr(GError) error = NULL;

    fake_processes_kill(world->fake, AGENT, TRUE);
    assert_null(enter(world, "agent", OTHER, TRUE, &error));
    assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_EXISTS));
}

static void dead_name_is_given_again(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) again = NULL;

    registration_file_free(enter(world, "agent", AGENT, FALSE, NULL));
    fake_processes_kill(world->fake, AGENT, TRUE);
    fake_processes_add(world->fake, AGENT, 1, "agent"); /* the pid alone proves nothing */
    again = enter(world, "agent", OTHER, TRUE, NULL);
    assert_non_null(again);
    assert_null(find(world, AGENT));
    assert_non_null(find(world, OTHER));
}

static void name_from_another_boot_is_given_again(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) again = NULL;

    registration_file_free(enter(world, "agent", AGENT, FALSE, NULL));
    world->host.boot_id[0] = '9';
    assert_null(find(world, AGENT));
    again = enter(world, "agent", OTHER, TRUE, NULL);
    assert_non_null(again);
}

static void garbage_under_a_name_is_replaced(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file = NULL;

    put_file(world, "agent.json", "{\"schema_ver", -1);
    file = enter(world, "agent", AGENT, TRUE, NULL);
    assert_non_null(file);
    assert_non_null(find(world, AGENT));
}

static void link_under_a_name_is_neither_followed_nor_replaced(void **state)
{
    World *world = *state;
    g_autoptr(GError) error = NULL;

    assert_int_equal(symlinkat("elsewhere", world->dir_fd, "agent.json"), 0);
    assert_null(enter(world, "agent", AGENT, TRUE, &error));
    assert_non_null(error);
    assert_true(exists(world, "agent.json"));
    assert_false(exists(world, "elsewhere"));
}

static void file_that_replaced_ours_is_left_alone(void **state)
{
    World *world = *state;
    RegistrationFile *file = enter(world, "agent", AGENT, TRUE, NULL);

    assert_int_equal(unlinkat(world->dir_fd, "agent.json", 0), 0);
    put_file(world, "agent.json", "another's", -1);
    registration_file_free(file);
    assert_true(exists(world, "agent.json"));
}

static void leftover_of_a_killed_command_is_in_nobodys_way(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file = NULL;

    put_file(world, ".new", "half of a regis", -1);
    file = enter(world, "agent", AGENT, TRUE, NULL);
    assert_non_null(file);
    assert_non_null(find(world, AGENT));
}

/* --- what is swept away ------------------------------------------------------------------------
 */

/* As a command of `host` left it, `age_s` seconds ago. */
static void put_registration(World *world, const char *name, const ProcessId *root,
                             const HostIdentity *host, gboolean held, time_t age_s)
{
    g_autofree char *owned = g_strdup(name);
    const Registration registration = {.name = owned, .root = *root, .held = held};
    g_autofree char *text = registration_format(&registration, host);
    g_autofree char *file_name = g_strconcat(name, ".json", NULL);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                      {.tv_sec = 1000000000 - age_s, .tv_nsec = 0}};

    put_file(world, file_name, text, -1);
    assert_int_equal(utimensat(world->dir_fd, file_name, times, 0), 0);
}

static void put_ended(World *world, guint count)
{
    for (guint i = 0; i < count; i++) {
        const ProcessId gone = {.pid = (pid_t)(10000 + i), .start_time = 1};
        g_autofree char *name = g_strdup_printf("ended%u", i);

        put_registration(world, name, &gone, &world->host, i % 2 == 0, (time_t)i);
    }
}

static void oldest_registrations_of_the_dead_are_swept_away(void **state)
{
    World *world = *state;
    g_autofree char *last = g_strdup_printf("ended%u.json", REGISTRATION_SWEEP_KEEP - 1);
    g_autofree char *over = g_strdup_printf("ended%u.json", REGISTRATION_SWEEP_KEEP);
    g_autofree char *oldest = g_strdup_printf("ended%u.json", REGISTRATION_SWEEP_KEEP + 9);

    put_ended(world, REGISTRATION_SWEEP_KEEP + 10);
    registration_file_free(enter(world, "agent", AGENT, FALSE, NULL));
    assert_true(exists(world, "agent.json"));
    assert_true(exists(world, "ended0.json"));
    assert_true(exists(world, last));
    assert_false(exists(world, over));
    assert_false(exists(world, oldest));
}

/* All of these are older than those that are swept away. */
static void registrations_that_may_be_alive_are_never_swept_away(void **state)
{
    World *world = *state;
    const ProcessId alive = fake_processes_id(world->fake, AGENT);
    const ProcessId gone = {.pid = 9999, .start_time = 1};
    HostIdentity elsewhere = world->host;
    g_autoptr(RegistrationFile) held = NULL;
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

    elsewhere.pid_ns = 2;
    fake_processes_add(world->fake, 300, 1, "killed");
    held = enter(world, "held", 300, TRUE, NULL);
    assert_non_null(held);
    assert_int_equal(utimensat(world->dir_fd, "held.json", old, 0), 0);
    fake_processes_kill(world->fake, 300, TRUE);
    put_registration(world, "alive", &alive, &world->host, FALSE, 100000);
    put_registration(world, "container", &gone, &elsewhere, FALSE, 100000);
    put_file(world, "garbage.json", "{", -1);
    put_file(world, "README", "not a registration", -1);
    assert_int_equal(symlinkat("elsewhere", world->dir_fd, "link.json"), 0);

    put_ended(world, REGISTRATION_SWEEP_KEEP + 10);
    registration_file_free(enter(world, "agent", OTHER, FALSE, NULL));
    assert_true(exists(world, "held.json"));
    assert_true(exists(world, "alive.json"));
    assert_true(exists(world, "container.json"));
    assert_true(exists(world, "garbage.json"));
    assert_true(exists(world, "README"));
    assert_true(exists(world, "link.json"));
    assert_false(exists(world, "ended265.json"));
}

static void registrations_of_other_boots_and_killed_runs_are_swept_away(void **state)
{
    World *world = *state;
    const ProcessId alive = fake_processes_id(world->fake, AGENT);
    HostIdentity elsewhere = world->host;
    HostIdentity earlier = world->host;

    elsewhere.pid_ns = 2;
    earlier.boot_id[0] = '9';
    put_registration(world, "killed", &alive, &elsewhere, TRUE, 100000);
    put_registration(world, "earlier", &alive, &earlier, FALSE, 100000);
    put_ended(world, REGISTRATION_SWEEP_KEEP);
    registration_file_free(enter(world, "agent", OTHER, FALSE, NULL));
    assert_false(exists(world, "killed.json"));
    assert_false(exists(world, "earlier.json"));
    assert_true(exists(world, "ended255.json"));
}

/* --- the registry ------------------------------------------------------------------------------
 */

static void registry_follows_its_directory(void **state)
{
    World *world = *state;
    RegistrationFile *file;
    const Registration *found;

    registry_refresh(world->registry, FALSE);
    assert_false(registry_refresh(world->registry, FALSE));
    assert_null(find(world, AGENT));
    file = enter(world, "agent", AGENT, TRUE, NULL);
    assert_true(registry_refresh(world->registry, FALSE));
    found = find(world, AGENT);
    assert_non_null(found);
    assert_string_equal(found->name, "agent");
    assert_true(found->held);
    assert_ptr_equal(registry_find_name(world->registry, "agent"), found);
    registration_file_free(file);
    assert_true(registry_refresh(world->registry, FALSE));
    assert_null(find(world, AGENT));
    assert_null(registry_find_name(world->registry, "agent"));
}

static void registry_finds_only_this_very_process(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = enter(world, "agent", AGENT, TRUE, NULL);

    fake_processes_kill(world->fake, AGENT, FALSE);
    assert_null(find(world, AGENT)); /* a zombie */
    assert_null(registry_find_name(world->registry, "agent"));
    fake_processes_kill(world->fake, AGENT, TRUE);
    fake_processes_add(world->fake, AGENT, 1, "agent");
    assert_null(find(world, AGENT));
    assert_null(registry_find_name(world->registry, "agent"));
    assert_int_equal(registry_list(world->registry)->len, 1);
}

static void same_directory_twice_is_read_once(void **state)
{
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = enter(world, "agent", AGENT, TRUE, NULL);

    assert_true(
        registry_add_directory(world->registry, fcntl(world->dir_fd, F_DUPFD_CLOEXEC, 0), NULL));
    registry_refresh(world->registry, TRUE);
    assert_int_equal(registry_list(world->registry)->len, 1);
}

static void garbage_is_left_out_and_logged_once(void **state)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"schema_version\":2,\"name\":\"x0\",\"pid\":100,\"pid_start\":3,\"pid_ns\":1,"
        "\"boot_id\":\"00000000-0000-0000-0000-000000000000\",\"held\":true}",
        "{\"schema_version\":1,\"name\":\"another\",\"pid\":100,\"pid_start\":3,\"pid_ns\":1,"
        "\"boot_id\":\"00000000-0000-0000-0000-000000000000\",\"held\":true}",
        "{\"schema_version\":1,\"name\":\"x5\",\"pid\":-100,\"pid_start\":3,\"pid_ns\":1,"
        "\"boot_id\":\"00000000-0000-0000-0000-000000000000\",\"held\":true}",
        "{\"schema_version\":1,\"name\":\"x6\",\"pid\":\"100\",\"pid_start\":3,\"pid_ns\":1,"
        "\"boot_id\":\"00000000-0000-0000-0000-000000000000\",\"held\":true}",
        "{\"schema_version\":1,\"name\":\"x7\",\"pid\":100,\"pid_start\":3,\"pid_ns\":1,"
        "\"boot_id\":\"00000000-0000-0000-0000-000000000000\",\"held\":1}",
    };
    World *world = *state;
    g_autoptr(RegistrationFile) file G_GNUC_UNUSED = enter(world, "agent", AGENT, TRUE, NULL);

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *name = g_strdup_printf("x%u.json", i);

        put_file(world, name, texts[i], -1);
    }
    put_file(world, "a b.json", "{}", -1);
    put_file(world, "notes.txt", "not ours", -1);
    assert_int_equal(mkdirat(world->dir_fd, "dir.json", 0700), 0);
    assert_int_equal(mkfifoat(world->dir_fd, "fifo.json", 0600), 0);
    registry_refresh(world->registry, TRUE);
    assert_int_equal(registry_list(world->registry)->len, 1);
    assert_int_equal(warnings, G_N_ELEMENTS(texts) + 3);
    registry_refresh(world->registry, TRUE);
    assert_int_equal(warnings, G_N_ELEMENTS(texts) + 3);
}

static void huge_file_is_not_read(void **state)
{
    World *world = *state;
    g_autofree char *huge = g_strnfill(1 << 20, ' ');

    put_file(world, "agent.json", huge, -1);
    registry_refresh(world->registry, TRUE);
    assert_int_equal(registry_list(world->registry)->len, 0);
    assert_int_equal(warnings, 1);
}

static void other_pid_namespace_is_no_fault_and_means_nothing(void **state)
{
    World *world = *state;

    registration_file_free(enter(world, "agent", AGENT, FALSE, NULL));
    world->host.pid_ns = 2;
    registry_refresh(world->registry, TRUE);
    assert_int_equal(registry_list(world->registry)->len, 0);
    assert_int_equal(warnings, 0);
}

/* A root daemon believes a user's file only about that user's processes. Needs to be root. */
static void file_of_another_user_is_not_believed(void **state)
{
    World *world = *state;

    registration_file_free(enter(world, "agent", AGENT, FALSE, NULL));
    if (geteuid() != 0) {
        assert_non_null(find(world, AGENT)); /* our own file */
        return;
    }
    assert_int_equal(fchownat(world->dir_fd, "agent.json", 4711, 4711, 0), 0);
    registry_refresh(world->registry, TRUE);
    assert_int_equal(registry_list(world->registry)->len, 1);
    assert_null(find(world, AGENT)); /* the fake process is root's */
    fake_processes_set_owner(world->fake, AGENT, 4711);
    assert_non_null(find(world, AGENT));
}

static void text_comes_back_the_same(void **state)
{
    World *world = *state;
    char name[] = "agent-1:x@y";
    Registration registration = {.name = name, .root = {4242, 987654321}, .held = TRUE};
    g_autofree char *text = registration_format(&registration, &world->host);
    g_autoptr(Registration) parsed = NULL;
    gboolean here = FALSE;

    parsed = registration_parse(text, strlen(text), name, &world->host, &here, NULL);
    assert_non_null(parsed);
    assert_true(here);
    assert_string_equal(parsed->name, name);
    assert_true(process_id_equal(&parsed->root, &registration.root));
    assert_true(parsed->held);
    for (gsize n = 0; n + 1 < strlen(text); n++) {
        g_autoptr(GError) error = NULL;

        assert_null(registration_parse(text, n, name, &world->host, &here, &error));
        assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        CASE(refused_name_makes_no_file),
        CASE(held_registration_ends_with_its_file),
        CASE(registration_that_is_not_held_outlives_the_command),
        CASE(live_name_is_not_given_twice),
        CASE(held_name_of_a_dead_root_is_not_given_away),
        CASE(dead_name_is_given_again),
        CASE(name_from_another_boot_is_given_again),
        CASE(garbage_under_a_name_is_replaced),
        CASE(link_under_a_name_is_neither_followed_nor_replaced),
        CASE(file_that_replaced_ours_is_left_alone),
        CASE(oldest_registrations_of_the_dead_are_swept_away),
        CASE(registrations_that_may_be_alive_are_never_swept_away),
        CASE(registrations_of_other_boots_and_killed_runs_are_swept_away),
        CASE(leftover_of_a_killed_command_is_in_nobodys_way),
        CASE(registry_follows_its_directory),
        CASE(registry_finds_only_this_very_process),
        CASE(same_directory_twice_is_read_once),
        CASE(garbage_is_left_out_and_logged_once),
        CASE(huge_file_is_not_read),
        CASE(other_pid_namespace_is_no_fault_and_means_nothing),
        CASE(file_of_another_user_is_not_believed),
        CASE(text_comes_back_the_same),
    };

    g_log_set_writer_func(count_warnings, NULL, NULL);
    return cmocka_run_group_tests_name("registration", tests, NULL, NULL);
}

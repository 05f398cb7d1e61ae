/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be asked of a mount, and what it says to bad input.
 */
#include "scene.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <cmocka.h>

typedef struct Stage {
    Scene *scene;
    Agent *alice, *bob;
} Stage;

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);
    g_autofree char *file = NULL;

    stage->scene = scene_new(FALSE);
    file = g_build_filename(stage->scene->backing, "f", NULL);
    g_file_set_contents(file, "0123456789", -1, NULL);
    if (setxattr(file, "user.leasefs.holder", "forged", 6, 0) != 0 ||
        setxattr(file, "user.mine", "1", 1, 0) != 0)
        return -1;
    stage->alice = scene_add_agent(stage->scene);
    stage->bob = scene_add_agent(stage->scene);
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    gboolean healthy = scene_free(stage->scene);

    g_free(stage);
    return healthy ? 0 : -1;
}

static void expect(int got, int wanted, const char *what)
{
    if (got != wanted)
        fail_msg("%s: got %s, expected %s", what, got == 0 ? "success" : g_strerror(-got),
                 wanted == 0 ? "success" : g_strerror(-wanted));
}

/* NAME=VALUE as the agent sees it. */
static int task_attribute_is(void *state G_GNUC_UNUSED, const char *argument)
{
    g_auto(GStrv) parts = g_strsplit(argument, "=", 2);
    g_autofree char *name = g_strconcat("user.leasefs.", parts[0], NULL);
    char value[1024];
    ssize_t n = getxattr(".", name, value, sizeof value - 1);

    if (n < 0)
        return -errno;
    value[n] = '\0';
    return g_pattern_match_simple(parts[1], value) ? 0 : -EBADMSG;
}

static int task_forge(void *state G_GNUC_UNUSED, const char *name)
{
    return setxattr("f", name, "x", 1, 0) == 0 ? 0 : -errno;
}

static int task_unset(void *state G_GNUC_UNUSED, const char *name)
{
    return removexattr("f", name) == 0 ? 0 : -errno;
}

static void free_workspace_says_so(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_attribute_is, "state=free"), 0, "state");
    expect(agent_do(stage->alice, task_attribute_is, "holder=*"), -ENODATA, "holder");
    expect(agent_do(stage->alice, task_attribute_is, "reason=*"), -ENODATA, "reason");
    expect(agent_do(stage->alice, task_attribute_is, "writable=yes"), 0, "writable");
    expect(agent_do(stage->alice, task_attribute_is, "epoch=0"), 0, "epoch");
    expect(agent_do(stage->alice, task_attribute_is, "nonsense=*"), -ENODATA, "no such");
}

static void holder_and_blocked_see_themselves(void **state)
{
    Stage *stage = *state;
    g_autofree char *holder = NULL;
    g_autofree char *own = NULL;
    g_autofree char *reason = NULL;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    holder = g_strdup_printf("holder=*.%d.*", (int)agent_pid(stage->alice));
    own = g_strdup_printf("session=*.%d.*", (int)agent_pid(stage->bob));
    reason = g_strdup_printf("reason=held by *.%d.* (pid %d, *) for *s more; wait, or work "
                             "read-only",
                             (int)agent_pid(stage->alice), (int)agent_pid(stage->alice));
    expect(agent_do(stage->bob, task_attribute_is, holder), 0, "holder");
    expect(agent_do(stage->bob, task_attribute_is, own), 0, "session");
    expect(agent_do(stage->bob, task_attribute_is, reason), 0, "reason");
    expect(agent_do(stage->bob, task_attribute_is, "writable=no"), 0, "writable");
    expect(agent_do(stage->alice, task_attribute_is, "writable=yes"), 0, "writable");
    expect(agent_do(stage->alice, task_attribute_is, "reason=*"), -ENODATA, "reason");
    expect(agent_do(stage->alice, task_attribute_is, "ttl_ms=300000"), 0, "ttl_ms");
    expect(agent_do(stage->alice, task_attribute_is, "state=fresh"), 0, "state");
}

static void attributes_are_listed_nowhere(void **state)
{
    Stage *stage = *state;
    g_autofree char *file = NULL;
    char names[1024];
    ssize_t n;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    file = g_build_filename(stage->scene->mountpoint, "f", NULL);
    n = listxattr(file, names, sizeof names);
    assert_int_equal(n, (int)sizeof "user.mine");
    assert_string_equal(names, "user.mine");
    assert_int_equal(listxattr(file, NULL, 0), (int)sizeof "user.mine");
}

static void attributes_cannot_be_forged(void **state)
{
    Stage *stage = *state;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_forge, "user.leasefs.holder"), -EPERM, "setxattr");
    expect(agent_do(stage->alice, task_unset, "user.leasefs.holder"), -EPERM, "removexattr");
    expect(agent_do(stage->alice, task_attribute_is, "holder=*"), -ENODATA, "stored below");
    expect(agent_do(stage->alice, task_control, ""), -EINVAL, "an empty word");
    expect(agent_do(stage->alice, task_attribute_is, "state=free"), 0, "state");
}

static void writer_of_a_file_is_told(void **state)
{
    Stage *stage = *state;
    g_autofree char *file = NULL;
    g_autofree char *pid = NULL;
    char value[512];
    ssize_t n;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    file = g_build_filename(stage->scene->mountpoint, "f", NULL);
    assert_int_equal(getxattr(file, "user.leasefs.writer", value, sizeof value), -1);
    assert_int_equal(errno, ENODATA);
    expect(agent_do(stage->alice, task_touch, "f"), 0, "change");
    n = getxattr(file, "user.leasefs.writer", value, sizeof value - 1);
    assert_true(n > 0);
    value[n] = '\0';
    pid = g_strdup_printf(".%d.", (int)agent_pid(stage->alice));
    assert_non_null(strstr(value, pid));
    assert_non_null(strstr(value, "\"epoch\":1"));
}

static void status_is_one_document_with_all_of_it(void **state)
{
    static const char *const members[] = {
        "workspace", "mountpoint", "daemon_pid", "mode",           "state",
        "holder",    "holder_pid", "epoch",      "ttl_ms",         "expires_ms",
        "session",   "writable",   "reason",     "degraded",       "cache",
        "bypass",    "queue",      "sessions",   "open_elsewhere", "counters",
    };
    Stage *stage = *state;
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autofree char *text = NULL;
    JsonObject *object;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    expect(agent_do(stage->bob, task_touch, "b"), -EROFS, "the other's change");
    text = scene_attribute(stage->scene, "status");
    assert_true(json_parser_load_from_data(parser, text, -1, NULL));
    object = json_node_get_object(json_parser_get_root(parser));
    for (guint i = 0; i < G_N_ELEMENTS(members); i++)
        if (!json_object_has_member(object, members[i]))
            fail_msg("status has no %s", members[i]);
    assert_false(json_object_get_boolean_member(object, "writable"));
    assert_true(json_array_get_length(json_object_get_array_member(object, "sessions")) >= 2);
    assert_int_equal(
        json_object_get_int_member(json_object_get_object_member(object, "counters"), "refused"),
        1);
}

static void workspace_whose_name_is_not_utf8_is_told_of(void **state)
{
    static const char *const commands[] = {"status", "whoami", "acquire", "release", "umount"};
    Stage *stage = *state;
    g_autofree char *odd = g_build_filename(stage->scene->dir, "odd\xff", NULL);
    g_autofree char *output = NULL;

    assert_int_equal(g_mkdir(odd, 0755), 0);
    assert_int_equal(scene_command(stage->scene, &output, "mount", odd, NULL), 0);
    g_clear_pointer(&output, g_free);
    assert_int_equal(scene_command(stage->scene, &output, "whoami", "--json", odd, NULL), 0);
    assert_true(g_utf8_validate(output, -1, NULL));
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *said = NULL;

        assert_int_equal(scene_command(stage->scene, &said, commands[i], odd, NULL), 0);
    }
    assert_int_equal(g_rmdir(odd), 0);
}

/* --- bad input: one line, the right status, nothing left ---------------------------------------
 */

static void expect_refused(Scene *scene, int status, const char *part, const char *a, const char *b,
                           const char *c)
{
    g_autofree char *output = NULL;
    g_autofree char *record = NULL;

    assert_int_equal(scene_command(scene, &output, "mount", a, b, c, NULL), status);
    assert_true(scene_is_one_line(output, part));
    record = scene_record(scene);
    assert_null(record);
}

static void bad_requests_to_mount_are_explained(void **state)
{
    Stage *stage = *state;
    Scene *scene = stage->scene;
    g_autofree char *file = g_build_filename(scene->backing, "f", NULL);
    g_autofree char *missing = g_build_filename(scene->backing, "missing", NULL);
    g_autofree char *inside = g_build_filename(scene->backing, "inside", NULL);

    g_mkdir(inside, 0755);
    expect_refused(scene, 1, missing, missing, NULL, NULL);
    expect_refused(scene, 1, "not a directory", file, NULL, NULL);
    expect_refused(scene, 1, "inside", scene->backing, inside, NULL);
    expect_refused(scene, 2, "foo", "-ofoo", scene->backing, NULL);
    expect_refused(scene, 2, "abc", "-ottl=abc", scene->backing, NULL);
    expect_refused(scene, 2, "--nonsense", "--nonsense", scene->backing, NULL);
    expect_refused(scene, 2, "leasefs mount", NULL, NULL, NULL);
}

static void second_mount_names_the_first(void **state)
{
    Stage *stage = *state;
    Scene *scene = stage->scene;
    g_autofree char *output = NULL;
    g_autofree char *around = NULL;
    g_autofree char *inside = g_build_filename(scene->backing, "inside", NULL);

    g_mkdir(inside, 0755);
    assert_true(scene_mount(scene, "ttl=5m"));
    assert_int_equal(scene_command(scene, &output, "mount", scene->backing, NULL), 1);
    assert_true(scene_is_one_line(output, scene->mountpoint));
    assert_int_equal(scene_command(scene, &around, "mount", scene->dir, NULL), 1);
    assert_true(scene_is_one_line(around, scene->mountpoint));
    g_clear_pointer(&output, g_free);
    assert_int_equal(scene_command(scene, &output, "mount", inside, NULL), 1);
    assert_true(scene_is_one_line(output, scene->mountpoint));
}

static void path_outside_a_mount_is_named(void **state)
{
    static const char *const commands[] = {"status", "acquire", "refresh", "release"};
    Stage *stage = *state;

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *output = NULL;

        assert_int_equal(
            scene_command(stage->scene, &output, commands[i], stage->scene->backing, NULL), 1);
        assert_true(scene_is_one_line(output, stage->scene->backing));
    }
}

/* Whether no line is longer than 80 characters; else prints the first that is. */
static gboolean fits_a_terminal(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        if (g_utf8_strlen(lines[i], -1) > 80) {
            print_message("too long: %s\n", lines[i]);
            return FALSE;
        }
    }
    return TRUE;
}

static void unknown_commands_and_arguments_are_wrong_usage(void **state)
{
    static const char *const commands[] = {"mount",  "umount",  "run",     "status",
                                           "whoami", "acquire", "refresh", "release"};
    Stage *stage = *state;
    g_autofree char *output = NULL;

    assert_int_equal(scene_command(stage->scene, &output, "nonsense", NULL), 2);
    assert_true(scene_is_one_line(output, "nonsense"));
    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *wrong = NULL;
        g_autofree char *help = NULL;

        assert_int_equal(scene_command(stage->scene, &wrong, commands[i], "--nonsense", NULL), 2);
        assert_true(scene_is_one_line(wrong, "nonsense"));
        assert_int_equal(scene_command(stage->scene, &help, commands[i], "--help", NULL), 0);
        assert_non_null(strstr(help, "EXIT STATUS"));
        assert_true(fits_a_terminal(help));
    }
    g_clear_pointer(&output, g_free);
    assert_int_equal(scene_command(stage->scene, &output, "--help", NULL), 0);
    assert_true(fits_a_terminal(output));
}

static void lease_of_another_is_exit_status_75(void **state)
{
    static const char *const verbs[][2] = {
        {"acquire", "acquired"}, {"refresh", "refreshed"}, {"release", "released"}};
    Stage *stage = *state;
    g_autofree char *output = NULL;

    assert_true(scene_mount(stage->scene, "ttl=5m"));
    expect(agent_do(stage->alice, task_touch, "a"), 0, "change");
    assert_int_equal(
        scene_command(stage->scene, &output, "acquire", stage->scene->mountpoint, NULL), 75);
    assert_true(scene_is_one_line(output, "held by"));
    for (guint i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_autofree char *json = NULL;
        g_autofree char *no = g_strdup_printf("\"%s\":false", verbs[i][1]);

        assert_int_equal(scene_command(stage->scene, &json, verbs[i][0], "--json",
                                       stage->scene->mountpoint, NULL),
                         75);
        assert_non_null(strstr(json, no));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(free_workspace_says_so),
        CASE(holder_and_blocked_see_themselves),
        CASE(attributes_are_listed_nowhere),
        CASE(attributes_cannot_be_forged),
        CASE(writer_of_a_file_is_told),
        CASE(status_is_one_document_with_all_of_it),
        CASE(workspace_whose_name_is_not_utf8_is_told_of),
        CASE(bad_requests_to_mount_are_explained),
        CASE(second_mount_names_the_first),
        CASE(path_outside_a_mount_is_named),
        CASE(unknown_commands_and_arguments_are_wrong_usage),
        CASE(lease_of_another_is_exit_status_75),
    };

    return cmocka_run_group_tests_name("inspection", tests, NULL, NULL);
}

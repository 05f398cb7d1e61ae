/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

typedef struct Case {
    const char *glob;
    const char *path;
    gboolean matches;
} Case;

static void check(const Case *cases, gsize n, PathClass class)
{
    for (gsize i = 0; i < n; i++) {
        const char *const globs[] = {cases[i].glob, NULL};
        g_autoptr(Policy) policy =
            class == PATH_SHARED ? policy_new(NULL, globs) : policy_new(globs, NULL);
        PathClass expected = cases[i].matches ? class : PATH_ORDINARY;
        g_autofree char *name = g_path_get_basename(cases[i].path);

        if (policy_classify(policy, cases[i].path) != expected)
            fail_msg("%s, %s: not %d", cases[i].glob, cases[i].path, (int)expected);
        if (cases[i].matches && !policy_may_match(policy, name))
            fail_msg("%s, %s: left out", cases[i].glob, name);
    }
}

static void index_lock_of_git_is_passive_by_default(void **state)
{
    g_autoptr(Policy) policy = policy_new(policy_default_passive, NULL);

    (void)state;
    assert_int_equal(policy_classify(policy, ".git/index.lock"), PATH_PASSIVE);
    assert_int_equal(policy_classify(policy, "sub/repo/.git/index.lock"), PATH_PASSIVE);
    assert_int_equal(policy_classify(policy, ".git/worktrees/w/index.lock"), PATH_PASSIVE);
    assert_int_equal(policy_classify(policy, ".git/modules/a/b/index.lock"), PATH_PASSIVE);
    assert_int_equal(policy_classify(policy, ".git/index"), PATH_ORDINARY);
    assert_int_equal(policy_classify(policy, ".git/HEAD.lock"), PATH_ORDINARY);
    assert_int_equal(policy_classify(policy, "index.lock"), PATH_ORDINARY);
    assert_int_equal(policy_classify(policy, "x.git/index.lock"), PATH_ORDINARY);
    assert_int_equal(policy_classify(policy, ".git/index.lock/x"), PATH_ORDINARY);
    assert_int_equal(policy_classify(policy, ""), PATH_ORDINARY);
}

static void most_names_need_no_path(void **state)
{
    g_autoptr(Policy) policy = policy_new(policy_default_passive, NULL);

    (void)state;
    assert_true(policy_may_match(policy, "index.lock"));
    assert_false(policy_may_match(policy, "index"));
    assert_false(policy_may_match(policy, "main.c"));
    assert_false(policy_may_match(policy, "xindex.lock"));
    assert_false(policy_may_match(policy, "index.lockx"));
    assert_false(policy_may_match(policy, ""));
}

static void name_that_ends_like_a_passive_glob_needs_its_path(void **state)
{
    static const char *const globs[] = {"*/.git/*.lock", NULL};
    g_autoptr(Policy) policy = policy_new(globs, NULL);

    (void)state;
    assert_true(policy_may_match(policy, "HEAD.lock"));
    assert_false(policy_may_match(policy, "HEAD"));
}

static void any_name_may_be_shared(void **state)
{
    static const char *const globs[] = {"build", NULL};
    g_autoptr(Policy) policy = policy_new(NULL, globs);

    (void)state;
    assert_true(policy_may_match(policy, "main.o"));
    assert_int_equal(policy_classify(policy, "build/main.o"), PATH_SHARED);
    assert_int_equal(policy_classify(policy, "main.o"), PATH_ORDINARY);
}

static void shared_globs_cover_what_lies_below(void **state)
{
    static const Case cases[] = {
        {"build", "build", TRUE},
        {"build", "build/a/b", TRUE},
        {"build", "x/build/a", TRUE},
        {"build", "x/builds/a", FALSE},
        {"build", "rebuild", FALSE},
        {"build/", "build/a", TRUE},
        {"/build", "build/a", TRUE},
        {"/build", "x/build/a", FALSE},
        {"*/.cache", ".cache", TRUE},
        {"*/.cache", "a/.cache/b/c", TRUE},
        {"*/.cache", "a/.cached/b", FALSE},
        {"node_modules/.cache/*", "node_modules/.cache/a/b", TRUE},
        {"node_modules/.cache/*", "node_modules/.cache", FALSE},
        {"node_modules/.cache/*", "node_modules/x", FALSE},
        {"node_modules/.cache/*", "pkg/node_modules/.cache/a", FALSE},
        {"*.log", "a.log", TRUE},
        {"*.log", "logs/a.log", TRUE},
        {"*.log", "a.log/b", TRUE},
        {"*.log", "a.logs", FALSE},
        {"*.log", "log", FALSE},
        {"out-?", "a/out-1/x", TRUE},
        {"out-?", "a/out-12/x", FALSE},
        {"out[0-9]/tmp", "out7/tmp/x", TRUE},
        {"out[0-9]/tmp", "outx/tmp/x", FALSE},
        {"a/*/z", "a/b/c/z/d", TRUE},
        {"a/*/z", "a/z/d", FALSE},
        {"a\\*b", "a*b/x", TRUE},
        {"a\\*b", "axb/x", FALSE},
        {"a/b\\*", "a/b*/x", TRUE},
        {"a/b\\*", "a/bc", FALSE},
        {"*", "anything/at/all", TRUE},
        {"[", "[/x", TRUE},
        {"[", "x", FALSE},
        {"/", "a", FALSE},
        {"", "a", FALSE},
    };

    (void)state;
    check(cases, G_N_ELEMENTS(cases), PATH_SHARED);
}

static void passive_globs_cover_only_what_they_match(void **state)
{
    static const Case cases[] = {
        {"*.swp", "a/.x.swp", TRUE},         {"*.swp", "x.swp/y", FALSE},
        {"run.pid", "a/run.pid", TRUE},      {"run.pid", "run.pid/a", FALSE},
        {"run/*.pid", "run/a.pid", TRUE},    {"run/*.pid", "run/a/b.pid", TRUE},
        {"run/*.pid", "x/run/a.pid", FALSE}, {"[ab]*x]y", "a1x]y", TRUE},
    };

    (void)state;
    check(cases, G_N_ELEMENTS(cases), PATH_PASSIVE);
}

static void path_that_is_both_is_shared(void **state)
{
    static const char *const globs[] = {"x.lock", NULL};
    g_autoptr(Policy) policy = policy_new(globs, globs);

    (void)state;
    assert_int_equal(policy_classify(policy, "x.lock"), PATH_SHARED);
}

static void lock_renamed_to_what_it_locks_is_passive(void **state)
{
    g_autoptr(Policy) policy = policy_new(policy_default_passive, NULL);

    (void)state;
    assert_true(policy_is_passive_rename(policy, ".git/index.lock", ".git/index"));
    assert_true(policy_is_passive_rename(policy, "a/.git/index.lock", "a/.git/index"));
    assert_false(policy_is_passive_rename(policy, ".git/index.lock", ".git/HEAD"));
    assert_false(policy_is_passive_rename(policy, ".git/index.lock", "index"));
    assert_false(policy_is_passive_rename(policy, ".git/index.lock", ".git/index.lock"));
    assert_false(policy_is_passive_rename(policy, ".git/index", ".git/index.lock"));
    assert_false(policy_is_passive_rename(policy, ".git/HEAD.lock", ".git/HEAD"));
}

static void policy_without_globs_leaves_everything_ordinary(void **state)
{
    g_autoptr(Policy) policy = policy_new(NULL, NULL);

    (void)state;
    assert_false(policy_may_match(policy, "index.lock"));
    assert_int_equal(policy_classify(policy, ".git/index.lock"), PATH_ORDINARY);
    policy_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_lock_of_git_is_passive_by_default),
        cmocka_unit_test(most_names_need_no_path),
        cmocka_unit_test(name_that_ends_like_a_passive_glob_needs_its_path),
        cmocka_unit_test(any_name_may_be_shared),
        cmocka_unit_test(shared_globs_cover_what_lies_below),
        cmocka_unit_test(passive_globs_cover_only_what_they_match),
        cmocka_unit_test(path_that_is_both_is_shared),
        cmocka_unit_test(lock_renamed_to_what_it_locks_is_passive),
        cmocka_unit_test(policy_without_globs_leaves_everything_ordinary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file is known to lack, and until when.
 */
#include "xattr-memory.h"
#include "node-tree.h"

#define ACL  "system.posix_acl_access"
#define CAPS "security.capability"

typedef struct Stage {
    Tree tree;
    XattrMemory *memory;
    Node *file, *other;
} Stage;

static int set_up(void **state)
{
    Stage *stage = g_new0(Stage, 1);

    tree_init(&stage->tree, 4);
    tree_make_file(&stage->tree, "file");
    tree_make_file(&stage->tree, "other");
    stage->file = tree_lookup(&stage->tree, stage->tree.root, "file");
    stage->other = tree_lookup(&stage->tree, stage->tree.root, "other");
    stage->memory = xattr_memory_new();
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    Stage *stage = *state;

    xattr_memory_free(stage->memory);
    tree_clear(&stage->tree);
    g_free(stage);
    return 0;
}

static void look_in_vain(Stage *stage, Node *node, const char *name)
{
    xattr_memory_absent(stage->memory, node, name, xattr_memory_begin(stage->memory));
}

static void what_was_absent_is_lacked(void **state)
{
    Stage *stage = *state;

    assert_false(xattr_memory_lacks(stage->file, ACL));
    look_in_vain(stage, stage->file, ACL);
    assert_true(xattr_memory_lacks(stage->file, ACL));
    assert_false(xattr_memory_lacks(stage->file, CAPS));
    assert_false(xattr_memory_lacks(stage->other, ACL));
    look_in_vain(stage, stage->file, CAPS);
    assert_true(xattr_memory_lacks(stage->file, ACL));
    assert_true(xattr_memory_lacks(stage->file, CAPS));
}

static void other_names_are_not_remembered(void **state)
{
    const char *const names[] = {"", "user.a", "security.ima", "security.selinux2", "trusted.a"};
    Stage *stage = *state;

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        look_in_vain(stage, stage->file, names[i]);
        assert_false(xattr_memory_lacks(stage->file, names[i]));
    }
}

/* One may have been given, whichever it was. */
static void file_that_is_given_an_attribute_lacks_nothing(void **state)
{
    Stage *stage = *state;

    look_in_vain(stage, stage->file, ACL);
    look_in_vain(stage, stage->file, CAPS);
    look_in_vain(stage, stage->other, ACL);
    xattr_memory_set(stage->memory, stage->file);
    assert_false(xattr_memory_lacks(stage->file, ACL));
    assert_false(xattr_memory_lacks(stage->file, CAPS));
    assert_true(xattr_memory_lacks(stage->other, ACL));
}

/* Who looked before it was set has seen the file as it was. */
static void look_that_was_overtaken_is_not_remembered(void **state)
{
    Stage *stage = *state;
    guint64 begun = xattr_memory_begin(stage->memory);

    xattr_memory_set(stage->memory, stage->file);
    xattr_memory_absent(stage->memory, stage->file, ACL, begun);
    assert_false(xattr_memory_lacks(stage->file, ACL));
    look_in_vain(stage, stage->file, ACL);
    assert_true(xattr_memory_lacks(stage->file, ACL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_absent_is_lacked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_names_are_not_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(file_that_is_given_an_attribute_lacks_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(look_that_was_overtaken_is_not_remembered, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests_name("xattr-memory", tests, NULL, NULL);
}

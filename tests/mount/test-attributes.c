/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes do in the mount what they do on the disk below it.
 */
#include "twin.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/posix_acl_xattr.h>
#include <linux/xattr.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

static void make(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd >= 0)
        close(fd);
}

/* acl(5) in the form of linux/posix_acl_xattr.h, which sets an entry of a user's. */
typedef struct Acl {
    guint32 version;
    struct {
        guint16 tag, perm;
        guint32 id;
    } entries[5];
} Acl;

static void say_attribute(GString *said, const char *path, const char *name, const void *value,
                          size_t size)
{
    char got[128];

    for (int i = 0; i < 2; i++) /* what is absent is remembered */
        twin_say(said, name, lgetxattr(path, name, got, sizeof got));
    twin_say(said, "size alone", lgetxattr(path, name, NULL, 0));
    twin_say(said, "set", lsetxattr(path, name, value, size, XATTR_CREATE));
    twin_say(said, "get", lgetxattr(path, name, got, sizeof got));
    twin_say(said, "remove", lremovexattr(path, name));
    twin_say(said, "get again", lgetxattr(path, name, got, sizeof got));
    twin_say(said, "set again", lsetxattr(path, name, value, size, 0));
    twin_say(said, "and get", lgetxattr(path, name, got, sizeof got));
}

/* Those that ls, cp and the kernel ask of every file. */
static void deed_usual_attributes(gconstpointer data G_GNUC_UNUSED, GString *said)
{
    static const Acl acl = {
        .version = GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION),
        .entries =
            {
                {GUINT16_TO_LE(0x01), GUINT16_TO_LE(6), G_MAXUINT32},
                {GUINT16_TO_LE(0x02), GUINT16_TO_LE(4), GUINT32_TO_LE(1234)},
                {GUINT16_TO_LE(0x04), GUINT16_TO_LE(4), G_MAXUINT32},
                {GUINT16_TO_LE(0x10), GUINT16_TO_LE(4), G_MAXUINT32},
                {GUINT16_TO_LE(0x20), GUINT16_TO_LE(4), G_MAXUINT32},
            },
    };
    struct vfs_cap_data caps = {.magic_etc = GUINT32_TO_LE(VFS_CAP_REVISION_2)};
    const char *const paths[] = {"f", "d", "l"};

    caps.data[0].permitted = GUINT32_TO_LE(1u << CAP_NET_RAW);
    make("f");
    twin_say(said, "mkdir", mkdir("d", 0755));
    twin_say(said, "symlink", symlink("f", "l"));
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        say_attribute(said, paths[i], XATTR_NAME_POSIX_ACL_ACCESS, &acl, sizeof acl);
        say_attribute(said, paths[i], XATTR_NAME_POSIX_ACL_DEFAULT, &acl, sizeof acl);
        say_attribute(said, paths[i], XATTR_NAME_SELINUX, "label", 6);
        say_attribute(said, paths[i], XATTR_NAME_CAPS, &caps, sizeof caps);
        say_attribute(said, paths[i], "user.other", "v", 1);
        twin_say_stat(said, paths[i]);
    }
    /* what is made in a directory with a default has one from the beginning */
    make("d/new");
    twin_say(said, "inherited", getxattr("d/new", XATTR_NAME_POSIX_ACL_ACCESS, NULL, 0));
}

static void compare(gboolean in_place)
{
    Scene *scene = scene_new(in_place);
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, in_place ? SCENE_ALONE : "ttl=1h"));
    assert_true(twin_is_alike(scene, alice, "usual attributes", deed_usual_attributes, NULL));
    assert_true(scene_free(scene));
}

static void attributes_do_what_they_do_on_the_disk(void **state G_GNUC_UNUSED)
{
    compare(FALSE);
}

static void attributes_do_so_in_place(void **state G_GNUC_UNUSED)
{
    compare(TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_do_what_they_do_on_the_disk),
        cmocka_unit_test(attributes_do_so_in_place),
    };

    return cmocka_run_group_tests_name("attributes", tests, NULL, NULL);
}

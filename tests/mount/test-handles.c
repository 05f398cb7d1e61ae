/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files opened by handles (name_to_handle_at(2)) that a mount before gave out.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static int task_remove(void *state G_GNUC_UNUSED, const char *name)
{
    return unlink(name) == 0 ? 0 : -errno;
}

static int task_mkdir(void *state G_GNUC_UNUSED, const char *name)
{
    return mkdir(name, 0755) == 0 ? 0 : -errno;
}

typedef struct Handle {
    struct file_handle head;
    unsigned char room[MAX_HANDLE_SZ];
} Handle;

static void take_handle(Scene *scene, const char *name, Handle *handle_out)
{
    g_autofree char *path = g_build_filename(scene->mountpoint, name, NULL);
    int mount_id;

    handle_out->head.handle_bytes = MAX_HANDLE_SZ;
    assert_int_equal(name_to_handle_at(AT_FDCWD, path, &handle_out->head, &mount_id, 0), 0);
}

/* The content's first bytes ("" of a directory); owned. NULL where it cannot be opened: errno. */
static char *read_by_handle(Scene *scene, Handle *handle)
{
    int mount_fd = open(scene->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open_by_handle_at(mount_fd, &handle->head, O_RDONLY | O_CLOEXEC);
    char text[16] = "";
    int error = errno;

    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0 && errno != EISDIR)
        text[0] = '?';
    close(mount_fd);
    if (fd >= 0)
        close(fd);
    errno = error;
    return fd >= 0 ? g_strdup(text) : NULL;
}

static void expect_stale(Scene *scene, Handle *handle)
{
    g_autofree char *text = read_by_handle(scene, handle);

    assert_null(text);
    assert_int_equal(errno, ESTALE);
}

static void expect_read(Scene *scene, Handle *handle, const char *wanted)
{
    g_autofree char *text = read_by_handle(scene, handle);

    assert_non_null(text);
    assert_string_equal(text, wanted);
}

static int task_replace(void *state G_GNUC_UNUSED, const char *name)
{
    return unlink(name) == 0 &&
                   g_file_set_contents_full(name, "new", 3, G_FILE_SET_CONTENTS_NONE, 0644, NULL)
               ? 0
               : -EIO;
}

/* Where the daemon finds a file by what a handle says: ext4 below, and the kernel asks for it. */
static gboolean finds_by_handle(Scene *scene)
{
    const char *without = g_getenv("LEASEFS_WITHOUT");

    return scene_is_on(scene, EXT4_SUPER_MAGIC) &&
           (!without || strcmp(without, "export_support") != 0);
}

/* A new mount has forgotten every file. Where the daemon cannot find one, it is stale. */
static void handles_outlive_the_mount(void **state G_GNUC_UNUSED)
{
    const char *const names[] = {"f", "d", "d/g", "gone", "replaced"};
    Scene *scene = scene_new(FALSE);
    Agent *alice = scene_add_agent(scene);
    Agent *bob = scene_add_agent(scene);
    Handle handles[G_N_ELEMENTS(names)];

    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_mkdir, "d"), 0);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (i != 1)
            assert_int_equal(agent_do(alice, task_touch, names[i]), 0);
        take_handle(scene, names[i], &handles[i]);
    }
    expect_read(scene, &handles[0], "t");
    assert_true(agent_end(alice)); /* whose working directory is there */
    assert_int_equal(scene_umount(scene), 0);
    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(bob, task_remove, "gone"), 0);
    assert_int_equal(agent_do(bob, task_replace, "replaced"), 0);
    if (finds_by_handle(scene)) {
        expect_read(scene, &handles[2], "t"); /* before its directory is known */
        expect_read(scene, &handles[0], "t");
        expect_read(scene, &handles[1], "");
    } else {
        expect_stale(scene, &handles[2]);
    }
    expect_stale(scene, &handles[3]);
    expect_stale(scene, &handles[4]);
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handles_outlive_the_mount),
    };

    return cmocka_run_group_tests_name("handles", tests, NULL, NULL);
}

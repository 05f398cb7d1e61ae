/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A mount, and how many requests of it reach the daemon.
 */
#include "scene.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define DIRS  4
#define FILES 50 /* in each of them */

typedef struct Stage {
    Scene *scene;
    Agent *agent;
} Stage;

static inline void unmount(Stage *stage)
{
    assert_true(agent_end(stage->agent));
    assert_int_equal(scene_umount(stage->scene), 0);
}

static inline void mount_with(Stage *stage, const char *options)
{
    stage->agent = scene_add_agent(stage->scene);
    assert_true(scene_mount(stage->scene, options));
}

/* The kernel knows nothing of the files then. */
static inline void mount_again(Stage *stage)
{
    mount_with(stage, "ttl=1h,cache=always");
}

/* To be freed with json_node_unref. */
static inline JsonNode *read_status(Stage *stage)
{
    g_autofree char *status = scene_attribute(stage->scene, "status");
    JsonNode *root;

    assert_non_null(status);
    root = json_from_string(status, NULL);
    assert_non_null(root);
    return root;
}

static inline gint64 count(Stage *stage)
{
    g_autoptr(JsonNode) root = read_status(stage);
    JsonObject *counters = json_object_get_object_member(json_node_get_object(root), "counters");

    return json_object_get_int_member(counters, "requests");
}

static inline gboolean has_cache(Stage *stage, const char *name)
{
    g_autoptr(JsonNode) root = read_status(stage);

    return strcmp(json_object_get_string_member(json_node_get_object(root), "cache"), name) == 0;
}

/* FALSE after ten seconds. */
static inline gboolean wait_for_cache(Stage *stage, const char *name)
{
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (!has_cache(stage, name) && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    return has_cache(stage, name);
}

static inline int task_nothing(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    return 0;
}

/* The requests of a task alone, without those of asking. */
static inline gint64 requests_of(Stage *stage, AgentTask task)
{
    gint64 begin = count(stage);
    gint64 nothing, all;

    assert_int_equal(agent_do(stage->agent, task_nothing, ""), 0);
    nothing = count(stage);
    assert_int_equal(agent_do(stage->agent, task, ""), 0);
    all = count(stage);
    return (all - nothing) - (nothing - begin);
}

static inline int create(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    return fd >= 0 && write(fd, "text", 4) == 4 && close(fd) == 0 ? 0 : -1;
}

static inline int task_make_tree(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (int d = 0; d < DIRS; d++) {
        g_autofree char *dir = g_strdup_printf("tree%d", d);

        if (mkdir(dir, 0755) != 0)
            return -errno;
        for (int f = 0; f < FILES; f++) {
            g_autofree char *file = g_strdup_printf("%s/f%d", dir, f);

            if (create(file) != 0)
                return -errno;
        }
    }
    return 0;
}

static inline int list(const char *directory)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    int seen = 0;

    while (dir && g_dir_read_name(dir))
        seen++;
    return seen;
}

static inline int set_up_at(void **state, gboolean in_place)
{
    Stage *stage = g_new0(Stage, 1);

    stage->scene = scene_new(in_place);
    stage->agent = scene_add_agent(stage->scene);
    *state = stage;
    return scene_mount(stage->scene, "ttl=1h,cache=always") ? 0 : -1;
}

static inline int set_up(void **state)
{
    return set_up_at(state, TRUE);
}

static inline int set_up_elsewhere(void **state)
{
    return set_up_at(state, FALSE);
}

static inline int tear_down(void **state)
{
    Stage *stage = *state;
    gboolean well = scene_free(stage->scene);

    g_free(stage);
    return well ? 0 : -1;
}

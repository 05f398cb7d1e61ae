/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * A private workspace with a daemon in the foreground, and agents: processes that are sessions of
 * their own and carry out functions of the test.
 * Thread safety: one thread. Nothing of it asserts: cmocka's assertions stay in the test.
 */
#include <glib.h>
#include <sys/types.h>

typedef struct Agent Agent;

typedef struct Scene {
    char *dir;        /* private; removed at the end */
    char *backing;    /* the workspace's path when it is not mounted in place */
    char *mountpoint; /* where agents work */
    char *state_dir;
    char *log;
    gboolean in_place;
    pid_t daemon;
    GPtrArray *agents;
} Scene;

/* $LEASEFS names the command. In place: mountpoint is the workspace. */
Scene *scene_new(gboolean in_place);
/* In place, and in memory where that can be had: a disk takes long to make very many files. */
Scene *scene_new_in_memory(void);
/* Ends the agents, unmounts, waits for the daemon and removes the directory. FALSE where the daemon
 * did not end well, or a sanitizer complained; its output is on standard error then. */
gboolean scene_free(Scene *scene);

/* Whether the workspace lies on a filesystem of this type: statfs(2). */
gboolean scene_is_on(Scene *scene, long magic);

/* Whether what a command said is one line with this in it; else prints it, as a comment of TAP. */
gboolean scene_is_one_line(const char *output, const char *part);

/* `options` as after -o. FALSE where the mount does not answer within ten seconds: the daemon's
 * output is on standard error then. */
gboolean scene_mount(Scene *scene, const char *options);
/* For a mount in place: as by default, whoever has a mount namespace of their own elsewhere on the
 * machine. */
#define SCENE_ALONE "ttl=1h,cache=always"
/* SIGKILL: leaves a dead mount. */
void scene_kill_daemon(Scene *scene);
/* `leasefs umount`: its exit status. Waits for the daemon. */
int scene_umount(Scene *scene);
/* Runs the command with these arguments (NULL ends them): exit status; *output_out (owned, may be
 * NULL inside) takes what it wrote on both streams. */
int scene_command(Scene *scene, char **output_out, ...) G_GNUC_NULL_TERMINATED;

/* An attribute of the mount, as the test process sees it: owned, NULL where there is none. */
char *scene_attribute(Scene *scene, const char *name);
/* Waits until an attribute has this value; FALSE after ten seconds. */
gboolean scene_wait_for(Scene *scene, const char *name, const char *value);
/* The text of the record, owned; NULL where there is none. */
char *scene_record(Scene *scene);
char *scene_record_path(Scene *scene);
/* Names, types, modes, sizes, times, contents and attributes of everything below a directory. */
char *scene_fingerprint(const char *directory);

/* What an agent is asked to do. Works below the mountpoint, its working directory; 0 or -errno.
 * `state` is the agent's own: 64 KiB of zeros that stay between calls. */
typedef int (*AgentTask)(void *state, const char *argument);

/* Forks one; it stands under init, so that its session is its own. To be made before the mount in
 * place (its working directory is entered at each call, by path). */
Agent *scene_add_agent(Scene *scene);
int agent_do(Agent *agent, AgentTask task, const char *argument);
pid_t agent_pid(const Agent *agent);
void agent_kill(Agent *agent);
/* And waits: afterwards its files are closed and its directory is left, for an unmount. FALSE where
 * it does not end. */
gboolean agent_end(Agent *agent);

/* Tasks that many tests need. */
int task_control(void *state, const char *message); /* setxattr user.leasefs.control */
int task_touch(void *state, const char *path);      /* creates or truncates, writes a byte */

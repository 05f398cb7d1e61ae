/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "place.h"
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_PER_INODE "12288"

/* For the handler of signals: what of us is seen outside the namespace. */
static const char *root_to_remove;

static void remove_root(void)
{
    umount2(root_to_remove, MNT_DETACH);
    rmdir(root_to_remove);
    root_to_remove = NULL;
}

static void on_signal(int number)
{
    if (root_to_remove != NULL)
        remove_root();
    _exit(128 + number);
}

static gboolean enter_namespace(GError **error)
{
    if (unshare(CLONE_NEWNS) != 0)
        return bench_fail_errno(error, "cannot make a mount namespace");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return bench_fail_errno(error, "cannot make the mounts private");
    return TRUE;
}

static gboolean make_dir(const char *path, GError **error)
{
    if (mkdir(path, 0755) != 0)
        return bench_fail_errno(error, "%s", path);
    return TRUE;
}

/* The name of the image goes at once: what is left holds it open, and ends with the namespace. */
static gboolean mount_image(Place *place, const char *image_dir, guint64 size, GError **error)
{
    g_autofree char *file = g_build_filename(image_dir, "leasefs-bench-XXXXXX", NULL);
    int fd = g_mkstemp_full(file, O_RDWR | O_CLOEXEC, 0600);
    gboolean done;

    if (fd < 0)
        return bench_fail_errno(error, "%s", file);
    done = ftruncate(fd, (off_t)size) == 0;
    if (!done)
        bench_fail_errno(error, "%s", file);
    close(fd);
    /* Nothing is left for a thread of the kernel to do while times are taken. */
    done = done &&
           bench_run(NULL, error, "mkfs.ext4", "-q", "-F", "-O", "has_journal", "-i",
                     BYTES_PER_INODE, "-E", "lazy_itable_init=0,lazy_journal_init=0", file) &&
           bench_run(NULL, error, "mount", "-t", "ext4", "-o", "loop,noatime", file, place->image);
    unlink(file);
    if (!done)
        return FALSE;
    if (mount(place->image, place->below, NULL, MS_BIND, NULL) != 0)
        return bench_fail_errno(error, "%s", place->below);
    return TRUE;
}

static void mount_tracing(Place *place)
{
    g_autofree char *dir = g_build_filename(place->root, "tracing", NULL);

    if (mkdir(dir, 0700) == 0 && mount("tracefs", dir, "tracefs", 0, NULL) == 0)
        place->tracing = g_steal_pointer(&dir);
}

static gboolean fill_root(Place *place, GError **error)
{
    root_to_remove = place->root;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (mount("leasefs-bench", place->root, "tmpfs", 0, "mode=0755") != 0)
        return bench_fail_errno(error, "%s", place->root);
    place->image = g_build_filename(place->root, "image", NULL);
    place->below = g_build_filename(place->root, "below", NULL);
    place->mounts = g_build_filename(place->root, "mounts", NULL);
    place->scratch = g_build_filename(place->root, "scratch", NULL);
    place->state = g_build_filename(place->root, "state", NULL);
    return make_dir(place->image, error) && make_dir(place->below, error) &&
           make_dir(place->mounts, error) && make_dir(place->scratch, error) &&
           make_dir(place->state, error);
}

Place *place_new(const char *image_dir, guint64 size, GError **error)
{
    g_autoptr(Place) place = g_new0(Place, 1);

    if (!enter_namespace(error))
        return NULL;
    place->root = g_dir_make_tmp("leasefs-bench-XXXXXX", error);
    if (place->root == NULL || !fill_root(place, error) ||
        !mount_image(place, image_dir, size, error))
        return NULL;
    mount_tracing(place);
    return g_steal_pointer(&place);
}

void place_free(Place *place)
{
    if (place == NULL)
        return;
    if (root_to_remove != NULL)
        remove_root();
    g_free(place->root);
    g_free(place->image);
    g_free(place->below);
    g_free(place->mounts);
    g_free(place->scratch);
    g_free(place->state);
    g_free(place->tracing);
    g_free(place);
}

void place_settle(Place *place)
{
    int fd = open(place->below, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    syncfs(fd);
    close(fd);
}

void place_trim(Place *place)
{
    place_settle(place);
    bench_run(NULL, NULL, "fstrim", place->below);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listing a directory loses no entry and repeats none, however large it is and whatever happens to
 * it meanwhile.
 */
#include "scene.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <glib/gstdio.h>
#include <cmocka.h>

#define CHANGES  1500u /* how many names go, and as many come */
#define LARGE    100000u
#define MANY     100u   /* directories, */
#define PART     900u   /* of so many names: more than 32 KiB */
#define MAX_LINK 50000u /* ext4 allows 65,000 of a file */

/* Long enough that a thousand of them fill many replies. */
static void name_of(char *name_out, const char *kind, guint i)
{
    snprintf(name_out, 64, "%s-with-a-name-of-some-length-%06u", kind, i);
}

/* `count` names, of few files, because links are cheaper. 0 or -errno. */
static int fill(const char *directory, const char *kind, guint count)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char first[64], name[64];
    int r = fd < 0 ? -errno : 0;

    for (guint i = 0; i < count && r == 0; i++) {
        name_of(name, kind, i);
        if (i % MAX_LINK != 0) {
            r = linkat(fd, first, fd, name, 0) == 0 ? 0 : -errno;
            continue;
        }
        memcpy(first, name, sizeof first);
        r = mknodat(fd, name, S_IFREG | 0644, 0) == 0 ? 0 : -errno;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

/* How often each name of the kind was seen. */
typedef struct Seen {
    guint8 *times;
    guint count;
    const char *kind;
} Seen;

static void seen_add(Seen *seen, const char *name)
{
    const char *digits = strrchr(name, '-');
    guint i;

    if (!g_str_has_prefix(name, seen->kind) || !digits)
        return;
    i = (guint)strtoul(digits + 1, NULL, 10);
    if (i < seen->count && seen->times[i] < G_MAXUINT8)
        seen->times[i]++;
}

/* How many names were not seen as often as they have to be. */
static guint seen_wrong(const Seen *seen, guint at_least)
{
    guint wrong = 0;

    for (guint i = 0; i < seen->count; i++)
        wrong += seen->times[i] > 1 || seen->times[i] < at_least;
    return wrong;
}

/* --- while it changes ------------------------------------------------------------------------- */

/* After each entry one of those that go is removed, and a new one is made. */
static int task_list_while_it_changes(void *state G_GNUC_UNUSED, const char *count)
{
    guint n = (guint)strtoul(count, NULL, 10);
    g_autofree guint8 *staying_times = g_new0(guint8, n);
    g_autofree guint8 *going_times = g_new0(guint8, n);
    Seen staying = {staying_times, n, "staying"};
    Seen going = {going_times, CHANGES, "going"};
    DIR *dir = opendir("d");
    const struct dirent *entry;
    guint changes = 0;
    char name[64];
    int r = 0;

    while (r == 0 && dir && (entry = readdir(dir))) {
        seen_add(&staying, entry->d_name);
        seen_add(&going, entry->d_name);
        if (changes == CHANGES)
            continue;
        /* not in the order of the listing */
        name_of(name, "going", (changes * 7) % CHANGES);
        r = unlinkat(dirfd(dir), name, 0) == 0 ? 0 : -errno;
        name_of(name, "coming", changes++);
        if (r == 0)
            r = mknodat(dirfd(dir), name, S_IFREG | 0644, 0) == 0 ? 0 : -errno;
    }
    if (!dir || closedir(dir) != 0)
        return -errno;
    if (r != 0)
        return r;
    return seen_wrong(&staying, 1) == 0 && seen_wrong(&going, 0) == 0 ? 0 : -EIO;
}

/* As rm -r does: what was read goes, and the rest is read on. */
static int task_remove_while_it_is_listed(void *state G_GNUC_UNUSED, const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    int r = 0;

    while (r == 0 && dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            r = unlinkat(dirfd(dir), entry->d_name, 0) == 0 ? 0 : -errno;
    }
    if (!dir || closedir(dir) != 0)
        return -errno;
    return r != 0 ? r : rmdir(path) == 0 ? 0 : -errno;
}

static int task_list(void *state G_GNUC_UNUSED, const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    while (dir && readdir(dir))
        n++;
    if (!dir || closedir(dir) != 0)
        return -errno;
    return n - 2; /* an error of readdir(3) looks like the end */
}

static int task_fill(void *state G_GNUC_UNUSED, const char *count)
{
    guint n = (guint)strtoul(count, NULL, 10);
    int r = mkdir("d", 0755) == 0 ? fill("d", "staying", n) : -errno;

    return r == 0 ? fill("d", "going", n) : r;
}

/* The directory `d`, of `staying` and others, below the mount. Returns who works in it. */
static Agent *begin_with(Scene *scene, guint staying)
{
    g_autofree char *below = g_build_filename(scene->backing, "d", NULL);
    Agent *alice = scene_add_agent(scene);

    assert_int_equal(g_mkdir(below, 0755), 0);
    assert_int_equal(fill(below, "staying", staying), 0);
    assert_int_equal(fill(below, "going", CHANGES), 0);
    assert_true(scene_mount(scene, scene->in_place ? SCENE_ALONE : "ttl=1h"));
    return alice;
}

static void list_while_it_changes(Agent *alice, guint staying)
{
    g_autofree char *count = g_strdup_printf("%u", staying);

    assert_int_equal(agent_do(alice, task_list_while_it_changes, count), 0);
    assert_int_equal(agent_do(alice, task_list, "d"), staying + CHANGES);
}

/* The second time the names were made through the mount. */
static void list_and_remove(gboolean in_place)
{
    Scene *scene = scene_new(in_place);
    Agent *alice = begin_with(scene, CHANGES);
    g_autofree char *refill = g_strdup_printf("%u", CHANGES);

    list_while_it_changes(alice, CHANGES);
    assert_int_equal(agent_do(alice, task_remove_while_it_is_listed, "d"), 0);
    assert_int_equal(agent_do(alice, task_fill, refill), 0);
    list_while_it_changes(alice, CHANGES);
    assert_int_equal(agent_do(alice, task_remove_while_it_is_listed, "d"), 0);
    assert_true(scene_free(scene));
}

static void a_listing_is_complete_while_the_directory_changes(void **state G_GNUC_UNUSED)
{
    list_and_remove(FALSE);
}

static void it_is_so_in_place(void **state G_GNUC_UNUSED)
{
    list_and_remove(TRUE);
}

static void it_is_so_with_a_hundred_thousand_entries(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new_in_memory();

    list_while_it_changes(begin_with(scene, LARGE), LARGE);
    assert_true(scene_free(scene));
}

/* --- what a listing says of directories ------------------------------------------------------- */

#define NESTED 150 /* directories: a listing takes a while */
#define ROUNDS 5000

static int task_make_nested(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    for (guint i = 0; i < NESTED; i++) {
        g_autofree char *path = g_strdup_printf("n/%u", i);

        if (g_mkdir_with_parents(path, 0755) != 0)
            return -errno;
    }
    return mknod("n/file", S_IFREG | 0644, 0) == 0 ? 0 : -errno;
}

/* Until it is killed. */
static pid_t list_for_ever(const char *path)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        DIR *dir = opendir(path);

        while (dir && readdir(dir))
            continue;
        if (dir)
            closedir(dir);
    }
}

static guint links_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (guint)st.st_nlink : 0;
}

/* The first that is listed is looked at first, and its answer is the longest on its way. */
static char *first_nested(void)
{
    DIR *dir = opendir("n");
    const struct dirent *entry;
    char *path = NULL;

    while (dir && !path && (entry = readdir(dir)))
        if (g_ascii_isdigit(entry->d_name[0]))
            path = g_strdup_printf("n/%s", entry->d_name);
    if (dir)
        closedir(dir);
    return path;
}

/* How many links a directory has tells how many are in it, on most filesystems. */
static int task_change_what_is_listed(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree char *directory = first_nested();
    g_autofree char *child = g_strdup_printf("%s/child", directory);
    pid_t lister = list_for_ever("n");
    guint empty = links_of(directory);
    guint full = 0, wrong = 0;

    for (guint i = 0; i < ROUNDS; i++) {
        /* the listing is not in the kernel's memory any more */
        if (mknod("n/new", S_IFREG | 0644, 0) != 0 || unlink("n/new") != 0 ||
            mkdir(child, 0755) != 0)
            return -errno;
        full = MAX(full, links_of(directory));
        g_usleep(i % 300);
        wrong += links_of(directory) != full;
        if (rmdir(child) != 0)
            return -errno;
        g_usleep(i % 300);
        wrong += links_of(directory) != empty;
    }
    kill(lister, SIGKILL);
    waitpid(lister, NULL, 0);
    return wrong == 0 ? 0 : -(int)wrong;
}

static void directory_that_changes_is_not_listed_as_it_was(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(TRUE);
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, SCENE_ALONE));
    assert_int_equal(agent_do(alice, task_make_nested, ""), 0);
    assert_int_equal(agent_do(alice, task_change_what_is_listed, ""), 0);
    assert_true(scene_free(scene));
}

/* --- going back to a place -------------------------------------------------------------------- */

static int task_seek(void *state G_GNUC_UNUSED, const char *path)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(long));
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    guint wrong = 0;
    long place;

    if (!dir)
        return -errno;
    for (place = telldir(dir); (entry = readdir(dir)); place = telldir(dir)) {
        g_array_append_val(places, place);
        g_ptr_array_add(names, g_strdup(entry->d_name));
    }
    for (guint i = 0; i < names->len; i++) {
        guint at = (i * 1009) % names->len; /* to and fro */

        seekdir(dir, g_array_index(places, long, at));
        entry = readdir(dir);
        wrong += !entry || strcmp(entry->d_name, g_ptr_array_index(names, at)) != 0;
    }
    /* a place stays one when what stood before and after it has gone */
    for (guint i = 0; i + 2 < names->len; i += 2) {
        const char *name = g_ptr_array_index(names, i);

        if (name[0] != '.' && unlinkat(dirfd(dir), name, 0) != 0)
            wrong++;
    }
    for (guint i = 1; i + 2 < names->len; i += 2) {
        seekdir(dir, g_array_index(places, long, i));
        entry = readdir(dir);
        wrong += !entry || strcmp(entry->d_name, g_ptr_array_index(names, i)) != 0;
    }
    rewinddir(dir);
    if (mknodat(dirfd(dir), "new", S_IFREG | 0644, 0) != 0)
        wrong++;
    rewinddir(dir);
    for (place = 0; (entry = readdir(dir));)
        place += strcmp(entry->d_name, "new") == 0;
    closedir(dir);
    return wrong == 0 && place == 1 ? 0 : -EIO;
}

static void places_in_a_listing_can_be_gone_back_to(void **state G_GNUC_UNUSED)
{
    for (int in_place = 0; in_place < 2; in_place++) {
        Scene *scene = scene_new(in_place);
        Agent *alice = scene_add_agent(scene);
        g_autofree char *below = g_build_filename(scene->backing, "d", NULL);

        assert_int_equal(g_mkdir(below, 0755), 0);
        assert_int_equal(fill(below, "one", 1009 + 1), 0);
        assert_true(scene_mount(scene, in_place ? SCENE_ALONE : "ttl=1h"));
        assert_int_equal(agent_do(alice, task_seek, "d"), 0);
        assert_true(scene_free(scene));
    }
}

/* --- many listings, and such as are given up -------------------------------------------------- */

/* More listings are begun, and read on later, than are kept open below; each is larger than one
 * reply. */
static int task_list_many_at_once(void *state G_GNUC_UNUSED, const char *argument G_GNUC_UNUSED)
{
    g_autofree guint8 *times = g_new0(guint8, MANY * PART);
    const struct dirent *entry;
    DIR *dirs[MANY];
    Seen seen[MANY];
    guint wrong = 0;

    for (guint d = 0; d < MANY; d++) {
        g_autofree char *path = g_strdup_printf("d%u", d);

        seen[d] = (Seen){times + (gsize)d * PART, PART, "one"};
        dirs[d] = opendir(path);
        entry = dirs[d] ? readdir(dirs[d]) : NULL;
        if (!entry)
            return -errno;
        seen_add(&seen[d], entry->d_name);
    }
    for (guint d = 0; d < MANY; d++) {
        while ((entry = readdir(dirs[d])))
            seen_add(&seen[d], entry->d_name);
        wrong += seen_wrong(&seen[d], 1);
        closedir(dirs[d]);
    }
    return wrong == 0 ? 0 : -EIO;
}

/* One thread begins to list, gives up, and lists from the beginning what was changed meanwhile. */
static int task_give_up_and_list(void *state G_GNUC_UNUSED, const char *path)
{
    g_autofree guint8 *times = g_new0(guint8, CHANGES);
    Seen seen = {times, CHANGES, "new"};
    const struct dirent *entry;
    DIR *given_up = opendir(path);
    DIR *dir = NULL;
    char name[64];
    int r = given_up && readdir(given_up) ? 0 : -errno;

    for (guint i = 0; i < CHANGES && r == 0; i++) {
        name_of(name, "new", i);
        r = mknodat(dirfd(given_up), name, S_IFREG | 0644, 0) == 0 ? 0 : -errno;
    }
    if (r != 0 || closedir(given_up) != 0 || !(dir = opendir(path)))
        return r != 0 ? r : -errno;
    while ((entry = readdir(dir)))
        seen_add(&seen, entry->d_name);
    return closedir(dir) == 0 && seen_wrong(&seen, 1) == 0 ? 0 : -EIO;
}

static void listings_do_not_disturb_each_other(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(TRUE);
    Agent *alice = scene_add_agent(scene);

    for (guint d = 0; d < MANY; d++) {
        g_autofree char *name = g_strdup_printf("d%u", d);
        g_autofree char *path = g_build_filename(scene->backing, name, NULL);

        assert_int_equal(g_mkdir(path, 0755), 0);
        assert_int_equal(fill(path, "one", PART), 0);
    }
    assert_true(scene_mount(scene, SCENE_ALONE));
    assert_int_equal(agent_do(alice, task_list_many_at_once, ""), 0);
    assert_int_equal(agent_do(alice, task_give_up_and_list, "d0"), 0);
    assert_true(scene_free(scene));
}

/* --- what else an open directory is good for -------------------------------------------------- */

/* Also while it has no name any more. -errno where it goes wrong. */
static int task_use_open_directory(void *state G_GNUC_UNUSED, const char *flags_below)
{
    int fd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int wanted = (int)strtol(flags_below, NULL, 10);
    int flags = -1;

    for (int i = 0; i < 2; i++) {
        if (fd < 0 || fsync(fd) != 0 || fdatasync(fd) != 0 || fchmod(fd, 0750) != 0)
            return -errno;
        if (wanted >= 0 && (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || flags != wanted))
            return -EBADF;
        if (wanted < 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
            return -EBADF;
        if (i == 0 && rmdir("d") != 0)
            return -errno;
    }
    return close(fd);
}

static void open_directory_is_synced_and_asked_for_flags(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(TRUE);
    Agent *alice = scene_add_agent(scene);
    g_autofree char *below = g_build_filename(scene->backing, "d", NULL);
    g_autofree char *wanted = NULL;
    int fd, flags = -1;

    assert_int_equal(g_mkdir(below, 0755), 0);
    fd = open(below, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
        flags = -1; /* a filesystem without */
    close(fd);
    wanted = g_strdup_printf("%d", flags);
    assert_true(scene_mount(scene, SCENE_ALONE));
    assert_int_equal(agent_do(alice, task_use_open_directory, wanted), 0);
    assert_true(scene_free(scene));
}

/* --- a directory that is replaced past the mount ---------------------------------------------- */

static int task_look(void *state G_GNUC_UNUSED, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? 0 : -errno;
}

/* What the kernel keeps of its name is a day old at most, or gone when it leads nowhere. */
static void directory_that_was_replaced_is_found_again(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(TRUE);
    Agent *alice = scene_add_agent(scene);
    gint64 limit_us = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    int below_fd = open(scene->backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(mkdirat(below_fd, "d", 0755), 0);
    assert_true(scene_mount(scene, SCENE_ALONE));
    assert_int_equal(agent_do(alice, task_look, "d"), 0);
    assert_int_equal(unlinkat(below_fd, "d", AT_REMOVEDIR), 0);
    assert_int_equal(mkdirat(below_fd, "d", 0755), 0);
    assert_int_equal(mkdirat(below_fd, "d/new", 0755), 0);
    while (agent_do(alice, task_list, "d") != 1 && g_get_monotonic_time() < limit_us)
        g_usleep(10000);
    assert_int_equal(agent_do(alice, task_list, "d"), 1);
    close(below_fd);
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_is_complete_while_the_directory_changes),
        cmocka_unit_test(it_is_so_in_place),
        cmocka_unit_test(it_is_so_with_a_hundred_thousand_entries),
        cmocka_unit_test(directory_that_changes_is_not_listed_as_it_was),
        cmocka_unit_test(places_in_a_listing_can_be_gone_back_to),
        cmocka_unit_test(listings_do_not_disturb_each_other),
        cmocka_unit_test(open_directory_is_synced_and_asked_for_flags),
        cmocka_unit_test(directory_that_was_replaced_is_found_again),
    };

    return cmocka_run_group_tests_name("listing", tests, NULL, NULL);
}

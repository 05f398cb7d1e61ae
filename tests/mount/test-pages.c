/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the page cache holds of a file is what the file holds, however it is written.
 */
#include "scene.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE   ((size_t)640 * 1024) /* several requests each way */
#define ROUNDS 300

/* Reads the file into the page cache, again and again. */
static pid_t fork_reader(const char *name)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        char bytes[4096];
        int fd = open(name, O_RDONLY | O_CLOEXEC);

        while (read(fd, bytes, sizeof bytes) > 0)
            ;
        close(fd);
    }
}

static int write_direct(aio_context_t context, const char *name, const char *bytes)
{
    int fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC);
    struct iocb block = {
        .aio_fildes = (uint32_t)fd,
        .aio_lio_opcode = IOCB_CMD_PWRITE,
        .aio_buf = (uintptr_t)bytes,
        .aio_nbytes = SIZE,
    };
    struct iocb *blocks[] = {&block};
    struct io_event event = {.res = -EIO};

    if (fd < 0)
        return -errno;
    if (syscall(SYS_io_submit, context, 1L, blocks) != 1 ||
        syscall(SYS_io_getevents, context, 1L, 1L, &event, NULL) != 1)
        event.res = -errno;
    close(fd);
    return event.res == (int64_t)SIZE ? 0 : -EIO;
}

/* -EILSEQ where a read after a finished write gives something older. */
static int write_and_read(aio_context_t context, const char *name, char *bytes, char *seen)
{
    for (int round = 0; round < ROUNDS; round++) {
        int fd, r;

        memset(bytes, 'a' + round % 26, SIZE);
        r = write_direct(context, name, bytes);
        if (r != 0)
            return r;
        fd = open(name, O_RDONLY | O_CLOEXEC);
        if (pread(fd, seen, SIZE, 0) != (ssize_t)SIZE)
            r = -EIO;
        else if (memcmp(bytes, seen, SIZE) != 0)
            r = -EILSEQ;
        close(fd);
        if (r != 0)
            return r;
    }
    return 0;
}

static int task_write_beside_readers(void *state G_GNUC_UNUSED, const char *name)
{
    aio_context_t context = 0;
    char *bytes = aligned_alloc(4096, SIZE);
    char *seen = aligned_alloc(4096, SIZE);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    pid_t readers[2];
    int r = -EIO;

    if (fd >= 0 && ftruncate(fd, SIZE) == 0 && syscall(SYS_io_setup, 1L, &context) == 0) {
        close(fd);
        for (guint i = 0; i < G_N_ELEMENTS(readers); i++)
            readers[i] = fork_reader(name);
        r = write_and_read(context, name, bytes, seen);
        for (guint i = 0; i < G_N_ELEMENTS(readers); i++) {
            kill(readers[i], SIGKILL);
            waitpid(readers[i], NULL, 0);
        }
        syscall(SYS_io_destroy, context);
    }
    free(bytes);
    free(seen);
    return r;
}

/* Elsewhere than in place, where the reader's pages go with each change of mtime, so that it fills
 * them again all the time. */
static void asynchronous_direct_writes_reach_cached_readers(void **state G_GNUC_UNUSED)
{
    Scene *scene = scene_new(FALSE);
    Agent *alice = scene_add_agent(scene);

    assert_true(scene_mount(scene, "ttl=1h"));
    assert_int_equal(agent_do(alice, task_write_beside_readers, "f"), 0);
    assert_true(scene_free(scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asynchronous_direct_writes_reach_cached_readers),
    };

    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}

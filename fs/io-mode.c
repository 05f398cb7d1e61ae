/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "io-mode.h"
#include <fcntl.h>

/* What became of the first pages. */
enum {
    STORE_NOT_YET,
    STORE_BEGUN,
    STORE_OVER, /* or there shall be none */
};

/* That is in the lowest bits; the handles are counted above them. */
#define STORE_MASK 3
#define ONE_HANDLE 4

#define STORE_WAIT_US 50

static int store_of(gint32 value)
{
    return value & STORE_MASK;
}

static gint32 handles_of(gint32 value)
{
    return (value - store_of(value)) / ONE_HANDLE;
}

static IoMode choose(gint32 handles, int open_flags)
{
    int access = open_flags & O_ACCMODE;

    if (handles < 0)
        return access == O_RDONLY ? IO_DIRECT_READER : IO_DIRECT_WRITER;
    return access == O_WRONLY && handles == 0 ? IO_DIRECT_WRITER : IO_CACHED;
}

static gint32 weight(IoMode mode)
{
    switch (mode) {
    case IO_CACHED:
        return ONE_HANDLE;
    case IO_DIRECT_WRITER:
        return -ONE_HANDLE;
    default:
        return 0;
    }
}

/* Through these nobody has pages: a lone reader, who may have them stored, and a writer past the
 * cache. Any other may have dirty ones, or, mapped, fill some at any time. */
static gboolean leaves_pages_alone(IoMode mode, int open_flags)
{
    int access = open_flags & O_ACCMODE;

    return mode == IO_CACHED ? access == O_RDONLY : access == O_WRONLY;
}

/* Copying some pages takes microseconds. */
static gint32 wait_for_store(IoModes *modes)
{
    gint32 value = atomic_load(modes);

    while (store_of(value) == STORE_BEGUN) {
        g_usleep(STORE_WAIT_US);
        value = atomic_load(modes);
    }
    return value;
}

IoMode io_mode_take(IoModes *modes, int open_flags)
{
    gint32 before, after;
    IoMode mode;

    do {
        before = wait_for_store(modes);
        mode = choose(handles_of(before), open_flags);
        after = before + weight(mode);
        if (!leaves_pages_alone(mode, open_flags))
            after = after - store_of(after) + STORE_OVER;
    } while (!atomic_compare_exchange_weak(modes, &before, after));
    return mode;
}

void io_mode_drop(IoModes *modes, IoMode mode)
{
    atomic_fetch_sub(modes, weight(mode));
}

gboolean io_mode_begin_store(IoModes *modes)
{
    gint32 before = ONE_HANDLE + STORE_NOT_YET;

    return atomic_compare_exchange_strong(modes, &before, ONE_HANDLE + STORE_BEGUN);
}

void io_mode_end_store(IoModes *modes)
{
    atomic_fetch_add(modes, STORE_OVER - STORE_BEGUN);
}

gboolean io_mode_reads_known_pages(const IoModes *modes)
{
    gint32 value = atomic_load(modes);

    return store_of(value) == STORE_OVER && choose(handles_of(value), O_RDONLY) == IO_CACHED;
}

void io_mode_forbid_store(IoModes *modes)
{
    gint32 before;

    do
        before = wait_for_store(modes);
    while (!atomic_compare_exchange_weak(modes, &before, before - store_of(before) + STORE_OVER));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "io-mode.h"
#include <fcntl.h>

static IoMode choose(gint32 modes, int open_flags)
{
    int access = open_flags & O_ACCMODE;

    if (modes < 0)
        return access == O_RDONLY ? IO_DIRECT_READER : IO_DIRECT_WRITER;
    return access == O_WRONLY && modes == 0 ? IO_DIRECT_WRITER : IO_CACHED;
}

static gint32 weight(IoMode mode)
{
    switch (mode) {
    case IO_CACHED:
        return 1;
    case IO_DIRECT_WRITER:
        return -1;
    default:
        return 0;
    }
}

IoMode io_mode_take(IoModes *modes, int open_flags)
{
    gint32 before = atomic_load(modes);
    IoMode mode;

    do
        mode = choose(before, open_flags);
    while (!atomic_compare_exchange_weak(modes, &before, before + weight(mode)));
    return mode;
}

void io_mode_drop(IoModes *modes, IoMode mode)
{
    atomic_fetch_sub(modes, weight(mode));
}

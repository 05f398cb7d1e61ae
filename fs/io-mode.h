/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides whether an open file goes through the kernel's page cache or past it.
 * Thread safety: every function may be called from any thread.
 */
#include <glib.h>
#include <stdatomic.h>

typedef enum IoMode {
    IO_CACHED,        /* reads fill pages, writes go through them */
    IO_DIRECT_WRITER, /* past the cache; changes what pages of others would hold */
    IO_DIRECT_READER, /* past the cache; counts for nothing */
} IoMode;

/* A file's open handles: so many cached ones, or, negative, so many direct writers; and what became
 * of its first pages. Zero at first. */
typedef _Atomic gint32 IoModes;

/*
 * A write-only handle is best direct: nothing is read back through it, and it costs a third less
 * for large writes, half for appends. The kernel drops the pages that a direct write touches before
 * it sends the write; a reader who fills one of them again before the write has reached the file
 * keeps what stood there, and at the end of a growing file that is zeros which nobody wrote.
 *
 * So the two do not meet in one file. A writer is direct only where no handle is cached, and who
 * opens a file that has a direct writer is direct as well, for as long as that handle lives. That
 * is `tail -f` beside a logger that was there before it: a round trip for each read, and right.
 *
 * Only a mapping of such a handle may still see an older page, until the next write beside it.
 */
IoMode io_mode_take(IoModes *modes, int open_flags);
void io_mode_drop(IoModes *modes, IoMode mode);

/*
 * The first pages of a file may be stored in the kernel's cache before anybody reads them, once. A
 * store that lies in the cache already when somebody changes the file is like any page; one that
 * arrives after the change would undo it, for readers. And it waits for a page that somebody else
 * is reading. So none is under way while the file has another handle, or is changed without one;
 * and a file that anybody could have mapped before, beside a writer, gets none.
 *
 * TRUE where the caller's handle is cached, the only one, and nothing was stored before: to be
 * ended. Who takes a mode meanwhile, waits.
 */
gboolean io_mode_begin_store(IoModes *modes);
void io_mode_end_store(IoModes *modes);
/* Whether who opens the file for reading now is cached, and no first pages will be stored for him
 * any more. */
gboolean io_mode_reads_known_pages(const IoModes *modes);
/* Before a change without a handle: none is under way, and none will begin. */
void io_mode_forbid_store(IoModes *modes);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Gives the kernel the pages of a small file when it is opened for reading the first time: then no
 * request to read it follows. What a file's first READ costs is not the reading but the way to the
 * daemon and back; and after a READ the kernel asks for the attributes again, because the access
 * time may have changed.
 *
 * Nobody has read the file by then, so nothing is stored where reading would set its access time.
 *
 * This is done from within a request, though the kernel waits for a page that somebody else is
 * reading or writing: nobody is, where the handle is the only one. That is up to io-mode.h, as is
 * that no page is older than what the file holds.
 *
 * Thread safety: preload may be called from any thread.
 */
#include "fs.h"
#include "handle.h"

/* To be called before an open is answered, for a handle that reads through the cache. */
void preload(Fs *fs, fuse_ino_t ino, const Handle *handle);

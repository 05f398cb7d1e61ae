/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides whether a listing comes with the attributes of the files in it. (Directories have theirs
 * in any case, in place where nothing is mounted in the workspace.)
 *
 * The kernel asks for them whenever a listing begins. They cost one system call for each entry, in
 * vain where nobody looks at the entries (find, git). Without them each entry that is looked at
 * costs a request, ten times as much (ls -l). What a thread will do is what it did last: its first
 * listing has attributes, its second has none, and what it looks up then decides.
 *
 * Thread safety: every function may be called from any thread.
 */
#include <glib.h>
#include <sys/types.h>

typedef struct DirAdvice DirAdvice;
DirAdvice *dir_advice_new(void);
void dir_advice_free(DirAdvice *advice);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DirAdvice, dir_advice_free)

/* The thread begins to list a directory, given by a number of the caller's: TRUE where attributes
 * are worth it. */
gboolean dir_advice_begin(DirAdvice *advice, pid_t tid, guint64 directory);
/* What it was given without attributes has something in it that is no directory. */
void dir_advice_listed_files(DirAdvice *advice, pid_t tid);
/* It looked something up in a directory that is none itself, or asked for its attributes. */
void dir_advice_looked_up(DirAdvice *advice, pid_t tid, guint64 directory);

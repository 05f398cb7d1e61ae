/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which paths are passive or shared, by globs (fnmatch(3); `*` crosses slashes).
 *
 * A glob with a slash is matched against the path below the workspace with a slash before it, and
 * unless it begins with a slash or `*`, a slash is put before it, too: `build/out` means the one
 * at the top. A glob without a slash is matched against the last component. A slash at its end is
 * ignored. A shared glob that matches a directory covers everything below it as well, hence one
 * without a slash is matched against each component: `.cache` is every directory of that name.
 * A passive glob covers just what it matches.
 *
 * Pure. Thread safety: immutable after policy_new.
 */
#include <glib.h>

typedef enum PathClass {
    PATH_ORDINARY,
    PATH_PASSIVE, /* may be changed while no other session's lease is fresh; never counts */
    PATH_SHARED,  /* may be changed by anyone at any time; never counts */
} PathClass;

/* Default for passive=: the index.lock of a git directory. */
extern const char *const policy_default_passive[];

typedef struct Policy Policy;
Policy *policy_new(const char *const *passive, const char *const *shared);
void policy_free(Policy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Policy, policy_free)

/* Whether a path with this last component can match at all: lets the caller skip building the path.
 * Cheap; always TRUE where there are shared globs, which may match any directory above. */
gboolean policy_may_match(const Policy *policy, const char *name);
PathClass policy_classify(const Policy *policy, const char *path); /* `a/b`, without the slash */
/* A passive file renamed to the name that it locks (`index.lock` to `index` beside it): passive. */
gboolean policy_is_passive_rename(const Policy *policy, const char *from, const char *to);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include <fnmatch.h>
#include <string.h>

#define LOCK_SUFFIX   ".lock"
#define GLOB_SPECIALS "*?[]\\"

const char *const policy_default_passive[] = {
    "*/.git/index.lock",
    "*/.git/*/index.lock", /* of linked worktrees and submodules */
    NULL,
};

/* What a path must have at least for the glob to match, found once, so that most paths cost a
 * comparison of a few bytes and no fnmatch. */
typedef struct Glob {
    char *pattern;
    gboolean by_component; /* no slash: matched against components */
    gsize head_length;     /* of the pattern's literal beginning */
    const char *tail;      /* in pattern: its literal end, at most one component */
    gsize tail_length;
    gboolean whole_tail; /* the tail is all of the last component */
    gboolean open_end;   /* ends in `*`: what matches a directory matches all below it, too */
} Glob;

struct Policy {
    GArray *passive; /* of Glob */
    GArray *shared;  /* of Glob */
};

static void glob_clear(gpointer data)
{
    Glob *glob = data;

    g_free(glob->pattern);
}

static gboolean is_special(char c)
{
    return c != '\0' && strchr(GLOB_SPECIALS, c) != NULL;
}

static void add_glob(GArray *globs, const char *text)
{
    g_autofree char *trimmed = g_strdup(text);
    gsize length = strlen(trimmed);
    Glob glob = {0};
    gsize start;

    while (length > 0 && trimmed[length - 1] == '/')
        trimmed[--length] = '\0';
    if (length == 0)
        return;
    glob.by_component = strchr(trimmed, '/') == NULL;
    if (glob.by_component || *trimmed == '/' || *trimmed == '*')
        glob.pattern = g_steal_pointer(&trimmed);
    else
        glob.pattern = g_strconcat("/", trimmed, NULL);

    length = strlen(glob.pattern);
    for (start = length; start > 0; start--) {
        if (is_special(glob.pattern[start - 1]) || glob.pattern[start - 1] == '/')
            break;
    }
    glob.tail = glob.pattern + start;
    glob.tail_length = length - start;
    glob.whole_tail = start == 0 || glob.pattern[start - 1] == '/';
    glob.head_length = strcspn(glob.pattern, GLOB_SPECIALS);
    glob.open_end =
        glob.pattern[length - 1] == '*' && (length == 1 || glob.pattern[length - 2] != '\\');
    g_array_append_val(globs, glob);
}

Policy *policy_new(const char *const *passive, const char *const *shared)
{
    Policy *policy = g_new0(Policy, 1);

    policy->passive = g_array_new(FALSE, FALSE, sizeof(Glob));
    policy->shared = g_array_new(FALSE, FALSE, sizeof(Glob));
    g_array_set_clear_func(policy->passive, glob_clear);
    g_array_set_clear_func(policy->shared, glob_clear);
    for (gsize i = 0; passive != NULL && passive[i] != NULL; i++)
        add_glob(policy->passive, passive[i]);
    for (gsize i = 0; shared != NULL && shared[i] != NULL; i++)
        add_glob(policy->shared, shared[i]);
    return policy;
}

void policy_free(Policy *policy)
{
    if (policy == NULL)
        return;
    g_array_unref(policy->passive);
    g_array_unref(policy->shared);
    g_free(policy);
}

/* Whether a last component can be that of a path that the glob matches. */
static gboolean tail_fits(const Glob *glob, const char *name, gsize length)
{
    if (length < glob->tail_length || (glob->whole_tail && length != glob->tail_length))
        return FALSE;
    return memcmp(name + length - glob->tail_length, glob->tail, glob->tail_length) == 0;
}

/* Whether the glob matches just this path (with a slash before it) whose last component is name. */
static gboolean matches_path(const Glob *glob, const char *path, const char *name)
{
    const char *subject = glob->by_component ? name : path;

    return tail_fits(glob, name, strlen(name)) &&
           strncmp(subject, glob->pattern, glob->head_length) == 0 &&
           fnmatch(glob->pattern, subject, 0) == 0;
}

/* Whether it matches the path or a directory that the path lies in. `path` is written to and
 * restored. */
static gboolean covers_path(const Glob *glob, char *path)
{
    char *name = path + 1;

    if (!glob->by_component && strncmp(path, glob->pattern, glob->head_length) != 0)
        return FALSE;
    if (!glob->by_component && glob->open_end)
        return fnmatch(glob->pattern, path, 0) == 0;
    for (;;) {
        char *slash = strchr(name, '/');
        gboolean matched;

        if (slash == NULL)
            return matches_path(glob, path, name);
        *slash = '\0';
        matched = matches_path(glob, path, name);
        *slash = '/';
        if (matched)
            return TRUE;
        name = slash + 1;
    }
}

gboolean policy_may_match(const Policy *policy, const char *name)
{
    gsize length;

    /* A shared glob may match any directory above. */
    if (policy->shared->len > 0)
        return TRUE;
    length = strlen(name);
    for (guint i = 0; i < policy->passive->len; i++) {
        if (tail_fits(&g_array_index(policy->passive, Glob, i), name, length))
            return TRUE;
    }
    return FALSE;
}

PathClass policy_classify(const Policy *policy, const char *path)
{
    g_autofree char *rooted = NULL;
    const char *name;

    if (*path == '\0')
        return PATH_ORDINARY;
    rooted = g_strconcat("/", path, NULL);
    name = strrchr(rooted, '/') + 1;
    for (guint i = 0; i < policy->shared->len; i++) {
        if (covers_path(&g_array_index(policy->shared, Glob, i), rooted))
            return PATH_SHARED;
    }
    for (guint i = 0; i < policy->passive->len; i++) {
        if (matches_path(&g_array_index(policy->passive, Glob, i), rooted, name))
            return PATH_PASSIVE;
    }
    return PATH_ORDINARY;
}

gboolean policy_is_passive_rename(const Policy *policy, const char *from, const char *to)
{
    gsize length = strlen(to);

    return strncmp(from, to, length) == 0 && strcmp(from + length, LOCK_SUFFIX) == 0 &&
           policy_classify(policy, from) == PATH_PASSIVE;
}

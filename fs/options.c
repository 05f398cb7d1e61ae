/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"
#include "policy.h"

#include <string.h>
#include <gio/gio.h>

#define DEFAULT_TTL_MS (5 * 60 * G_GINT64_CONSTANT(1000))

/* Takes one option; `value` is NULL where there was no `=`. */
typedef gboolean (*OptionTaker)(MountOptions *options, const char *name, const char *value,
                                GError **error);

MountOptions *mount_options_new(void)
{
    MountOptions *options = g_new0(MountOptions, 1);

    options->ttl_ms = DEFAULT_TTL_MS;
    options->passive = g_strdupv((char **)(guintptr)policy_default_passive);
    options->shared = g_new0(char *, 1);
    options->fuse = g_ptr_array_new_with_free_func(g_free);
    return options;
}

void mount_options_free(MountOptions *options)
{
    if (options == NULL)
        return;
    g_free(options->boundary);
    g_strfreev(options->passive);
    g_strfreev(options->shared);
    g_free(options->state_dir);
    g_ptr_array_unref(options->fuse);
    g_free(options);
}

static gboolean fail(GError **error, const char *name, const char *takes, const char *value)
{
    if (value == NULL || *value == '\0')
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "option %s= takes %s", name,
                    takes);
    else
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "option %s= takes %s, not \"%s\"", name, takes, value);
    return FALSE;
}

static gboolean refuse_value(GError **error, const char *name)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "option %s takes no value", name);
    return FALSE;
}

static gboolean take_ttl(MountOptions *options, const char *name, const char *value, GError **error)
{
    g_autoptr(GError) bad = NULL;
    gint64 ttl_ms = value != NULL ? duration_parse_ms(value, &bad) : -1;

    if (ttl_ms > 0) {
        options->ttl_ms = ttl_ms;
        return TRUE;
    }
    if (g_error_matches(bad, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_OUT_OF_BOUNDS))
        return fail(error, name, "a duration of more than 0 and at most 365 days", value);
    return fail(error, name, "a duration such as 30s or 5m", value);
}

/* The index of the word, or -1. */
static int find_word(const char *const *words, const char *value)
{
    for (int i = 0; value != NULL && words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0)
            return i;
    }
    return -1;
}

static gboolean take_mode(MountOptions *options, const char *name, const char *value,
                          GError **error)
{
    static const char *const words[] = {"enforce", "observe", NULL};
    int i = find_word(words, value);

    if (i < 0)
        return fail(error, name, "enforce or observe", value);
    options->mode = i == 0 ? GUARD_ENFORCE : GUARD_OBSERVE;
    return TRUE;
}

static gboolean take_cache(MountOptions *options, const char *name, const char *value,
                           GError **error)
{
    static const char *const words[] = {"auto", "always", "never", NULL};
    static const CacheMode modes[] = {CACHE_AUTO, CACHE_ALWAYS, CACHE_NEVER};
    int i = find_word(words, value);

    if (i < 0)
        return fail(error, name, "auto, always or never", value);
    options->cache = modes[i];
    return TRUE;
}

static gboolean take_unknown(MountOptions *options, const char *name, const char *value,
                             GError **error)
{
    static const char *const words[] = {"deny", "allow", NULL};
    int i = find_word(words, value);

    if (i < 0)
        return fail(error, name, "deny or allow", value);
    options->unknown_allowed = i == 1;
    return TRUE;
}

static gboolean take_nested(MountOptions *options, const char *name, const char *value,
                            GError **error)
{
    static const char *const words[] = {"pass", "refuse", NULL};
    int i = find_word(words, value);

    if (i < 0)
        return fail(error, name, "pass or refuse", value);
    options->refuse_nested = i == 1;
    return TRUE;
}

static gboolean take_boundary(MountOptions *options, const char *name, const char *value,
                              GError **error)
{
    if (value == NULL)
        return fail(error, name, "process names separated by ':'", value);
    g_free(options->boundary);
    options->boundary = g_strdup(value);
    return TRUE;
}

/* `A:B:...` replaces the defaults, `+A:B:...` adds to them. Empty globs are dropped. */
static GStrv split_globs(const char *value, const char *const *defaults)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_auto(GStrv) parts = NULL;

    if (*value == '+') {
        g_strv_builder_addv(builder, (const char **)(guintptr)defaults);
        value++;
    }
    parts = g_strsplit(value, ":", -1);
    for (guint i = 0; parts[i] != NULL; i++) {
        if (*parts[i] != '\0')
            g_strv_builder_add(builder, parts[i]);
    }
    return g_strv_builder_end(builder);
}

static gboolean take_passive(MountOptions *options, const char *name, const char *value,
                             GError **error)
{
    if (value == NULL)
        return fail(error, name, "globs separated by ':'", value);
    g_strfreev(options->passive);
    options->passive = split_globs(value, policy_default_passive);
    return TRUE;
}

static gboolean take_shared(MountOptions *options, const char *name, const char *value,
                            GError **error)
{
    static const char *const none[] = {NULL};

    if (value == NULL)
        return fail(error, name, "globs separated by ':'", value);
    g_strfreev(options->shared);
    options->shared = split_globs(value, none);
    return TRUE;
}

static gboolean take_state_dir(MountOptions *options, const char *name, const char *value,
                               GError **error)
{
    if (value == NULL || *value != '/')
        return fail(error, name, "a directory's path from the root", value);
    g_free(options->state_dir);
    options->state_dir = g_strdup(value);
    return TRUE;
}

/* Of options that contradict each other only the last is handed on. */
static void take_back(MountOptions *options, const char *name, const char *opposite)
{
    for (guint i = options->fuse->len; i-- > 0;) {
        const char *given = options->fuse->pdata[i];
        gsize length = strcspn(given, "=");

        if ((strlen(name) == length && strncmp(given, name, length) == 0) ||
            (opposite != NULL && strcmp(given, opposite) == 0))
            g_ptr_array_remove_index(options->fuse, i);
    }
}

static void hand_on(MountOptions *options, const char *name, const char *opposite, const char *text)
{
    take_back(options, name, opposite);
    g_ptr_array_add(options->fuse, g_strdup(text));
}

static gboolean take_max_read(MountOptions *options, const char *name, const char *value,
                              GError **error)
{
    g_autofree char *text = NULL;
    guint64 size_bytes;

    if (value == NULL || !g_ascii_string_to_unsigned(value, 10, 1, G_MAXUINT32, &size_bytes, NULL))
        return fail(error, name, "a number of bytes such as 131072", value);
    options->max_read_bytes = (guint32)size_bytes;
    text = g_strdup_printf("max_read=%u", options->max_read_bytes);
    hand_on(options, name, NULL, text);
    return TRUE;
}

static gboolean take_allow_other(MountOptions *options, const char *name, const char *value,
                                 GError **error)
{
    if (value != NULL)
        return refuse_value(error, name);
    options->allow_other = TRUE;
    hand_on(options, name, NULL, name);
    return TRUE;
}

/* `ro` and `rw` are enforced by the kernel; the daemon needs to know, too. */
static gboolean take_flag(MountOptions *options, const char *name, const char *value,
                          GError **error)
{
    static const char *const pairs[][2] = {
        {"ro", "rw"},       {"suid", "nosuid"}, {"dev", "nodev"},
        {"exec", "noexec"}, {"sync", "async"},  {"symfollow", "nosymfollow"},
    };
    const char *opposite = NULL;

    if (value != NULL)
        return refuse_value(error, name);
    for (gsize i = 0; i < G_N_ELEMENTS(pairs); i++) {
        if (strcmp(name, pairs[i][0]) == 0)
            opposite = pairs[i][1];
        else if (strcmp(name, pairs[i][1]) == 0)
            opposite = pairs[i][0];
    }
    if (strcmp(name, "ro") == 0)
        options->read_only = TRUE;
    else if (strcmp(name, "rw") == 0)
        options->read_only = FALSE;
    hand_on(options, name, opposite, name);
    return TRUE;
}

/* The daemon's: it is its reading that the backing file sees. `noatime` is shown in the table of
 * mounts, too; the other words are not known to libfuse or to every fusermount3. */
static gboolean take_access_time(MountOptions *options, const char *name, const char *value,
                                 GError **error)
{
    gboolean off = g_str_has_prefix(name, "no");
    gboolean of_all = g_str_has_suffix(name, "atime") && !g_str_has_suffix(name, "diratime");

    if (value != NULL)
        return refuse_value(error, name);
    if (of_all)
        options->no_atime = off;
    else
        options->no_diratime = off;
    if (of_all && off)
        hand_on(options, name, NULL, name);
    else if (of_all)
        take_back(options, "noatime", NULL);
    return TRUE;
}

static gboolean take_and_drop(MountOptions *options, const char *name, const char *value,
                              GError **error)
{
    (void)options;
    if (value != NULL)
        return refuse_value(error, name);
    return TRUE;
}

static gboolean refuse_strictatime(MountOptions *options, const char *name, const char *value,
                                   GError **error)
{
    (void)options;
    (void)value;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "option %s cannot be kept: access times are set by the filesystem below, which is "
                "to be mounted with it",
                name);
    return FALSE;
}

static gboolean refuse_source(MountOptions *options, const char *name, const char *value,
                              GError **error)
{
    (void)options;
    (void)value;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "option %s= cannot be set: other commands find the mount by it", name);
    return FALSE;
}

static gboolean refuse_allow_root(MountOptions *options, const char *name, const char *value,
                                  GError **error)
{
    (void)options;
    (void)value;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "option %s is not supported; allow_other lets root in, too", name);
    return FALSE;
}

static const struct {
    const char *name;
    OptionTaker take;
} known_options[] = {
    {"ttl", take_ttl},
    {"mode", take_mode},
    {"cache", take_cache},
    {"unknown", take_unknown},
    {"nested", take_nested},
    {"boundary", take_boundary},
    {"passive", take_passive},
    {"shared", take_shared},
    {"state_dir", take_state_dir},
    {"allow_other", take_allow_other},
    {"allow_root", refuse_allow_root},
    {"fsname", refuse_source},
    {"subtype", refuse_source},
    {"max_read", take_max_read},
    {"ro", take_flag},
    {"rw", take_flag},
    {"suid", take_flag},
    {"nosuid", take_flag},
    {"dev", take_flag},
    {"nodev", take_flag},
    {"exec", take_flag},
    {"noexec", take_flag},
    {"sync", take_flag},
    {"async", take_flag},
    {"atime", take_access_time},
    {"noatime", take_access_time},
    {"diratime", take_access_time},
    {"nodiratime", take_access_time},
    {"symfollow", take_flag},
    {"nosymfollow", take_flag},
    {"dirsync", take_flag},
    {"auto_unmount", take_flag},
    /* Whether the kernel checks permissions is decided by who is let in. */
    {"default_permissions", take_and_drop},
    /* Words of fstab(5) for others than the file system. */
    {"defaults", take_and_drop},
    {"auto", take_and_drop},
    {"noauto", take_and_drop},
    {"nofail", take_and_drop},
    {"user", take_and_drop},
    {"users", take_and_drop},
    {"_netdev", take_and_drop},
    /* Access times are kept by the filesystem below, as it was mounted; these promise no more. */
    {"relatime", take_and_drop},
    {"norelatime", take_and_drop},
    {"strictatime", refuse_strictatime},
    {"nostrictatime", take_and_drop},
    {"lazytime", take_and_drop},
    {"nolazytime", take_and_drop},
    /* Of no meaning to a filesystem of this kind, or to any by now. */
    {"silent", take_and_drop},
    {"loud", take_and_drop},
    {"mand", take_and_drop},
    {"nomand", take_and_drop},
    {"iversion", take_and_drop},
    {"noiversion", take_and_drop},
};

static gboolean take_option(MountOptions *options, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    g_autofree char *name =
        equals != NULL ? g_strndup(text, (gsize)(equals - text)) : g_strdup(text);
    const char *value = equals != NULL ? equals + 1 : NULL;

    /* x-systemd.requires= and the like. */
    if (*text == '\0' || g_str_has_prefix(name, "x-"))
        return TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(known_options); i++) {
        if (strcmp(name, known_options[i].name) == 0)
            return known_options[i].take(options, name, value, error);
    }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                "unknown mount option \"%s\"; see leasefs mount --help", name);
    return FALSE;
}

/* `\,` is a comma and `\\` a backslash; before anything else a backslash stands for itself, as
 * globs need it. */
gboolean mount_options_parse(MountOptions *options, const char *text, GError **error)
{
    g_autoptr(GString) option = g_string_new(NULL);

    for (;;) {
        if (*text == '\\' && (text[1] == ',' || text[1] == '\\')) {
            g_string_append_c(option, text[1]);
            text += 2;
        } else if (*text == ',' || *text == '\0') {
            if (!take_option(options, option->str, error))
                return FALSE;
            if (*text == '\0')
                return TRUE;
            g_string_truncate(option, 0);
            text++;
        } else {
            g_string_append_c(option, *text++);
        }
    }
}

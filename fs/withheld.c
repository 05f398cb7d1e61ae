/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "withheld.h"
#include <string.h>

static const struct {
    const char *name;
    uint64_t flag;
} features[] = {
    {"cache_symlinks", FUSE_CAP_CACHE_SYMLINKS},
    {"direct_io_allow_mmap", FUSE_CAP_DIRECT_IO_ALLOW_MMAP},
    {"explicit_inval_data", FUSE_CAP_EXPLICIT_INVAL_DATA},
    {"export_support", FUSE_CAP_EXPORT_SUPPORT},
    {"killpriv_v2", FUSE_CAP_HANDLE_KILLPRIV_V2},
    {"no_opendir_support", FUSE_CAP_NO_OPENDIR_SUPPORT},
    {"parallel_dirops", FUSE_CAP_PARALLEL_DIROPS},
};

static gboolean is_withheld(const char *name)
{
    const char *list = g_getenv("LEASEFS_WITHOUT");
    g_auto(GStrv) names = g_strsplit(list ? list : "", ",", -1);

    return g_strv_contains((const char *const *)names, name);
}

void withhold_operations(struct fuse_lowlevel_ops *ops)
{
    if (is_withheld("tmpfile"))
        ops->tmpfile = NULL;
}

static gboolean take_nothing(Fs *fs G_GNUC_UNUSED,
                             const struct fuse_in_header *request G_GNUC_UNUSED,
                             int reply_fd G_GNUC_UNUSED)
{
    return FALSE;
}

WorkersTake withhold_requests(WorkersTake take)
{
    return is_withheld("statx") ? take_nothing : take;
}

void withhold_features(struct fuse_conn_info *conn)
{
    for (guint i = 0; i < G_N_ELEMENTS(features); i++) {
        if (!is_withheld(features[i].name))
            continue;
        g_debug("doing without %s", features[i].name);
        fuse_unset_feature_flag(conn, features[i].flag);
        conn->capable_ext &= ~features[i].flag;
    }
}

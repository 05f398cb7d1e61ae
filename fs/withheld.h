/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides which features of the kernel the daemon does without, though it has them: for tests of
 * what an older kernel would make of a mount. LEASEFS_WITHOUT names them, separated by commas.
 * Thread safety: before the first request only.
 */
#include "workers.h"

/* Operations that older kernels do not ask for: they are left out. */
void withhold_operations(struct fuse_lowlevel_ops *ops);
WorkersTake withhold_requests(WorkersTake take);
/* Flags of the kernel's INIT: taken from what it offers, and from what is wanted. */
void withhold_features(struct fuse_conn_info *conn);

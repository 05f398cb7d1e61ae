/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Carries out what is written to `user.leasefs.control`.
 * Thread safety: every function may be called from any thread.
 */
#include "control.h"
#include "fs.h"

/* 0 or -errno, as fs/control.h says for each verb. uid is the caller's. */
int control_run(Fs *fs, const Caller *caller, uid_t uid, const ControlMessage *message);

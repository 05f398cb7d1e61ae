/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Divides the descriptors that this process may have (RLIMIT_NOFILE).
 *
 * Some are kept for what must not fail: the ordinary limit is lower than the process's own by so
 * many, and put up for as long as one of those is opened.
 *
 * Thread safety: taking and giving back may be done by any thread; the rest by one, at the start.
 */
#include <glib.h>

/* Before anything chooses its share of the descriptors, and before there is a second thread. */
void descriptors_prepare(void);
/* How many are kept: 0 before descriptors_prepare. */
guint descriptors_reserve(void);
/* The most that the nodes' idle ones may be. */
guint descriptors_for_nodes(void);

/* In between, the calling thread, and any other one, has the reserve, too. */
void descriptors_take_reserve(void);
void descriptors_give_back_reserve(void);

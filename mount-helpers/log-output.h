/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where log messages go. Thread safety: log_output_to_system is called before there are threads
 * that log; the rest is the log writer's, from any thread.
 */

/* From now on messages go to standard error, one line each. Once, at the start. */
void log_output_start(void);
/* From now on they go to the journal, or to syslog where there is none. */
void log_output_to_system(void);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Decides whether a subcommand was called rightly: options and operands, strictly.
 * Thread safety: none; the command has one thread.
 */
#include <glib.h>

typedef struct Usage {
    const char *command;  /* "status" */
    const char *operands; /* "[PATH]", as the help shows them */
    const char *summary;  /* what it does, for the help */
    const char *notes;    /* more for the help, EXIT STATUS among it */
    const char *needed;   /* what is missing where there are fewer than min_operands */
    guint min_operands;
    guint max_operands;          /* G_MAXUINT: any number */
    gboolean options_come_first; /* what follows the first operand is not ours */
} Usage;

/* Parses argv by entries (ended by an entry of zeros; no callbacks). An option whose
 * arg_description begins with `[` may stand without a value: "" is stored then. operands_out is
 * owned. FALSE where there is nothing left to do: the help or the error was printed, and
 * *status_out is the exit status. */
gboolean usage_parse(const Usage *usage, const GOptionEntry *entries, char **argv,
                     GStrv *operands_out, int *status_out);
/* Prints one line and returns EXIT_USAGE. */
int usage_error(const Usage *usage, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* A duration that an option was given; `text` NULL or "" gives -1. FALSE: the error was printed. */
gboolean usage_duration(const Usage *usage, const char *option, const char *text,
                        gint64 *duration_ms_out);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sources.h"
#include "files.h"

#include <string.h>
#include <sys/stat.h>

#define HEADERS   10u
#define FUNCTIONS 10u

static const char makefile[] = "CC = gcc\n"
                               "CFLAGS = -O0\n"
                               "units := $(sort $(patsubst %.c,%.o,$(wildcard *.c)))\n"
                               "program: $(units)\n"
                               "\t$(CC) -o $@ $^\n"
                               "%.o: %.c $(wildcard *.h)\n"
                               "\t$(CC) $(CFLAGS) -c -o $@ $<\n"
                               "clean:\n"
                               "\trm -f program $(units)\n";

static gboolean write_text(const char *dir, const char *name, const GString *text, GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return files_write(path, text->str, text->len, error);
}

static gboolean write_header(const char *dir, guint number, guint units, GError **error)
{
    g_autofree char *name = g_strdup_printf("part%02u.h", number);
    GString *text = g_string_new("#pragma once\n#include <stdio.h>\n#include <string.h>\n");
    gboolean done;

    for (guint i = number; i < units; i += HEADERS) {
        for (guint j = 0; j < FUNCTIONS; j++)
            g_string_append_printf(text, "unsigned unit%02u_step%02u(unsigned value);\n", i, j);
    }
    done = write_text(dir, name, text, error);
    g_string_free(text, TRUE);
    return done;
}

/* Each step calls the next one; the last adds 1. */
static gboolean write_unit(const char *dir, guint number, GError **error)
{
    g_autofree char *name = g_strdup_printf("unit%02u.c", number);
    GString *text = g_string_new(NULL);
    gboolean done;

    for (guint i = 0; i < HEADERS; i++)
        g_string_append_printf(text, "#include \"part%02u.h\"\n", i);
    for (guint j = 0; j < FUNCTIONS; j++) {
        g_string_append_printf(text, "unsigned unit%02u_step%02u(unsigned value)\n{\n", number, j);
        g_string_append(text, "    char text[64];\n"
                              "    snprintf(text, sizeof text, \"%u\", value);\n"
                              "    if (strlen(text) > 60)\n        return 0;\n");
        if (j + 1 < FUNCTIONS)
            g_string_append_printf(text, "    return unit%02u_step%02u(value);\n}\n", number,
                                   j + 1);
        else
            g_string_append(text, "    return value + 1;\n}\n");
    }
    done = write_text(dir, name, text, error);
    g_string_free(text, TRUE);
    return done;
}

static gboolean write_main(const char *dir, guint units, GError **error)
{
    GString *text = g_string_new(NULL);
    gboolean done;

    for (guint i = 0; i < HEADERS; i++)
        g_string_append_printf(text, "#include \"part%02u.h\"\n", i);
    g_string_append(text, "int main(void)\n{\n    unsigned value = 0;\n");
    for (guint i = 0; i < units; i++)
        g_string_append_printf(text, "    value = unit%02u_step00(value);\n", i);
    g_string_append(text, "    printf(\"%u units\\n\", value);\n    return 0;\n}\n");
    done = write_text(dir, "main.c", text, error);
    g_string_free(text, TRUE);
    return done;
}

gboolean sources_make(const char *dir, guint units, GError **error)
{
    g_autofree char *path = g_build_filename(dir, "Makefile", NULL);
    gboolean done = mkdir(dir, 0755) == 0 || bench_fail_errno(error, "%s", dir);

    done = done && files_write(path, makefile, strlen(makefile), error) &&
           write_main(dir, units, error);
    for (guint i = 0; done && i < HEADERS; i++)
        done = write_header(dir, i, units, error);
    for (guint i = 0; done && i < units; i++)
        done = write_unit(dir, i, error);
    return done;
}

char *sources_output(guint units)
{
    return g_strdup_printf("%u units\n", units);
}

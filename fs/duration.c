/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <string.h>

#define SECOND_MS G_GINT64_CONSTANT(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

static const struct {
    const char *suffix;
    gint64 unit_ms;
} duration_units[] = {
    {"", SECOND_MS}, {"ms", 1}, {"s", SECOND_MS}, {"m", MINUTE_MS}, {"h", HOUR_MS},
};

gint64 duration_parse_ms(const char *text, GError **error)
{
    gsize n_digits = strspn(text, "0123456789");
    const gint64 max_ms = 365 * DAY_MS;

    for (gsize i = 0; n_digits > 0 && i < G_N_ELEMENTS(duration_units); i++) {
        g_autofree char *digits = NULL;
        gint64 unit_ms = duration_units[i].unit_ms;
        guint64 n;

        if (strcmp(text + n_digits, duration_units[i].suffix) != 0)
            continue;
        digits = g_strndup(text, n_digits);
        if (g_ascii_string_to_unsigned(digits, 10, 1, (guint64)(max_ms / unit_ms), &n, NULL))
            return (gint64)n * unit_ms;
        g_set_error(error, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_OUT_OF_BOUNDS,
                    "a duration is more than 0 and at most 365 days, not \"%s\"", text);
        return -1;
    }
    g_set_error(error, G_NUMBER_PARSER_ERROR, G_NUMBER_PARSER_ERROR_INVALID,
                "a duration is such as 30s or 5m, not \"%s\"", text);
    return -1;
}

char *duration_format(gint64 ms)
{
    int s = (int)(ms / SECOND_MS % 60);
    int m = (int)(ms / MINUTE_MS % 60);
    int h = (int)(ms / HOUR_MS % 24);

    if (ms <= 0)
        return g_strdup("0s");
    if (ms < SECOND_MS)
        return g_strdup_printf("%dms", (int)ms);
    if (ms < MINUTE_MS)
        return g_strdup_printf("%ds", s);
    if (ms < HOUR_MS)
        return g_strdup_printf("%dm%02ds", m, s);
    if (ms < DAY_MS)
        return g_strdup_printf("%dh%02dm", h, m);
    return g_strdup_printf("%" G_GINT64_FORMAT "d%02dh", ms / DAY_MS, h);
}

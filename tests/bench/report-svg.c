/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two bars for each workload, on a logarithmic scale of the ratio to the bare directory: they begin
 * at 1, to the right is slower.
 */
#include "bench.h"
#include "report.h"

#include <math.h>

#define WIDTH      860.0
#define LEFT       170.0 /* of the scale */
#define RIGHT      760.0
#define TOP        92.0
#define ROW_HEIGHT 26.0
#define BAR_HEIGHT 9.0
#define BOTTOM     44.0
#define SCALE_MIN  0.5
#define SCALE_MAX  64.0

#define HEADER_LINES 4u /* date, machine, rounds, how leasefs is mounted */

#define LEASEFS_COLOR "#1769aa"
#define PEER_COLOR    "#b4b9bf"

static double x_of(double ratio)
{
    double clamped = CLAMP(ratio, SCALE_MIN, SCALE_MAX);

    return LEFT + (RIGHT - LEFT) * log(clamped / SCALE_MIN) / log(SCALE_MAX / SCALE_MIN);
}

/* Numbers always with a point, whatever the locale. */
static const char *number(char buffer[32], double value)
{
    return g_ascii_formatd(buffer, 32, "%.1f", value);
}

static void add_text(GString *svg, double x, double y, const char *attributes, const char *text)
{
    g_autofree char *escaped = g_markup_escape_text(text, -1);
    char x_text[32];
    char y_text[32];

    g_string_append_printf(svg, "<text x=\"%s\" y=\"%s\" %s>%s</text>\n", number(x_text, x),
                           number(y_text, y), attributes, escaped);
}

static void add_rect(GString *svg, double x, double y, double width, double height,
                     const char *color)
{
    char texts[4][32];

    g_string_append_printf(svg,
                           "<rect x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\" fill=\"%s\"/>\n",
                           number(texts[0], x), number(texts[1], y), number(texts[2], width),
                           number(texts[3], height), color);
}

static void add_grid(GString *svg, double bottom)
{
    for (double ratio = SCALE_MIN; ratio <= SCALE_MAX; ratio *= 2) {
        g_autofree char *label = ratio < 1 ? g_strdup("½") : g_strdup_printf("%.0f", ratio);

        add_rect(svg, x_of(ratio) - 0.5, TOP - 8, 1, bottom - TOP + 8,
                 ratio == 1 ? "#666666" : "#e4e6e8");
        add_text(svg, x_of(ratio), TOP - 14, "class=\"axis\" text-anchor=\"middle\"", label);
    }
}

static void add_bar(GString *svg, double ratio, double y, const char *color, const char *name)
{
    double begin = x_of(MIN(ratio, 1));
    double end = x_of(MAX(ratio, 1));
    g_autofree char *label = NULL;
    char text[32];

    if (ratio <= 0)
        return;
    g_ascii_formatd(text, sizeof text, ratio < 10 ? "%.2f" : "%.1f", ratio);
    label = g_strdup_printf("%s%s%s", text, name != NULL ? " " : "", name != NULL ? name : "");
    add_rect(svg, begin, y, MAX(end - begin, 1), BAR_HEIGHT, color);
    add_text(svg, end + 5, y + BAR_HEIGHT - 1, "class=\"value\"", label);
}

static void add_row(GString *svg, const ResultRow *row, double y)
{
    TargetKind peer = result_best_peer(row, row->moves_data);

    add_text(svg, LEFT - 10, y + BAR_HEIGHT + 4, "class=\"name\" text-anchor=\"end\"",
             row->workload);
    add_bar(svg, result_ratio(row, TARGET_LEASEFS), y, LEASEFS_COLOR, NULL);
    if (peer != TARGET_BARE)
        add_bar(svg, result_ratio(row, peer), y + BAR_HEIGHT + 1, PEER_COLOR,
                target_kind_name(peer));
}

static void add_head(GString *svg, double height)
{
    g_string_append_printf(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
        "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n"
        "<style>.title{font-size:16px;font-weight:bold;fill:#222}.axis{font-size:11px;fill:#666}"
        ".name{font-size:12px;fill:#222}.value{font-size:9.5px;fill:#444}"
        ".legend{font-size:12px;fill:#222}</style>\n",
        WIDTH, height, WIDTH, height);
    add_rect(svg, 0, 0, WIDTH, height, "#ffffff");
    add_text(svg, 16, 26, "class=\"title\"",
             "Wall time, as a multiple of the bare directory's (shorter is quicker)");
    add_rect(svg, 16, 41, 14, BAR_HEIGHT, LEASEFS_COLOR);
    add_text(svg, 36, 50, "class=\"legend\"", "leasefs, enforcing");
    add_rect(svg, 170, 41, 14, BAR_HEIGHT, PEER_COLOR);
    add_text(svg, 190, 50, "class=\"legend\"",
             "the quickest other FUSE filesystem that could refuse a writer");
}

gboolean report_svg(const char *path, const Results *results, GError **error)
{
    double bottom = TOP + ROW_HEIGHT * results->rows->len;
    GString *svg = g_string_new(NULL);
    GString *header = g_string_new(NULL);
    gboolean done;

    add_head(svg, bottom + BOTTOM);
    add_grid(svg, bottom);
    for (guint i = 0; i < results->rows->len; i++)
        add_row(svg, results->rows->pdata[i], TOP + ROW_HEIGHT * i + 2);
    for (guint i = 0; i < MIN(results->header->len, HEADER_LINES); i++)
        g_string_append_printf(header, "%s%s", i > 0 ? "; " : "",
                               (const char *)results->header->pdata[i]);
    add_text(svg, 16, bottom + 26, "class=\"axis\"", header->str);
    g_string_append(svg, "</svg>\n");
    done = g_file_set_contents(path, svg->str, (gssize)svg->len, error);
    g_string_free(header, TRUE);
    g_string_free(svg, TRUE);
    return done;
}

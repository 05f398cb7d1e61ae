/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * {"header": [TEXT, ...],
 *  "workloads": [{"name": TEXT, "summary": TEXT, "operations": N, "moves_data": BOOL,
 *                 "targets": {NAME: {"wall_ns": [...], "client_ns": [...], "daemon_ns": [...],
 *                                    "requests": N or null,
 *                                    "median_wall_ns": N, "ratio": N}}}]}
 *
 * One number a timed round; client_ns and daemon_ns are processor time. `requests` is of one run;
 * `ratio` is to the bare directory, 0 where that was not run. The last two are for whoever reads
 * the file; they are computed anew when it is read here.
 */
#include "bench.h"
#include "report.h"

#include <json-glib/json-glib.h>
#include <string.h>

static void add_numbers(JsonBuilder *builder, const char *name, const double *values, guint count)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (guint i = 0; i < count; i++)
        json_builder_add_double_value(builder, values[i]);
    json_builder_end_array(builder);
}

static void add_number(JsonBuilder *builder, const char *name, double value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_double_value(builder, value);
}

static void add_text(JsonBuilder *builder, const char *name, const char *value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, value);
}

static void add_cell(JsonBuilder *builder, const ResultRow *row, TargetKind kind)
{
    const ResultCell *cell = &row->cells[kind];

    json_builder_set_member_name(builder, target_kind_name(kind));
    json_builder_begin_object(builder);
    add_numbers(builder, "wall_ns", cell->wall_ns, cell->rounds);
    add_numbers(builder, "client_ns", cell->client_ns, cell->rounds);
    add_numbers(builder, "daemon_ns", cell->daemon_ns, cell->rounds);
    json_builder_set_member_name(builder, "requests");
    if (cell->requests >= 0)
        json_builder_add_double_value(builder, cell->requests);
    else
        json_builder_add_null_value(builder);
    add_number(builder, "median_wall_ns", result_wall_ns(row, kind));
    add_number(builder, "ratio", result_ratio(row, kind));
    json_builder_end_object(builder);
}

static void add_row(JsonBuilder *builder, const ResultRow *row)
{
    json_builder_begin_object(builder);
    add_text(builder, "name", row->workload);
    add_text(builder, "summary", row->summary);
    add_number(builder, "operations", row->operations);
    json_builder_set_member_name(builder, "moves_data");
    json_builder_add_boolean_value(builder, row->moves_data);
    json_builder_set_member_name(builder, "targets");
    json_builder_begin_object(builder);
    for (TargetKind kind = 0; kind < TARGET_KINDS; kind++) {
        if (row->cells[kind].rounds > 0)
            add_cell(builder, row, kind);
    }
    json_builder_end_object(builder);
    json_builder_end_object(builder);
}

void report_json(FILE *to, const Results *results)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    g_autofree char *text = NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "header");
    json_builder_begin_array(builder);
    for (guint i = 0; i < results->header->len; i++)
        json_builder_add_string_value(builder, results->header->pdata[i]);
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "workloads");
    json_builder_begin_array(builder);
    for (guint i = 0; i < results->rows->len; i++)
        add_row(builder, results->rows->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    text = json_to_string(root, TRUE);
    fprintf(to, "%s\n", text);
}

/* The getters of json-glib only log where a member is missing or of another type. */
static JsonNode *member(JsonNode *of, const char *name)
{
    if (of == NULL || !JSON_NODE_HOLDS_OBJECT(of))
        return NULL;
    return json_object_get_member(json_node_get_object(of), name);
}

static JsonArray *array_member(JsonNode *of, const char *name)
{
    JsonNode *node = member(of, name);

    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static const char *text_of(JsonNode *node)
{
    if (node == NULL || !JSON_NODE_HOLDS_VALUE(node))
        return "";
    return json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : "";
}

static double number_of(JsonNode *node, double otherwise)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_double(node) : otherwise;
}

static guint read_numbers(JsonNode *of, const char *name, double *values)
{
    JsonArray *array = array_member(of, name);
    guint count = array != NULL ? MIN(json_array_get_length(array), RESULT_MAX_ROUNDS) : 0;

    for (guint i = 0; i < count; i++)
        values[i] = number_of(json_array_get_element(array, i), 0);
    return count;
}

static void read_cell(ResultCell *cell, JsonNode *of)
{
    guint rounds = read_numbers(of, "wall_ns", cell->wall_ns);

    if (of == NULL || read_numbers(of, "client_ns", cell->client_ns) != rounds ||
        read_numbers(of, "daemon_ns", cell->daemon_ns) != rounds)
        return;
    cell->rounds = rounds;
    cell->requests = number_of(member(of, "requests"), -1);
}

static void read_row(Results *results, JsonNode *of)
{
    JsonNode *targets = member(of, "targets");
    JsonNode *moves_data = member(of, "moves_data");
    ResultRow *row =
        results_add(results, text_of(member(of, "name")), text_of(member(of, "summary")));

    row->operations = MAX(1, number_of(member(of, "operations"), 1));
    row->moves_data = moves_data != NULL && JSON_NODE_HOLDS_VALUE(moves_data) &&
                      json_node_get_boolean(moves_data);
    for (TargetKind kind = 0; kind < TARGET_KINDS; kind++)
        read_cell(&row->cells[kind], member(targets, target_kind_name(kind)));
}

static void read_header(Results *results, JsonNode *root)
{
    JsonArray *lines = array_member(root, "header");

    for (guint i = 0; lines != NULL && i < json_array_get_length(lines); i++)
        g_ptr_array_add(results->header, g_strdup(text_of(json_array_get_element(lines, i))));
}

gboolean report_read_json(Results *results, const char *path, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonArray *workloads;

    if (!json_parser_load_from_file(parser, path, error))
        return FALSE;
    workloads = array_member(json_parser_get_root(parser), "workloads");
    if (workloads == NULL)
        return bench_fail(error, "%s holds no results", path);
    if (results->header->len == 0)
        read_header(results, json_parser_get_root(parser));
    for (guint i = 0; i < json_array_get_length(workloads); i++)
        read_row(results, json_array_get_element(workloads, i));
    return TRUE;
}

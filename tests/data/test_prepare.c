/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include "data/reader.h"

static struct dpt_data__prep table_prep(void)
{
    static char a[] = "age", b[] = "caf\xc3\xa9 \"x\"", c[] = "y", d[] = "id", empty[] = "", red[] = "red", no[] = "no",
                yes[] = "yes";
    static char *categories[] = {empty, red}, *classes[] = {no, yes};
    static struct dpt_data__column column[4];
    column[0] = (struct dpt_data__column){
        .name = a, .kind = DPT_DATA__KIND_NUMERIC, .mean = 0.1, .std = 1.0 / 3.0, .missing = 1e-17};
    column[1] = (struct dpt_data__column){
        .name = b, .kind = DPT_DATA__KIND_CATEGORICAL, .ncategories = 2, .category = categories};
    column[2] = (struct dpt_data__column){.name = c, .kind = DPT_DATA__KIND_TARGET};
    column[3] = (struct dpt_data__column){.name = d, .kind = DPT_DATA__KIND_IGNORED};
    return (struct dpt_data__prep){.format = DPT_DATA_FORMAT_CSV,
                                   .ndim = 1,
                                   .dim = {3},
                                   .classes = 2,
                                   .targets = 1,
                                   .ncolumns = 4,
                                   .column = column,
                                   .class_name = classes};
}

/* Text and back gives the same, to the last bit of every number. */
static void there_and_back(void **state)
{
    (void)state;
    struct dpt_arena *arena = dpt_arena_new();
    double mean[] = {0.1, 1.0 / 3.0, 0.0}, std[] = {1e-300, 2.0, 1e300};
    const struct dpt_data__prep idx = {.format = DPT_DATA_FORMAT_IDX,
                                       .ndim = 3,
                                       .dim = {4, 5, 3},
                                       .classes = 7,
                                       .targets = 1,
                                       .bytes = true,
                                       .mean = mean,
                                       .std = std};
    const struct dpt_data__prep table = table_prep(), *read = NULL;
    const char *text = dpt_data__prep_text(&idx, arena);
    assert_int_equal(dpt_data__prep_read(text, DPT_DATA_FORMAT_IDX, arena, &read), DPT_STATUS_OK);
    assert_string_equal(dpt_data__prep_text(read, arena), text);
    assert_memory_equal(read->mean, mean, sizeof mean);
    assert_memory_equal(read->std, std, sizeof std);
    assert_int_equal(read->dim[1], 5);
    assert_int_equal(read->classes, 7);
    assert_true(read->bytes);

    text = dpt_data__prep_text(&table, arena);
    assert_int_equal(dpt_data__prep_read(text, DPT_DATA_FORMAT_CSV, arena, &read), DPT_STATUS_OK);
    assert_string_equal(dpt_data__prep_text(read, arena), text);
    assert_true(read->column[0].mean == 0.1 && read->column[0].std == 1.0 / 3.0 && read->column[0].missing == 1e-17);
    assert_string_equal(read->column[1].name, table.column[1].name);
    assert_string_equal(read->class_name[1], "yes");
    dpt_arena_free(arena);
}

static void records_that_lie(void **state)
{
    (void)state;
    struct dpt_arena *arena = dpt_arena_new();
    const struct {
        const char *text, *words;
    } cases[] = {
        {"", "is no JSON"},
        {"[]", "at 'format'"},
        {"{\"format\":\"csv\"}", "trained on csv data, but [data] format = idx"},
        {"{\"format\":\"idx\"}", "at 'shape'"},
        {"{\"format\":\"idx\",\"shape\":[2,2]}", "at 'shape'"},
        {"{\"format\":\"idx\",\"shape\":[2147483647,2147483647,2147483647]}", "at 'shape'"},
        {"{\"format\":\"idx\",\"shape\":[0]}", "at 'shape'"},
        {"{\"format\":\"idx\",\"shape\":[3],\"classes\":-1}", "at 'classes'"},
        {"{\"format\":\"idx\",\"shape\":[3],\"classes\":1,\"targets\":0}", "at 'targets'"},
        {"{\"format\":\"idx\",\"shape\":[3],\"classes\":1,\"targets\":1}", "at 'bytes'"},
        {"{\"format\":\"idx\",\"shape\":[3],\"classes\":1,\"targets\":1,\"bytes\":true,\"mean\":[0,0]}", "at 'mean'"},
        {"{\"format\":\"idx\",\"shape\":[3],\"classes\":1,\"targets\":1,\"bytes\":true,\"mean\":[0],\"std\":[0]}",
         "at 'std'"},
    };
    const struct dpt_data__prep *read = NULL;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refused(dpt_data__prep_read(cases[i].text, DPT_DATA_FORMAT_IDX, arena, &read), DPT_STATUS_DATA, cases[i].words);
        assert_null(read);
    }
    /* Tables: what does not add up, or would not be found by halving. */
    const struct {
        const char *text, *words;
    } tables[] = {
        {"\"shape\":[2],\"classes\":0,\"targets\":1,\"columns\":[{\"name\":\"a\",\"kind\":\"numeric\",\"mean\":0,"
         "\"std\":1,\"missing\":0},{\"name\":\"y\",\"kind\":\"target\"}]}", "at 'shape'"},
        {"\"shape\":[1],\"classes\":0,\"targets\":2,\"columns\":[{\"name\":\"a\",\"kind\":\"numeric\",\"mean\":0,"
         "\"std\":1,\"missing\":0},{\"name\":\"y\",\"kind\":\"target\"}]}", "at 'targets'"},
        {"\"shape\":[1],\"classes\":2,\"targets\":1,\"class_names\":[\"a\"],\"columns\":[{\"name\":\"a\",\"kind\":"
         "\"numeric\",\"mean\":0,\"std\":1,\"missing\":0},{\"name\":\"y\",\"kind\":\"target\"}]}", "at 'classes'"},
        {"\"shape\":[1],\"classes\":0,\"targets\":1,\"columns\":[{\"name\":\"a\",\"kind\":\"numeric\",\"mean\":0,"
         "\"std\":0,\"missing\":0},{\"name\":\"y\",\"kind\":\"target\"}]}", "at 'std'"},
        {"\"shape\":[2],\"classes\":0,\"targets\":1,\"columns\":[{\"name\":\"a\",\"kind\":\"categorical\","
         "\"categories\":[\"b\",\"a\"]},{\"name\":\"y\",\"kind\":\"target\"}]}", "at 'categories'"},
        {"\"shape\":[2],\"classes\":0,\"targets\":1,\"columns\":[{\"name\":\"a\",\"kind\":\"odd\"}]}", "at 'kind'"},
        {"\"shape\":[2,2,2],\"classes\":0,\"targets\":1,\"columns\":[]}", "at 'columns'"},
    };
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "{\"format\":\"csv\",%s", tables[i].text);
        refused(dpt_data__prep_read(text, DPT_DATA_FORMAT_CSV, arena, &read), DPT_STATUS_DATA, tables[i].words);
    }
    dpt_arena_free(arena);
}

/* Any byte of a record may be damaged. */
static void mutated_records(void **state)
{
    (void)state;
    const struct dpt_data__prep table = table_prep();
    struct dpt_arena *arena = dpt_arena_new();
    const char *good = dpt_data__prep_text(&table, arena);
    static const char odd[] = "0129-\"[]{},:e.nstx\xff";
    char text[1024];
    uint64_t turn = 0;
    int accepted = 0, refusals = 0;
    for (int round = 0; round < 4000; round++) {
        struct dpt_arena *room = dpt_arena_new();
        const struct dpt_data__prep *read = NULL;
        snprintf(text, sizeof text, "%s", good);
        text[draw(3, &turn) % strlen(good)] = odd[draw(3, &turn) % (sizeof odd - 1)];
        const enum dpt_status status = dpt_data__prep_read(text, DPT_DATA_FORMAT_CSV, room, &read);
        if (status == DPT_STATUS_OK) {
            assert_non_null(dpt_data__prep_text(read, room));
            accepted++;
        } else {
            assert_int_equal(status, DPT_STATUS_DATA);
            refusals++;
        }
        dpt_arena_free(room);
    }
    assert_true(accepted > 100 && refusals > 100);
    dpt_arena_free(arena);
}

static void names_have_an_order(void **state)
{
    (void)state;
    static char a[] = "-3", b[] = "2", c[] = "2.0", d[] = "10", e[] = "", f[] = "10a", g[] = "Zoo", h[] = "inf",
                i[] = "zoo";
    char *const sorted[] = {a, b, c, d, e, f, g, h, i};
    for (int x = 0; x < 9; x++) {
        for (int y = 0; y < 9; y++) {
            const int order = dpt_data__compare_names(sorted[x], sorted[y]);
            assert_true(x < y ? order < 0 : x > y ? order > 0 : order == 0);
        }
        assert_int_equal(dpt_data__find_name(sorted, 9, sorted[x]), x);
    }
    assert_int_equal(dpt_data__find_name(sorted, 9, "5"), -1);
    assert_int_equal(dpt_data__find_name(sorted, 0, "5"), -1);
}

static void what_is_a_number(void **state)
{
    (void)state;
    const char *const yes[] = {"0", "-1.5", "+2", ".5", "5.", "1e3", "-1E-3"};
    const double value[] = {0, -1.5, 2, 0.5, 5, 1000, -0.001};
    const char *const no[] = {"", " 1", "1 ", "inf", "nan", "0x1", "1e", "--1", "1,5", "1e999", ".", "1-2", "e5"};
    double number;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        assert_true(dpt_data__number(yes[i], &number) && number == value[i]);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        assert_false(dpt_data__number(no[i], &number));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),     cmocka_unit_test(records_that_lie), cmocka_unit_test(mutated_records),
        cmocka_unit_test(names_have_an_order), cmocka_unit_test(what_is_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

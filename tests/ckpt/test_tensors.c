/* SPDX-License-Identifier: Apache-2.0 */

/* Weights in folders of other programs: number types, several files, and what is refused. */

#include "../folder.h"
#include "ckpt/tensors.h"

static const float plain[6] = {1.0f, -2.5f, 0.0f, 3e38f, 1e-40f, 7.0f};
/* 1, -1.5, the least and the largest below the normal ones, the largest of all, infinity. */
static const uint16_t halves[6] = {0x3c00, 0xbe00, 0x0001, 0x03ff, 0x7bff, 0xfc00};
static const uint16_t brains[3] = {0x3f80, 0xc020, 0x7f7f};

static void write_file(const char *name, const char *first)
{
    const struct dpt_tensors_entry entry[3] = {
        {first, {DPT_DTYPE_F32, 2, {2, 3}}, plain},
        {"h", {DPT_DTYPE_F16, 1, {6}}, halves},
        {"b", {DPT_DTYPE_BF16, 2, {3, 1}}, brains},
    };
    assert_int_equal(dpt_tensors_write(path_of(name), strcmp(first, "other") == 0 ? 1 : 3, entry), DPT_STATUS_OK);
}

static void numbers_are_converted_exactly(void **state)
{
    (void)state;
    struct dpt_tensors *tensors;
    float value[6];
    char text[96];
    write_file("model.safetensors", "w");
    assert_int_equal(dpt_tensors_open(folder, &tensors), DPT_STATUS_OK);
    assert_int_equal(dpt_tensors_count(tensors), 3);
    const int w = dpt_tensors_find(tensors, "w"), h = dpt_tensors_find(tensors, "h"),
              b = dpt_tensors_find(tensors, "b");
    assert_true(w >= 0 && h >= 0 && b >= 0 && dpt_tensors_find(tensors, "x") == -1);
    assert_string_equal(dpt_type_text(text, sizeof text, dpt_tensors_type(tensors, w)), "F32[2,3]");
    assert_string_equal(dpt_tensors_name(tensors, h), "h");
    assert_int_equal(dpt_tensors_read(tensors, w, value), DPT_STATUS_OK);
    assert_memory_equal(value, plain, sizeof plain);
    assert_int_equal(dpt_tensors_read(tensors, h, value), DPT_STATUS_OK);
    const float expected[6] = {1.0f, -1.5f, 0x1p-24f, 1023.0f * 0x1p-24f, 65504.0f, -1.0f / 0.0f};
    assert_memory_equal(value, expected, sizeof expected);
    assert_int_equal(dpt_tensors_read(tensors, b, value), DPT_STATUS_OK);
    const float wanted[3] = {1.0f, -2.5f, 0x1.fep127f};
    assert_memory_equal(value, wanted, sizeof wanted);
    dpt_tensors_close(tensors);
}

static void several_files_have_an_index(void **state)
{
    (void)state;
    static const char index[] = "{\"metadata\": {}, \"weight_map\": {\"w\": \"a.safetensors\", \"h\": \"a.safetensors\","
                                " \"b\": \"a.safetensors\", \"other\": \"c.safetensors\"}}";
    struct dpt_tensors *tensors;
    float value[6];
    remove(path_of("model.safetensors"));
    write_file("a.safetensors", "w");
    write_file("c.safetensors", "other");
    assert_int_equal(dpt_file_replace(path_of("model.safetensors.index.json"), index, strlen(index)), DPT_STATUS_OK);
    assert_int_equal(dpt_tensors_open(folder, &tensors), DPT_STATUS_OK);
    assert_int_equal(dpt_tensors_count(tensors), 4);
    assert_int_equal(dpt_tensors_read(tensors, dpt_tensors_find(tensors, "other"), value), DPT_STATUS_OK);
    assert_memory_equal(value, plain, sizeof plain);
    dpt_tensors_close(tensors);
}

static void assert_refused(const char *index, const char *words)
{
    struct dpt_tensors *tensors;
    assert_int_equal(dpt_file_replace(path_of("model.safetensors.index.json"), index, strlen(index)), DPT_STATUS_OK);
    assert_int_equal(dpt_tensors_open(folder, &tensors), DPT_STATUS_DATA);
    assert_null(tensors);
    if (!strstr(dpt_error_text(), words) || !strstr(dpt_error_text(), folder)) {
        fail_msg("\"%s\" does not say \"%s\"", dpt_error_text(), words);
    }
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"weight_map\": {\"w\": \"../a.safetensors\"}}", "w is not in a file of this folder");
    assert_refused("{\"weight_map\": {\"w\": 3}}", "w is not in a file of this folder");
    assert_refused("{\"weight_map\": {\"w\": \"none.safetensors\"}}", "none.safetensors: No such file");
    assert_refused("{\"weight_map\": []}", "has no weight_map");
    assert_refused("{\"weight_map\": ", "index.json: ");
    write_file("d.safetensors", "other");
    assert_refused("{\"weight_map\": {\"w\": \"c.safetensors\", \"v\": \"d.safetensors\"}}", "other is in two files");
    assert_int_equal(dpt_file_replace(path_of("model.safetensors"), "short", 5), DPT_STATUS_OK);
    assert_refused("{}", "model.safetensors: ends at");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_converted_exactly),
        cmocka_unit_test(several_files_have_an_index),
        cmocka_unit_test(what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

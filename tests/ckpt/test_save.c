/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/text.h"
#include "toy.h"

static struct dpt_comm *world;
static char run[256]; /* the same folder on all ranks */

static int new_run(void **state)
{
    (void)state;
    if (dpt_comm_rank(world) == 0) {
        snprintf(run, sizeof run, "%s", toy_folder());
    }
    return dpt_comm_bcast(world, run, sizeof run, 0);
}

static int remove_run(void **state)
{
    (void)state;
    dpt_comm_barrier(world);
    if (dpt_comm_rank(world) == 0) {
        toy_remove(run);
    }
    return 0;
}

static bool exists(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/checkpoints/%s", run, name);
    return dpt_file_exists(path);
}

static struct dpt_ckpt *open_run(bool best)
{
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(run, best, &ckpt, &notes), DPT_STATUS_OK);
    dpt_text_free(&notes);
    return ckpt;
}

static void all_comes_back(void **state)
{
    (void)state;
    struct toy toy;
    struct dpt_ckpt_item item[TOY_ITEMS];
    toy_fill(&toy, 5);
    const struct dpt_ckpt_meta meta = toy_meta(20);
    uint64_t nbytes = 0;
    const int count = toy_items(&toy, dpt_comm_rank(world) == 0, item);
    assert_int_equal(dpt_ckpt_save(run, world, count, item, &meta, 3, false, &nbytes), DPT_STATUS_OK);

    struct dpt_ckpt *ckpt = open_run(false);
    assert_non_null(ckpt);
    assert_true(toy_loads(ckpt, 5));
    const struct dpt_ckpt_meta *got = dpt_ckpt_meta(ckpt);
    assert_int_equal(got->step, meta.step);
    assert_int_equal(got->samples_seen, meta.samples_seen);
    assert_int_equal(got->epoch, meta.epoch);
    assert_int_equal(got->updates, meta.updates);
    assert_true(got->elapsed_s == meta.elapsed_s);
    assert_false(got->finished);
    assert_int_equal(got->best_step, 20);
    assert_true(got->best_value == meta.best_value);
    assert_string_equal(got->best_metric, meta.best_metric);
    assert_string_equal(got->config, meta.config);
    assert_string_equal(got->preparation, meta.preparation);
    assert_string_equal(got->layout, meta.layout);
    assert_string_equal(got->version, meta.version);
    assert_int_equal(strlen(got->saved_utc), 20);
    assert_true(got->graph_hash == meta.graph_hash);
    for (int i = 0; i < count; i++) {
        struct dpt_ckpt_item listed;
        bool found = false;
        for (int k = 0; dpt_ckpt_at(ckpt, k, &listed); k++) {
            found |= strcmp(listed.name, item[i].name) == 0 && listed.file == item[i].file &&
                     dpt_type_equal(&listed.type, &item[i].type);
        }
        assert_true(found);
    }
    /* The size that save reports counts the manifest too. */
    struct stat manifest;
    char path[512];
    snprintf(path, sizeof path, "%s/MANIFEST.json", dpt_ckpt_path(ckpt));
    assert_int_equal(stat(path, &manifest), 0);
    assert_int_equal(nbytes, dpt_ckpt_nbytes(ckpt) + (uint64_t)manifest.st_size);
    dpt_ckpt_close(ckpt);
}

static void a_run_without_a_checkpoint_is_no_error(void **state)
{
    (void)state;
    assert_null(open_run(false));
    assert_null(open_run(true));
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open("/nowhere/at/all", false, &ckpt, &notes), DPT_STATUS_OK);
    assert_null(ckpt);
    dpt_text_free(&notes);
}

static void the_newest_are_kept_and_the_best(void **state)
{
    (void)state;
    for (int step = 10; step <= 60; step += 10) {
        assert_int_equal(toy_save(run, world, step, step, 2, step == 20), DPT_STATUS_OK);
    }
    dpt_comm_barrier(world);
    assert_false(exists("step-00000010"));
    assert_true(exists("step-00000020"));
    assert_false(exists("step-00000030"));
    assert_false(exists("step-00000040"));
    assert_true(exists("step-00000050"));
    assert_true(exists("step-00000060"));
    assert_false(exists("drop-00000010"));
    struct dpt_ckpt *ckpt = open_run(false);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 60);
    assert_true(dpt_ckpt_meta(ckpt)->finished);
    dpt_ckpt_close(ckpt);
    ckpt = open_run(true);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 20);
    assert_true(toy_loads(ckpt, 20));
    dpt_ckpt_close(ckpt);

    /* Another best one frees the first. */
    dpt_comm_barrier(world);
    assert_int_equal(toy_save(run, world, 70, 70, 2, true), DPT_STATUS_OK);
    dpt_comm_barrier(world);
    assert_false(exists("step-00000020"));
    assert_false(exists("step-00000050"));
    assert_true(exists("step-00000060"));
    ckpt = open_run(true);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 70);
    dpt_ckpt_close(ckpt);
}

static void the_same_step_again_replaces_it(void **state)
{
    (void)state;
    assert_int_equal(toy_save(run, world, 20, 1, 1, false), DPT_STATUS_OK);
    assert_int_equal(toy_save(run, world, 20, 2, 1, false), DPT_STATUS_OK);
    struct dpt_ckpt *ckpt = open_run(false);
    assert_true(toy_loads(ckpt, 2));
    dpt_ckpt_close(ckpt);
    assert_false(exists("tmp-00000020"));
    assert_false(exists("drop-00000020"));
}

/* After going back to an older checkpoint a new one has a lower step than those that are there. */
static void a_lower_step_is_never_removed_by_its_own_save(void **state)
{
    (void)state;
    assert_int_equal(toy_save(run, world, 20, 1, 1, false), DPT_STATUS_OK);
    assert_int_equal(toy_save(run, world, 10, 2, 1, false), DPT_STATUS_OK);
    dpt_comm_barrier(world);
    assert_true(exists("step-00000010"));
}

static void left_overs_are_removed_and_named(void **state)
{
    (void)state;
    assert_int_equal(toy_save(run, world, 20, 1, 1, false), DPT_STATUS_OK);
    char tmp[512], file[600];
    snprintf(tmp, sizeof tmp, "%s/checkpoints/tmp-00000030", run);
    if (dpt_comm_rank(world) == 0) {
        assert_int_equal(mkdir(tmp, 0777), 0);
        snprintf(file, sizeof file, "%s/model.safetensors", tmp);
        assert_int_equal(dpt_file_replace(file, "half", 4), DPT_STATUS_OK);
    }
    dpt_comm_barrier(world);
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_OK);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 20);
    assert_non_null(strstr(notes.data, "step 30"));
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
    dpt_comm_barrier(world);
    assert_int_equal(toy_save(run, world, 40, 1, 1, false), DPT_STATUS_OK);
    assert_false(exists("tmp-00000030"));
}

/* Rank 0 alone meets the fault; all ranks get the same status. */
static void all_ranks_learn_of_a_failure(void **state)
{
    (void)state;
    if (dpt_comm_rank(world) == 0) {
        char path[512];
        snprintf(path, sizeof path, "%s/checkpoints", run);
        assert_int_equal(dpt_file_replace(path, "a file in the way", 17), DPT_STATUS_OK);
    }
    dpt_comm_barrier(world);
    assert_int_equal(toy_save(run, world, 20, 1, 1, false), DPT_STATUS_FAILED);
    assert_non_null(strstr(dpt_error_text(), "checkpoints"));
}

static void a_checkpoint_may_be_copied_under_another_name(void **state)
{
    (void)state;
    assert_int_equal(toy_save(run, world, 20, 1, 1, false), DPT_STATUS_OK);
    char from[512], to[512];
    snprintf(from, sizeof from, "%s/checkpoints/step-00000020", run);
    snprintf(to, sizeof to, "%s/my-model", run);
    dpt_comm_barrier(world);
    if (dpt_comm_rank(world) == 0) {
        assert_int_equal(rename(from, to), 0);
    }
    dpt_comm_barrier(world);
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(to, false, &ckpt, &notes), DPT_STATUS_OK);
    assert_true(toy_loads(ckpt, 1));
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
}

int main(void)
{
    if (dpt_comm_start(&world) != DPT_STATUS_OK) {
        fprintf(stderr, "%s\n", dpt_error_text());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_comes_back, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_run_without_a_checkpoint_is_no_error, new_run, remove_run),
        cmocka_unit_test_setup_teardown(the_newest_are_kept_and_the_best, new_run, remove_run),
        cmocka_unit_test_setup_teardown(the_same_step_again_replaces_it, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_lower_step_is_never_removed_by_its_own_save, new_run, remove_run),
        cmocka_unit_test_setup_teardown(left_overs_are_removed_and_named, new_run, remove_run),
        cmocka_unit_test_setup_teardown(all_ranks_learn_of_a_failure, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_checkpoint_may_be_copied_under_another_name, new_run, remove_run),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dpt_comm_end(world);
    return failed;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

static enum dpt_status failure(enum dpt_status status, const char *sentence)
{
    return dpt_error_set(status, "src/some/file.c", 42, "%s", sentence);
}

/* "rank 2 (host): sentence", or the sentence alone on one rank. */
static void expect_sentence(int owner, const char *sentence)
{
    char want[256];
    if (dpt_comm_size(world) > 1) {
        snprintf(want, sizeof want, "rank %d (%s): %s", owner, dpt_comm_host(), sentence);
    } else {
        snprintf(want, sizeof want, "%s", sentence);
    }
    assert_string_equal(dpt_error_text(), want);
    assert_string_equal(dpt_error_place(), "src/some/file.c:42");
}

static void all_is_well(void **state)
{
    (void)state;
    assert_int_equal(dpt_agree(DPT_STATUS_OK, world), DPT_STATUS_OK);
}

static void every_rank_hears_of_the_one_that_failed(void **state)
{
    (void)state;
    for (int owner = 0; owner < dpt_comm_size(world); owner++) {
        enum dpt_status status = DPT_STATUS_OK;
        dpt_error_clear();
        if (dpt_comm_rank(world) == owner) {
            status = failure(DPT_STATUS_DATA, "train.csv: cannot be opened");
        }
        assert_int_equal(dpt_agree(status, world), DPT_STATUS_DATA);
        expect_sentence(owner, "train.csv: cannot be opened");
    }
}

static void the_worst_wins_then_the_lowest_rank(void **state)
{
    (void)state;
    const int rank = dpt_comm_rank(world), size = dpt_comm_size(world);
    if (size < 2) {
        return;
    }
    /* The last rank has the worst status. */
    char sentence[32];
    snprintf(sentence, sizeof sentence, "failure of %d", rank);
    enum dpt_status status = failure(rank == size - 1 ? DPT_STATUS_SPACE : DPT_STATUS_USAGE, sentence);
    assert_int_equal(dpt_agree(status, world), DPT_STATUS_SPACE);
    snprintf(sentence, sizeof sentence, "failure of %d", size - 1);
    expect_sentence(size - 1, sentence);
    /* All but rank 0 have the same status, each with its own words. */
    status = DPT_STATUS_OK;
    if (rank > 0) {
        snprintf(sentence, sizeof sentence, "disk of %d", rank);
        status = failure(DPT_STATUS_DATA, sentence);
    }
    assert_int_equal(dpt_agree(status, world), DPT_STATUS_DATA);
    if (size > 2) {
        expect_sentence(1, "disk of 1");
    }
}

/* A sentence that all ranks have is repeated without a rank's name, also when it was agreed upon before. */
static void what_all_know_is_nobodys_in_particular(void **state)
{
    (void)state;
    enum dpt_status status = failure(DPT_STATUS_USAGE, "job.ini:3: no such key");
    assert_int_equal(dpt_agree(status, world), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "job.ini:3: no such key");
    status = dpt_comm_rank(world) == 0 ? failure(DPT_STATUS_DATA, "lost") : DPT_STATUS_OK;
    status = dpt_agree(status, world);
    assert_int_equal(dpt_agree(status, world), DPT_STATUS_DATA);
    expect_sentence(0, "lost");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(every_rank_hears_of_the_one_that_failed),
        cmocka_unit_test(the_worst_wins_then_the_lowest_rank),
        cmocka_unit_test(what_all_know_is_nobodys_in_particular),
    };
    return RUN_IN_WORLD(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Damaged job files are refused or read, but never crash (run under the sanitizers too), and whatever is read can be
 * printed and read again.
 */

#include <stdlib.h>

#include "base/rng.h"
#include "job_text.h"

static const char good[] =
    "; a job\n[run]\nname = fashion-${seed} ; comment\nlength = 10 epochs\nseed = 10k\nmax_time = 1 h 30 min\n"
    "deadline = 0:01:30\n[data]\nformat = csv\ntrain = some/where.csv\ntarget = a, b c\ncategorical = x,\n"
    "[model]\ntype = layers\n[layer.conv1]\nop = conv\nout = 8\nkernel = 3 x 5\n[layer.relu]\nop = relu\n"
    "[layer.sum]\nop = add\nin = conv1, relu\n[layer.out]\nop = reshape\nshape = 4 2 \\\n  1\n[optimizer]\n"
    "type = adamw\nlr = 1e-3\n[schedule]\ntype = step\nmilestones = 3, 5 epochs\nwarmup = 100 steps\n[parallel]\n"
    "bucket = 4 MiB\ncomm_thread = auto\n[checkpoint]\nevery = 15 min\n";

/* Bytes that mean something to a reader of INI. */
static const char special[] = "[]=:;#\\\n\r\t ${}.,0159-+exk\"'\xff\xc3\x80\xef\x01";

static uint32_t draw(uint64_t round, uint64_t i, uint32_t limit)
{
    uint32_t word[4];
    dpt_rng_words(5, DPT_RNG_USE_INIT, 0, round, i, word);
    return word[0] % limit;
}

static void mutate(struct dpt_text *text, uint64_t round)
{
    const uint32_t edits = 1 + draw(round, 0, 6);
    for (uint32_t e = 0; e < edits; e++) {
        const uint64_t key = 10 * (e + 1);
        const size_t length = text->length;
        const size_t at = draw(round, key, (uint32_t)length);
        const size_t from = draw(round, key + 1, (uint32_t)length);
        size_t n = 1 + draw(round, key + 2, 30);
        n = at + n > length ? length - at : n;
        n = from + n > length ? length - from : n;
        switch (draw(round, key + 3, 4)) {
        case 0: /* another byte */
            text->data[at] = special[draw(round, key + 4, sizeof special - 1)];
            break;
        case 1: /* a piece of the text elsewhere */
            memmove(text->data + at, text->data + from, n);
            break;
        case 2: /* some bytes less */
            memmove(text->data + at, text->data + at + n, length - at - n);
            text->length -= n;
            text->data[text->length] = '\0';
            break;
        default: /* a long line */
            for (uint32_t i = draw(round, key + 5, 300); i > 0 && n > 0; i--) {
                dpt_text_add(text, "%c", text->data[from]);
            }
            break;
        }
        if (text->length < 2) {
            return;
        }
    }
}

static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    int taken = 0, refusals = 0;
    for (uint64_t round = 0; round < 4000; round++) {
        struct dpt_text text = {0}, problems = {0}, printed = {0};
        dpt_text_add(&text, "%s", good);
        mutate(&text, round);
        struct dpt_job *job = NULL, *again = NULL;
        if (dpt_job_read_text("t.ini", text.data, &job, &problems) == DPT_STATUS_OK) {
            taken++;
            dpt_job_print(job, DPT_JOB_PRINT_FULL, &printed);
            if (dpt_job_read_text("again.ini", printed.data, &again, &problems) != DPT_STATUS_OK) {
                fail_msg("round %d reads, but not when printed:\n%s\n%s", (int)round, problems.data, printed.data);
            }
            struct dpt_text changed = {0};
            assert_true(dpt_job_same(job, again, &changed));
            dpt_job_free(again);
            dpt_job_free(job);
        } else {
            refusals++;
            assert_true(problems.length > 0);
            assert_int_equal(problems.data[problems.length - 1], '\n');
        }
        dpt_text_free(&text);
        dpt_text_free(&problems);
        dpt_text_free(&printed);
    }
    /* Both ways have been gone. */
    assert_true(taken > 100 && refusals > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damaged_files_do_no_harm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

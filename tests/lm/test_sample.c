/* SPDX-License-Identifier: Apache-2.0 */

/* Tokens are drawn with the chances that temperature, top-k and top-p leave. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lm/sample.h"

enum { VOCAB = 5, DRAWS = 40000 };

/* Chances 0.1, 0.4, 0.05, 0.25, 0.2 at temperature 1; any number may be added to all. */
static const double chance[VOCAB] = {0.1, 0.4, 0.05, 0.25, 0.2};

static void logits_of(double shift, double *logits)
{
    for (int i = 0; i < VOCAB; i++) {
        logits[i] = log(chance[i]) + shift;
    }
}

/* Draws often and compares the frequencies, within four standard deviations. */
static void assert_frequencies(const struct dpt_sample_conf *conf, const double expected[VOCAB])
{
    double logits[VOCAB];
    int64_t seen[VOCAB] = {0};
    logits_of(300.0, logits);
    struct dpt_sample *sample = dpt_sample_new(conf, VOCAB);
    for (int64_t i = 0; i < DRAWS; i++) {
        const int32_t id = dpt_sample_draw(sample, DPT_DTYPE_F64, logits, (int)(i % 3), i / 3);
        assert_in_range(id, 0, VOCAB - 1);
        seen[id]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        const double p = expected[i], deviation = sqrt(p * (1.0 - p) / DRAWS);
        assert_float_equal((double)seen[i] / DRAWS, p, 4.0 * deviation + (p == 0.0 ? 0.0 : 1e-9));
    }
    dpt_sample_free(sample);
}

static void chances_are_kept(void **state)
{
    (void)state;
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_p = 1.0, .seed = 1}, chance);
    double half[VOCAB], sum = 0.0;
    for (int i = 0; i < VOCAB; i++) {
        sum += half[i] = chance[i] * chance[i];
    }
    for (int i = 0; i < VOCAB; i++) {
        half[i] /= sum;
    }
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 0.5, .top_p = 1.0, .seed = 2}, half);
}

static void unlikely_tokens_are_left_out(void **state)
{
    (void)state;
    const double two[VOCAB] = {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0}, three[VOCAB] = {0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85};
    const double one[VOCAB] = {0, 1, 0, 0, 0};
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_k = 2, .top_p = 1.0, .seed = 3}, two);
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_p = 0.64, .seed = 4}, two);
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_p = 0.66, .seed = 5}, three);
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_k = 3, .top_p = 0.7, .seed = 6}, two);
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 1.0, .top_p = 1e-9, .seed = 7}, one);
    assert_frequencies(&(struct dpt_sample_conf){.temperature = 0.0, .top_p = 1.0, .seed = 8}, one);
}

static void a_draw_is_a_function_of_its_place(void **state)
{
    (void)state;
    const struct dpt_sample_conf conf = {.temperature = 1.0, .top_p = 1.0, .seed = 9}, other = {1.0, 0, 1.0, 10};
    struct dpt_sample *a = dpt_sample_new(&conf, VOCAB), *b = dpt_sample_new(&other, VOCAB);
    double logits[VOCAB];
    float floats[VOCAB];
    int seeds = 0, texts = 0;
    logits_of(0.0, logits);
    for (int i = 0; i < VOCAB; i++) {
        floats[i] = (float)logits[i];
    }
    for (int64_t i = 0; i < 100; i++) {
        const int32_t id = dpt_sample_draw(a, DPT_DTYPE_F64, logits, 0, i);
        assert_int_equal(dpt_sample_draw(a, DPT_DTYPE_F32, floats, 0, i), id);
        texts += dpt_sample_draw(a, DPT_DTYPE_F64, logits, 1, i) != id;
        seeds += dpt_sample_draw(b, DPT_DTYPE_F64, logits, 0, i) != id;
    }
    assert_true(seeds > 30 && texts > 30);
    logits[3] = NAN;
    assert_int_equal(dpt_sample_draw(a, DPT_DTYPE_F64, logits, 0, 0), -1);
    logits[3] = INFINITY;
    assert_int_equal(dpt_sample_draw(a, DPT_DTYPE_F64, logits, 0, 0), -1);
    logits[3] = -INFINITY; /* never, which is fine */
    assert_true(dpt_sample_draw(a, DPT_DTYPE_F64, logits, 0, 0) >= 0);
    dpt_sample_free(a);
    dpt_sample_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chances_are_kept),
        cmocka_unit_test(unlikely_tokens_are_left_out),
        cmocka_unit_test(a_draw_is_a_function_of_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

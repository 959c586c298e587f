/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A text that is read token by token, with kept keys and values, gives the logits that the model's graph gives for the
 * text as a whole, by the plain kernels; in 16 bits near to them.
 */

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../graph/interpret.h"
#include "base/half.h"
#include "base/rng.h"
#include "lm/decode.h"

enum { VOCAB = 23, LENGTH = 45, CONTEXT = 48, TEXTS = 3 };

static const struct dpt_model_io io = {
    .ndim = 1, .dim = {LENGTH}, .dtype = DPT_DTYPE_I32, .classes = VOCAB, .targets = LENGTH};

static struct dpt_job job_of(enum dpt_model_type type)
{
    static char size[] = "auto";
    return (struct dpt_job){
        .run = {.precision = DPT_PRECISION_FP64},
        .model = {.type = type, .size = size, .depth = 2, .width = 24, .heads = 6,
                  .kv_heads = type == DPT_MODEL_TYPE_GPT ? 0 : 2, .context = CONTEXT, .bias = true, .dropout = 0.3},
    };
}

static double spread = 0.3; /* of weights */

/* Numbers that make every part of the model count; of 8 bits, so that weights are the same in every precision. */
static double weight(const char *name, int64_t element)
{
    uint32_t word[4];
    double normal[2];
    dpt_rng_words(3, DPT_RNG_USE_INIT, (uint32_t)strlen(name) * 31 + (uint32_t)name[strlen(name) - 8], 0,
                  (uint64_t)element, word);
    dpt_rng_normal(1, word, normal);
    float number = (float)(spread * normal[0] + (strstr(name, "norm") || strstr(name, "ln_") ? 1.0 : 0.0));
    dpt_half_round(DPT_DTYPE_BF16, 1, &number, &number);
    return number;
}

static int32_t token(const struct interpret *run, int text, int64_t position)
{
    return (int32_t)interpret_get(run, run->graph->input, text * LENGTH + position);
}

/* The graph of whole texts, run. */
static struct interpret *whole(const struct dpt_job *job, struct dpt_graph **graph)
{
    *graph = dpt_graph_new(DPT_DTYPE_F64, TEXTS, false);
    assert_int_equal(dpt_model_build(job, &io, true, *graph), DPT_STATUS_OK);
    struct interpret *run = interpret_new(*graph, VOCAB);
    for (int v = 0; v < (*graph)->nvalues; v++) {
        const struct dpt_value *value = &(*graph)->value[v];
        for (int64_t i = 0; value->kind == DPT_VALUE_KIND_PARAM && i < dpt_type_numel(&value->type); i++) {
            interpret_set(run, v, i, weight(value->name, i));
        }
    }
    interpret_run(run, DPT_PHASE_FORWARD);
    return run;
}

static struct dpt_decode *decoder(const struct dpt_job *job, int threads)
{
    struct dpt_decode *decode;
    struct dpt_decode_conf conf = {.job = job, .io = io, .most = LENGTH, .texts = TEXTS, .threads = threads,
                                   .precision = job->run.precision};
    conf.io.dim[0] = CONTEXT;
    assert_int_equal(dpt_decode_new(&conf, &decode), DPT_STATUS_OK);
    const char *name;
    struct dpt_tensor tensor;
    for (int i = 0; dpt_decode_weight(decode, i, &name, &tensor); i++) {
        for (int64_t k = 0; k < dpt_type_numel(&tensor.type); k++) {
            if (tensor.type.dtype == DPT_DTYPE_F64) {
                ((double *)tensor.data)[k] = weight(name, k);
            } else {
                ((float *)tensor.data)[k] = (float)weight(name, k);
            }
        }
    }
    return decode;
}

/* The logits of one text are those behind `position` of the whole text. */
static void assert_logits(const struct interpret *run, int text, int64_t position, const double *logits)
{
    for (int64_t v = 0; v < VOCAB; v++) {
        const double expected = interpret_get(run, run->graph->output, (text * LENGTH + position) * VOCAB + v);
        assert_float_equal(logits[v], expected, 1e-11 * (1.0 + (expected < 0 ? -expected : expected)));
    }
}

static void check(const struct dpt_job *job)
{
    struct dpt_graph *graph;
    struct interpret *run = whole(job, &graph);
    struct dpt_decode *decode = decoder(job, 2);
    struct dpt_tensor logits;
    int32_t id[LENGTH];
    /* Each text to a place of its own: one token, less and more than are read at once, all. */
    static const int64_t count[] = {1, 7, 32, 33, LENGTH};
    for (size_t c = 0; c < sizeof count / sizeof count[0]; c++) {
        for (int text = 0; text < TEXTS; text++) {
            for (int64_t s = 0; s < count[c]; s++) {
                id[s] = token(run, text, s);
            }
            assert_int_equal(dpt_decode_begin(decode, text, id, count[c], &logits), DPT_STATUS_OK);
            assert_logits(run, text, count[c] - 1, logits.data);
        }
        assert_int_equal(dpt_decode_position(decode), count[c]);
        for (int64_t s = count[c]; s < LENGTH; s++) {
            for (int text = 0; text < TEXTS; text++) {
                id[text] = token(run, text, s);
            }
            assert_int_equal(dpt_decode_next(decode, id, &logits), DPT_STATUS_OK);
            for (int text = 0; text < TEXTS; text++) {
                assert_logits(run, text, s, (double *)logits.data + text * VOCAB);
            }
        }
    }
    /* A copy goes on as the text that it was copied from. */
    for (int64_t s = 0; s < 40; s++) {
        id[s] = token(run, 1, s);
    }
    assert_int_equal(dpt_decode_begin(decode, 1, id, 40, &logits), DPT_STATUS_OK);
    assert_int_equal(dpt_decode_copy(decode, 1, 0), DPT_STATUS_OK);
    assert_int_equal(dpt_decode_copy(decode, 1, 2), DPT_STATUS_OK);
    id[0] = id[1] = id[2] = token(run, 1, 40);
    assert_int_equal(dpt_decode_next(decode, id, &logits), DPT_STATUS_OK);
    for (int text = 0; text < TEXTS; text++) {
        assert_logits(run, 1, 40, (double *)logits.data + text * VOCAB);
    }
    dpt_decode_free(decode);
    interpret_free(run);
    dpt_graph_free(graph);
}

static void gpt(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_GPT);
    check(&job);
    job.model.bias = false;
    job.model.tied = DPT_AUTO_OFF;
    check(&job);
}

static void llama(void **state)
{
    (void)state;
    struct dpt_job job = job_of(DPT_MODEL_TYPE_LLAMA);
    check(&job);
    job.model.kv_heads = 6;
    job.model.tied = DPT_AUTO_OFF;
    check(&job);
}

/* How far the logits behind each token of all texts are from those of the plain kernels, as a share of the largest. */
static double distance(enum dpt_model_type type, enum dpt_precision precision)
{
    struct dpt_job job = job_of(type);
    struct dpt_graph *graph;
    struct interpret *run = whole(&job, &graph);
    job.run.precision = precision;
    struct dpt_decode *decode = decoder(&job, 1);
    struct dpt_tensor logits;
    int32_t id[LENGTH];
    double most = 0.0, far = 0.0;
    for (int64_t s = 0; s < LENGTH; s++) {
        for (int text = 0; text < TEXTS; text++) {
            id[text] = token(run, text, s);
            if (s == 0) {
                assert_int_equal(dpt_decode_begin(decode, text, &id[text], 1, &logits), DPT_STATUS_OK);
            }
        }
        if (s > 0) {
            assert_int_equal(dpt_decode_next(decode, id, &logits), DPT_STATUS_OK);
        }
        for (int64_t i = 0; s > 0 && i < TEXTS * VOCAB; i++) {
            const int64_t text = i / VOCAB, v = i % VOCAB;
            const double expected = interpret_get(run, graph->output, (text * LENGTH + s) * VOCAB + v);
            most = fmax(most, fabs(expected));
            far = fmax(far, fabs(((float *)logits.data)[i] - expected));
        }
    }
    dpt_decode_free(decode);
    interpret_free(run);
    dpt_graph_free(graph);
    return far / most;
}

/*
 * What is kept in 16 bits is off by 2^-9 or 2^-12 of itself, a few times one after the other: more than float, not much. The
 * weights are of a size with which layers do not enlarge that.
 */
static void in_16_bits(void **state)
{
    (void)state;
    spread = 0.1;
    for (int type = DPT_MODEL_TYPE_GPT; type <= DPT_MODEL_TYPE_LLAMA; type++) {
        const double fp32 = distance((enum dpt_model_type)type, DPT_PRECISION_FP32);
        const double bf16 = distance((enum dpt_model_type)type, DPT_PRECISION_BF16);
        const double fp16 = distance((enum dpt_model_type)type, DPT_PRECISION_FP16);
        print_message("logits are off by %.2g in fp32, %.2g in bf16, %.2g in fp16\n", fp32, bf16, fp16);
        assert_true(fp32 < 1e-5 && bf16 > 1e-4 && bf16 < 1e-2 && fp16 > 1e-5 && fp16 < 2e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt),
        cmocka_unit_test(llama),
        cmocka_unit_test(in_16_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

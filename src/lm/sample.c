/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "base/status.h"

/* A token and its chance, not divided by the sum of all. */
struct chance {
    double weight;
    int32_t id;
};

struct dpt_sample {
    struct dpt_sample_conf conf;
    int64_t vocab;
    struct chance *chance;
};

struct dpt_sample *dpt_sample_new(const struct dpt_sample_conf *conf, int64_t vocab)
{
    struct dpt_sample *sample = calloc(1, sizeof *sample);
    struct chance *chance = calloc((size_t)vocab, sizeof *chance);
    if (!sample || !chance) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for the chances of %lld tokens", (long long)vocab);
    }
    *sample = (struct dpt_sample){.conf = *conf, .vocab = vocab, .chance = chance};
    return sample;
}

void dpt_sample_free(struct dpt_sample *sample)
{
    if (sample) {
        free(sample->chance);
        free(sample);
    }
}

/* The likeliest first; of equal ones the lower id. */
static int by_weight(const void *a, const void *b)
{
    const struct chance *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

static double get(enum dpt_dtype real, const void *logits, int64_t i)
{
    return real == DPT_DTYPE_F64 ? ((const double *)logits)[i] : (double)((const float *)logits)[i];
}

/* How many of the sorted chances are left by top_k and top_p: at least one. */
static int64_t cut(const struct dpt_sample *sample, double sum)
{
    int64_t left = sample->conf.top_k > 0 && sample->conf.top_k < sample->vocab ? sample->conf.top_k : sample->vocab;
    double kept = 0.0;
    if (left < sample->vocab) {
        sum = 0.0;
        for (int64_t i = 0; i < left; i++) {
            sum += sample->chance[i].weight;
        }
    }
    for (int64_t i = 0; i < left && sample->conf.top_p < 1.0; i++) {
        kept += sample->chance[i].weight;
        if (kept >= sample->conf.top_p * sum) {
            left = i + 1;
        }
    }
    return left;
}

int32_t dpt_sample_draw(struct dpt_sample *sample, enum dpt_dtype real, const void *logits, int text, int64_t position)
{
    const struct dpt_sample_conf *conf = &sample->conf;
    int64_t best = 0, left = sample->vocab;
    double sum = 0.0;
    for (int64_t i = 0; i < sample->vocab; i++) {
        const double logit = get(real, logits, i);
        if (isnan(logit) || logit == INFINITY) {
            return -1;
        }
        best = logit > get(real, logits, best) ? i : best;
    }
    if (conf->temperature == 0.0) {
        return (int32_t)best;
    }
    const double highest = get(real, logits, best);
    for (int64_t i = 0; i < sample->vocab; i++) {
        const double weight = exp((get(real, logits, i) - highest) / conf->temperature);
        sample->chance[i] = (struct chance){weight, (int32_t)i};
        sum += weight;
    }
    if ((conf->top_k > 0 && conf->top_k < sample->vocab) || conf->top_p < 1.0) {
        qsort(sample->chance, (size_t)sample->vocab, sizeof *sample->chance, by_weight);
        left = cut(sample, sum);
        sum = 0.0;
        for (int64_t i = 0; i < left; i++) {
            sum += sample->chance[i].weight;
        }
    }
    uint32_t word[4];
    dpt_rng_words(conf->seed, DPT_RNG_USE_SAMPLE, (uint32_t)text, 0, (uint64_t)position, word);
    double rest = dpt_rng_unit64(word[0], word[1]) * sum;
    int64_t i = 0;
    while (i < left - 1 && rest >= sample->chance[i].weight) {
        rest -= sample->chance[i++].weight;
    }
    return sample->chance[i].id;
}

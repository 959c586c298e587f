/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Synthetic data for benchmarks and first steps: as many samples of any shape as the job asks for, computed when they
 * are fetched and fast enough not to be what a benchmark measures. A sample is a pure function of (seed, sample).
 *
 * Everything is cut out of three tapes of standard normal numbers that are made once: a sample's noise is the stretch
 * of the noise tape that begins at a keyed place.
 *
 *   classification   x = pattern of the class + noise. The pattern tape is smooth (neighbours correlate by 0.9), so
 *                    that classes differ in local means and not only in single pixels; classes begin at equal
 *                    distances.
 *   regression       x = noise; y = <w, x> / sqrt(numel) + 0.1 e: a fixed linear map w and noise e of its own.
 *
 * Noise of two samples overlaps, and with more samples than tape places some repeat: no harm for either purpose.
 */

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "data/reader.h"

enum { PLACES = 1 << 18, CLASS_DISTANCE = 16, NUMEL_MAX = 1 << 28, CLASSES_MAX = 1 << 20 };

enum stream { STREAM_SAMPLE, STREAM_NOISE, STREAM_PATTERN, STREAM_MAP }; /* `op` of the random numbers */

static const double SMOOTHNESS = 0.9, TARGET_NOISE = 0.1;

struct tapes {
    int64_t numel;          /* of a sample                                        */
    float *noise;           /* PLACES + numel                                     */
    float *pattern;         /* classification: classes * distance + numel         */
    int64_t distance;       /* between the beginnings of two classes' patterns    */
    float *map;             /* regression: numel                                  */
};

/* `count` normal numbers, each `smooth` correlated with the one before. */
static float *make_tape(struct dpt_arena *arena, uint64_t seed, enum stream stream, int64_t count, double smooth)
{
    float *tape = dpt_arena_array(arena, (size_t)count, sizeof *tape);
    const double fresh = sqrt(1.0 - smooth * smooth);
    double last = 0.0;
    for (int64_t i = 0; i < count; i += 2) {
        uint32_t word[4];
        double normal[2];
        dpt_rng_words(seed, DPT_RNG_USE_DATA, (uint32_t)stream, 0, (uint64_t)i, word);
        dpt_rng_normal(1, word, normal);
        for (int64_t k = 0; k < 2 && i + k < count; k++) {
            last = smooth * last + fresh * normal[k];
            tape[i + k] = (float)last;
        }
    }
    return tape;
}

static enum dpt_status open_tapes(const struct dpt_job *job, const struct dpt_data__request *request,
                                  struct dpt_data *data)
{
    struct dpt_data__prep *prep = dpt_arena_alloc(data->arena, sizeof *prep);
    const struct dpt_ints *shape = &job->data.shape;
    const bool regression = job->data.task == DPT_TASK_REGRESSION ||
                            (job->data.task == DPT_TASK_AUTO && job->data.classes == 0);
    DPT_CHECK(shape->count == 1 || shape->count == 3, DPT_STATUS_USAGE,
              "[data] shape has %d numbers; expected is 1 (features) or 3 (height width channels)", shape->count);
    DPT_CHECK(job->data.samples > 0, DPT_STATUS_USAGE, "[data] samples = %lld must be more than 0",
              (long long)job->data.samples);
    DPT_CHECK(regression || (job->data.classes > 0 && job->data.classes <= CLASSES_MAX), DPT_STATUS_USAGE,
              "[data] classes = %lld must be 1 to %d (0 with task = regression)", (long long)job->data.classes,
              (int)CLASSES_MAX);
    int64_t numel = 1;
    for (int i = 0; i < shape->count; i++) {
        prep->dim[i] = shape->value[i];
        DPT_CHECK(prep->dim[i] > 0 && !__builtin_mul_overflow(numel, prep->dim[i], &numel) && numel <= NUMEL_MAX,
                  DPT_STATUS_USAGE, "[data] shape: its numbers must be more than 0 and their product at most %d",
                  (int)NUMEL_MAX);
    }
    prep->format = DPT_DATA_FORMAT_SYNTHETIC;
    prep->ndim = shape->count;
    prep->classes = regression ? 0 : job->data.classes;
    prep->targets = 1;
    data->prep = prep;
    data->info.labelled = true;

    struct tapes *tapes = dpt_arena_alloc(data->arena, sizeof *tapes);
    tapes->numel = numel;
    tapes->noise = make_tape(data->arena, data->seed, STREAM_NOISE, PLACES + numel, 0.0);
    if (regression) {
        tapes->map = make_tape(data->arena, data->seed, STREAM_MAP, numel, 0.0);
    } else {
        const int64_t spread = PLACES / prep->classes;
        tapes->distance = spread > CLASS_DISTANCE ? spread : CLASS_DISTANCE;
        tapes->pattern = make_tape(data->arena, data->seed, STREAM_PATTERN, prep->classes * tapes->distance + numel,
                                   SMOOTHNESS);
    }
    data->tables = tapes;
    data->pad = dpt_arena_array(data->arena, shape->count == 3 ? (size_t)prep->dim[2] : 1, sizeof(float));
    return dpt_data__hold_back(data, request, job->data.samples, true);
}

/* What is drawn for a sample. */
struct draw {
    int32_t class;
    const float *noise;
    uint32_t word[4];
};

static struct draw draw_sample(const struct dpt_data *data, int64_t sample)
{
    const struct tapes *tapes = data->tables;
    struct draw draw;
    dpt_rng_words(data->seed, DPT_RNG_USE_DATA, STREAM_SAMPLE, 0, (uint64_t)sample, draw.word);
    draw.class = (int32_t)(((uint64_t)draw.word[0] * (uint64_t)data->prep->classes) >> 32);
    draw.noise = tapes->noise + draw.word[1] % PLACES;
    return draw;
}

static void values(const struct dpt_data *data, int64_t sample, int64_t first, int64_t count, float *x)
{
    const struct tapes *tapes = data->tables;
    const struct draw draw = draw_sample(data, sample);
    const float *noise = draw.noise + first;
    if (!tapes->pattern) {
        memcpy(x, noise, (size_t)count * sizeof *x);
        return;
    }
    const float *pattern = tapes->pattern + draw.class * tapes->distance + first;
    for (int64_t i = 0; i < count; i++) {
        x[i] = pattern[i] + noise[i];
    }
}

static void target(const struct dpt_data *data, int64_t sample, void *to)
{
    const struct tapes *tapes = data->tables;
    struct draw draw = draw_sample(data, sample);
    if (tapes->pattern) {
        memcpy(to, &draw.class, sizeof draw.class);
        return;
    }
    double sum = 0.0, normal[2];
    for (int64_t i = 0; i < tapes->numel; i++) {
        sum += (double)tapes->map[i] * (double)draw.noise[i];
    }
    dpt_rng_normal(1, draw.word, normal);
    const float y = (float)(sum / sqrt((double)tapes->numel) + TARGET_NOISE * normal[0]);
    memcpy(to, &y, sizeof y);
}

const struct dpt_data__reader dpt_data__synthetic = {
    .format = DPT_DATA_FORMAT_SYNTHETIC,
    .name = "synthetic",
    .open = open_tapes,
    .values = values,
    .target = target,
};

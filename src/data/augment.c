/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Augmentation of images: pad by `crop` pixels on all sides and cut the old size out at a random place; turn left and
 * right at random. The draw is keyed by (seed, epoch, sample), so it does not depend on who reads the sample. The
 * border has the value of a pixel that is 0 in the file, after normalisation.
 */

#include <string.h>

#include "base/rng.h"
#include "data/reader.h"

/* A word as one of 0 .. n-1. */
static int64_t choose(uint32_t word, int64_t n)
{
    return (int64_t)(((uint64_t)word * (uint64_t)n) >> 32);
}

struct dpt_data__change dpt_data__draw(uint64_t seed, int64_t epoch, int64_t sample, int64_t crop, bool flip)
{
    uint32_t word[4];
    dpt_rng_words(seed, DPT_RNG_USE_AUGMENT, 0, (uint64_t)epoch, (uint64_t)sample, word);
    return (struct dpt_data__change){
        .dy = choose(word[0], 2 * crop + 1) - crop,
        .dx = choose(word[1], 2 * crop + 1) - crop,
        .flip = flip && word[2] >> 31,
    };
}

static void fill(float *x, int64_t pixels, int64_t channels, const float *pad)
{
    for (int64_t i = 0; i < pixels; i++) {
        for (int64_t c = 0; c < channels; c++) {
            x[i * channels + c] = pad[c];
        }
    }
}

/* Turns a row of `width` pixels round. */
static void mirror(float *x, int64_t width, int64_t channels)
{
    for (int64_t i = 0, j = width - 1; i < j; i++, j--) {
        for (int64_t c = 0; c < channels; c++) {
            const float left = x[i * channels + c];
            x[i * channels + c] = x[j * channels + c];
            x[j * channels + c] = left;
        }
    }
}

void dpt_data__augment(const struct dpt_data *data, int64_t sample, struct dpt_data__change change, float *x)
{
    const int64_t height = data->prep->dim[0], width = data->prep->dim[1], channels = data->prep->dim[2];
    /* Of a row of the result, pixels [from, to) lie inside the stored image. |dx| <= crop < width. */
    const int64_t from = change.dx < 0 ? -change.dx : 0;
    const int64_t to = change.dx > 0 ? width - change.dx : width;
    for (int64_t y = 0; y < height; y++) {
        float *row = x + y * width * channels;
        const int64_t stored = y + change.dy;
        if (stored < 0 || stored >= height) {
            fill(row, width, channels, data->pad);
            continue;
        }
        fill(row, from, channels, data->pad);
        data->reader->values(data, sample, (stored * width + from + change.dx) * channels, (to - from) * channels,
                             row + from * channels);
        fill(row + to * channels, width - to, channels, data->pad);
        if (change.flip) {
            mirror(row, width, channels);
        }
    }
}

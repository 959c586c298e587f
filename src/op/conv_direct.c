/* SPDX-License-Identifier: Apache-2.0 */

#include "op/conv_direct.h"

#include <stdlib.h>
#include <string.h>

#include "op/tile.h"

enum { ROWS = DPT_OP__TILE_ROWS, COLUMNS = DPT_OP__TILE_COLUMNS };
enum { FORWARD_NBYTES = 1 << 17 }; /* of x that a block of places reads: a part of a core's second-level cache */
enum { DW_PLACES = 96 };           /* of a block: what a tile reads of x and dy fits the first-level cache    */
enum { FEW_CHANNELS = 8 };         /* of x, and                                                               */
enum { FEW_PRODUCTS = 64 };        /* of an element of y, below which finding the places costs too much       */
enum { MAX_TABLE = 1 << 24 };      /* entries                                                                 */

enum { OUTSIDE = -1, EDGE = -2 };

struct dpt_op__direct {
    struct dpt_op__conv conv; /* as a forward pass, also for TURNED */
    bool turned;
    int64_t taps;   /* places of the kernel  */
    int64_t places; /* of y of one sample    */
    int64_t run;    /* DW: floats of a row of the kernel, which lie together in x: kernel[1] * c */
    /*
     * The first float, in x of one sample, that a place of y reads. Forward: [place, tap], or OUTSIDE. DW: [i, place],
     * of the whole run of row i of the kernel; OUTSIDE, or EDGE where only a part of the run is inside.
     */
    int32_t *from;
};

/* y, x of what the kernel's corner reads at a place of y. */
static void corner(const struct dpt_op__conv *conv, int64_t place, int64_t at[2])
{
    at[0] = place / conv->out[1] * conv->stride[0] - conv->pad[0];
    at[1] = place % conv->out[1] * conv->stride[1] - conv->pad[1];
}

static bool is_inside(const struct dpt_op__conv *conv, int axis, int64_t at)
{
    return at >= 0 && at < conv->in[axis];
}

static void fill_forward(struct dpt_op__direct *direct)
{
    const struct dpt_op__conv *conv = &direct->conv;
    int32_t *to = direct->from;
    for (int64_t place = 0; place < direct->places; place++) {
        int64_t at[2];
        corner(conv, place, at);
        for (int64_t i = 0; i < conv->kernel[0]; i++) {
            for (int64_t j = 0; j < conv->kernel[1]; j++) {
                const int64_t y = at[0] + i * conv->dilation[0], x = at[1] + j * conv->dilation[1];
                const bool inside = is_inside(conv, 0, y) && is_inside(conv, 1, x);
                *to++ = inside ? (int32_t)((y * conv->in[1] + x) * conv->c) : OUTSIDE;
            }
        }
    }
}

static void fill_dw(struct dpt_op__direct *direct)
{
    const struct dpt_op__conv *conv = &direct->conv;
    int32_t *to = direct->from;
    for (int64_t i = 0; i < conv->kernel[0]; i++) {
        for (int64_t place = 0; place < direct->places; place++) {
            int64_t at[2];
            corner(conv, place, at);
            const int64_t y = at[0] + i * conv->dilation[0], x = at[1], last = x + conv->kernel[1] - 1;
            const bool whole = is_inside(conv, 1, x) && is_inside(conv, 1, last);
            const bool part = last >= 0 && x < conv->in[1];
            const int32_t inside = whole ? (int32_t)((y * conv->in[1] + x) * conv->c) : part ? EDGE : OUTSIDE;
            *to++ = is_inside(conv, 0, y) ? inside : OUTSIDE;
        }
    }
}

/* The forward pass that computes dx from dy; false where there is none. */
static bool turn(const struct dpt_op__conv *conv, struct dpt_op__conv *turned)
{
    *turned = *conv;
    turned->c = conv->o;
    turned->o = conv->c;
    bool exists = true;
    for (int a = 0; a < 2; a++) {
        turned->in[a] = conv->out[a];
        turned->out[a] = conv->in[a];
        turned->pad[a] = (conv->kernel[a] - 1) * conv->dilation[a] - conv->pad[a];
        exists = exists && conv->stride[a] == 1 && turned->pad[a] >= 0;
    }
    return exists;
}

static bool serves(const struct dpt_op__conv *conv, enum dpt_op__direct_pass pass, int threads)
{
    bool fits = threads == 1 && conv->groups == 1 && conv->o % COLUMNS == 0 && conv->n >= 0;
    fits = fits && conv->c >= FEW_CHANNELS && conv->kernel[0] * conv->kernel[1] * conv->c >= FEW_PRODUCTS;
    /* DW reads whole rows of the kernel, which lie together only where it is dense. */
    fits = fits && (pass != DPT_OP__DIRECT_DW || conv->dilation[1] == 1);
    /* Each size is positive and of 32 bits or so: in double there is no overflow. */
    const double sample = (double)conv->in[0] * (double)conv->in[1] * (double)conv->c;
    const double area = (double)conv->kernel[0] * (double)conv->kernel[1];
    const double table = (double)conv->out[0] * (double)conv->out[1] * area;
    return fits && sample <= INT32_MAX && table <= MAX_TABLE;
}

enum dpt_status dpt_op__direct_new(const struct dpt_op__conv *conv, enum dpt_op__direct_pass pass, int threads,
                                   bool needed, struct dpt_op__direct **out)
{
    *out = NULL;
    struct dpt_op__conv forward = *conv;
    const bool exists = pass != DPT_OP__DIRECT_TURNED || turn(conv, &forward);
    if (!exists || !serves(&forward, pass, threads) || !(needed ? dpt_op__tile_runs() : dpt_op__tile_pays())) {
        return DPT_STATUS_OK;
    }
    struct dpt_op__direct *direct = malloc(sizeof *direct);
    DPT_CHECK(direct, DPT_STATUS_SPACE, "no memory to prepare a convolution");
    *direct = (struct dpt_op__direct){
        .conv = forward,
        .turned = pass == DPT_OP__DIRECT_TURNED,
        .taps = forward.kernel[0] * forward.kernel[1],
        .places = forward.out[0] * forward.out[1],
        .run = forward.kernel[1] * forward.c,
    };
    direct->from = malloc((size_t)(direct->places * direct->taps) * sizeof *direct->from);
    if (!direct->from) {
        free(direct);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare a convolution");
    }
    if (pass == DPT_OP__DIRECT_DW) {
        fill_dw(direct);
    } else {
        fill_forward(direct);
    }
    *out = direct;
    return DPT_STATUS_OK;
}

void dpt_op__direct_free(struct dpt_op__direct *direct)
{
    if (direct) {
        free(direct->from);
        free(direct);
    }
}

/* Parts of scratch memory. */
struct forward_scratch {
    float *w, *zeros, *bias; /* [o / 16, tap, c, 16], [c], [o] */
};

struct dw_scratch {
    const float **x; /* [place of the block]: where its run begins         */
    float *zeros;    /* [run]                                              */
    float *edge;     /* [place of the block, run]: runs with zeros in them */
    float *sum;      /* [i, j, c, o]                                       */
};

static size_t weights(const struct dpt_op__direct *direct)
{
    return (size_t)(direct->taps * direct->conv.c * direct->conv.o);
}

size_t dpt_op__direct_scratch(const struct dpt_op__direct *direct)
{
    const size_t forward = (size_t)(direct->conv.c + direct->conv.o);
    const size_t dw = (size_t)((DW_PLACES + 1) * direct->run) + DW_PLACES * sizeof(float *) / sizeof(float);
    return (weights(direct) + (forward > dw ? forward : dw)) * sizeof(float);
}

/* to[o / 16, tap, c, 16] of w OIHW, or of w turned by 180 degrees with its channels exchanged. */
static void pack(const struct dpt_op__direct *direct, const float *restrict w, float *restrict to)
{
    const struct dpt_op__conv *conv = &direct->conv;
    const int64_t taps = direct->taps;
    for (int64_t o = 0; o < conv->o; o += COLUMNS) {
        for (int64_t t = 0; t < taps; t++) {
            for (int64_t c = 0; c < conv->c; c++, to += COLUMNS) {
                for (int64_t k = 0; k < COLUMNS; k++) {
                    to[k] = direct->turned ? w[(c * conv->o + o + k) * taps + taps - 1 - t]
                                           : w[((o + k) * conv->c + c) * taps + t];
                }
            }
        }
    }
}

/* Points the tile's rows to places [first, first + 6) of all samples; those from `end` on repeat the last. */
static void point_rows(const struct dpt_op__direct *direct, const float *x, int64_t first, int64_t end,
                       struct dpt_op__tile_gather *tile)
{
    const int64_t sample = direct->conv.in[0] * direct->conv.in[1] * direct->conv.c;
    int64_t n = first / direct->places, place = first % direct->places;
    tile->rows = end - first < ROWS ? (int)(end - first) : ROWS;
    for (int r = 0; r < ROWS; r++) {
        tile->base[r] = x + n * sample;
        tile->from[r] = direct->from + place * direct->taps;
        if (r + 1 < tile->rows && ++place == direct->places) {
            place = 0;
            n++;
        }
    }
}

void dpt_op__direct_forward(const struct dpt_op__direct *direct, int64_t n, const float *x, const float *w,
                            const float *bias, bool relu, float *y, void *scratch)
{
    const struct dpt_op__conv *conv = &direct->conv;
    struct forward_scratch at = {scratch, (float *)scratch + weights(direct), NULL};
    at.bias = at.zeros + conv->c;
    pack(direct, w, at.w);
    memset(at.zeros, 0, (size_t)conv->c * sizeof *at.zeros);
    if (bias) {
        memcpy(at.bias, bias, (size_t)conv->o * sizeof *bias);
    } else {
        memset(at.bias, 0, (size_t)conv->o * sizeof *at.bias);
    }
    struct dpt_op__tile_gather tile = {
        .taps = direct->taps, .c = conv->c, .zeros = at.zeros, .relu = relu, .ldy = conv->o};
    const int64_t total = n * direct->places;
    const int64_t fit = FORWARD_NBYTES / (int64_t)sizeof *x / conv->c / ROWS, block = (fit > 8 ? fit : 8) * ROWS;
    for (int64_t begin = 0; begin < total; begin += block) {
        const int64_t end = begin + block < total ? begin + block : total;
        for (int64_t o = 0; o < conv->o; o += COLUMNS) {
            tile.w = at.w + o * direct->taps * conv->c;
            tile.bias = at.bias + o;
            for (int64_t place = begin; place < end; place += ROWS) {
                point_rows(direct, x, place, end, &tile);
                tile.y = y + place * conv->o + o;
                dpt_op__tile_gather(&tile);
            }
        }
    }
}

/* The run of row i of the kernel at a place where a part of it is outside the image, with zeros there. */
static void copy_edge(const struct dpt_op__direct *direct, const float *restrict x, int64_t i, int64_t place,
                      float *restrict to)
{
    const struct dpt_op__conv *conv = &direct->conv;
    int64_t at[2];
    corner(conv, place, at);
    const float *row = x + (at[0] + i * conv->dilation[0]) * conv->in[1] * conv->c;
    for (int64_t j = 0; j < conv->kernel[1]; j++, to += conv->c) {
        if (is_inside(conv, 1, at[1] + j)) {
            memcpy(to, row + (at[1] + j) * conv->c, (size_t)conv->c * sizeof *to);
        } else {
            memset(to, 0, (size_t)conv->c * sizeof *to);
        }
    }
}

/* Points to the runs of row i of the kernel for places [begin, begin + count) of all samples. */
static void point_runs(const struct dpt_op__direct *direct, const float *x, int64_t i, int64_t begin, int64_t count,
                       const struct dw_scratch *at)
{
    const int64_t sample = direct->conv.in[0] * direct->conv.in[1] * direct->conv.c;
    const int32_t *from = direct->from + i * direct->places;
    const float *image = x + begin / direct->places * sample;
    int64_t place = begin % direct->places;
    for (int64_t p = 0; p < count; p++) {
        float *edge = at->edge + p * direct->run;
        if (from[place] >= 0) {
            at->x[p] = image + from[place];
        } else if (from[place] == EDGE) {
            copy_edge(direct, image, i, place, edge);
            at->x[p] = edge;
        } else {
            at->x[p] = at->zeros;
        }
        if (++place == direct->places) {
            place = 0;
            image += sample;
        }
    }
}

/* dw[o,c,i,j] = sum[i,j,c,o]. */
static void unpack(const struct dpt_op__direct *direct, const float *restrict sum, float *restrict dw)
{
    const struct dpt_op__conv *conv = &direct->conv;
    for (int64_t o = 0; o < conv->o; o++) {
        for (int64_t c = 0; c < conv->c; c++) {
            for (int64_t t = 0; t < direct->taps; t++) {
                *dw++ = sum[(t * conv->c + c) * conv->o + o];
            }
        }
    }
}

void dpt_op__direct_dw(const struct dpt_op__direct *direct, int64_t n, const float *x, const float *dy, float *dw,
                       void *scratch)
{
    const struct dpt_op__conv *conv = &direct->conv;
    const int64_t total = n * direct->places;
    struct dw_scratch at = {.x = scratch}; /* pointers first, for their alignment */
    at.zeros = (float *)(at.x + DW_PLACES);
    at.edge = at.zeros + direct->run;
    at.sum = at.edge + DW_PLACES * direct->run;
    memset(at.zeros, 0, (size_t)direct->run * sizeof *at.zeros);
    memset(at.sum, 0, weights(direct) * sizeof *at.sum);
    for (int64_t begin = 0; begin < total; begin += DW_PLACES) {
        const int64_t count = total - begin < DW_PLACES ? total - begin : DW_PLACES;
        for (int64_t i = 0; i < conv->kernel[0]; i++) {
            point_runs(direct, x, i, begin, count, &at);
            for (int64_t o = 0; o < conv->o; o += COLUMNS) {
                for (int64_t r = 0; r < direct->run; r += ROWS) {
                    const int rows = direct->run - r < ROWS ? (int)(direct->run - r) : ROWS;
                    dpt_op__tile_outer(count, at.x, r, rows, dy + begin * conv->o + o, conv->o,
                                       at.sum + (i * direct->run + r) * conv->o + o, conv->o);
                }
            }
        }
    }
    unpack(direct, at.sum, dw);
}

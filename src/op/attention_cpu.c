/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fast kernels of op/attention.c, in float. A tile is ROWS queries of one head times KEYS keys. Keys and values of a
 * tile are packed once for all queries that see them; its products are made of tiles of 6 x 16 (op/tile.h), so that
 * those which the mask hides whole, almost half of them, are never made.
 *
 * Forward, tile by tile: scores s = scale q k, the running maximum m and sum l of each row,
 * y = y e^(m - m') + e^(s - m') v, at the end y / l. Backward: p = e^(s - lse) again, then the products that use it.
 * The scale is in the packed keys; that of dk is applied at the end.
 */

#include "op/attention.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "op/attention_rows.h"
#include "op/softmax.h"
#include "op/tile.h"

enum { PANEL = DPT_OP__TILE_ROWS, LANES = DPT_OP__TILE_COLUMNS };
enum { ROWS = 10 * PANEL, KEYS = 256 };
enum { LD = KEYS + LANES }; /* from row to row of a tile; no power of two, for the sake of caches */

static int64_t least(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static int64_t round_up(int64_t x, int64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

/* Widths of heads are rounded up to `wide`, a multiple of 16; panels are of 16 columns. */
struct scratch {
    float *p, *dp;       /* [ROWS, LD]                                                     */
    float *turned_k;     /* [KEYS / 16, d, 16] times the scale                             */
    float *turned_v;     /* [KEYS / 16, d, 16] backward                                    */
    float *k, *v;        /* [wide / 16, KEYS, 16]: k, times the scale, backward; v forward */
    float *q, *dy;       /* [wide / 16, ROWS, 16] of the rows of a tile, backward          */
    float *dk, *dv;      /* [KEYS, wide] sums over all rows, backward                      */
    float *max, *sum;    /* [g, s] forward                                                 */
    float *product;      /* [g, s] dy y, backward                                          */
    uint32_t *word;      /* random words of a row, with room to begin anywhere in a block of four */
};

/* Divides memory for heads of width d, whose queries are `queries` rows; returns its floats. `memory` may be NULL. */
static size_t divide(float *memory, int64_t d, int64_t queries, struct scratch *scratch)
{
    const size_t wide = (size_t)round_up(d, LANES), rows = (size_t)round_up(queries, LANES);
    float *unused;
    struct {
        float **part;
        size_t numel;
    } const part[] = {
        {&scratch->p, ROWS * LD},          {&scratch->dp, ROWS * LD},         {&scratch->turned_k, KEYS * wide},
        {&scratch->turned_v, KEYS * wide}, {&scratch->k, KEYS * wide},        {&scratch->v, KEYS * wide},
        {&scratch->q, ROWS * wide},        {&scratch->dy, ROWS * wide},       {&scratch->dk, KEYS * wide},
        {&scratch->dv, KEYS * wide},       {&scratch->max, rows},             {&scratch->sum, rows},
        {&scratch->product, rows},         {&unused, KEYS + 3 * (size_t)LANES},
    };
    size_t numel = 0;
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        *part[i].part = memory ? memory + numel : NULL;
        numel += part[i].numel;
    }
    scratch->word = (uint32_t *)unused;
    return numel;
}

size_t dpt_op__attention_scratch_f32(int64_t d, int64_t queries)
{
    struct scratch scratch;
    return divide(NULL, d, queries, &scratch) * sizeof(float);
}

/* A head of keys and values of one sample and the rows of its queries. */
struct head {
    const struct dpt_op_call *call;
    const struct dpt_attention *at;
    const struct scratch *scratch;
    const float *q, *k, *v; /* of row 0, query 0; of key 0 */
    float *y, *lse;
    const float *dy;
    float *dq, *dk, *dv;
    int64_t queries;        /* of all heads: numbers between rows of lse     */
    int64_t place;          /* of (query 0, row 0, key 0) in the global matrix */
    float scale;
};

/* Rows [row, row + rows) of query g of a head, and the keys [key, key + keys). */
struct tile {
    const struct head *head;
    int64_t g, row, rows, key, keys;
};

/* Keys of the tile that its row r sees: 0 .. keys. */
static int64_t visible(const struct tile *tile, int64_t r)
{
    const int64_t seen = tile->head->at->first + tile->row + r + 1 - tile->key;
    return seen < 0 ? 0 : least(seen, tile->keys);
}

/* Keys of the tile that some of the six rows from r on sees. */
static int64_t panel_width(const struct tile *tile, int64_t r)
{
    return visible(tile, least(r + PANEL, tile->rows) - 1);
}

/* The first row of the tile that sees key j of it. */
static int64_t first_row(const struct tile *tile, int64_t j)
{
    const int64_t r = tile->key + j - tile->head->at->first - tile->row;
    return r < 0 ? 0 : least(r, tile->rows);
}

/* Random words of the n keys of row r, or NULL where nothing is dropped. */
static const uint32_t *words_of(const struct tile *tile, int64_t r, int64_t n)
{
    const struct head *head = tile->head;
    const struct dpt_op_call *call = head->call;
    const struct dpt_attention_param *param = call->types->param;
    if (param->rate == 0.0) {
        return NULL;
    }
    const int64_t row = head->place + tile->g * head->at->place_query + (tile->row + r) * head->at->t;
    const uint64_t place = (uint64_t)(row + tile->key);
    const size_t skip = place % 4;
    dpt_rng_fill(call->ctx->seed, DPT_RNG_USE_DROPOUT, param->stream, call->ctx->step, place / 4,
                 ((size_t)n + skip + 3) / 4, head->scratch->word);
    return head->scratch->word + skip;
}

static uint32_t drop_below(const struct head *head)
{
    return (uint32_t)(((const struct dpt_attention_param *)head->call->types->param)->rate * 0x1p32);
}

static float keep_factor(const struct head *head)
{
    return (float)(1.0 / (1.0 - ((const struct dpt_attention_param *)head->call->types->param)->rate));
}

/* ---- packed operands ---- */

/* to[n / 16, d, 16] of n rows of width d, `row` floats apart; columns behind n are 0. */
static void pack_turned(int64_t n, int64_t d, int64_t row, const float *from, float *to)
{
    for (int64_t i = 0; i < n; i += LANES / 2) {
        float *panel = to + i / LANES * LANES * d + i % LANES;
        dpt_op__tile_turn(d, from + i * row, row, (int)least(n - i, LANES / 2), panel, LANES);
        if (i % LANES == 0 && n - i <= LANES / 2) {
            dpt_op__tile_turn(d, from, row, 0, panel + LANES / 2, LANES);
        }
    }
}

/* to[d / 16, most, 16] of n <= most rows of width d, `row` floats apart; columns behind d are 0. */
static void pack(int64_t n, int64_t most, int64_t d, int64_t row, const float *from, float *to)
{
    for (int64_t j = 0; j < d; j += LANES, to += most * LANES) {
        const size_t count = (size_t)least(d - j, LANES);
        for (int64_t i = 0; i < n && count == LANES; i++) {
            memcpy(to + i * LANES, from + i * row + j, LANES * sizeof *to);
        }
        for (int64_t i = 0; i < n && count < LANES; i++) {
            memset(to + i * LANES, 0, LANES * sizeof *to);
            memcpy(to + i * LANES, from + i * row + j, count * sizeof *to);
        }
    }
}

/* p[rows, keys] = rows of width d, `row` floats apart, times turned keys or values, where anything is seen. */
static void multiply_turned(const struct tile *tile, const float *rows, int64_t row, const float *turned, float *p)
{
    const int64_t d = tile->head->at->d, widest = panel_width(tile, tile->rows - 1);
    struct dpt_op__tile_product product = {
        .depth = d, .a_row = row, .a_step = 1, .ldc = LD, .columns = LANES};
    for (int64_t j = 0; j < widest; j += LANES) {
        product.b = turned + j * d;
        for (int64_t r = first_row(tile, j) / PANEL * PANEL; r < tile->rows; r += PANEL) {
            product.rows = (int)least(tile->rows - r, PANEL);
            product.a = rows + r * row;
            product.c = p + r * LD + j;
            dpt_op__tile_product(&product);
        }
    }
}

/* out (+)= p packed: rows of width d, `row` floats apart; packed[d / 16, KEYS, 16]. */
static void multiply_rows(const struct tile *tile, const float *p, const float *packed, bool add, float *out,
                          int64_t row)
{
    const int64_t d = tile->head->at->d;
    struct dpt_op__tile_product product = {
        .a_row = LD, .a_step = 1, .ldc = row, .add = add};
    for (int64_t j = 0; j < d; j += LANES) {
        product.b = packed + j * KEYS;
        product.columns = (int)least(d - j, LANES);
        for (int64_t r = 0; r < tile->rows; r += PANEL) {
            product.rows = (int)least(tile->rows - r, PANEL);
            product.depth = panel_width(tile, r);
            product.a = p + r * LD;
            product.c = out + r * row + j;
            dpt_op__tile_product(&product);
        }
    }
}

/* sum[keys, wide] += p^T packed; packed[d / 16, ROWS, 16]. */
static void multiply_keys(const struct tile *tile, const float *p, const float *packed, float *sum)
{
    const int64_t d = tile->head->at->d, wide = round_up(d, LANES), widest = panel_width(tile, tile->rows - 1);
    struct dpt_op__tile_product product = {
        .a_row = 1, .a_step = LD, .ldc = wide, .add = true, .columns = LANES};
    for (int64_t j = 0; j < d; j += LANES) {
        for (int64_t i = 0; i < widest; i += PANEL) {
            const int64_t r = first_row(tile, i);
            product.rows = (int)least(widest - i, PANEL);
            product.depth = tile->rows - r;
            product.a = p + r * LD + i;
            product.b = packed + j * ROWS + r * LANES;
            product.c = sum + i * wide + j;
            dpt_op__tile_product(&product);
        }
    }
}

/* ---- forward ---- */

/* Hides what row r, of n keys seen, does not see of its `count` numbers. */
static void hide(float *row, int64_t n, int64_t count, float value)
{
    for (int64_t i = n; i < count; i++) {
        row[i] = value;
    }
}

/* Softmax of row r so far: new maximum and sum, y in their measure, p of `count` keys. */
static void forward_row(const struct tile *tile, int64_t r, int64_t count)
{
    const struct head *head = tile->head;
    const struct scratch *scratch = head->scratch;
    const int64_t at = tile->g * head->at->s + tile->row + r, n = visible(tile, r);
    float *p = scratch->p + r * LD;
    hide(p, n, count, -INFINITY);
    const float old = tile->key > 0 ? scratch->max[at] : -INFINITY, max = dpt_op__max_f32(count, p, old);
    if (tile->key == 0) {
        scratch->sum[at] = 0.0f;
    } else if (max > old) {
        const float factor = dpt_op__expf(old - max);
        float *y = head->y + (tile->row + r) * head->at->y_row + tile->g * head->at->d;
        attention_scale(head->at->d, factor, y, y);
        scratch->sum[at] *= factor;
    }
    scratch->max[at] = max;
    scratch->sum[at] += dpt_op__exp_f32(count, max, p);
    const uint32_t *word = words_of(tile, r, n);
    if (word) {
        attention_drop(count, drop_below(head), keep_factor(head), word, p);
    }
}

static void forward_tile(const struct tile *tile)
{
    const struct head *head = tile->head;
    const struct dpt_attention *at = head->at;
    const int64_t q = tile->row * at->q_row + tile->g * at->d, y = tile->row * at->y_row + tile->g * at->d;
    multiply_turned(tile, head->q + q, at->q_row, head->scratch->turned_k, head->scratch->p);
    for (int64_t r = 0; r < tile->rows; r++) {
        forward_row(tile, r, round_up(panel_width(tile, r / PANEL * PANEL), LANES));
    }
    multiply_rows(tile, head->scratch->p, head->scratch->v, tile->key > 0, head->y + y, at->y_row);
}

static void forward_end(const struct head *head)
{
    const struct dpt_attention *at = head->at;
    for (int64_t g = 0; g < at->g; g++) {
        for (int64_t i = 0; i < at->s; i++) {
            const float max = head->scratch->max[g * at->s + i], sum = head->scratch->sum[g * at->s + i];
            float *y = head->y + i * at->y_row + g * at->d;
            attention_scale(at->d, 1.0f / sum, y, y);
            head->lse[i * head->queries + g] = max + logf(sum);
        }
    }
}

/* ---- backward ---- */

static void backward_begin(const struct head *head)
{
    const struct dpt_attention *at = head->at;
    for (int64_t g = 0; g < at->g; g++) {
        for (int64_t i = 0; i < at->s; i++) {
            const int64_t y = i * at->y_row + g * at->d;
            head->scratch->product[g * at->s + i] = attention_dot(at->d, head->dy + y, head->y + y);
        }
    }
}

/* p and dp of row r, `count` keys: from scores and products with dy to what dv and the other two are made of. */
static void backward_row(const struct tile *tile, int64_t r, int64_t count)
{
    const struct head *head = tile->head;
    const int64_t n = visible(tile, r);
    const float lse = head->lse[(tile->row + r) * head->queries + tile->g];
    const float product = head->scratch->product[tile->g * head->at->s + tile->row + r];
    float *p = head->scratch->p + r * LD, *dp = head->scratch->dp + r * LD;
    const uint32_t *word = words_of(tile, r, n);
    hide(p, n, count, -INFINITY);
    hide(dp, n, count + PANEL, 0.0f); /* six keys may begin with the last that this panel of rows sees */
    if (word) {
        attention_ds_drop(count, lse, product, drop_below(head), keep_factor(head), word, p, dp);
    } else {
        attention_ds(count, lse, product, p, dp);
    }
    hide(p, count, count + PANEL, 0.0f);
}

static void backward_tile(const struct tile *tile)
{
    const struct head *head = tile->head;
    const struct dpt_attention *at = head->at;
    const struct scratch *scratch = head->scratch;
    const int64_t q = tile->row * at->q_row + tile->g * at->d, y = tile->row * at->y_row + tile->g * at->d;
    multiply_turned(tile, head->q + q, at->q_row, scratch->turned_k, scratch->p);
    multiply_turned(tile, head->dy + y, at->y_row, scratch->turned_v, scratch->dp);
    for (int64_t r = 0; r < tile->rows; r++) {
        backward_row(tile, r, round_up(panel_width(tile, r / PANEL * PANEL), LANES));
    }
    pack(tile->rows, ROWS, at->d, at->y_row, head->dy + y, scratch->dy);
    multiply_keys(tile, scratch->p, scratch->dy, scratch->dv);
    pack(tile->rows, ROWS, at->d, at->q_row, head->q + q, scratch->q);
    multiply_keys(tile, scratch->dp, scratch->q, scratch->dk);
    multiply_rows(tile, scratch->dp, scratch->k, tile->key > 0, head->dq + q, at->q_row);
}

/* Writes the sums of the keys [key, key + keys) to dk and dv. */
static void backward_end(const struct head *head, int64_t key, int64_t keys)
{
    const struct dpt_attention *at = head->at;
    const int64_t wide = round_up(at->d, LANES);
    for (int64_t j = 0; j < keys; j++) {
        attention_scale(at->d, head->scale, head->scratch->dk + j * wide, head->dk + (key + j) * at->k_row);
        memcpy(head->dv + (key + j) * at->k_row, head->scratch->dv + j * wide, (size_t)at->d * sizeof(float));
    }
}

/* ---- all tiles ---- */

static struct head head_at(const struct dpt_op_call *call, const struct dpt_attention *at,
                           const struct scratch *scratch, int64_t n, int64_t a)
{
    const struct dpt_attention_param *param = call->types->param;
    const int64_t q = n * at->q_sample + a * at->g * at->d, k = n * at->k_sample + a * at->d;
    const int64_t y = n * at->y_sample + a * at->g * at->d, queries = at->a * at->g;
    struct head head = {
        .call = call,
        .at = at,
        .scratch = scratch,
        .q = (const float *)at->q + q,
        .k = (const float *)at->k + k,
        .v = (const float *)at->v + k,
        .y = (float *)at->y + y,
        .lse = (float *)at->lse + n * at->s * queries + a * at->g,
        .queries = queries,
        .place = at->place + n * at->place_sample + a * at->place_head,
        .scale = (float)param->scale,
    };
    if (at->dy) {
        head.dy = (const float *)at->dy + y;
        head.dq = (float *)at->dq + q;
        head.dk = (float *)at->dk + k;
        head.dv = (float *)at->dv + k;
    }
    return head;
}

/* Packs keys and values [key, key + keys). */
static void pack_keys(const struct head *head, int64_t key, int64_t keys)
{
    const struct dpt_attention *at = head->at;
    const struct scratch *scratch = head->scratch;
    const float *k = head->k + key * at->k_row, *v = head->v + key * at->k_row;
    const int64_t wide = round_up(at->d, LANES);
    pack_turned(keys, at->d, at->k_row, k, scratch->turned_k);
    attention_scale(round_up(keys, LANES) * at->d, head->scale, scratch->turned_k, scratch->turned_k);
    if (!head->dy) {
        pack(keys, KEYS, at->d, at->k_row, v, scratch->v);
        return;
    }
    pack_turned(keys, at->d, at->k_row, v, scratch->turned_v);
    pack(keys, KEYS, at->d, at->k_row, k, scratch->k);
    for (int64_t j = 0; j < wide; j += LANES) {
        attention_scale(keys * LANES, head->scale, scratch->k + j * KEYS, scratch->k + j * KEYS);
    }
    memset(scratch->dk, 0, (size_t)(KEYS * wide) * sizeof(float));
    memset(scratch->dv, 0, (size_t)(KEYS * wide) * sizeof(float));
}

/* Keys that no row sees, at the end, have no gradient. */
static void all_tiles(const struct head *head, void (*run)(const struct tile *))
{
    const struct dpt_attention *at = head->at;
    for (int64_t key = 0; key < at->t; key += KEYS) {
        const int64_t keys = least(at->t - key, KEYS), first = key > at->first ? key - at->first : 0;
        if (first >= at->s && !head->dy) {
            return;
        }
        pack_keys(head, key, keys);
        for (int64_t g = 0; g < at->g; g++) {
            for (int64_t row = first; row < at->s; row += ROWS) {
                const struct tile tile = {head, g, row, least(at->s - row, ROWS), key, keys};
                run(&tile);
            }
        }
        if (head->dy) {
            backward_end(head, key, keys);
        }
    }
}

void dpt_op__attention_f32(const struct dpt_op_call *call, const struct dpt_attention *at)
{
    struct scratch scratch;
    divide(call->scratch, at->d, at->g * at->s, &scratch);
    for (int64_t n = 0; n < at->b; n++) {
        for (int64_t a = 0; a < at->a; a++) {
            const struct head head = head_at(call, at, &scratch, n, a);
            all_tiles(&head, forward_tile);
            forward_end(&head);
        }
    }
}

void dpt_op__attention_dx_f32(const struct dpt_op_call *call, const struct dpt_attention *at)
{
    struct scratch scratch;
    divide(call->scratch, at->d, at->g * at->s, &scratch);
    for (int64_t n = 0; n < at->b; n++) {
        for (int64_t a = 0; a < at->a; a++) {
            const struct head head = head_at(call, at, &scratch, n, a);
            backward_begin(&head);
            all_tiles(&head, backward_tile);
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Attention in 16 bits on tensor cores, after FlashAttention-2 (Dao, 2023). A block has four warps, and each of them 16 M
 * rows of its own (of keys for dk and dv). Tiles of N of the other side go through shared memory, the next one on its way
 * while one is worked at. Products are of 16 bits with sums in float; softmax stays in registers, where four lanes share a
 * row. Two numbers are rounded to 16 bits that the plain kernels keep in float: p before it meets v or dy, ds before it
 * meets k or q. Sums have one order, as in attention_cuda.cu.
 *
 * Of GPT-2's shape (12 heads of 64, 1024 rows, batch 32, 12 layers, bf16) a card of 990 Tflop/s and 4.8 TB/s needs at least
 * 0.63 ms for the forward products of a step, 2.2 ms for the seven backward ones as they are made here (1.6 ms if scores
 * were made once), and 0.5 and 1.0 ms for operands that are touched once. mma.sync gives about six tenths of that peak on 9.0.
 *
 * D: the widest head of a kernel; features beyond at.d are 0. T: BF16 or F16.
 */

#include "op/attention_cuda.cuh"
#include "op/cuda_mma.cuh"

enum { WARPS = 4, THREADS = WARPS * DPT_WARP };

#define LOG2_E 1.44269504088896340736f
#define LN_2 0.69314718055994530942f

/* Over the four lanes of a row, in each of them. */
static __device__ float quad_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

static __device__ float quad_max(float value)
{
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

/* The first row of this warp in a tile of 16 M rows a warp. */
template <int M> static __device__ int warp_row(void)
{
    return (int)threadIdx.x / DPT_WARP * M * 16;
}

/* The rows of this lane in block m of its warp's: which is 0 or 1, for floats 0 and 1 of c[16 x 8] or for 2 and 3. */
template <int M> static __device__ int row_of_lane(int m, int which)
{
    return warp_row<M>() + m * 16 + which * 8 + dpt_lane() / 4;
}

/* The first column of c[16 x 8] in this lane; the other is behind it. */
static __device__ int column_of_lane(int n)
{
    return n * 8 + dpt_lane() % 4 * 2;
}

/*
 * c += a b^T over D features: 16 M rows of this warp of a tile, N rows of another. UNROLLED: steps of 16 features that are laid
 * out one behind the other; all are the fastest, but take the most registers.
 */
template <enum dpt_dtype T, int D, int M, int N, int UNROLLED>
static __device__ void scores(float c[M][N / 8][4], const uint16_t *mine, const uint16_t *other)
{
    DPT_UNROLL_BY(1) for (int first = 0; first < D / 16; first += UNROLLED)
    {
        DPT_UNROLL for (int k = first; k < first + UNROLLED; k++)
        {
            uint32_t a[M][4];
            DPT_UNROLL for (int m = 0; m < M; m++)
            {
                dpt_tile_a<D>(a[m], mine, warp_row<M>() + m * 16, k);
            }
            DPT_UNROLL for (int n = 0; n < N / 16; n++)
            {
                uint32_t b[4];
                dpt_tile_b_trans<D>(b, other, n * 16, k);
                DPT_UNROLL for (int m = 0; m < M; m++)
                {
                    dpt_mma<T>(c[m][2 * n], a[m], b);
                    dpt_mma<T>(c[m][2 * n + 1], a[m], b + 2);
                }
            }
        }
    }
}

/* sum += p other: p from registers, rounded; N rows of a tile of D features. */
template <enum dpt_dtype T, int D, int M, int N>
static __device__ void add_product(float sum[M][D / 8][4], const float p[M][N / 8][4], const uint16_t *other)
{
    DPT_UNROLL for (int k = 0; k < N / 16; k++)
    {
        uint32_t a[M][4];
        DPT_UNROLL for (int m = 0; m < M; m++)
        {
            a[m][0] = dpt_pack<T>(p[m][2 * k][0], p[m][2 * k][1]);
            a[m][1] = dpt_pack<T>(p[m][2 * k][2], p[m][2 * k][3]);
            a[m][2] = dpt_pack<T>(p[m][2 * k + 1][0], p[m][2 * k + 1][1]);
            a[m][3] = dpt_pack<T>(p[m][2 * k + 1][2], p[m][2 * k + 1][3]);
        }
        DPT_UNROLL for (int f = 0; f < D / 16; f++)
        {
            uint32_t b[4];
            dpt_tile_b<D>(b, other, k * 16, f);
            DPT_UNROLL for (int m = 0; m < M; m++)
            {
                dpt_mma<T>(sum[m][2 * f], a[m], b);
                dpt_mma<T>(sum[m][2 * f + 1], a[m], b + 2);
            }
        }
    }
}

/* A row of this lane goes to memory: its features of sum, times a factor. */
template <enum dpt_dtype T, int D>
static __device__ void store_row(struct dpt_out out, int64_t at, int d, const float sum[D / 8][4], int which, float factor)
{
    DPT_UNROLL for (int f = 0; f < D / 8; f++)
    {
        const int feature = column_of_lane(f);
        if (feature < d) {
            *(uint32_t *)((uint16_t *)out.data + at + feature) =
                dpt_pack<T>(factor * sum[f][2 * which], factor * sum[f][2 * which + 1]);
        }
    }
}

/* Factors on the probabilities of key `place` of the matrix and of the one behind it. */
static __device__ void masks_of_keys(const struct flash &flash, uint64_t step, int64_t place, float mask[2])
{
    const uint64_t element = (uint64_t)place;
    const unsigned at = (unsigned)(element % 4);
    uint32_t word[4];
    dpt_dropout_words(flash.seed, flash.stream, step, element / 4, word);
    mask[0] = dpt_word_of(word, at) < flash.drop ? 0.0f : flash.kept;
    if (at == 3) {
        dpt_dropout_words(flash.seed, flash.stream, step, element / 4 + 1, word);
    }
    mask[1] = dpt_word_of(word, at + 1) < flash.drop ? 0.0f : flash.kept;
}

/* Where a block of `attend` and `query_gradients` is: a tile of rows of one head of a sample, the longest rows first. */
struct block {
    int first, last;                 /* first row; behind the keys that the rows see */
    struct row begin;                /* of the head's first row                      */
    const uint16_t *q, *dy, *k, *v;  /* q and dy at the first row, k and v of the head */
};

template <int ROWS> static __device__ struct block block_at(const struct flash &flash)
{
    const struct dpt_attention &at = flash.at;
    const int64_t heads = at.a * at.g, h = blockIdx.y % heads, n = blockIdx.y / heads;
    const int64_t keys = n * at.k_sample + h / at.g * at.d;
    struct block block;
    block.first = (int)(gridDim.x - 1 - blockIdx.x) * ROWS;
    block.last = (int)(at.first + block.first + ROWS < at.t ? at.first + block.first + ROWS : at.t);
    block.begin = row_at(&at, n, h, 0);
    block.q = (const uint16_t *)flash.q.data + block.begin.q + block.first * at.q_row;
    block.dy = (const uint16_t *)flash.dy.data + block.begin.y + block.first * at.y_row;
    block.k = (const uint16_t *)flash.k.data + keys;
    block.v = (const uint16_t *)flash.v.data + keys;
    return block;
}

/* Where rows of this warp do not see keys of a tile of N, p becomes `hidden`. */
template <int M, int N>
static __device__ void hide_keys(const struct dpt_attention &at, int first, int tile, float hidden,
                                 float p[M][N / 8][4])
{
    const int shift = (int)at.first, keys = (int)at.t;
    if (tile + N <= shift + first + warp_row<M>() + 1 && tile + N <= keys) {
        return; /* the first row sees all */
    }
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        const int behind = shift + first + row_of_lane<M>(r / 2, r % 2) + 1;
        const int seen = (behind < keys ? behind : keys) - tile;
        DPT_UNROLL for (int e = 0; e < N / 4; e++)
        {
            float *const at_e = &p[r / 2][e / 2][r % 2 * 2 + e % 2];
            *at_e = column_of_lane(e / 2) + e % 2 < seen ? *at_e : hidden;
        }
    }
}

/* A tile of keys and one of values. */
template <int D, int N>
static __device__ void copy_keys(const struct dpt_attention &at, const struct block &block, int tile, uint16_t *k,
                                 uint16_t *v)
{
    dpt_tile_copy<D, N, THREADS>(k, block.k + tile * at.k_row, at.k_row, (int)at.t - tile, (int)at.d);
    dpt_tile_copy<D, N, THREADS>(v, block.v + tile * at.k_row, at.k_row, (int)at.t - tile, (int)at.d);
}

/* --------------------------------------------------------------------------------------------------------- forward */

template <int D, int M, int N> constexpr size_t attend_shared()
{
    return sizeof(uint16_t) * D * (WARPS * M * 16 + 4 * N);
}

template <enum dpt_dtype T, bool DROP, int D, int M, int N>
static __global__ void __launch_bounds__(THREADS) attend(struct flash flash)
{
    enum { ROWS = WARPS * M * 16 };
    DPT_SHARED(shared);
    uint16_t *const q = (uint16_t *)shared, *const k = q + ROWS * D, *const v = k + 2 * N * D;
    const struct dpt_attention &at = flash.at;
    const struct block block = block_at<ROWS>(flash);
    const float scale = flash.scale * LOG2_E;
    const uint64_t step = DROP ? *flash.step : 0;
    float out[M][D / 8][4] = {}, max[M][2], sum[M][2]; /* max: of scores in powers of two */
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        max[r / 2][r % 2] = -INFINITY;
        sum[r / 2][r % 2] = 0.0f;
    }
    dpt_tile_copy<D, ROWS, THREADS>(q, block.q, at.q_row, (int)at.s - block.first, (int)at.d);
    copy_keys<D, N>(at, block, 0, k, v);
    int which = 0;
    for (int tile = 0; tile < block.last; tile += N, which ^= 1) {
        float p[M][N / 8][4] = {};
        dpt_copy_wait();
        __syncthreads(); /* this tile is there, and the last one was read */
        if (tile + N < block.last) {
            copy_keys<D, N>(at, block, tile + N, k + (which ^ 1) * N * D, v + (which ^ 1) * N * D);
        }
        if (tile > (int)at.first + block.first + warp_row<M>() + M * 16 - 1) {
            continue; /* no row of the warp sees a key of it */
        }
        scores<T, D, M, N, D / 16>(p, q, k + which * N * D);
        hide_keys<M, N>(at, block.first, tile, -INFINITY, p);
        DPT_UNROLL for (int r = 0; r < 2 * M; r++)
        {
            const int m = r / 2, e = r % 2 * 2;
            float most = -INFINITY, more = 0.0f;
            DPT_UNROLL for (int n = 0; n < N / 8; n++)
            {
                most = fmaxf(most, fmaxf(p[m][n][e], p[m][n][e + 1]));
            }
            most = fmaxf(max[m][r % 2], quad_max(most) * scale);
            const float base = most == -INFINITY ? 0.0f : most, fade = dpt_exp2(max[m][r % 2] - base);
            DPT_UNROLL for (int n = 0; n < N / 8; n++)
            {
                p[m][n][e] = dpt_exp2(p[m][n][e] * scale - base);
                p[m][n][e + 1] = dpt_exp2(p[m][n][e + 1] * scale - base);
                more += p[m][n][e] + p[m][n][e + 1];
                if (DROP) {
                    const int row = block.first + row_of_lane<M>(m, r % 2);
                    float mask[2];
                    masks_of_keys(flash, step, block.begin.place + row * at.t + tile + column_of_lane(n), mask);
                    p[m][n][e] *= mask[0];
                    p[m][n][e + 1] *= mask[1];
                }
            }
            max[m][r % 2] = most;
            sum[m][r % 2] = sum[m][r % 2] * fade + more;
            DPT_UNROLL for (int f = 0; f < D / 8; f++)
            {
                out[m][f][e] *= fade;
                out[m][f][e + 1] *= fade;
            }
        }
        add_product<T, D, M, N>(out, p, v + which * N * D);
    }
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        const int row = block.first + row_of_lane<M>(r / 2, r % 2);
        const float total = quad_sum(sum[r / 2][r % 2]);
        if (row < at.s) {
            store_row<T, D>(flash.to_y, block.begin.y + row * at.y_row, (int)at.d, out[r / 2], r % 2, 1.0f / total);
            if (dpt_lane() % 4 == 0) {
                flash.to_lse[block.begin.lse + row * at.a * at.g] = max[r / 2][r % 2] * LN_2 + logf(total);
            }
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- backward */

template <int D, int M, int N> constexpr size_t query_shared()
{
    return sizeof(uint16_t) * D * (2 * WARPS * M * 16 + 4 * N);
}

/* dq, as in `attend`. */
template <enum dpt_dtype T, bool DROP, int D, int M, int N>
static __global__ void __launch_bounds__(THREADS) query_gradients(struct flash flash)
{
    enum { ROWS = WARPS * M * 16 };
    DPT_SHARED(shared);
    uint16_t *const q = (uint16_t *)shared, *const dy = q + ROWS * D;
    uint16_t *const k = dy + ROWS * D, *const v = k + 2 * N * D;
    const struct dpt_attention &at = flash.at;
    const struct block block = block_at<ROWS>(flash);
    const float scale = flash.scale * LOG2_E;
    const uint64_t step = DROP ? *flash.step : 0;
    float out[M][D / 8][4] = {}, lse[M][2], delta[M][2];
    dpt_tile_copy<D, ROWS, THREADS>(q, block.q, at.q_row, (int)at.s - block.first, (int)at.d);
    dpt_tile_copy<D, ROWS, THREADS>(dy, block.dy, at.y_row, (int)at.s - block.first, (int)at.d);
    copy_keys<D, N>(at, block, 0, k, v);
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        const int row = block.first + row_of_lane<M>(r / 2, r % 2);
        const int64_t place = block.begin.lse + row * at.a * at.g;
        lse[r / 2][r % 2] = row < at.s ? flash.lse[place] * LOG2_E : 0.0f;
        delta[r / 2][r % 2] = row < at.s ? flash.delta[place] : 0.0f;
    }
    int which = 0;
    for (int tile = 0; tile < block.last; tile += N, which ^= 1) {
        float p[M][N / 8][4] = {}, ds[M][N / 8][4] = {};
        dpt_copy_wait();
        __syncthreads();
        if (tile + N < block.last) {
            copy_keys<D, N>(at, block, tile + N, k + (which ^ 1) * N * D, v + (which ^ 1) * N * D);
        }
        if (tile > (int)at.first + block.first + warp_row<M>() + M * 16 - 1) {
            continue;
        }
        scores<T, D, M, N, 4>(p, q, k + which * N * D);
        scores<T, D, M, N, 4>(ds, dy, v + which * N * D);
        DPT_UNROLL for (int r = 0; r < 2 * M; r++)
        {
            const int m = r / 2, e = r % 2 * 2;
            DPT_UNROLL for (int n = 0; n < N / 8; n++)
            {
                float mask[2] = {1.0f, 1.0f};
                if (DROP) {
                    const int row = block.first + row_of_lane<M>(m, r % 2);
                    masks_of_keys(flash, step, block.begin.place + row * at.t + tile + column_of_lane(n), mask);
                }
                DPT_UNROLL for (int c = 0; c < 2; c++)
                {
                    const float whole = dpt_exp2(p[m][n][e + c] * scale - lse[m][r % 2]);
                    ds[m][n][e + c] = whole * (mask[c] * ds[m][n][e + c] - delta[m][r % 2]);
                }
            }
        }
        hide_keys<M, N>(at, block.first, tile, 0.0f, ds);
        add_product<T, D, M, N>(out, ds, k + which * N * D);
    }
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        const int row = block.first + row_of_lane<M>(r / 2, r % 2);
        if (row < at.s) {
            store_row<T, D>(flash.dq, block.begin.q + row * at.q_row, (int)at.d, out[r / 2], r % 2, flash.scale);
        }
    }
}

/* What `key_gradients` reads of N rows of a head of queries at a time. */
template <int D, int N> struct query_tile {
    uint16_t q[N * D], dy[N * D];
    float lse[N], delta[N];
};

/* head: where row 0 of the first query of the head is. */
template <int D, int N>
static __device__ void copy_rows(const struct flash &flash, const struct row &head, int g, int tile, struct query_tile<D, N> *to)
{
    const struct dpt_attention &at = flash.at;
    const uint16_t *const q = (const uint16_t *)flash.q.data + head.q + g * at.d + tile * at.q_row;
    const uint16_t *const dy = (const uint16_t *)flash.dy.data + head.y + g * at.d + tile * at.y_row;
    dpt_tile_copy<D, N, THREADS>(to->q, q, at.q_row, (int)at.s - tile, (int)at.d);
    dpt_tile_copy<D, N, THREADS>(to->dy, dy, at.y_row, (int)at.s - tile, (int)at.d);
    for (int r = (int)threadIdx.x; r < N; r += THREADS) {
        const bool some = tile + r < at.s;
        const int64_t place = some ? head.lse + g + (tile + r) * (at.a * at.g) : 0;
        dpt_copy<4>(&to->lse[r], (const float *)flash.lse.data + place, some);
        dpt_copy<4>(&to->delta[r], flash.delta + place, some);
    }
}

template <int D, int M, int N> constexpr size_t key_shared()
{
    return sizeof(uint16_t) * D * 2 * WARPS * M * 16 + 2 * sizeof(struct query_tile<D, N>);
}

/*
 * dk and dv: 16 M keys a warp, over the rows of all queries of the head. Rows past the last one are 0, and so is what they
 * add; keys past the last one are not stored.
 */
template <enum dpt_dtype T, bool DROP, int D, int M, int N>
static __global__ void __launch_bounds__(THREADS) key_gradients(struct flash flash)
{
    enum { KEYS = WARPS * M * 16 };
    DPT_SHARED(shared);
    uint16_t *const k = (uint16_t *)shared, *const v = k + KEYS * D;
    struct query_tile<D, N> *const rows = (struct query_tile<D, N> *)(v + KEYS * D);
    const struct dpt_attention &at = flash.at;
    const int64_t a = blockIdx.y % at.a, n = blockIdx.y / at.a;
    const struct row head = row_at(&at, n, a * at.g, 0);
    const int first = (int)blockIdx.x * KEYS, shift = (int)at.first, last = (int)at.s;
    const int64_t base = n * at.k_sample + a * at.d + first * at.k_row;
    /* The first row that sees a key of the block, at the begin of a tile; tiles of one query of the head. */
    const int from = first > shift ? (first - shift) / N * N : 0, queries = from < last ? (int)at.g : 0;
    const float scale = flash.scale * LOG2_E;
    const uint64_t step = DROP ? *flash.step : 0;
    float dk[M][D / 8][4] = {}, dv[M][D / 8][4] = {};
    dpt_tile_copy<D, KEYS, THREADS>(k, (const uint16_t *)flash.k.data + base, at.k_row, (int)at.t - first, (int)at.d);
    dpt_tile_copy<D, KEYS, THREADS>(v, (const uint16_t *)flash.v.data + base, at.k_row, (int)at.t - first, (int)at.d);
    if (queries > 0) {
        copy_rows<D, N>(flash, head, 0, from, &rows[0]);
    }
    for (int g = 0, tile = from, which = 0; g < queries; which ^= 1) {
        const struct query_tile<D, N> *const here = &rows[which];
        const int next = tile + N < last ? tile + N : from, next_g = tile + N < last ? g : g + 1;
        float p[M][N / 8][4] = {}, ds[M][N / 8][4] = {};
        dpt_copy_wait();
        __syncthreads();
        if (next_g < queries) {
            copy_rows<D, N>(flash, head, next_g, next, &rows[which ^ 1]);
        }
        if (shift + tile + N - 1 >= first + warp_row<M>()) { /* else no row sees a key of the warp */
            const bool edge = shift + tile < first + warp_row<M>() + M * 16 - 1;
            scores<T, D, M, N, 4>(p, k, here->q);
            scores<T, D, M, N, 4>(ds, v, here->dy);
            DPT_UNROLL for (int c = 0; c < N / 4; c++)
            {
                const int column = column_of_lane(c / 2) + c % 2;
                const float lse = here->lse[column] * LOG2_E, delta = here->delta[column];
                DPT_UNROLL for (int r = 0; r < 2 * M; r++)
                {
                    const int key = first + row_of_lane<M>(r / 2, r % 2);
                    float *const my_p = &p[r / 2][c / 2][r % 2 * 2 + c % 2];
                    float *const my_ds = &ds[r / 2][c / 2][r % 2 * 2 + c % 2];
                    float whole = dpt_exp2(*my_p * scale - lse), mask = 1.0f;
                    if (edge && key > shift + tile + column) {
                        whole = 0.0f;
                    }
                    if (DROP) {
                        const int64_t row = head.place + g * at.place_query + (tile + column) * at.t;
                        const uint32_t word = dpt_dropout_word(flash.seed, flash.stream, step, (uint64_t)(row + key));
                        mask = word < flash.drop ? 0.0f : flash.kept;
                    }
                    *my_ds = whole * (mask * *my_ds - delta);
                    *my_p = whole * mask;
                }
            }
            add_product<T, D, M, N>(dv, p, here->dy);
            add_product<T, D, M, N>(dk, ds, here->q);
        }
        tile = next;
        g = next_g;
    }
    DPT_UNROLL for (int r = 0; r < 2 * M; r++)
    {
        const int row = row_of_lane<M>(r / 2, r % 2);
        if (first + row < at.t) {
            store_row<T, D>(flash.dk, base + row * at.k_row, (int)at.d, dk[r / 2], r % 2, flash.scale);
            store_row<T, D>(flash.dv, base + row * at.k_row, (int)at.d, dv[r / 2], r % 2, 1.0f);
        }
    }
}

/* -------------------------------------------------------------------------------------------------------- launches */

static unsigned tiles_of(int64_t rows, int rows_of_tile)
{
    return (unsigned)((rows + rows_of_tile - 1) / rows_of_tile);
}

template <enum dpt_dtype T, bool DROP, int D, int M, int N>
static void launch_forward(struct dpt_cuda *cuda, const struct flash &flash)
{
    const dim3 grid(tiles_of(flash.at.s, WARPS * M * 16), (unsigned)(flash.at.b * flash.at.a * flash.at.g));
    DPT_LAUNCH_SHARED((attend<T, DROP, D, M, N>), grid, THREADS, (attend_shared<D, M, N>()), cuda->stream, flash);
}

/* M, N: of dq; of dk and dv. */
template <enum dpt_dtype T, bool DROP, int D, int QM, int QN, int KM, int KN>
static void launch_backward(struct dpt_cuda *cuda, const struct flash &flash)
{
    const struct dpt_attention &at = flash.at;
    const dim3 rows(tiles_of(at.s, WARPS * QM * 16), (unsigned)(at.b * at.a * at.g));
    const dim3 keys(tiles_of(at.t, WARPS * KM * 16), (unsigned)(at.b * at.a));
    if (at.s > 0) {
        DPT_LAUNCH_SHARED((query_gradients<T, DROP, D, QM, QN>), rows, THREADS, (query_shared<D, QM, QN>()), cuda->stream,
                          flash);
    }
    DPT_LAUNCH_SHARED((key_gradients<T, DROP, D, KM, KN>), keys, THREADS, (key_shared<D, KM, KN>()), cuda->stream, flash);
}

/* Tiles are as large as registers allow: ptxas says what a kernel takes, and nothing may be spilled. */
template <enum dpt_dtype T, bool DROP>
static void launch(struct dpt_cuda *cuda, const struct flash &flash, bool backward)
{
    const bool narrow = flash.at.d <= 64;
    if (backward && narrow) {
        launch_backward<T, DROP, 64, 2, 32, 1, DROP ? 32 : 64>(cuda, flash);
    } else if (backward) {
        launch_backward<T, DROP, 128, 1, 64, 1, DROP ? 16 : 32>(cuda, flash);
    } else if (narrow) {
        launch_forward<T, DROP, 64, 2, DROP ? 32 : 64>(cuda, flash);
    } else {
        launch_forward<T, DROP, 128, DROP ? 1 : 2, DROP ? 64 : 32>(cuda, flash);
    }
}

static bool launch_any(struct dpt_cuda *cuda, const struct flash &flash, bool backward)
{
    const bool drop = flash.drop != 0;
    if (flash.q.type == DPT_DTYPE_BF16 && drop) {
        launch<DPT_DTYPE_BF16, true>(cuda, flash, backward);
    } else if (flash.q.type == DPT_DTYPE_BF16) {
        launch<DPT_DTYPE_BF16, false>(cuda, flash, backward);
    } else if (drop) {
        launch<DPT_DTYPE_F16, true>(cuda, flash, backward);
    } else {
        launch<DPT_DTYPE_F16, false>(cuda, flash, backward);
    }
    return true;
}

static bool fits(const void *data, enum dpt_dtype type, const struct flash *flash)
{
    return type == flash->q.type && (uintptr_t)data % 16 == 0;
}

/* Softmax takes the largest score before it is scaled, so the scale has to be positive. Rows and keys are counted in int. */
static bool fits_forward(const struct flash *flash)
{
    const int64_t most = 1 << 30;
    const bool half = flash->q.type == DPT_DTYPE_BF16 || flash->q.type == DPT_DTYPE_F16;
    return half && flash->at.d % 8 == 0 && flash->at.d <= 128 && flash->scale > 0.0f && flash->lse.type == DPT_DTYPE_F32 &&
           flash->at.first + flash->at.s < most && flash->at.t < most &&
           fits(flash->q.data, flash->q.type, flash) && fits(flash->k.data, flash->k.type, flash) &&
           fits(flash->v.data, flash->v.type, flash) && fits(flash->to_y.data, flash->to_y.type, flash);
}

bool dpt_op__attention_mma(struct dpt_cuda *cuda, const struct flash *flash)
{
    return fits_forward(flash) && launch_any(cuda, *flash, false);
}

bool dpt_op__attention_dx_mma(struct dpt_cuda *cuda, const struct flash *flash)
{
    return fits_forward(flash) && fits(flash->dy.data, flash->dy.type, flash) &&
           fits(flash->dq.data, flash->dq.type, flash) && fits(flash->dk.data, flash->dk.type, flash) &&
           fits(flash->dv.data, flash->dv.type, flash) && launch_any(cuda, *flash, true);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of attention.c, after FlashAttention (Dao and others, 2022): a block has a tile of rows (of keys for dk and dv) in
 * shared memory and walks over the tiles of the other side, so that no matrix of rows times keys exists. Sixteen threads
 * work at one row; they take every sixteenth key, then every sixteenth feature. Sums have one order: dq is made by the
 * block of its row, dk and dv by that of their key, and nothing is added by two blocks.
 *
 * Operands in 16 bits have kernels on tensor cores, attention_mma_cuda.cu, which are asked first.
 *
 * D: the widest head of a kernel, features beyond at.d are 0. Q rows, K keys a tile.
 */

#include "op/attention_cuda.cuh"

enum { LANES = 16, WIDEST = 256 };

/* Over the sixteen threads of a row, in each of them. */
static __device__ float lanes_sum(float value)
{
    for (int step = LANES / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, step);
    }
    return value;
}

static __device__ float lanes_max(float value)
{
    for (int step = LANES / 2; step > 0; step /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    }
    return value;
}

/* Rows first .. first + R - 1 of a matrix to shared memory; what is past `rows` or past d is 0. */
template <int D, int R>
static __device__ void load(float (*tile)[D + 1], struct dpt_in from, int64_t stride, int64_t first, int64_t rows, int64_t d)
{
    for (int e = (int)threadIdx.x; e < R * D; e += (int)blockDim.x) {
        const int64_t r = first + e / D, f = e % D;
        tile[e / D][f] = r < rows && f < d ? from[r * stride + f] : 0.0f;
    }
}

template <int D> static __device__ float dot(const float *x, const float *y)
{
    float sum = 0.0f;
    for (int f = 0; f < D; f++) {
        sum += x[f] * y[f];
    }
    return sum;
}

/* Where a block of `attend` and `query_gradients` is: a tile of Q rows of one head of a sample. */
struct block {
    int mine, lane;             /* row of this thread in the tile, its number among the sixteen */
    int64_t first, i;           /* first row of the tile, this thread's                         */
    int64_t last;               /* behind the keys that the tile sees                           */
    struct row begin, row;      /* of the head's first row, of this thread's                    */
    struct dpt_in key, value;   /* of the head                                                  */
};

template <int Q> static __device__ struct block block_at(const struct flash &flash)
{
    const struct dpt_attention *at = &flash.at;
    const int64_t heads = at->a * at->g, h = blockIdx.y % heads, n = blockIdx.y / heads;
    const int64_t keys = n * at->k_sample + h / at->g * at->d;
    struct block block;
    block.mine = (int)threadIdx.x / LANES;
    block.lane = (int)threadIdx.x % LANES;
    block.first = (int64_t)blockIdx.x * Q;
    block.i = block.first + block.mine;
    block.last = at->first + block.first + Q < at->t ? at->first + block.first + Q : at->t;
    block.begin = row_at(at, n, h, 0);
    block.row = row_at(at, n, h, block.i);
    block.key = flash.k + keys;
    block.value = flash.v + keys;
    return block;
}

template <int D, int Q, int K> static __global__ void attend(struct flash flash)
{
    __shared__ float q[Q][D + 1], kv[K][D + 1], p[Q][K + 1];
    enum { KEYS = K / LANES, FEATURES = D / LANES };
    const struct dpt_attention *at = &flash.at;
    const struct block block = block_at<Q>(flash);
    const int mine = block.mine, lane = block.lane;
    const int64_t i = block.i;
    float max = -INFINITY, sum = 0.0f, out[FEATURES] = {0};
    load<D, Q>(q, flash.q + block.begin.q, at->q_row, block.first, at->s, at->d);
    for (int64_t tile = 0; tile < block.last; tile += K) {
        float s[KEYS], most = -INFINITY;
        __syncthreads(); /* the last tile's values were read */
        load<D, K>(kv, block.key, at->k_row, tile, at->t, at->d);
        __syncthreads();
        for (int k = 0; k < KEYS; k++) {
            const int64_t j = tile + lane + k * LANES;
            s[k] = j <= at->first + i && j < at->t ? flash.scale * dot<D>(q[mine], kv[lane + k * LANES]) : -INFINITY;
            most = fmaxf(most, s[k]);
        }
        most = fmaxf(max, lanes_max(most));
        const float fade = max == -INFINITY ? 0.0f : expf(max - most);
        float more = 0.0f;
        for (int k = 0; k < KEYS; k++) {
            const int64_t j = tile + lane + k * LANES;
            const float whole = s[k] == -INFINITY ? 0.0f : expf(s[k] - most);
            more += whole;
            p[mine][lane + k * LANES] = whole == 0.0f ? 0.0f : whole * mask_at(&flash, block.row.place + j);
        }
        sum = sum * fade + lanes_sum(more);
        max = most;
        __syncthreads(); /* the keys were read */
        load<D, K>(kv, block.value, at->k_row, tile, at->t, at->d);
        __syncthreads();
        for (int f = 0; f < FEATURES; f++) {
            float total = out[f] * fade;
            for (int j = 0; j < K; j++) {
                total += p[mine][j] * kv[j][lane + f * LANES];
            }
            out[f] = total;
        }
    }
    for (int f = 0; f < FEATURES && i < at->s; f++) {
        if (lane + f * LANES < at->d) {
            flash.to_y[block.row.y + lane + f * LANES] = out[f] / sum;
        }
    }
    if (lane == 0 && i < at->s) {
        flash.to_lse[block.row.lse] = max + logf(sum);
    }
}

/* dy . y of each row, a warp a row. */
static __global__ void deltas(struct flash flash)
{
    const struct dpt_attention *at = &flash.at;
    const int64_t heads = at->a * at->g, rows = at->b * at->s * heads;
    const int lane = (int)threadIdx.x % DPT_WARP, warps = (int)blockDim.x / DPT_WARP;
    for (int64_t r = (int64_t)blockIdx.x * warps + threadIdx.x / DPT_WARP; r < rows; r += (int64_t)gridDim.x * warps) {
        const struct row row = row_at(at, r / heads / at->s, r % heads, r / heads % at->s);
        float sum = 0.0f;
        for (int64_t f = lane; f < at->d; f += DPT_WARP) {
            sum += flash.dy[row.y + f] * flash.y[row.y + f];
        }
        sum = dpt_warp_sum(sum);
        if (lane == 0) {
            flash.delta[row.lse] = sum;
        }
    }
}

/* dq: a block a tile of rows, as in `attend`. */
template <int D, int Q, int K> static __global__ void query_gradients(struct flash flash)
{
    __shared__ float q[Q][D + 1], dy[Q][D + 1], kv[K][D + 1], ds[Q][K + 1];
    enum { KEYS = K / LANES, FEATURES = D / LANES };
    const struct dpt_attention *at = &flash.at;
    const struct block block = block_at<Q>(flash);
    const int mine = block.mine, lane = block.lane;
    const int64_t i = block.i;
    const float lse = i < at->s ? flash.lse[block.row.lse] : 0.0f, delta = i < at->s ? flash.delta[block.row.lse] : 0.0f;
    float out[FEATURES] = {0};
    load<D, Q>(q, flash.q + block.begin.q, at->q_row, block.first, at->s, at->d);
    load<D, Q>(dy, flash.dy + block.begin.y, at->y_row, block.first, at->s, at->d);
    for (int64_t tile = 0; tile < block.last; tile += K) {
        float dp[KEYS];
        __syncthreads();
        load<D, K>(kv, block.value, at->k_row, tile, at->t, at->d);
        __syncthreads();
        for (int k = 0; k < KEYS; k++) {
            dp[k] = dot<D>(dy[mine], kv[lane + k * LANES]);
        }
        __syncthreads();
        load<D, K>(kv, block.key, at->k_row, tile, at->t, at->d);
        __syncthreads();
        for (int k = 0; k < KEYS; k++) {
            const int64_t j = tile + lane + k * LANES;
            const bool seen = i < at->s && j <= at->first + i && j < at->t;
            const float p = seen ? expf(flash.scale * dot<D>(q[mine], kv[lane + k * LANES]) - lse) : 0.0f;
            ds[mine][lane + k * LANES] = seen ? p * (mask_at(&flash, block.row.place + j) * dp[k] - delta) : 0.0f;
        }
        __syncthreads();
        for (int f = 0; f < FEATURES; f++) {
            for (int j = 0; j < K; j++) {
                out[f] += ds[mine][j] * kv[j][lane + f * LANES];
            }
        }
    }
    for (int f = 0; f < FEATURES && i < at->s; f++) {
        if (lane + f * LANES < at->d) {
            flash.dq[block.row.q + lane + f * LANES] = flash.scale * out[f];
        }
    }
}

/* dk and dv: a block a tile of keys, over the rows of all queries of the head. */
template <int D, int Q, int K> static __global__ void key_gradients(struct flash flash)
{
    __shared__ float k[K][D + 1], v[K][D + 1], q[Q][D + 1], dy[Q][D + 1], p[K][Q + 1], ds[K][Q + 1];
    enum { FEATURES = D / LANES };
    const struct dpt_attention *at = &flash.at;
    const int mine = (int)threadIdx.x / LANES, lane = (int)threadIdx.x % LANES;
    const int64_t a = blockIdx.y % at->a, n = blockIdx.y / at->a;
    const int64_t first = (int64_t)blockIdx.x * K, j = first + mine, base = n * at->k_sample + a * at->d;
    /* The first row that sees a key of the tile, at the begin of a tile of rows. */
    const int64_t from = first > at->first ? (first - at->first) / Q * Q : 0;
    float dk[FEATURES] = {0}, dv[FEATURES] = {0};
    load<D, K>(k, flash.k + base, at->k_row, first, at->t, at->d);
    load<D, K>(v, flash.v + base, at->k_row, first, at->t, at->d);
    for (int64_t g = 0; g < at->g; g++) {
        const struct row head = row_at(at, n, a * at->g + g, 0);
        for (int64_t tile = from; tile < at->s; tile += Q) {
            __syncthreads();
            load<D, Q>(q, flash.q + head.q, at->q_row, tile, at->s, at->d);
            load<D, Q>(dy, flash.dy + head.y, at->y_row, tile, at->s, at->d);
            __syncthreads();
            for (int r = lane; r < Q; r += LANES) {
                const int64_t i = tile + r;
                const bool seen = i < at->s && j <= at->first + i && j < at->t;
                float whole = 0.0f, mask = 0.0f, slope = 0.0f;
                if (seen) {
                    const struct row row = row_at(at, n, a * at->g + g, i);
                    whole = expf(flash.scale * dot<D>(q[r], k[mine]) - flash.lse[row.lse]);
                    mask = mask_at(&flash, row.place + j);
                    slope = whole * (mask * dot<D>(dy[r], v[mine]) - flash.delta[row.lse]);
                }
                p[mine][r] = whole * mask;
                ds[mine][r] = slope;
            }
            __syncthreads();
            for (int f = 0; f < FEATURES; f++) {
                for (int r = 0; r < Q; r++) {
                    dv[f] += p[mine][r] * dy[r][lane + f * LANES];
                    dk[f] += ds[mine][r] * q[r][lane + f * LANES];
                }
            }
        }
    }
    for (int f = 0; f < FEATURES && j < at->t; f++) {
        if (lane + f * LANES < at->d) {
            const int64_t to = base + j * at->k_row + lane + f * LANES;
            flash.dk[to] = flash.scale * dk[f];
            flash.dv[to] = dv[f];
        }
    }
}

static struct flash flash_of(const struct dpt_op_call *call)
{
    const struct dpt_attention_param *param = (const struct dpt_attention_param *)call->types->param;
    const bool qkv = call->types->nin == 1 || call->types->nin == 4, backward = call->types->nin > 3;
    const int saved = qkv ? 1 : 3; /* y, lse and dy of a backward op */
    const struct dpt_tensor *y = backward ? &call->in[saved] : &call->out[0];
    const enum dpt_dtype type = call->in[0].type.dtype, y_type = y[0].type.dtype, lse_type = y[1].type.dtype;
    struct flash flash = {};
    flash.at = dpt_op__attention_of(call);
    flash.q = {flash.at.q, type, DPT_DTYPE_F32};
    flash.k = {flash.at.k, qkv ? type : call->in[1].type.dtype, DPT_DTYPE_F32};
    flash.v = {flash.at.v, qkv ? type : call->in[2].type.dtype, DPT_DTYPE_F32};
    flash.y = {flash.at.y, y_type, DPT_DTYPE_F32};
    flash.to_y = {flash.at.y, y_type};
    if (backward) {
        flash.dy = {flash.at.dy, call->in[saved + 2].type.dtype, DPT_DTYPE_F32};
        flash.dq = {flash.at.dq, call->out[0].type.dtype};
        flash.dk = {flash.at.dk, call->out[qkv ? 0 : 1].type.dtype};
        flash.dv = {flash.at.dv, call->out[qkv ? 0 : 2].type.dtype};
    }
    flash.lse = {flash.at.lse, lse_type, DPT_DTYPE_F32};
    flash.to_lse = {flash.at.lse, lse_type};
    flash.scale = (float)param->scale;
    flash.seed = call->ctx->seed;
    flash.step = dpt_cuda_of(call->dev)->step;
    flash.stream = param->stream;
    flash.drop = (uint32_t)(param->rate * 0x1p32);
    flash.kept = (float)(1.0 / (1.0 - param->rate));
    flash.delta = (float *)call->scratch;
    return flash;
}

static unsigned tiles(int64_t rows, int rows_of_tile)
{
    return (unsigned)((rows + rows_of_tile - 1) / rows_of_tile);
}

template <int D, int Q, int K> static void forward(struct dpt_cuda *cuda, const struct flash &flash)
{
    const dim3 grid(tiles(flash.at.s, Q), (unsigned)(flash.at.b * flash.at.a * flash.at.g));
    DPT_LAUNCH((attend<D, Q, K>), grid, Q * LANES, cuda->stream, flash);
}

template <int D, int Q, int K> static void backward(struct dpt_cuda *cuda, const struct flash &flash)
{
    const struct dpt_attention *at = &flash.at;
    const dim3 rows(tiles(at->s, Q), (unsigned)(at->b * at->a * at->g)), keys(tiles(at->t, Q), (unsigned)(at->b * at->a));
    if (at->s > 0) { /* a rank may have keys alone */
        DPT_LAUNCH((query_gradients<D, Q, K>), rows, Q * LANES, cuda->stream, flash);
    }
    DPT_LAUNCH((key_gradients<D, Q, Q>), keys, Q * LANES, cuda->stream, flash);
}

/* Shared memory holds 48 KiB without further ado, which decides the tiles. */
extern "C" enum dpt_status dpt_op__attention_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct flash flash = flash_of(call);
    const struct dpt_attention *at = &flash.at;
    if (at->b * at->s * at->a * at->g == 0) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_cuda_step(cuda, call->ctx->step));
    if (dpt_op__attention_mma(cuda, &flash)) {
        return DPT_STATUS_OK;
    }
    if (at->d <= 64) {
        forward<64, 16, 32>(cuda, flash);
    } else if (at->d <= 128) {
        forward<128, 16, 32>(cuda, flash);
    } else {
        forward<WIDEST, 8, 16>(cuda, flash);
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__attention_dx_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct flash flash = flash_of(call);
    const struct dpt_attention *at = &flash.at;
    const int64_t rows = at->b * at->s * at->a * at->g;
    if (at->b * at->t * at->a * at->g == 0) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_cuda_step(cuda, call->ctx->step));
    if (rows > 0) {
        DPT_LAUNCH(deltas, dpt_blocks(cuda, rows * DPT_WARP), DPT_BLOCK, cuda->stream, flash);
    }
    if (dpt_op__attention_dx_mma(cuda, &flash)) {
        return DPT_STATUS_OK;
    }
    if (at->d <= 64) {
        backward<64, 16, 32>(cuda, flash);
    } else if (at->d <= 128) {
        backward<128, 16, 32>(cuda, flash);
    } else {
        backward<WIDEST, 8, 16>(cuda, flash);
    }
    return DPT_STATUS_OK;
}

extern "C" size_t dpt_op__attention_scratch_cuda(const struct dpt_op_types *types)
{
    const struct dpt_type *lse = &types->in[types->nin - 2]; /* of the backward ops */
    return (size_t)dpt_type_numel(lse) * sizeof(float);
}

extern "C" enum dpt_status dpt_op__attention_check_cuda(const struct dpt_op_types *types)
{
    const struct dpt_type *q = &types->in[0];
    const int64_t most = 65535; /* rows of a grid */
    DPT_CHECK(q->dim[4] <= WIDEST, DPT_STATUS_USAGE, "heads are %lld wide, the kernel for cards takes at most %d",
              (long long)q->dim[4], (int)WIDEST);
    DPT_CHECK(dpt_type_numel(q) == 0 || q->dim[0] * q->dim[2] * q->dim[3] <= most, DPT_STATUS_USAGE,
              "%lld samples and heads at a time, the kernel for cards takes at most %lld: use more micro-batches",
              (long long)(q->dim[0] * q->dim[2] * q->dim[3]), (long long)most);
    return DPT_STATUS_OK;
}

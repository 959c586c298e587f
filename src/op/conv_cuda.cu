/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Twins of conv.c: convolutions as products of matrices that are never stored (implicit GEMM). Each of the three is
 * c[m,n] = sum_k a(m,k) b(k,n) for every group, where a and b look their elements up in the images:
 *
 *              m              n          k
 *   conv       places of y    o          i, j, c
 *   conv_dx    places of x    c          i, j, o
 *   conv_dw    o              c, i, j    places of y
 *
 * Nodes in 16 bits have theirs on tensor cores, conv_mma_cuda.cu.
 *
 * A block makes a tile of c, a thread four by four of its elements. Where k is long and c small (conv_dw), parts of k go to
 * blocks of their own, whose sums are added in order.
 */

#include "op/conv_cuda.cuh"

enum { SIDE = 16, EACH = 4, TILE = SIDE * EACH, DEPTH = 16, MOST_PARTS = 32 };

/* Where kernel place k at output place `out` reads the input, or -1. */
static __device__ int64_t read_at(const struct dpt_op__conv &conv, int axis, int64_t out, int64_t k)
{
    const int64_t at = out * conv.stride[axis] + k * conv.dilation[axis] - conv.pad[axis];
    return at >= 0 && at < conv.in[axis] ? at : -1;
}

/* The output place whose kernel place k reads `in`, or -1. */
static __device__ int64_t reader_of(const struct dpt_op__conv &conv, int axis, int64_t in, int64_t k)
{
    const int64_t at = in + conv.pad[axis] - k * conv.dilation[axis];
    return at >= 0 && at % conv.stride[axis] == 0 && at / conv.stride[axis] < conv.out[axis] ? at / conv.stride[axis] : -1;
}

static __device__ float x_at(const struct images &im, int64_t g, int64_t n, int64_t y, int64_t x, int64_t c)
{
    const struct dpt_op__conv &conv = im.conv;
    return y < 0 || x < 0 ? 0.0f : im.x[(((n * conv.in[0] + y) * conv.in[1] + x) * conv.groups + g) * conv.c + c];
}

static __device__ float dy_at(const struct images &im, int64_t g, int64_t n, int64_t y, int64_t x, int64_t o)
{
    const struct dpt_op__conv &conv = im.conv;
    return y < 0 || x < 0 ? 0.0f : im.dy[(((n * conv.out[0] + y) * conv.out[1] + x) * conv.groups + g) * conv.o + o];
}

/* ------------------------------------------------------------------------------------------------- the three forms */

struct forward {
    static __host__ __device__ int64_t m(const struct dpt_op__conv &conv) { return conv.n * conv.out[0] * conv.out[1]; }
    static __host__ __device__ int64_t n(const struct dpt_op__conv &conv) { return conv.o; }
    static __host__ __device__ int64_t k(const struct dpt_op__conv &conv)
    {
        return conv.kernel[0] * conv.kernel[1] * conv.c;
    }

    static __device__ float a(const struct images &im, int64_t g, int64_t m, int64_t k)
    {
        const struct dpt_pixel at = dpt_pixel_of(im.conv.out, m);
        const int64_t i = k / im.conv.c / im.conv.kernel[1], j = k / im.conv.c % im.conv.kernel[1];
        return x_at(im, g, at.n, read_at(im.conv, 0, at.y, i), read_at(im.conv, 1, at.x, j), k % im.conv.c);
    }

    static __device__ float b(const struct images &im, int64_t g, int64_t k, int64_t n)
    {
        return w_at(im, g, n, k % im.conv.c, k / im.conv.c / im.conv.kernel[1], k / im.conv.c % im.conv.kernel[1]);
    }

    static __device__ void store(const struct images &im, int64_t g, int64_t m, int64_t n, float sum)
    {
        const int64_t channel = g * im.conv.o + n;
        const float z = sum + (im.bias.data ? im.bias[channel] : 0.0f);
        im.out[m * im.conv.groups * im.conv.o + channel] = im.relu && z < 0.0f ? 0.0f : z;
    }
};

struct input_gradient {
    static __host__ __device__ int64_t m(const struct dpt_op__conv &conv) { return conv.n * conv.in[0] * conv.in[1]; }
    static __host__ __device__ int64_t n(const struct dpt_op__conv &conv) { return conv.c; }
    static __host__ __device__ int64_t k(const struct dpt_op__conv &conv)
    {
        return conv.kernel[0] * conv.kernel[1] * conv.o;
    }

    static __device__ float a(const struct images &im, int64_t g, int64_t m, int64_t k)
    {
        const struct dpt_pixel at = dpt_pixel_of(im.conv.in, m);
        const int64_t i = k / im.conv.o / im.conv.kernel[1], j = k / im.conv.o % im.conv.kernel[1];
        return dy_at(im, g, at.n, reader_of(im.conv, 0, at.y, i), reader_of(im.conv, 1, at.x, j), k % im.conv.o);
    }

    static __device__ float b(const struct images &im, int64_t g, int64_t k, int64_t n)
    {
        return w_at(im, g, k % im.conv.o, n, k / im.conv.o / im.conv.kernel[1], k / im.conv.o % im.conv.kernel[1]);
    }

    static __device__ void store(const struct images &im, int64_t g, int64_t m, int64_t n, float sum)
    {
        im.out[m * im.conv.groups * im.conv.c + g * im.conv.c + n] = sum;
    }
};

struct weight_gradient {
    static __host__ __device__ int64_t m(const struct dpt_op__conv &conv) { return conv.o; }
    static __host__ __device__ int64_t n(const struct dpt_op__conv &conv)
    {
        return conv.c * conv.kernel[0] * conv.kernel[1];
    }
    static __host__ __device__ int64_t k(const struct dpt_op__conv &conv) { return conv.n * conv.out[0] * conv.out[1]; }

    static __device__ float a(const struct images &im, int64_t g, int64_t m, int64_t k)
    {
        const struct dpt_pixel at = dpt_pixel_of(im.conv.out, k);
        return dy_at(im, g, at.n, at.y, at.x, m);
    }

    static __device__ float b(const struct images &im, int64_t g, int64_t k, int64_t n)
    {
        const struct dpt_pixel at = dpt_pixel_of(im.conv.out, k);
        const int64_t j = n % im.conv.kernel[1], i = n / im.conv.kernel[1] % im.conv.kernel[0];
        return x_at(im, g, at.n, read_at(im.conv, 0, at.y, i), read_at(im.conv, 1, at.x, j),
                    n / im.conv.kernel[1] / im.conv.kernel[0]);
    }

    static __device__ void store(const struct images &im, int64_t g, int64_t m, int64_t n, float sum)
    {
        im.out[(g * im.conv.o + m) * weight_gradient::n(im.conv) + n] = sum;
    }
};

/* ------------------------------------------------------------------------------------------------------ the kernel */

static __host__ __device__ int64_t tiles(int64_t n)
{
    return (n + TILE - 1) / TILE;
}

/* part: NULL, or [parts][groups][m][n] for sums over parts of k. Blocks: tiles, those of n beside each other; groups, parts. */
template <class F> static __global__ void product(struct images im, int64_t parts, float *part)
{
    __shared__ float a[DEPTH][TILE + 1], b[DEPTH][TILE + 1];
    const int64_t m = F::m(im.conv), n = F::n(im.conv), k = F::k(im.conv);
    const int64_t g = blockIdx.z / parts, p = blockIdx.z % parts, depth = (k + parts - 1) / parts;
    const int64_t end = (p + 1) * depth < k ? (p + 1) * depth : k;
    const int64_t columns = tiles(n), row = blockIdx.x / columns * TILE, column = blockIdx.x % columns * TILE;
    const int x = (int)threadIdx.x % SIDE, y = (int)threadIdx.x / SIDE;
    float sum[EACH][EACH] = {{0}};
    for (int64_t first = p * depth; first < end; first += DEPTH) {
        for (int e = (int)threadIdx.x; e < DEPTH * TILE; e += SIDE * SIDE) {
            const int64_t r = row + e / DEPTH, in_a = first + e % DEPTH, in_b = first + e / TILE, c = column + e % TILE;
            a[e % DEPTH][e / DEPTH] = r < m && in_a < end ? F::a(im, g, r, in_a) : 0.0f;
            b[e / TILE][e % TILE] = c < n && in_b < end ? F::b(im, g, in_b, c) : 0.0f;
        }
        __syncthreads();
        for (int d = 0; d < DEPTH; d++) {
            for (int i = 0; i < EACH; i++) {
                for (int j = 0; j < EACH; j++) {
                    sum[i][j] += a[d][y + i * SIDE] * b[d][x + j * SIDE];
                }
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++) {
        for (int j = 0; j < EACH; j++) {
            const int64_t r = row + y + i * SIDE, c = column + x + j * SIDE;
            if (r < m && c < n && part) {
                part[((p * im.conv.groups + g) * m + r) * n + c] = sum[i][j];
            } else if (r < m && c < n) {
                F::store(im, g, r, c, sum[i][j]);
            }
        }
    }
}

/* The parts of each element, in order. */
static __global__ void add_parts(int64_t n, int64_t parts, const float *part, struct dpt_out out)
{
    DPT_EACH(i, n)
    {
        double sum = 0.0;
        for (int64_t p = 0; p < parts; p++) {
            sum += part[p * n + i];
        }
        out[i] = (float)sum;
    }
}

template <class F> static void launch(struct dpt_cuda *cuda, const struct images &im, int64_t parts, float *part)
{
    const struct dpt_op__conv &conv = im.conv;
    if (F::m(conv) * F::n(conv) * conv.groups > 0) {
        const dim3 grid((unsigned)(tiles(F::n(conv)) * tiles(F::m(conv))), 1, (unsigned)(conv.groups * parts));
        DPT_LAUNCH(product<F>, grid, SIDE * SIDE, cuda->stream, im, parts, part);
    }
}

/* Parts of k of conv_dw: enough blocks for a card, and no part shorter than 256. */
static int64_t parts_of(const struct dpt_op__conv &conv)
{
    enum { LEAST = 256, BLOCKS = 512 };
    const int64_t blocks = tiles(weight_gradient::m(conv)) * tiles(weight_gradient::n(conv)) * conv.groups;
    const int64_t wanted = BLOCKS / (blocks > 0 ? blocks : 1), most = weight_gradient::k(conv) / LEAST;
    const int64_t parts = wanted < most ? wanted : most, limit = MOST_PARTS;
    return parts < 1 ? 1 : parts < limit ? parts : limit;
}

extern "C" enum dpt_status dpt_op__conv_cuda(const struct dpt_op_call *call)
{
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)call->types->param;
    struct images im = {};
    im.conv = dpt_op__conv_sizes(param, &call->in[0].type, &call->in[1].type, &call->out[0].type);
    im.x = dpt_factor_of(call, 0);
    im.w = dpt_factor_of(call, 1);
    im.bias = dpt_in_of(call, 2);
    im.out = dpt_out_of(call, 0);
    im.relu = param->act == DPT_ACTIVATION_KIND_RELU;
    if (!dpt_op__conv_mma(dpt_cuda_of(call->dev), &im, call->types->half, call->scratch)) {
        launch<forward>(dpt_cuda_of(call->dev), im, 1, NULL);
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__conv_dx_cuda(const struct dpt_op_call *call)
{
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)call->types->param;
    struct images im = {};
    im.conv = dpt_op__conv_sizes(param, &call->out[0].type, &call->in[1].type, &call->in[0].type);
    im.dy = dpt_factor_of(call, 0);
    im.w = dpt_factor_of(call, 1);
    im.out = dpt_out_of(call, 0);
    if (!dpt_op__conv_dx_mma(dpt_cuda_of(call->dev), &im, call->types->half, call->scratch)) {
        launch<input_gradient>(dpt_cuda_of(call->dev), im, 1, NULL);
    }
    return DPT_STATUS_OK;
}

extern "C" enum dpt_status dpt_op__conv_dw_cuda(const struct dpt_op_call *call)
{
    struct dpt_cuda *cuda = dpt_cuda_of(call->dev);
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)call->types->param;
    const int64_t numel = dpt_type_numel(&call->out[0].type);
    float *scratch = (float *)call->scratch;
    struct images im = {};
    im.conv = dpt_op__conv_sizes(param, &call->in[0].type, &call->out[0].type, &call->in[1].type);
    im.x = dpt_factor_of(call, 0);
    im.dy = dpt_factor_of(call, 1);
    im.out = dpt_out_of(call, 0);
    const int64_t parts = parts_of(im.conv);
    if (!dpt_op__conv_dw_mma(cuda, &im, call->types->half, scratch)) {
        launch<weight_gradient>(cuda, im, parts, parts > 1 ? scratch : NULL);
        if (parts > 1) {
            DPT_LAUNCH_EACH(cuda, numel, add_parts, parts, (const float *)scratch, im.out);
        }
    }
    if (call->types->nout > 1) {
        const int64_t channels = im.conv.groups * im.conv.o;
        struct dpt_column_values value;
        value.k = channels;
        value.x = im.dy;
        const struct dpt_columns<1> out = {{(float *)call->out[1].data}};
        dpt_column_sums<1>(cuda, weight_gradient::k(im.conv), channels, value, scratch, out);
    }
    return DPT_STATUS_OK;
}

extern "C" size_t dpt_op__conv_dw_scratch_cuda(const struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)types->param;
    const struct dpt_op__conv conv = dpt_op__conv_sizes(param, &types->in[0], &types->out[0], &types->in[1]);
    const size_t columns = dpt_column_scratch(1, conv.groups * conv.o); /* of dbias, behind dw */
    /* A call with fewer samples has no more parts. */
    const size_t sums = (size_t)parts_of(conv) * (size_t)dpt_type_numel(&types->out[0]) * sizeof(float);
    const size_t plain = parts_of(conv) > 1 && sums > columns ? sums : columns;
    const size_t mma = dpt_op__conv_dw_mma_scratch(&conv, types->half);
    return mma > plain ? mma : plain;
}

extern "C" size_t dpt_op__conv_scratch_cuda(const struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)types->param;
    const struct dpt_op__conv conv = dpt_op__conv_sizes(param, &types->in[0], &types->in[1], &types->out[0]);
    return dpt_op__conv_mma_scratch(&conv, types->half);
}

extern "C" size_t dpt_op__conv_dx_scratch_cuda(const struct dpt_op_types *types)
{
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)types->param;
    const struct dpt_op__conv conv = dpt_op__conv_sizes(param, &types->out[0], &types->in[1], &types->in[0]);
    return dpt_op__conv_dx_mma_scratch(&conv, types->half);
}

/* Tiles of an image, of whatever size in one of the kernels for it, that a block finds by a number of 31 bits. */
static bool are_few(const struct dpt_type *image)
{
    enum { SMALLER = 4 };
    return tiles(image->dim[0] * image->dim[1] * image->dim[2]) * tiles(image->dim[3]) <= INT32_MAX / SMALLER;
}

extern "C" enum dpt_status dpt_op__conv_check_cuda(const struct dpt_op_types *types)
{
    const int64_t most = 65535;
    const struct dpt_type *x = &types->in[0], *y = &types->out[0];
    const struct dpt_conv_param *param = (const struct dpt_conv_param *)types->param;
    DPT_CHECK(are_few(x) && (y->ndim != 4 || are_few(y)), DPT_STATUS_USAGE,
              "images of %lld numbers at a time are more than the kernel for cards takes: use more micro-batches",
              (long long)dpt_type_numel(x));
    DPT_CHECK(param->groups * MOST_PARTS <= most, DPT_STATUS_USAGE,
              "a convolution has %lld groups, the kernel for cards takes at most %lld", (long long)param->groups,
              (long long)(most / MOST_PARTS));
    return DPT_STATUS_OK;
}

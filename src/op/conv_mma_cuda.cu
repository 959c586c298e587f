/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Convolutions in 16 bits on tensor cores: the products of conv_cuda.cu with sums in float. Weights are brought first,
 * rounded, into the order in which a product reads them, [n][tap][channel], a tap being a place (i, j) of the kernel, so
 * that conv and conv_dx are one kernel: a row of a tile is a place of the result, the columns of a row are channels of a
 * place that a tap reads.
 *
 * A block of four warps makes a tile of c, DEPTH numbers of k at a time, the next ones on their way while these are
 * multiplied. WIDE: eight channels lie side by side and are copied at once; else each number is looked up, which serves any
 * number of channels, and operands in F32. Where a row of a tile reads is asked once (struct spot). In conv_dw, parts of
 * the places go to blocks of their own and are added in order.
 */

#include "op/conv_cuda.cuh"
#include "op/cuda_mma.cuh"

enum { WARPS = 4, THREADS = WARPS * DPT_WARP, DEPTH = 64, ROWS = 128, OUTPUTS = 64 };

static __host__ __device__ unsigned blocks_of(int64_t n, int tile)
{
    return (unsigned)((n + tile - 1) / tile);
}

/* Places of images at which the window of a place begins; base: of the image, -1 for a place that is not there. */
struct spot {
    int base, y, x;
};

/* Eight numbers of a row of k from `k` on: their tap and first channel. */
struct tap {
    int i, j, channel;
};

static __device__ struct tap tap_of(const struct dpt_op__conv &conv, int channels, int k)
{
    const int at = k / channels, width = (int)conv.kernel[1];
    const struct tap tap = {at / width, at % width, k % channels};
    return tap;
}

/* What conv and conv_dw read: place (i, j) of the window of a place of y in x, or -1. */
struct windows {
    static __host__ __device__ int64_t channels(const struct dpt_op__conv &conv) { return conv.c; }
    static __host__ __device__ int64_t outputs(const struct dpt_op__conv &conv) { return conv.o; }
    static __host__ __device__ int64_t places(const struct dpt_op__conv &conv) { return conv.n * conv.out[0] * conv.out[1]; }
    static __device__ struct dpt_in from(const struct images &im) { return im.x; }

    static __device__ struct spot spot(const struct dpt_op__conv &conv, int64_t m)
    {
        const struct dpt_pixel at = dpt_pixel_of(conv.out, m);
        const struct spot spot = {(int)(at.n * conv.in[0] * conv.in[1]), (int)(at.y * conv.stride[0] - conv.pad[0]),
                                  (int)(at.x * conv.stride[1] - conv.pad[1])};
        return spot;
    }

    static __device__ int64_t place(const struct dpt_op__conv &conv, const struct spot &spot, const struct tap &tap)
    {
        const int y = spot.y + tap.i * (int)conv.dilation[0], x = spot.x + tap.j * (int)conv.dilation[1];
        const bool there = spot.base >= 0 && y >= 0 && y < (int)conv.in[0] && x >= 0 && x < (int)conv.in[1];
        return there ? spot.base + (int64_t)y * conv.in[1] + x : -1;
    }

    static __device__ float weight(const struct images &im, int64_t g, int64_t n, int64_t i, int64_t j, int64_t channel)
    {
        return w_at(im, g, n, channel, i, j);
    }
};

/* What conv_dx reads: the place of y whose window has a place of x at (i, j), in dy. */
struct readers {
    static __host__ __device__ int64_t channels(const struct dpt_op__conv &conv) { return conv.o; }
    static __host__ __device__ int64_t outputs(const struct dpt_op__conv &conv) { return conv.c; }
    static __host__ __device__ int64_t places(const struct dpt_op__conv &conv) { return conv.n * conv.in[0] * conv.in[1]; }
    static __device__ struct dpt_in from(const struct images &im) { return im.dy; }

    static __device__ struct spot spot(const struct dpt_op__conv &conv, int64_t m)
    {
        const struct dpt_pixel at = dpt_pixel_of(conv.in, m);
        const struct spot spot = {(int)(at.n * conv.out[0] * conv.out[1]), (int)(at.y + conv.pad[0]),
                                  (int)(at.x + conv.pad[1])};
        return spot;
    }

    static __device__ int64_t place(const struct dpt_op__conv &conv, const struct spot &spot, const struct tap &tap)
    {
        const int y = spot.y - tap.i * (int)conv.dilation[0], x = spot.x - tap.j * (int)conv.dilation[1];
        const int across = (int)conv.stride[0], along = (int)conv.stride[1];
        const bool there = spot.base >= 0 && y >= 0 && x >= 0 && y % across == 0 && x % along == 0 &&
                           y / across < (int)conv.out[0] && x / along < (int)conv.out[1];
        return there ? spot.base + (int64_t)(y / across) * conv.out[1] + x / along : -1;
    }

    static __device__ float weight(const struct images &im, int64_t g, int64_t n, int64_t i, int64_t j, int64_t channel)
    {
        return w_at(im, g, channel, n, i, j);
    }
};

/* Eight numbers to shared memory, rounded. */
template <enum dpt_dtype T> static __device__ void put(uint16_t *to, const float value[8])
{
    struct dpt_line line;
    DPT_UNROLL for (int q = 0; q < 4; q++)
    {
        line.word[q] = dpt_pack<T>(value[2 * q], value[2 * q + 1]);
    }
    *(struct dpt_line *)to = line;
}

/* Numbers of k of a group: taps times channels. */
template <class F> static __host__ __device__ int64_t depth_of(const struct dpt_op__conv &conv)
{
    return conv.kernel[0] * conv.kernel[1] * F::channels(conv);
}

/* Columns from k on, eight of them, of a row of a: what the taps read for the place of a spot. */
template <class F, enum dpt_dtype T, bool WIDE>
static __device__ void read_row(const struct images &im, int64_t g, const struct spot &spot, const struct tap &first, int k,
                                uint16_t *to)
{
    const int channels = (int)F::channels(im.conv), depth = (int)depth_of<F>(im.conv);
    const int64_t stride = im.conv.groups * channels;
    const struct dpt_in from = F::from(im);
    if (WIDE) {
        const int64_t place = k < depth ? F::place(im.conv, spot, first) : -1;
        const uint16_t *const at = (const uint16_t *)from.data;
        dpt_copy<16>(to, place < 0 ? at : at + place * stride + g * channels + first.channel, place >= 0);
    } else {
        float value[8];
        DPT_UNROLL for (int q = 0; q < 8; q++)
        {
            const struct tap tap = tap_of(im.conv, channels, k + q);
            const int64_t place = k + q < depth ? F::place(im.conv, spot, tap) : -1;
            value[q] = place < 0 ? 0.0f : from[place * stride + g * channels + tap.channel];
        }
        put<T>(to, value);
    }
}

/* ------------------------------------------------------------------------------------------------------- weights */

/* [groups][n][k], rows of a multiple of 8, the rest of them 0. */
static int64_t row_of_weights(int64_t depth)
{
    return (depth + 7) / 8 * 8;
}

template <class F> static __global__ void order_weights(int64_t numel, struct images im, int64_t row, struct dpt_out out)
{
    const int64_t channels = F::channels(im.conv), outputs = F::outputs(im.conv), width = im.conv.kernel[1];
    DPT_EACH(e, numel)
    {
        const int64_t k = e % row, n = e / row % outputs, g = e / row / outputs, tap = k / channels;
        out[e] = k < depth_of<F>(im.conv) ? F::weight(im, g, n, tap / width, tap % width, k % channels) : 0.0f;
    }
}

/* ---------------------------------------------------------------------------------------------- conv and conv_dx */

/* COLUMNS: of a tile of c. Two warps side by side, two below each other. */
template <int COLUMNS> struct tiles_of_places {
    uint16_t a[2][ROWS * DEPTH], b[2][COLUMNS * DEPTH];
    struct spot spot[ROWS];
};

template <class F, enum dpt_dtype T, int COLUMNS, bool WIDE>
static __device__ void copy_places(const struct images &im, int64_t g, int64_t column, int k, const uint16_t *weights,
                                   int64_t row, struct tiles_of_places<COLUMNS> *to, int which)
{
    enum { CHUNKS = DEPTH / 8, AT_ONCE = THREADS / CHUNKS };
    const int chunk = (int)threadIdx.x % CHUNKS, mine = k + chunk * 8;
    const struct tap tap = tap_of(im.conv, (int)F::channels(im.conv), mine);
    DPT_UNROLL for (int r = 0; r < ROWS; r += AT_ONCE)
    {
        const int at = r + (int)threadIdx.x / CHUNKS;
        read_row<F, T, WIDE>(im, g, to->spot[at], tap, mine, to->a[which] + dpt_tile_at<DEPTH>(at, chunk));
    }
    const int64_t outputs = F::outputs(im.conv);
    dpt_tile_copy<DEPTH, COLUMNS, THREADS>(to->b[which], weights + (g * outputs + column) * row + k, row,
                                           (int)(outputs - column), (int)(row - k));
}

/* Two neighbours of a row of the result; bias and relu as in conv_cuda.cu. */
static __device__ float finished(const struct images &im, int64_t channel, float sum)
{
    const float z = sum + (im.bias.data ? im.bias[channel] : 0.0f);
    return im.relu && z < 0.0f ? 0.0f : z;
}

template <class F, enum dpt_dtype T, int COLUMNS, bool WIDE>
static __global__ void __launch_bounds__(THREADS) product_mma(struct images im, const uint16_t *weights, int64_t row)
{
    enum { M = ROWS / 32, N = COLUMNS / 16 };
    DPT_SHARED(shared);
    struct tiles_of_places<COLUMNS> *const tiles = (struct tiles_of_places<COLUMNS> *)shared;
    const int64_t places = F::places(im.conv), outputs = F::outputs(im.conv), columns = blocks_of(outputs, COLUMNS);
    const int64_t g = blockIdx.z, first = blockIdx.x / columns * ROWS, column = blockIdx.x % columns * COLUMNS;
    const int depth = (int)depth_of<F>(im.conv), warp = (int)threadIdx.x / DPT_WARP, lane = dpt_lane();
    const int warp_row = warp % 2 * M * 16, warp_column = warp / 2 * N * 8;
    float sum[M][N][4] = {};
    for (int r = (int)threadIdx.x; r < ROWS; r += THREADS) {
        const struct spot none = {-1, 0, 0};
        tiles->spot[r] = first + r < places ? F::spot(im.conv, first + r) : none;
    }
    __syncthreads();
    copy_places<F, T, COLUMNS, WIDE>(im, g, column, 0, weights, row, tiles, 0);
    int which = 0;
    for (int k = 0; k < depth; k += DEPTH, which ^= 1) {
        dpt_copy_wait();
        __syncthreads(); /* these are there, and the last ones were read */
        if (k + DEPTH < depth) {
            copy_places<F, T, COLUMNS, WIDE>(im, g, column, k + DEPTH, weights, row, tiles, which ^ 1);
        }
        DPT_UNROLL for (int d = 0; d < DEPTH / 16; d++)
        {
            uint32_t a[M][4];
            DPT_UNROLL for (int m = 0; m < M; m++)
            {
                dpt_tile_a<DEPTH>(a[m], tiles->a[which], warp_row + m * 16, d);
            }
            DPT_UNROLL for (int n = 0; n < N / 2; n++)
            {
                uint32_t b[4];
                dpt_tile_b_trans<DEPTH>(b, tiles->b[which], warp_column + n * 16, d);
                DPT_UNROLL for (int m = 0; m < M; m++)
                {
                    dpt_mma<T>(sum[m][2 * n], a[m], b);
                    dpt_mma<T>(sum[m][2 * n + 1], a[m], b + 2);
                }
            }
        }
    }
    /* Rows of the result go through shared memory, so that they leave as whole lines; in a, that nobody reads any more. */
    const int64_t stride = im.conv.groups * outputs;
    const bool lines = im.out.type == T && outputs % 8 == 0;
    uint16_t *const result = tiles->a[0];
    static_assert(COLUMNS <= 2 * DEPTH, "a tile of c fits into two of a");
    __syncthreads();
    DPT_UNROLL for (int e = 0; e < M * N * 2; e++)
    {
        const int m = e / (2 * N), n = e / 2 % N, half = e % 2;
        const int r = warp_row + m * 16 + half * 8 + lane / 4, c = warp_column + n * 8 + lane % 4 * 2;
        const int64_t channel = g * outputs + column + c;
        float z[2];
        DPT_UNROLL for (int q = 0; q < 2; q++)
        {
            z[q] = column + c + q < outputs ? finished(im, channel + q, sum[m][n][2 * half + q]) : 0.0f;
            if (!lines && first + r < places && column + c + q < outputs) {
                im.out[(first + r) * stride + channel + q] = z[q];
            }
        }
        if (lines) {
            *(uint32_t *)(result + dpt_tile_at<COLUMNS>(r, c / 8) + c % 8) = dpt_pack<T>(z[0], z[1]);
        }
    }
    if (lines) {
        enum { CHUNKS = COLUMNS / 8 };
        __syncthreads();
        for (int e = (int)threadIdx.x; e < ROWS * CHUNKS; e += THREADS) {
            const int r = e / CHUNKS, chunk = e % CHUNKS;
            if (first + r < places && column + chunk * 8 < outputs) {
                const int64_t at = (first + r) * stride + g * outputs + column + chunk * 8;
                uint16_t *const to = (uint16_t *)im.out.data + at;
                *(struct dpt_line *)to = *(const struct dpt_line *)(result + dpt_tile_at<COLUMNS>(r, chunk));
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- conv_dw */

template <int COLUMNS> struct tiles_of_gradients {
    uint16_t a[2][DEPTH * OUTPUTS], b[2][DEPTH * COLUMNS];
    struct spot spot[2][DEPTH];
};

/* Where the windows of DEPTH places from k on begin. */
static __device__ void find_spots(const struct images &im, int64_t k, int64_t end, struct spot spot[DEPTH])
{
    for (int r = (int)threadIdx.x; r < DEPTH; r += THREADS) {
        const struct spot none = {-1, 0, 0};
        spot[r] = k + r < end ? windows::spot(im.conv, k + r) : none;
    }
}

/* dy and x of DEPTH places from k on: outputs from `output` on, and columns (tap, c) from `column` on. */
template <enum dpt_dtype T, int COLUMNS, bool WIDE>
static __device__ void copy_gradients(const struct images &im, int64_t g, int64_t output, int64_t column,
                                      const struct tap &tap, int64_t k, int64_t end,
                                      struct tiles_of_gradients<COLUMNS> *to, int which)
{
    enum { CHUNKS = COLUMNS / 8, AT_ONCE = THREADS / CHUNKS };
    const int64_t stride = im.conv.groups * im.conv.o, first = k * stride + g * im.conv.o + output;
    if (WIDE) {
        dpt_tile_copy<OUTPUTS, DEPTH, THREADS>(to->a[which], (const uint16_t *)im.dy.data + first, stride, (int)(end - k),
                                               (int)(im.conv.o - output));
    } else {
        for (int e = (int)threadIdx.x; e < DEPTH * OUTPUTS / 8; e += THREADS) {
            const int r = e / (OUTPUTS / 8), chunk = e % (OUTPUTS / 8);
            float value[8];
            DPT_UNROLL for (int q = 0; q < 8; q++)
            {
                const bool there = k + r < end && output + chunk * 8 + q < im.conv.o;
                value[q] = there ? im.dy[first + r * stride + chunk * 8 + q] : 0.0f;
            }
            put<T>(to->a[which] + dpt_tile_at<OUTPUTS>(r, chunk), value);
        }
    }
    const int chunk = (int)threadIdx.x % CHUNKS;
    DPT_UNROLL for (int r = 0; r < DEPTH; r += AT_ONCE)
    {
        const int at = r + (int)threadIdx.x / CHUNKS;
        read_row<windows, T, WIDE>(im, g, to->spot[which][at], tap, (int)column + chunk * 8,
                                   to->b[which] + dpt_tile_at<COLUMNS>(at, chunk));
    }
}

/* part: [parts][groups][o][tap, c]. Blocks: tiles of columns, of outputs, groups times parts of `length` places. */
template <enum dpt_dtype T, int COLUMNS, bool WIDE>
static __global__ void __launch_bounds__(THREADS) gradient_mma(struct images im, int64_t parts, int64_t length, float *part)
{
    enum { M = OUTPUTS / 32, N = COLUMNS / 16 };
    DPT_SHARED(shared);
    struct tiles_of_gradients<COLUMNS> *const tiles = (struct tiles_of_gradients<COLUMNS> *)shared;
    const int64_t g = blockIdx.z / parts, p = blockIdx.z % parts;
    const int64_t output = (int64_t)blockIdx.y * OUTPUTS, column = (int64_t)blockIdx.x * COLUMNS;
    const int64_t places = windows::places(im.conv), columns = depth_of<windows>(im.conv);
    const int64_t begin = p * length, end = begin + length < places ? begin + length : places;
    const int warp = (int)threadIdx.x / DPT_WARP, lane = dpt_lane();
    const int warp_row = warp % 2 * M, warp_column = warp / 2 * N / 2; /* in blocks of 16 */
    const struct tap tap = tap_of(im.conv, (int)im.conv.c, (int)column + (int)threadIdx.x % (COLUMNS / 8) * 8);
    float sum[M][N][4] = {};
    find_spots(im, begin, end, tiles->spot[0]);
    find_spots(im, begin + DEPTH, end, tiles->spot[1]);
    __syncthreads();
    copy_gradients<T, COLUMNS, WIDE>(im, g, output, column, tap, begin, end, tiles, 0);
    int which = 0;
    for (int64_t k = begin; k < end; k += DEPTH, which ^= 1) {
        dpt_copy_wait();
        __syncthreads();
        if (k + DEPTH < end) {
            copy_gradients<T, COLUMNS, WIDE>(im, g, output, column, tap, k + DEPTH, end, tiles, which ^ 1);
            find_spots(im, k + 2 * DEPTH, end, tiles->spot[which]); /* what was there was read before the barrier */
        }
        DPT_UNROLL for (int d = 0; d < DEPTH / 16; d++)
        {
            uint32_t a[M][4];
            DPT_UNROLL for (int m = 0; m < M; m++)
            {
                dpt_tile_a_trans<OUTPUTS>(a[m], tiles->a[which], d * 16, warp_row + m);
            }
            DPT_UNROLL for (int n = 0; n < N / 2; n++)
            {
                uint32_t b[4];
                dpt_tile_b<COLUMNS>(b, tiles->b[which], d * 16, warp_column + n);
                DPT_UNROLL for (int m = 0; m < M; m++)
                {
                    dpt_mma<T>(sum[m][2 * n], a[m], b);
                    dpt_mma<T>(sum[m][2 * n + 1], a[m], b + 2);
                }
            }
        }
    }
    DPT_UNROLL for (int e = 0; e < M * N * 4; e++)
    {
        const int m = e / (4 * N), n = e / 4 % N, q = e % 4;
        const int64_t o = output + (warp_row + m) * 16 + q / 2 * 8 + lane / 4;
        const int64_t c = column + warp_column * 16 + n * 8 + lane % 4 * 2 + q % 2;
        if (o < im.conv.o && c < columns) {
            part[((p * im.conv.groups + g) * im.conv.o + o) * columns + c] = sum[m][n][q];
        }
    }
}

/* The parts of each weight in order, and the weights in theirs. */
static __global__ void add_ordered_parts(int64_t numel, struct dpt_op__conv conv, int64_t parts, const float *part,
                                         struct dpt_out out)
{
    const int64_t taps = conv.kernel[0] * conv.kernel[1];
    DPT_EACH(e, numel)
    {
        const int64_t c = e % conv.c, tap = e / conv.c % taps, o = e / conv.c / taps;
        double sum = 0.0;
        DPT_UNROLL for (int64_t p = 0; p < parts; p++)
        {
            sum += part[p * numel + e];
        }
        out[(o * conv.c + c) * taps + tap] = (float)sum;
    }
}

/* -------------------------------------------------------------------------------------------------------- launches */

static size_t rounded_up(size_t nbytes)
{
    return (nbytes + 127) / 128 * 128;
}

/* Sizes within a group, and places of an image plane of all samples, are counted in int. */
template <class F> static bool is_made_for(const struct dpt_op__conv &conv, enum dpt_dtype half)
{
    return half != DPT_DTYPE_F32 && depth_of<F>(conv) < INT32_MAX - DEPTH && depth_of<F>(conv) > 0 &&
           conv.n * conv.in[0] * conv.in[1] <= INT32_MAX && conv.n * conv.out[0] * conv.out[1] <= INT32_MAX;
}

static bool are_lines(struct dpt_in x, int64_t channels, enum dpt_dtype type)
{
    return x.type == type && channels % 8 == 0 && (uintptr_t)x.data % sizeof(struct dpt_line) == 0;
}

template <class F> static size_t weights_nbytes(const struct dpt_op__conv &conv)
{
    return sizeof(uint16_t) * (size_t)(conv.groups * F::outputs(conv) * row_of_weights(depth_of<F>(conv)));
}

template <class F, enum dpt_dtype T, int COLUMNS, bool WIDE>
static void launch_tiles(struct dpt_cuda *cuda, const struct images &im, const uint16_t *weights)
{
    const dim3 grid(blocks_of(F::outputs(im.conv), COLUMNS) * blocks_of(F::places(im.conv), ROWS), 1,
                    (unsigned)im.conv.groups);
    DPT_LAUNCH_SHARED((product_mma<F, T, COLUMNS, WIDE>), grid, THREADS, rounded_up(sizeof(struct tiles_of_places<COLUMNS>)),
                      cuda->stream, im, weights, row_of_weights(depth_of<F>(im.conv)));
}

template <class F, enum dpt_dtype T> static void launch_places(struct dpt_cuda *cuda, const struct images &im, void *scratch)
{
    const struct dpt_out weights = {scratch, T};
    const int64_t row = row_of_weights(depth_of<F>(im.conv)), numel = im.conv.groups * F::outputs(im.conv) * row;
    if (F::places(im.conv) * numel == 0) {
        return;
    }
    DPT_LAUNCH_EACH(cuda, numel, order_weights<F>, im, row, weights);
    if (!are_lines(F::from(im), F::channels(im.conv), T)) {
        launch_tiles<F, T, 64, false>(cuda, im, (const uint16_t *)scratch);
    } else if (F::outputs(im.conv) <= 64) {
        launch_tiles<F, T, 64, true>(cuda, im, (const uint16_t *)scratch);
    } else {
        launch_tiles<F, T, 128, true>(cuda, im, (const uint16_t *)scratch);
    }
}

template <class F>
static bool run_places(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch)
{
    if (!is_made_for<F>(im->conv, half)) {
        return false;
    }
    if (half == DPT_DTYPE_BF16) {
        launch_places<F, DPT_DTYPE_BF16>(cuda, *im, scratch);
    } else {
        launch_places<F, DPT_DTYPE_F16>(cuda, *im, scratch);
    }
    return true;
}

bool dpt_op__conv_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch)
{
    return run_places<struct windows>(cuda, im, half, scratch);
}

size_t dpt_op__conv_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half)
{
    return is_made_for<struct windows>(*conv, half) ? weights_nbytes<struct windows>(*conv) : 0;
}

bool dpt_op__conv_dx_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch)
{
    return run_places<struct readers>(cuda, im, half, scratch);
}

size_t dpt_op__conv_dx_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half)
{
    return is_made_for<struct readers>(*conv, half) ? weights_nbytes<struct readers>(*conv) : 0;
}

/* Columns of a tile of conv_dw. */
static int columns_of(const struct dpt_op__conv &conv, bool wide)
{
    return wide && depth_of<struct windows>(conv) > 64 ? 128 : 64;
}

/* Parts of the places of conv_dw: about four blocks a multiprocessor of a large card, none shorter than LEAST. */
static int64_t parts_of(const struct dpt_op__conv &conv, int columns)
{
    enum { LEAST = 4 * DEPTH, BLOCKS = 528, MOST = 128 };
    const int64_t tiles = (int64_t)blocks_of(conv.o, OUTPUTS) * blocks_of(depth_of<struct windows>(conv), columns);
    const int64_t blocks = tiles * conv.groups;
    const int64_t wanted = BLOCKS / (blocks > 0 ? blocks : 1), most = windows::places(conv) / LEAST;
    const int64_t parts = wanted < most ? wanted : most, limit = MOST;
    return parts < 1 ? 1 : parts < limit ? parts : limit;
}

template <enum dpt_dtype T, int COLUMNS, bool WIDE>
static void launch_gradients(struct dpt_cuda *cuda, const struct images &im, float *part)
{
    const struct dpt_op__conv &conv = im.conv;
    const int64_t parts = parts_of(conv, COLUMNS), columns = depth_of<struct windows>(conv);
    const int64_t numel = conv.groups * conv.o * columns;
    const int64_t length = blocks_of(windows::places(conv), (int)parts * DEPTH) * (int64_t)DEPTH;
    const dim3 grid(blocks_of(columns, COLUMNS), blocks_of(conv.o, OUTPUTS), (unsigned)(conv.groups * parts));
    if (numel > 0) {
        DPT_LAUNCH_SHARED((gradient_mma<T, COLUMNS, WIDE>), grid, THREADS,
                          rounded_up(sizeof(struct tiles_of_gradients<COLUMNS>)), cuda->stream, im, parts, length, part);
        DPT_LAUNCH_EACH(cuda, numel, add_ordered_parts, conv, parts, (const float *)part, im.out);
    }
}

template <enum dpt_dtype T> static void launch_gradients_of(struct dpt_cuda *cuda, const struct images &im, float *part)
{
    const bool wide = are_lines(im.x, im.conv.c, T) && are_lines(im.dy, im.conv.o, T);
    if (!wide) {
        launch_gradients<T, 64, false>(cuda, im, part);
    } else if (columns_of(im.conv, wide) == 64) {
        launch_gradients<T, 64, true>(cuda, im, part);
    } else {
        launch_gradients<T, 128, true>(cuda, im, part);
    }
}

bool dpt_op__conv_dw_mma(struct dpt_cuda *cuda, const struct images *im, enum dpt_dtype half, void *scratch)
{
    if (!is_made_for<struct windows>(im->conv, half)) {
        return false;
    }
    if (half == DPT_DTYPE_BF16) {
        launch_gradients_of<DPT_DTYPE_BF16>(cuda, *im, (float *)scratch);
    } else {
        launch_gradients_of<DPT_DTYPE_F16>(cuda, *im, (float *)scratch);
    }
    return true;
}

/* Whichever tiles a call takes. */
size_t dpt_op__conv_dw_mma_scratch(const struct dpt_op__conv *conv, enum dpt_dtype half)
{
    const int64_t narrow = parts_of(*conv, 64), wide = parts_of(*conv, 128), most = narrow > wide ? narrow : wide;
    const int64_t numel = conv->groups * conv->o * depth_of<struct windows>(*conv);
    return is_made_for<struct windows>(*conv, half) ? sizeof(float) * (size_t)(most * numel) : 0;
}

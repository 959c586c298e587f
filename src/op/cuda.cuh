/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the kernels for cards share: launching, sums over a block, sums over rows, keyed random words. Every sum has one
 * order, so that a step gives the same bits whenever it is run; there are no atomic additions.
 *
 * The headers of other rooms are C: the block below lets C++ read them.
 */

#define _Noreturn
extern "C" {
#include "base/rng.h"
#include "op/cuda.h"
#include "op/op.h"
}
#undef _Noreturn

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "dev/cuda.h"

/* DPT_LAUNCH(kernel, grid, block, stream, arguments ...); the emulator of tests/cuda/ has its own. */
#ifndef DPT_LAUNCH
#define DPT_LAUNCH(kernel, grid, block, stream, ...) kernel<<<grid, block, 0, stream>>>(__VA_ARGS__)
#endif

/*
 * The same for a kernel that says DPT_SHARED(name): `name` is then `shared` bytes of shared memory, a multiple of 128 and
 * aligned by that. Beyond 48 KiB it has to be allowed, which is asked for each time: the failure is that of the launch.
 */
#ifndef DPT_LAUNCH_SHARED
#define DPT_LAUNCH_SHARED(kernel, grid, block, shared, stream, ...)                                                    \
    do {                                                                                                               \
        (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(shared));                \
        kernel<<<grid, block, shared, stream>>>(__VA_ARGS__);                                                          \
    } while (0)
#define DPT_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#endif

#ifndef DPT_BLOCK_THREADS
#define DPT_BLOCK_THREADS 256
#endif

enum { DPT_WARP = 32, DPT_BLOCK = DPT_BLOCK_THREADS };

/* Blocks for n elements, of which a thread may take several. */
static inline unsigned dpt_blocks(const struct dpt_cuda *cuda, int64_t n)
{
    enum { A_MULTIPROCESSOR = 16 };
    const int64_t wanted = (n + DPT_BLOCK - 1) / DPT_BLOCK;
    const int64_t most = (int64_t)A_MULTIPROCESSOR * cuda->multiprocessors;
    return (unsigned)(wanted < most ? wanted : most);
}

/* Every element of n: a kernel whose first argument is n says DPT_EACH(i, n) { ... }. */
#define DPT_EACH(i, n)                                                                                                 \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (int64_t)gridDim.x * blockDim.x)

#define DPT_LAUNCH_EACH(cuda, n, kernel, ...)                                                                          \
    do {                                                                                                               \
        if ((n) > 0) {                                                                                                 \
            DPT_LAUNCH(kernel, dpt_blocks(cuda, n), DPT_BLOCK, (cuda)->stream, n, __VA_ARGS__);                        \
        }                                                                                                              \
    } while (0)

/* Threads for a row of `length` elements, of which each takes a few. */
static inline unsigned dpt_row_threads(int64_t length)
{
    enum { EACH = 8 };
    const int64_t warps = (length + EACH * DPT_WARP - 1) / (EACH * DPT_WARP), most = DPT_BLOCK / DPT_WARP;
    return (unsigned)((warps < 1 ? 1 : warps < most ? warps : most) * DPT_WARP);
}

/* A block for each of n rows of `length` elements. */
#define DPT_LAUNCH_ROWS(cuda, n, length, kernel, ...)                                                                  \
    do {                                                                                                               \
        if ((n) > 0) {                                                                                                 \
            DPT_LAUNCH(kernel, (unsigned)(n), dpt_row_threads(length), (cuda)->stream, __VA_ARGS__);                   \
        }                                                                                                              \
    } while (0)

/* Before a loop over registers: no array of them may be indexed at run time. */
#ifdef __CUDACC__
#define DPT_UNROLL _Pragma("unroll")
#define DPT_UNROLL_BY(n) _Pragma(DPT_TEXT(unroll n))
#define DPT_TEXT(words) #words
#else
#define DPT_UNROLL
#define DPT_UNROLL_BY(n)
#endif

/* What a thread loads or stores at once: 16 bytes, aligned. */
struct alignas(16) dpt_line {
    uint32_t word[4];
};

template <class T> struct alignas(16) dpt_line_of {
    T at[16 / sizeof(T)];
};

/* The line at an address, whatever was written there; and the elements of one. */
static __device__ inline struct dpt_line dpt_line_at(const void *from)
{
    struct dpt_line line;
    memcpy(&line, __builtin_assume_aligned(from, sizeof line), sizeof line);
    return line;
}

template <class T> static __device__ inline struct dpt_line_of<T> dpt_line_as(const struct dpt_line &line)
{
    struct dpt_line_of<T> elements;
    memcpy(&elements, &line, sizeof elements);
    return elements;
}

/* A run of elements that a thread takes at once: one, or DPT_RUN of them in lines. */
enum { DPT_RUN = 8 };

/* A run as it was read: of 16 bits in the first half of the lines, of 32 in all; one element at the beginning of a line. */
template <int W> struct dpt_raw {
    struct dpt_line line[(W * 4 + 15) / 16];
};

template <int W> struct dpt_run_of {
    static constexpr int n = W;
};

/*
 * Elements 0 .. n - 1, shared out to threads: f(i, w) does elements i .. i + w.n - 1, where w.n is DPT_RUN with `lines`, else
 * and for the last few 1. So a kernel says dpt_each(n, dpt_lines(0, x, y), [&](int64_t i, auto w) { ... }), and loads and
 * stores arrays of w.n floats.
 */
template <class F> static __device__ inline void dpt_share_out(int64_t n, bool lines, int64_t thread, int64_t threads, F f)
{
    const int64_t whole = lines ? n / DPT_RUN * DPT_RUN : 0;
    for (int64_t i = thread * DPT_RUN; i < whole; i += threads * DPT_RUN) {
        f(i, dpt_run_of<DPT_RUN>());
    }
    for (int64_t i = whole + thread; i < n; i += threads) {
        f(i, dpt_run_of<1>());
    }
}

/* To all threads of the grid. */
template <class F> static __device__ inline void dpt_each(int64_t n, bool lines, F f)
{
    dpt_share_out(n, lines, (int64_t)blockIdx.x * blockDim.x + threadIdx.x, (int64_t)gridDim.x * blockDim.x, f);
}

/* To the threads of a block: a row. */
template <class F> static __device__ inline void dpt_row(int64_t n, bool lines, F f)
{
    dpt_share_out(n, lines, threadIdx.x, blockDim.x, f);
}

static __device__ inline bool dpt_are_aligned(void)
{
    return true;
}

template <class T, class... REST> static __device__ inline bool dpt_are_aligned(const T &first, const REST &...rest)
{
    return (uintptr_t)first.data % sizeof(struct dpt_line) == 0 && dpt_are_aligned(rest...);
}

/*
 * Whether operands of rows of n elements can be taken in lines; 0: they are one row. The order of sums over a row must not
 * depend on where the row begins, so that a row among many has to be a multiple of DPT_RUN.
 */
template <class... T> static __device__ inline bool dpt_lines(int64_t n, const T &...operands)
{
    return n % DPT_RUN == 0 && dpt_are_aligned(operands...);
}

/*
 * i % n and i / n, for indices and sizes of tensors: those that fit into 32 bits, nearly all, are divided in a fifth of the
 * instructions.
 */
static __device__ inline int64_t dpt_mod(int64_t i, int64_t n)
{
    return (i | n) >> 32 == 0 ? (int64_t)((uint32_t)i % (uint32_t)n) : i % n;
}

static __device__ inline int64_t dpt_div(int64_t i, int64_t n)
{
    return (i | n) >> 32 == 0 ? (int64_t)((uint32_t)i / (uint32_t)n) : i / n;
}

/* Pixel number `at` of images of size[0] x size[1]. */
struct dpt_pixel {
    int64_t n, y, x;
};

static __device__ inline struct dpt_pixel dpt_pixel_of(const int64_t size[2], int64_t at)
{
    const int64_t row = dpt_div(at, size[1]), n = dpt_div(row, size[0]);
    const struct dpt_pixel pixel = {n, row - n * size[0], at - row * size[1]};
    return pixel;
}

/*
 * The same value, of which the compiler of a card does not know that it is the same the next time: else it makes a copy of a
 * loop for each answer to a question that is asked in it, and of each of those for the next question.
 */
template <class T> static __device__ inline T dpt_veiled(T value)
{
#ifdef __CUDA_ARCH__
    int32_t copy;
    asm volatile("mov.b32 %0, %1;" : "=r"(copy) : "r"((int32_t)value));
    return (T)copy;
#else
    return value;
#endif
}

/* ------------------------------------------------------------------------------------------------ real operands */

/* What is F32 in any case: as struct dpt_in below, with nothing to ask. */
struct dpt_floats {
    const float *data;

    __device__ void fetch(int64_t i, struct dpt_raw<1> &raw) const { memcpy(&raw.line[0], data + i, sizeof *data); }

    template <int W> __device__ void fetch(int64_t i, struct dpt_raw<W> &raw) const
    {
        DPT_UNROLL for (int l = 0; l < W / 4; l++)
        {
            raw.line[l] = dpt_line_at(data + i + l * 4);
        }
    }

    template <int W> __device__ void widen(const struct dpt_raw<W> &raw, float (&to)[W]) const
    {
        DPT_UNROLL for (int k = 0; k < W; k++)
        {
            to[k] = dpt_line_as<float>(raw.line[k / 4]).at[k % 4];
        }
    }
};

/* W elements from i on of that. */
static __device__ inline void dpt_store(float *to, int64_t i, const float (&from)[1])
{
    to[i] = from[0];
}

template <int W> static __device__ inline void dpt_store(float *to, int64_t i, const float (&from)[W])
{
    DPT_UNROLL for (int k = 0; k < W; k += 4)
    {
        const struct dpt_line_of<float> line = {{from[k], from[k + 1], from[k + 2], from[k + 3]}};
        *(struct dpt_line_of<float> *)(to + i + k) = line;
    }
}

/*
 * Kernels compute in float, whatever their operands are kept in: x[i] is a float, y[i] = value rounds once. The type of an
 * operand is asked at run time and is no parameter of a template, since a node has operands of several (statistics, losses,
 * parameters and results stay F32 where the rest has 16 bits), in more combinations than are worth a kernel each. All
 * threads of a launch get the same answer.
 */
struct dpt_in {
    const void *data; /* may be NULL: a missing operand */
    enum dpt_dtype type;
    enum dpt_dtype as; /* F32, or what an operand in F32 is rounded to on its way */

    __device__ float operator[](int64_t i) const
    {
        switch (type) {
        case DPT_DTYPE_BF16:
            return __bfloat162float(((const __nv_bfloat16 *)data)[i]);
        case DPT_DTYPE_F16:
            return __half2float(((const __half *)data)[i]);
        default:
            return rounded(((const float *)data)[i]);
        }
    }

    /*
     * W elements from i on in two steps, so that what a thread needs of several operands is all on its way before it waits for
     * any: a choice among types between two loads would keep them apart. Lines are of DPT_RUN elements, and dpt_lines said that
     * there are any. A missing operand is zeros, and so is what is not wanted.
     */
    __device__ void fetch(int64_t i, struct dpt_raw<1> &raw, bool wanted = true) const
    {
        const bool wide = dpt_veiled(type) == DPT_DTYPE_F32, here = wanted && dpt_veiled(data != NULL);
        raw.line[0] = dpt_line();
        if (here && wide) {
            memcpy(&raw.line[0], (const float *)data + i, sizeof(float));
        }
        if (here && !wide) {
            memcpy(&raw.line[0], (const uint16_t *)data + i, sizeof(uint16_t));
        }
    }

    template <int W> __device__ void fetch(int64_t i, struct dpt_raw<W> &raw, bool wanted = true) const
    {
        const bool wide = dpt_veiled(type) == DPT_DTYPE_F32, here = wanted && dpt_veiled(data != NULL);
        const char *from = (const char *)data + i * (wide ? 4 : 2);
        DPT_UNROLL for (int l = 0; l < W / 4; l++)
        {
            raw.line[l] = here && (wide || l < W / 8) ? dpt_line_at(from + l * 16) : dpt_line();
        }
    }

    template <int W> __device__ void widen(const struct dpt_raw<W> &raw, float (&to)[W]) const
    {
        switch (dpt_veiled(type)) {
        case DPT_DTYPE_BF16:
            DPT_UNROLL for (int k = 0; k < W; k++)
            {
                to[k] = __bfloat162float(dpt_line_as<__nv_bfloat16>(raw.line[k / 8]).at[k % 8]);
            }
            break;
        case DPT_DTYPE_F16:
            DPT_UNROLL for (int k = 0; k < W; k++)
            {
                to[k] = __half2float(dpt_line_as<__half>(raw.line[k / 8]).at[k % 8]);
            }
            break;
        default:
            dpt_floats().widen(raw, to);
            round(to);
            break;
        }
    }

    template <int W> __device__ void round(float (&at)[W]) const
    {
        const struct dpt_in in = {NULL, DPT_DTYPE_F32, dpt_veiled(as)};
        DPT_UNROLL for (int k = 0; k < W && in.as != DPT_DTYPE_F32; k++)
        {
            at[k] = in.rounded(at[k]);
        }
    }

    __device__ float rounded(float value) const
    {
        switch (as) {
        case DPT_DTYPE_BF16:
            return __bfloat162float(__float2bfloat16_rn(value));
        case DPT_DTYPE_F16:
            return __half2float(__float2half_rn(value));
        default:
            return value;
        }
    }

    /* From element n on. */
    __host__ __device__ struct dpt_in operator+(int64_t n) const
    {
        const int64_t width = type == DPT_DTYPE_F32 ? 4 : 2;
        const struct dpt_in rest = {(const char *)data + n * width, type, as};
        return rest;
    }
};

/* W elements from i on of each operand: dpt_load(i, x, to, y, to, ...). */
static __device__ inline void dpt_load(int64_t) {}

template <class IN, int W, class... REST>
static __device__ inline void dpt_load(int64_t i, const IN &x, float (&to)[W], REST &&...rest)
{
    struct dpt_raw<W> raw;
    x.fetch(i, raw);
    dpt_load(i, rest...);
    x.widen(raw, to);
}

struct dpt_out {
    void *data;
    enum dpt_dtype type;

    struct element {
        void *data;
        enum dpt_dtype type;
        int64_t i;

        __device__ void operator=(float value) const
        {
            switch (type) {
            case DPT_DTYPE_BF16:
                ((__nv_bfloat16 *)data)[i] = __float2bfloat16_rn(value);
                break;
            case DPT_DTYPE_F16:
                ((__half *)data)[i] = __float2half_rn(value);
                break;
            case DPT_DTYPE_F64: /* numbers of losses and statistics, where they are asked for in double */
                ((double *)data)[i] = value;
                break;
            default:
                ((float *)data)[i] = value;
                break;
            }
        }
    };

    __device__ struct element operator[](int64_t i) const
    {
        const struct element at = {data, type, i};
        return at;
    }

    /* W elements from i on, as dpt_in loads them. */
    template <int W> __device__ void store(int64_t i, const float (&from)[W]) const
    {
        const enum dpt_dtype kind = dpt_veiled(type);
        if (W == 1 || kind == DPT_DTYPE_F64) {
            const struct dpt_out veiled = {data, kind};
            DPT_UNROLL for (int k = 0; k < W; k++)
            {
                veiled[i + k] = from[k];
            }
        } else if (kind == DPT_DTYPE_BF16) {
            dpt_line_of<__nv_bfloat16> line;
            DPT_UNROLL for (int k = 0; k < W; k++)
            {
                line.at[k % 8] = __float2bfloat16_rn(from[k]);
            }
            *(dpt_line_of<__nv_bfloat16> *)((__nv_bfloat16 *)data + i) = line;
        } else if (kind == DPT_DTYPE_F16) {
            dpt_line_of<__half> line;
            DPT_UNROLL for (int k = 0; k < W; k++)
            {
                line.at[k % 8] = __float2half_rn(from[k]);
            }
            *(dpt_line_of<__half> *)((__half *)data + i) = line;
        } else {
            DPT_UNROLL for (int k = 0; k < W; k += 4)
            {
                dpt_line_of<float> line;
                DPT_UNROLL for (int q = 0; q < 4; q++)
                {
                    line.at[q] = from[(k + q) % W];
                }
                *(dpt_line_of<float> *)((float *)data + i + k) = line;
            }
        }
    }

    __host__ __device__ struct dpt_out operator+(int64_t n) const
    {
        const int64_t width = type == DPT_DTYPE_F64 ? 8 : type == DPT_DTYPE_F32 ? 4 : 2;
        const struct dpt_out rest = {(char *)data + n * width, type};
        return rest;
    }
};

/* Input i of a call, missing where the call has fewer; output o. */
static inline struct dpt_in dpt_in_of(const struct dpt_op_call *call, int i)
{
    struct dpt_in in = {NULL, DPT_DTYPE_F32, DPT_DTYPE_F32};
    if (i < call->types->nin) {
        in.data = call->in[i].data;
        in.type = call->in[i].type.dtype;
    }
    return in;
}

/* A factor of products, which has 16 bits where the node computes in them. */
static inline struct dpt_in dpt_factor_of(const struct dpt_op_call *call, int i)
{
    struct dpt_in in = dpt_in_of(call, i);
    in.as = call->types->half;
    return in;
}

static inline struct dpt_out dpt_out_of(const struct dpt_op_call *call, int o)
{
    const struct dpt_out out = {call->out[o].data, call->out[o].type.dtype};
    return out;
}

/* ------------------------------------------------------------------------------------------------ sums of a block */

template <class T> static __device__ inline T dpt_warp_sum(T value)
{
    for (int step = DPT_WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, step);
    }
    return value;
}

template <class T> static __device__ inline T dpt_warp_max(T value)
{
    for (int step = DPT_WARP / 2; step > 0; step /= 2) {
        value = fmax(value, __shfl_xor_sync(0xffffffffu, value, step));
    }
    return value;
}

/* The sum over a block of whole warps, in every thread. All threads of the block must come here. */
template <class T> static __device__ inline T dpt_block_sum(T value)
{
    __shared__ T part[DPT_WARP];
    const int lane = (int)threadIdx.x % DPT_WARP, warps = (int)blockDim.x / DPT_WARP;
    value = dpt_warp_sum(value);
    __syncthreads(); /* the last sum's parts were read */
    if (lane == 0) {
        part[threadIdx.x / DPT_WARP] = value;
    }
    __syncthreads();
    return dpt_warp_sum(lane < warps ? part[lane] : T(0));
}

/* The largest, where nan counts for nothing. */
template <class T> static __device__ inline T dpt_block_max(T value)
{
    __shared__ T part[DPT_WARP];
    const int lane = (int)threadIdx.x % DPT_WARP, warps = (int)blockDim.x / DPT_WARP;
    value = dpt_warp_max(value);
    __syncthreads();
    if (lane == 0) {
        part[threadIdx.x / DPT_WARP] = value;
    }
    __syncthreads();
    return dpt_warp_max(lane < warps ? part[lane] : T(-INFINITY));
}

/* --------------------------------------------------------------------------------------------- sums over all rows */

/*
 * S sums over n rows for each of k columns. What is added is said by a functor F, of W columns at a time; W is DPT_RUN where
 * value.lines() says that its operands can be taken so, and where a tile of columns is whole, else 1.
 *
 *   number                          float or double: of what is added, and of the sum of a few rows
 *   rows                            how many rows a thread reads before it goes on with the first
 *   held<W>, hold(column, held)     what is the same for all rows
 *   read<W>, fetch(row, column, wanted, read)        what is read of a row, as it lies; nothing where it is not wanted
 *   add(row, column, held, read, sum[S][W])          adds what the row has for the columns
 *
 * Each thread adds up a few rows, and those sums in SUM; then the parts are added up in double; the totals are kept as OUT.
 * scratch holds what dpt_column_scratch says.
 */
enum { DPT_COLUMN_THREADS = 8, DPT_COLUMN_ROWS = 32, DPT_COLUMN_TILE = DPT_COLUMN_THREADS * DPT_RUN };

/* So many rows a thread adds up before that sum joins the others. */
#ifndef DPT_FEW_ROWS
#define DPT_FEW_ROWS 32
#endif

template <int S, class OUT = float> struct dpt_columns {
    OUT *at[S];
};

/* For functors that hold nothing. */
struct dpt_column_rule {
    template <int W> struct held {};

    template <int W> __device__ void hold(int64_t, held<W> &) const {}
};

/* For functors of one operand. */
struct dpt_column_operand : dpt_column_rule {
    static constexpr int rows = 4;
    int64_t k;
    struct dpt_in x;

    template <int W> using read = struct dpt_raw<W>;

    __device__ bool lines() const { return dpt_lines(k, x); }

    template <int W> __device__ void fetch(int64_t row, int64_t column, bool wanted, read<W> &at) const
    {
        x.fetch(row * k + column, at, wanted);
    }
};

/* The sums of an operand itself. */
struct dpt_column_values : dpt_column_operand {
    using number = float;

    template <int W>
    __device__ void add(int64_t, int64_t, const held<W> &, const read<W> &read, float (&sum)[1][W]) const
    {
        float at[W];
        x.widen(read, at);
        DPT_UNROLL for (int e = 0; e < W; e++)
        {
            sum[0][e] += at[e];
        }
    }
};

/* Of the rows from `first` to `end` every DPT_COLUMN_ROWS-th from this thread's on, for W columns; adds to `total`. */
template <int S, int W, class SUM, class F>
static __device__ inline void dpt_column_run(int64_t first, int64_t end, int64_t column, const F &value,
                                             SUM (&total)[S][DPT_COLUMN_ROWS][DPT_COLUMN_TILE], int at)
{
    typename F::template held<W> held;
    value.hold(column, held);
    for (int64_t i = first + threadIdx.y; i < end;) {
        const int64_t few = i + DPT_FEW_ROWS * DPT_COLUMN_ROWS, stop = few < end ? few : end;
        typename F::number sum[S][W] = {};
        for (; i < stop; i += F::rows * DPT_COLUMN_ROWS) {
            typename F::template read<W> read[F::rows];
            DPT_UNROLL for (int r = 0; r < F::rows; r++)
            {
                value.fetch(i + r * DPT_COLUMN_ROWS, column, i + r * DPT_COLUMN_ROWS < end, read[r]);
            }
            DPT_UNROLL for (int r = 0; r < F::rows; r++)
            {
                if (i + r * DPT_COLUMN_ROWS < end) {
                    value.add(i + r * DPT_COLUMN_ROWS, column, held, read[r], sum);
                }
            }
        }
        DPT_UNROLL for (int e = 0; e < S * W; e++)
        {
            total[e / W][threadIdx.y][at + e % W] += sum[e / W][e % W];
        }
    }
}

template <int S, class SUM, class F>
static __global__ void dpt_column_parts(int64_t n, int64_t k, int64_t rows, F value, SUM *part)
{
    __shared__ SUM sum[S][DPT_COLUMN_ROWS][DPT_COLUMN_TILE];
    const int64_t tile = (int64_t)blockIdx.x * DPT_COLUMN_TILE, p = blockIdx.y;
    const int64_t first = p * rows, end = first + rows < n ? first + rows : n;
    const int thread = (int)(threadIdx.y * DPT_COLUMN_THREADS + threadIdx.x), threads = DPT_COLUMN_THREADS * DPT_COLUMN_ROWS;
    for (int e = thread; e < S * DPT_COLUMN_ROWS * DPT_COLUMN_TILE; e += threads) {
        (&sum[0][0][0])[e] = 0;
    }
    __syncthreads();
    if (value.lines() && tile + DPT_COLUMN_TILE <= k) {
        const int at = (int)threadIdx.x * DPT_RUN;
        dpt_column_run<S, DPT_RUN, SUM>(first, end, tile + at, value, sum, at);
    } else {
        for (int at = (int)threadIdx.x; at < DPT_COLUMN_TILE && tile + at < k; at += DPT_COLUMN_THREADS) {
            dpt_column_run<S, 1, SUM>(first, end, tile + at, value, sum, at);
        }
    }
    __syncthreads();
    for (int e = thread; e < S * DPT_COLUMN_TILE; e += threads) {
        const int s = e / DPT_COLUMN_TILE, at = e % DPT_COLUMN_TILE;
        SUM total = 0;
        for (int r = 0; r < DPT_COLUMN_ROWS; r++) {
            total += sum[s][r][at];
        }
        if (tile + at < k) {
            part[(p * S + s) * k + tile + at] = total;
        }
    }
}

/* A block for DPT_WARP columns: every DPT_COLUMN_WARPS-th part a warp, then the warps in order. */
enum { DPT_COLUMN_WARPS = 32 };

template <int S, class SUM, class OUT>
static __global__ void __launch_bounds__(DPT_COLUMN_WARPS * DPT_WARP)
    dpt_column_totals(int64_t k, int64_t parts, const SUM *part, struct dpt_columns<S, OUT> out)
{
    __shared__ double sum[DPT_COLUMN_WARPS][DPT_WARP];
    const int lane = (int)threadIdx.x % DPT_WARP, warp = (int)threadIdx.x / DPT_WARP;
    const int64_t column = (int64_t)blockIdx.x * DPT_WARP + lane;
    for (int s = 0; s < S; s++) {
        double total = 0.0;
        DPT_UNROLL_BY(8) for (int64_t p = warp; p < (column < k ? parts : 0); p += DPT_COLUMN_WARPS)
        {
            total += part[(p * S + s) * k + column];
        }
        sum[warp][lane] = total;
        __syncthreads();
        total = 0.0;
        for (int w = 0; w < DPT_COLUMN_WARPS && warp == 0; w++) {
            total += sum[w][lane];
        }
        if (warp == 0 && column < k) {
            out.at[s][column] = (OUT)total;
        }
        __syncthreads();
    }
}

/* Parts of the rows: many where the columns are few, so that there is work for all of a card. */
static inline int64_t dpt_column_most_parts(int64_t k)
{
    enum { LEAST = 64, BLOCKS = 1024 };
    const int64_t tiles = (k + DPT_COLUMN_TILE - 1) / DPT_COLUMN_TILE, parts = tiles > 0 ? BLOCKS / tiles : 1, least = LEAST;
    return parts > least ? parts : least;
}

template <class SUM = float> static inline size_t dpt_column_scratch(int sums, int64_t k)
{
    return (size_t)dpt_column_most_parts(k) * (size_t)sums * (size_t)k * sizeof(SUM);
}

template <int S, class SUM = float, class OUT, class F>
static inline void dpt_column_sums(struct dpt_cuda *cuda, int64_t n, int64_t k, F value, void *scratch,
                                   struct dpt_columns<S, OUT> out)
{
    enum { LEAST = 4 * DPT_COLUMN_ROWS };
    const int64_t most = n > LEAST ? (n + LEAST - 1) / LEAST : 1, limit = dpt_column_most_parts(k);
    const int64_t parts = most < limit ? most : limit;
    const int64_t rows = (n + parts - 1) / parts;
    if (k > 0) {
        const dim3 grid((unsigned)((k + DPT_COLUMN_TILE - 1) / DPT_COLUMN_TILE), (unsigned)parts);
        const dim3 block(DPT_COLUMN_THREADS, DPT_COLUMN_ROWS);
        DPT_LAUNCH((dpt_column_parts<S, SUM, F>), grid, block, cuda->stream, n, k, rows, value, (SUM *)scratch);
        DPT_LAUNCH((dpt_column_totals<S, SUM, OUT>), (unsigned)((k + DPT_WARP - 1) / DPT_WARP),
                   DPT_COLUMN_WARPS * DPT_WARP, cuda->stream, k, parts, (const SUM *)scratch, out);
    }
}

/* --------------------------------------------------------------------------------------------------- random words */

/* The four words of block `index` of a stream of dropout, as base/rng.h has them. */
static __device__ inline void dpt_dropout_words(uint64_t seed, uint32_t stream, uint64_t step, uint64_t index, uint32_t c[4])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    c[0] = (uint32_t)index;
    c[1] = (uint32_t)(index >> 32);
    c[2] = (uint32_t)step;
    c[3] = ((uint32_t)DPT_RNG_USE_DROPOUT << 24) | (stream & 0xffffffu);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        c[0] = (uint32_t)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)p1;
        c[2] = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* Word `at` of four, without an index into registers. */
static __device__ inline uint32_t dpt_word_of(const uint32_t c[4], unsigned at)
{
    const uint32_t even = at & 2 ? c[2] : c[0], odd = at & 2 ? c[3] : c[1];
    return at & 1 ? odd : even;
}

/* Word `element` % 4 of block `element` / 4. */
static __device__ inline uint32_t dpt_dropout_word(uint64_t seed, uint32_t stream, uint64_t step, uint64_t element)
{
    uint32_t c[4];
    dpt_dropout_words(seed, stream, step, element / 4, c);
    return dpt_word_of(c, (unsigned)(element % 4));
}

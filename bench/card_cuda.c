/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What card 0 can do at best, to hold a training step against, and what kernels bound by memory make of it: bytes a second
 * of copies on the card, from and to pinned memory of the host; matrix products in fp32 and bf16; for each kernel the bytes
 * that it must read and write by the time that it takes, as a share of the copy's.
 *
 *     make bench/card && bench/card [--small]         --small: sizes for the emulator, whose times mean nothing
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "dev/cuda.h"
#include "op/activation.h"
#include "op/flat.h"
#include "op/gemm_cuda.h"
#include "op/layer_norm.h"
#include "op/op.h"
#include "op/update.h"

static void must(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "bench/card: %s\n", dpt_error_text());
        exit(1);
    }
}

static void *take(struct dpt_dev *dev, size_t nbytes)
{
    void *block;
    must(dpt_dev_alloc(dev, nbytes, "a bench", &block));
    return block;
}

typedef void work_fn(struct dpt_dev *dev, void *argument);

/* Seconds of one of many, after a first one that does not count. */
static double time_of(struct dpt_dev *dev, work_fn *work, void *argument, double least_s)
{
    work(dev, argument);
    must(dpt_dev_wait(dev));
    for (int count = 1;; count *= 2) {
        const double begin_s = dpt_clock_s();
        for (int i = 0; i < count; i++) {
            work(dev, argument);
        }
        must(dpt_dev_wait(dev));
        const double seconds = dpt_clock_s() - begin_s;
        if (seconds >= least_s) {
            return seconds / count;
        }
    }
}

struct copy {
    void *to, *from, *host;
    size_t nbytes;
    struct dpt_dev_mark *mark;
};

static void on_card(struct dpt_dev *dev, void *argument)
{
    const struct copy *copy = argument;
    must(dpt_dev_copy(dev, copy->to, copy->from, copy->nbytes));
}

static void to_card(struct dpt_dev *dev, void *argument)
{
    const struct copy *copy = argument;
    must(dpt_dev_copy_in_later(dev, copy->to, copy->host, copy->nbytes, copy->mark));
}

static void from_card(struct dpt_dev *dev, void *argument)
{
    const struct copy *copy = argument;
    must(dpt_dev_copy_out_later(dev, copy->host, copy->from, copy->nbytes));
}

static void multiply(struct dpt_dev *dev, void *argument)
{
    must(dpt_cuda_gemm(dpt_cuda_of(dev), argument));
}

static void square(struct dpt_dev *dev, void *argument)
{
    const struct copy *copy = argument;
    const struct dpt_flat_range all = {copy->from, (int64_t)(copy->nbytes / sizeof(float))};
    must(dpt_flat_squares(dev, DPT_DTYPE_F32, 1, &all, copy->host));
}

struct call {
    const struct dpt_op *op;
    struct dpt_op_call call;
};

static void kernel(struct dpt_dev *dev, void *argument)
{
    const struct call *call = argument;
    (void)dev;
    must(dpt_op_call(call->op, DPT_RUN_CUDA, &call->call));
}

/* Copies on the card in bytes a second, read and written. */
static double tell_copies(struct dpt_dev *dev, size_t nbytes, double least_s)
{
    struct copy copy = {take(dev, nbytes), take(dev, nbytes), NULL, nbytes, NULL};
    must(dpt_dev_host_alloc(dev, nbytes, "a bench", &copy.host));
    must(dpt_dev_mark_new(dev, &copy.mark));
    const double card = 2.0 * (double)nbytes / time_of(dev, on_card, &copy, least_s);
    printf("copy on the card        %9.1f GB/s (read and written)\n", card / 1e9);
    printf("pinned host to card     %9.1f GB/s\n", (double)nbytes / time_of(dev, to_card, &copy, least_s) / 1e9);
    printf("card to pinned host     %9.1f GB/s\n", (double)nbytes / time_of(dev, from_card, &copy, least_s) / 1e9);
    const double squared = (double)nbytes / time_of(dev, square, &copy, least_s);
    printf("kernel square of norm   %9.1f GB/s  %3.0f %% of the copy\n", squared / 1e9, 100.0 * squared / card);
    dpt_dev_mark_free(dev, copy.mark);
    dpt_dev_host_release(dev, copy.host, nbytes);
    dpt_dev_release(dev, copy.from, nbytes);
    dpt_dev_release(dev, copy.to, nbytes);
    return card;
}

static void tell_product(struct dpt_dev *dev, int64_t n, enum dpt_dtype dtype, double least_s)
{
    const size_t nbytes = (size_t)(n * n) * dpt_dtype_nbytes(dtype);
    struct dpt_cuda_gemm gemm = {.factors = dtype, .sums = dtype, .m = n, .n = n, .k = n};
    void *a = take(dev, nbytes), *b = take(dev, nbytes);
    gemm.a = a;
    gemm.b = b;
    gemm.c = take(dev, nbytes);
    const double seconds = time_of(dev, multiply, &gemm, least_s);
    printf("product %5s of %-5lld   %9.2f Tflop/s\n", dpt_dtype_name(dtype), (long long)n,
           2.0 * (double)n * (double)n * (double)n / seconds / 1e12);
    dpt_dev_release(dev, gemm.c, nbytes);
    dpt_dev_release(dev, b, nbytes);
    dpt_dev_release(dev, a, nbytes);
}

/* A kernel on zeros, whose time is that of all numbers. */
static void tell_kernel(struct dpt_dev *dev, const char *name, struct dpt_op_types types, double copy, double least_s)
{
    static const struct dpt_op_ctx ctx = {.micro_rows = 1, .batch_rows = 1, .lr = 0.1, .grad_scale = 1.0, .update = 1};
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    struct dpt_op_cost cost = {0};
    struct call call = {.op = dpt_op_find(name)};
    must(dpt_op_shape(call.op, &types));
    dpt_op_cost(call.op, &types, &cost);
    for (int i = 0; i < types.nin; i++) {
        in[i] = (struct dpt_tensor){types.in[i], take(dev, dpt_type_nbytes(&types.in[i]))};
    }
    for (int o = 0; o < types.nout; o++) {
        out[o] = (struct dpt_tensor){types.out[o], take(dev, dpt_type_nbytes(&types.out[o]))};
    }
    const size_t scratch = dpt_op_scratch(call.op, &types, DPT_RUN_CUDA, 1, NULL);
    call.call = (struct dpt_op_call){.types = &types, .in = in, .out = out, .scratch = take(dev, scratch), .ctx = &ctx, .dev = dev};
    const double bytes_s = (cost.bytes_read + cost.bytes_written) / time_of(dev, kernel, &call, least_s);
    printf("kernel %-16s %9.1f GB/s  %3.0f %% of the copy\n", name, bytes_s / 1e9, 100.0 * bytes_s / copy);
    dpt_dev_release(dev, call.call.scratch, scratch);
    for (int o = types.nout - 1; o >= 0; o--) {
        dpt_dev_release(dev, out[o].data, dpt_type_nbytes(&types.out[o]));
    }
    for (int i = types.nin - 1; i >= 0; i--) {
        dpt_dev_release(dev, in[i].data, dpt_type_nbytes(&types.in[i]));
    }
}

int main(int argc, char **argv)
{
    const bool small = argc == 2 && strcmp(argv[1], "--small") == 0;
    const int64_t rows = small ? 16 : 32768, columns = small ? 64 : 1024, n = small ? 64 : 8192;
    const double least_s = small ? 0.0 : 0.2;
    const struct dpt_type x = {DPT_DTYPE_F32, 2, {rows, columns}}, row = {DPT_DTYPE_F32, 1, {columns}};
    const struct dpt_type flat = {DPT_DTYPE_F32, 1, {rows * columns}};
    static const struct dpt_activation_param gelu = {DPT_ACTIVATION_KIND_GELU};
    static const struct dpt_layer_norm_param norm = {.eps = 1e-5};
    static const struct dpt_adam_param adam = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decoupled = true};
    struct dpt_dev *dev;
    const char *why;
    if (argc > 1 && !small) {
        fputs("usage: card [--small]\n", stderr);
        return 2;
    }
    if (dpt_dev_cuda_count(&why) == 0) {
        printf("SKIP: %s\n", why);
        return 77;
    }
    must(dpt_dev_cuda(0, &dev));
    printf("%s\n", dev->name);
    const double copy = tell_copies(dev, dpt_type_nbytes(&flat), least_s);
    tell_product(dev, n, DPT_DTYPE_F32, least_s);
    tell_product(dev, n, DPT_DTYPE_BF16, least_s);
    tell_kernel(dev, "add", (struct dpt_op_types){.nin = 2, .in = {x, x}}, copy, least_s);
    tell_kernel(dev, "activation", (struct dpt_op_types){.param = &gelu, .nin = 1, .in = {x}}, copy, least_s);
    tell_kernel(dev, "layer_norm", (struct dpt_op_types){.param = &norm, .nin = 3, .in = {x, row, row}}, copy, least_s);
    tell_kernel(dev, "adam", (struct dpt_op_types){.param = &adam, .nin = 4, .in = {flat, flat, flat, flat}}, copy, least_s);
    dpt_dev_close(dev);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Between a node that computes in 16 bits and an op whose rules and kernels know float. Shape rules see F32 for BF16 and
 * F16, and give outputs that the node keeps in 16 bits back as such. Where the op has kernels for bfloat16 and this machine
 * the instructions, they run; else the float kernel runs on operands in scratch memory: inputs widened, factors of products
 * rounded, outputs narrowed afterwards. Both compute the same: products of 16-bit numbers added up in float, all else in
 * float, one rounding of each number that is kept in 16 bits. Kernels for cards take operands as they lie (cuda.cuh).
 *
 * The float kernel runs on slices of the samples where that takes less memory, so that its operands come and go in the
 * caches. That needs nothing of an op that its signature does not promise to ranks: an output without samples is a sum.
 *
 *   scratch:   [factors without samples][sums][inputs and outputs of a slice][scratch of the float kernel]
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "op/cuda.h"
#include "op/flat.h"
#include "op/op.h"

enum { ALIGN = 64 };

/* What was prepared for a node that computes in 16 bits. */
struct prep {
    void *narrow; /* for the op's kernels of 16 bits, or NULL          */
    void *wide;   /* for the float kernel: only where `narrow` is NULL */
};

typedef enum dpt_status kernel_fn(const struct dpt_op_call *call);

static kernel_fn *kernel(const struct dpt_op *op, enum dpt_run run)
{
    if (run == DPT_RUN_CUDA) {
        return dpt_op__cuda(op)->run; /* dpt_op_check_run has seen it */
    }
    return op->run[run] ? op->run[run] : op->run[DPT_RUN_REF];
}

static bool is_half(const struct dpt_op *op, const struct dpt_op_types *types)
{
    return types->half != DPT_DTYPE_F32 && !op->view && !op->collective && !op->update;
}

/* The types as the op's own functions know them. */
static struct dpt_op_types widened(const struct dpt_op_types *types)
{
    struct dpt_op_types wide = *types;
    for (int i = 0; i < types->nin; i++) {
        wide.in[i].dtype = dpt_half_is(types->in[i].dtype) ? DPT_DTYPE_F32 : types->in[i].dtype;
    }
    for (int o = 0; o < types->nout; o++) {
        wide.out[o].dtype = dpt_half_is(types->out[o].dtype) ? DPT_DTYPE_F32 : types->out[o].dtype;
    }
    wide.half = DPT_DTYPE_F32;
    wide.narrow = 0;
    return wide;
}

enum dpt_status dpt_op_shape(const struct dpt_op *op, struct dpt_op_types *types)
{
    if (!is_half(op, types)) {
        return op->shape(types);
    }
    struct dpt_op_types wide = widened(types);
    DPT_TRY(op->shape(&wide));
    types->nout = wide.nout;
    for (int o = 0; o < wide.nout; o++) {
        const bool narrow = types->narrow >> o & 1;
        DPT_CHECK(!narrow || (wide.out[o].dtype == DPT_DTYPE_F32 && !(op->exact >> o & 1)), DPT_STATUS_FAILED,
                  "output %d of %s cannot be kept in 16 bits", o, op->name);
        types->out[o] = wide.out[o];
        types->out[o].dtype = narrow ? types->half : wide.out[o].dtype;
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ float kernels */

size_t dpt_op__slice_nbytes = 1 << 20;

static bool is_batch(const struct dpt_op *op, const struct dpt_op_types *types, int operand)
{
    return dpt_op_index_dim(op, types, operand, 'b') == 0;
}

static bool is_copied(const struct dpt_op *op, const struct dpt_op_types *types, int operand)
{
    const struct dpt_type *type = operand < types->nin ? &types->in[operand] : &types->out[operand - types->nin];
    const bool factor = operand < types->nin && type->dtype == DPT_DTYPE_F32 && (op->factors >> operand & 1) &&
                        !(types->rounded >> operand & 1);
    return dpt_half_is(type->dtype) || factor;
}

/* The input in whose widened copy the kernel may write output 0, or -1. */
static int shared_input(const struct dpt_op *op, const struct dpt_op_types *types)
{
    for (int i = 0; i < types->nin && types->nout > 0; i++) {
        if ((op->alias >> i & 1) && dpt_half_is(types->in[i].dtype) &&
            dpt_type_equal(&types->in[i], &types->out[0])) {
            return i;
        }
    }
    return -1;
}

static size_t aligned(size_t nbytes)
{
    return (nbytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* How a call is cut along the samples, and the bytes of what does not lie where the caller has it. */
struct cut {
    int64_t rows;  /* samples of the whole, at the planned size; 0: nothing has any  */
    int64_t slice; /* of one slice                                                   */
    size_t copies; /* of a slice                                                     */
    size_t fixed;  /* of what has no samples: factors, and with several slices sums  */
};

/* An output without samples is the sum over the slices, as over ranks: made by the kernel where it can add, else by us. */
static bool is_summed(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int o)
{
    return !is_batch(op, types, types->nin + o) && !(o == 0 && (op->adds >> run & 1));
}

/*
 * Bytes of a sample by which slices are cut, 0: those of all that is widened. A sum over the samples that is from some inputs
 * alone has copies on ranks with unlike parts of the others, which must come out alike: there slices go by those inputs, as if
 * the others were as large.
 */
static size_t pace_of(const struct dpt_op *op, const struct dpt_op_types *types)
{
    for (int o = 0; o < types->nout; o++) {
        size_t some = 0;
        int count = 0;
        for (int i = 0; i < types->nin && op->from[o] && !is_batch(op, types, types->nin + o); i++) {
            const struct dpt_type *type = &types->in[i];
            if ((op->from[o] >> i & 1) && type->dim[0] > 0) {
                some += (size_t)(dpt_type_numel(type) / type->dim[0]) * sizeof(float);
                count++;
            }
        }
        if (count > 0) {
            return some * (size_t)types->nin / (size_t)count;
        }
    }
    return 0;
}

static struct cut cut_of(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run)
{
    struct cut cut = {0};
    const size_t pace = pace_of(op, types);
    size_t sample = 0, sums = 0;
    const int shared = shared_input(op, types);
    for (int i = 0; i < types->nin + types->nout; i++) {
        const bool out = i >= types->nin, batch = is_batch(op, types, i);
        const struct dpt_type *type = out ? &types->out[i - types->nin] : &types->in[i];
        const size_t count = (size_t)dpt_type_numel(type);
        cut.rows = batch ? type->dim[0] : cut.rows;
        if (is_copied(op, types, i) && !(i == types->nin && shared >= 0)) {
            sample += batch && type->dim[0] > 0 ? count / (size_t)type->dim[0] * sizeof(float) : 0;
            cut.fixed += batch ? 0 : aligned(count * sizeof(float));
        }
        sums += out && is_summed(op, types, run, i - types->nin) ? aligned(dpt_type_nbytes(type)) : 0;
    }
    const bool local = op->local && op->local(types->param); /* asks for the number of samples */
    const size_t each = pace > 0 ? pace : sample;
    const int64_t most = each > 0 ? (int64_t)(dpt_op__slice_nbytes / each) + 1 : cut.rows;
    const bool pays = pace > 0 || sums + (size_t)most * sample < (size_t)cut.rows * sample;
    cut.slice = cut.rows;
    if (most < cut.rows && dpt_op_may_split(op, types, 'b') && !local && pays) {
        cut.slice = most;
        cut.fixed += sums;
    }
    cut.copies = (size_t)cut.slice * sample + (DPT_OP_MAX_IN + DPT_OP_MAX_OUT) * ALIGN;
    return cut;
}

/* The types of the float kernel for one slice; what is narrowed behind it, it may ask (dpt_op_kept). */
static struct dpt_op_types sliced(const struct dpt_op *op, const struct dpt_op_types *types, int64_t rows)
{
    struct dpt_op_types wide = widened(types);
    wide.half = types->half;
    wide.narrow = types->narrow;
    for (int i = 0; i < types->nin + types->nout; i++) {
        if (is_batch(op, types, i)) {
            *(i < types->nin ? &wide.in[i].dim[0] : &wide.out[i - types->nin].dim[0]) = rows;
        }
    }
    return wide;
}

/* Of a twin, or NULL. */
static const struct dpt_op_cuda_library *library_of(const struct dpt_op *op)
{
    const struct dpt_op_cuda *twin = dpt_op__cuda(op);
    return twin ? twin->library : NULL;
}

/* On a card the library, where that is prepared and takes the call, else the twin. */
static enum dpt_status call_card(const struct dpt_op *op, const struct dpt_op_call *call)
{
    const struct dpt_op_cuda_library *library = library_of(op);
    bool done = false;
    if (library && call->prep) {
        DPT_TRY(library->run(call, &done));
    }
    return done ? DPT_STATUS_OK : kernel(op, DPT_RUN_CUDA)(call);
}

enum dpt_status dpt_op_prepare(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                               struct dpt_dev *dev, void **prep)
{
    *prep = NULL;
    if (run == DPT_RUN_CUDA) {
        const struct dpt_op_cuda_library *library = library_of(op);
        const bool card = dev && dev->kind == DPT_DEV_KIND_CUDA;
        return library && card ? library->prepare(dev, types, prep) : DPT_STATUS_OK;
    }
    if (!is_half(op, types)) {
        return op->prepare ? op->prepare(types, run, threads, prep) : DPT_STATUS_OK;
    }
    struct prep made = {NULL, NULL};
    const struct dpt_op_types wide = sliced(op, types, cut_of(op, types, run).slice);
    if (op->bf16 && run == DPT_RUN_CPU && types->half == DPT_DTYPE_BF16) {
        DPT_TRY(op->bf16->prepare(types, threads, &made.narrow));
    }
    if (op->prepare && !made.narrow) {
        DPT_TRY(op->prepare(&wide, run, threads, &made.wide));
    }
    if (!made.narrow && !made.wide) {
        return DPT_STATUS_OK;
    }
    *prep = malloc(sizeof made);
    if (!*prep) {
        op->release(made.narrow ? made.narrow : made.wide);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to prepare %s", op->name);
    }
    memcpy(*prep, &made, sizeof made);
    return DPT_STATUS_OK;
}

void dpt_op_release(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, void *prep)
{
    if (!prep) {
        return;
    }
    if (run == DPT_RUN_CUDA) {
        library_of(op)->release(prep);
        return;
    }
    if (!is_half(op, types)) {
        op->release(prep);
        return;
    }
    const struct prep *made = prep;
    op->release(made->narrow ? made->narrow : made->wide);
    free(prep);
}

size_t dpt_op_scratch(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                      const void *prep)
{
    if (run == DPT_RUN_CUDA) {
        const struct dpt_op_cuda *twin = dpt_op__cuda(op);
        const size_t own = twin && twin->scratch ? twin->scratch(types) : 0; /* for calls of other sizes, too */
        const size_t library = prep ? twin->library->scratch(prep) : 0;
        return own > library ? own : library;
    }
    if (!is_half(op, types)) {
        return op->scratch ? op->scratch(types, run, threads, prep) : 0;
    }
    const struct prep *made = prep;
    const struct cut cut = cut_of(op, types, run);
    const struct dpt_op_types wide = sliced(op, types, cut.slice);
    const size_t floats = op->scratch ? op->scratch(&wide, run, threads, made ? made->wide : NULL) : 0;
    const size_t least = made && made->narrow ? op->bf16->scratch(types, made->narrow) : 0;
    const size_t all = cut.fixed + cut.copies + floats;
    return all > least ? all : least;
}

/* One call of a float kernel in slices. */
struct walk {
    const struct dpt_op *op;
    const struct dpt_op_call *call; /* of the node                          */
    struct dpt_op_types types;      /* of a slice                           */
    bool batch[DPT_OP_MAX_IN + DPT_OP_MAX_OUT];
    int shared;
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT]; /* of the slice at work, for the kernel */
    void *sum[DPT_OP_MAX_OUT];      /* where slices behind the first put what is to be added */
};

/* The next `type` floats of the scratch memory. */
static struct dpt_tensor take(char **at, struct dpt_type type)
{
    type.dtype = DPT_DTYPE_F32;
    const struct dpt_tensor tensor = {type, *at};
    *at += aligned(dpt_type_nbytes(&type));
    return tensor;
}

/* Rows [begin, begin + rows) of a tensor with samples. */
static struct dpt_tensor rows_of(const struct dpt_tensor *tensor, int64_t begin, int64_t rows)
{
    struct dpt_tensor part = *tensor;
    part.type.dim[0] = 1;
    part.data = (char *)tensor->data + (size_t)begin * dpt_type_nbytes(&part.type);
    part.type.dim[0] = rows;
    return part;
}

/* The operand as the float kernel wants it, in scratch memory unless that is how it lies. */
static struct dpt_tensor widen(const struct walk *walk, int i, const struct dpt_tensor *tensor, char **at)
{
    if (!is_copied(walk->op, walk->call->types, i)) {
        return *tensor;
    }
    const struct dpt_tensor copy = take(at, tensor->type);
    const int64_t count = dpt_type_numel(&tensor->type);
    if (dpt_half_is(tensor->type.dtype)) {
        dpt_half_widen(tensor->type.dtype, count, tensor->data, copy.data);
    } else {
        dpt_half_round(walk->call->types->half, count, tensor->data, copy.data);
    }
    return copy;
}

/* What all slices share: factors without samples, room for sums. */
static void open_walk(struct walk *walk, enum dpt_run run, bool several, char **at)
{
    const struct dpt_op_types *types = walk->call->types;
    walk->shared = shared_input(walk->op, types);
    for (int i = 0; i < types->nin + types->nout; i++) {
        walk->batch[i] = is_batch(walk->op, types, i);
    }
    for (int i = 0; i < types->nin; i++) {
        if (!walk->batch[i]) {
            walk->in[i] = widen(walk, i, &walk->call->in[i], at);
        }
    }
    for (int o = 0; o < types->nout; o++) {
        if (several && is_summed(walk->op, types, run, o)) {
            walk->sum[o] = *at;
            *at += aligned(dpt_type_nbytes(&walk->call->out[o].type));
        }
    }
}

/* Operands of the slice from sample `begin` on; the rest of the scratch memory is the kernel's. */
static void set_slice(struct walk *walk, int64_t begin, int64_t rows, char **at)
{
    const struct dpt_op_call *call = walk->call;
    const int nin = walk->types.nin;
    for (int i = 0; i < nin; i++) {
        if (walk->batch[i]) {
            const struct dpt_tensor part = rows_of(&call->in[i], begin, rows);
            walk->in[i] = widen(walk, i, &part, at);
        }
    }
    for (int o = 0; o < walk->types.nout; o++) {
        walk->out[o] = walk->batch[nin + o] ? rows_of(&call->out[o], begin, rows) : call->out[o];
        if (dpt_half_is(walk->out[o].type.dtype)) {
            walk->out[o] = o == 0 && walk->shared >= 0 ? walk->in[walk->shared] : take(at, walk->out[o].type);
        } else if (begin > 0 && walk->sum[o]) {
            walk->out[o].data = walk->sum[o];
        }
    }
}

/* Narrows what the kernel made of a slice, and adds what is a sum. */
static enum dpt_status keep_slice(const struct walk *walk, int64_t begin, int64_t rows)
{
    const int nin = walk->types.nin;
    for (int o = 0; o < walk->types.nout; o++) {
        const struct dpt_tensor *made = &walk->out[o], *out = &walk->call->out[o];
        const int64_t count = dpt_type_numel(&made->type);
        if (dpt_half_is(out->type.dtype)) {
            const struct dpt_tensor to = walk->batch[nin + o] ? rows_of(out, begin, rows) : *out;
            dpt_half_narrow(out->type.dtype, count, made->data, to.data);
        } else if (begin > 0 && walk->sum[o]) {
            DPT_TRY(dpt_flat_add(NULL, out->type.dtype, count, out->data, made->data, out->data));
        }
    }
    return DPT_STATUS_OK;
}

/* The types of the operands as this call has them, with its number of samples. */
static struct dpt_op_types types_now(const struct dpt_op_call *call)
{
    struct dpt_op_types types = *call->types;
    for (int i = 0; i < types.nin; i++) {
        types.in[i] = call->in[i].type;
    }
    for (int o = 0; o < types.nout; o++) {
        types.out[o] = call->out[o].type;
    }
    return types;
}

static enum dpt_status call_float(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    const struct prep *made = call->prep;
    const struct dpt_op_types now = types_now(call);
    const struct cut cut = cut_of(op, &now, run);
    const bool several = cut.slice < cut.rows;
    struct walk walk = {
        .op = op, .call = call, .types = sliced(op, call->types, cut_of(op, call->types, run).slice)};
    struct dpt_op_ctx ctx = {0};
    struct dpt_op_call wide = *call;
    char *shared = call->scratch;
    int64_t begin = 0;
    open_walk(&walk, run, several, &shared);
    wide.types = &walk.types;
    wide.in = walk.in;
    wide.out = walk.out;
    wide.prep = made ? made->wide : NULL;
    do {
        const int64_t rows = cut.slice < cut.rows - begin ? cut.slice : cut.rows - begin;
        char *at = shared;
        set_slice(&walk, begin, rows, &at);
        if (several) {
            ctx = *call->ctx;
            ctx.rows = rows;
            ctx.first_row += begin;
            wide.ctx = &ctx;
        }
        wide.scratch = at;
        wide.add = call->add || (begin > 0 && (op->adds >> run & 1));
        DPT_TRY(kernel(op, run)(&wide));
        DPT_TRY(keep_slice(&walk, begin, rows));
        begin += rows;
    } while (begin < cut.rows);
    return DPT_STATUS_OK;
}

/* In 16 bits, by the op's kernels for them or its float kernel. */
static enum dpt_status call_half(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    const struct prep *made = call->prep;
    if (run == DPT_RUN_CPU && made && made->narrow) {
        struct dpt_op_call narrow = *call;
        bool done = true;
        narrow.prep = made->narrow;
        DPT_TRY(op->bf16->run(&narrow, &done));
        if (done) {
            return DPT_STATUS_OK;
        }
    }
    return call_float(op, run, call);
}

/* "linear (F32[64,784], F32[256,784]): the sentence of the failure". */
static enum dpt_status name_failure(enum dpt_status status, const struct dpt_op *op, const struct dpt_op_call *call)
{
    char operands[DPT_OP_MAX_IN * 98], text[96];
    size_t at = 0;
    operands[0] = '\0';
    for (int i = 0; i < call->types->nin; i++) {
        at += (size_t)snprintf(operands + at, sizeof operands - at, "%s%s", i ? ", " : "",
                               dpt_type_text(text, sizeof text, &call->in[i].type));
    }
    return dpt_error_set(status, __FILE__, __LINE__, "%s (%s): %s", op->name, operands, dpt_error_text());
}

enum dpt_status dpt_op_call(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call)
{
    DPT_TRY(dpt_dev_kernel_begin(call->dev));
    const bool narrow = is_half(op, call->types) && run != DPT_RUN_CUDA;
    const enum dpt_status status = run == DPT_RUN_CUDA ? call_card(op, call)
                                   : narrow            ? call_half(op, run, call)
                                                       : kernel(op, run)(call);
    const enum dpt_status ended = dpt_dev_kernel_end(call->dev);
    const enum dpt_status first = status != DPT_STATUS_OK ? status : ended;
    return first != DPT_STATUS_OK && run == DPT_RUN_CUDA ? name_failure(first, op, call) : first;
}

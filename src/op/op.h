/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * op/: the operations of a training step: what each computes, its shapes, how it may be split, what it costs, its
 * gradient, and its kernels. Everything in a step is one of these: forward, both backward halves, updates,
 * collectives. An op knows no graph, no model and no ranks: it sees packed tensors and an index signature.
 *
 * A family is op/<family>.c (the face: equations, shapes, signature, cost, gradient, table entries), op/<family>.h
 * (parameter structs), op/<family>_ref.inc (plain loops, once for float and once for double: the statement that
 * tests compare with), op/<family>_cpu.c (fast kernels) and tests/op/test_<family>.c. Registration is a line in
 * ops.def. Images are NHWC, weights OIHW (torchvision's), linear weights [out, in].
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "dev/dev.h"
#include "op/activation.h"
#include "tensor/tensor.h"

enum { DPT_OP_MAX_IN = 8, DPT_OP_MAX_OUT = 4 };

/* Which kernels: the plain reference, this machine's cores, a CUDA card. */
enum dpt_run { DPT_RUN_REF, DPT_RUN_CPU, DPT_RUN_CUDA, DPT_RUN_COUNT };

/* The operands of a node as types: what shape, cost, prepare and scratch see. */
struct dpt_op_types {
    const void *param; /* the op's parameter struct, param_nbytes long */
    int nin, nout;
    struct dpt_type in[DPT_OP_MAX_IN];
    struct dpt_type out[DPT_OP_MAX_OUT];
    enum dpt_dtype half;  /* F32, or what it computes in, BF16 or F16: operands may be of that, factors of products are
                             rounded to it */
    unsigned char narrow;  /* bit i: output i is kept in that instead of F32                         */
    unsigned char rounded; /* bit i: input i, a factor in F32, holds numbers that were rounded to it */
};

struct dpt_op_cost {
    double flops;         /* a multiply-add counts 2 */
    double bytes_read, bytes_written;
};

/*
 * How the windows of a halo letter lie: place p of the letter stands for the places [p stride - pad, p stride - pad +
 * reach) of the image, of which those outside it are border.
 */
struct dpt_op_window {
    int64_t stride, pad, reach;
};

/*
 * A step of an op that is split along a letter for which its ranks must know of one another in between. Values are counted:
 * the op's inputs, then what the steps give, in order. A step has the op's parameters, or is a collective over the axis.
 */
struct dpt_op_step {
    const char *op;
    int nin, in[DPT_OP_MAX_IN];
    int out;         /* the op's output that the first output of the step is; -1: it is between steps */
};

/* What changes from call to call; the same for all nodes of a micro-batch. */
struct dpt_op_ctx {
    uint64_t seed;
    uint64_t step;       /* of the job, from 0                                                   */
    int64_t rows;        /* samples in this call: dim 0 of every tensor that has the index b     */
    int64_t first_row;   /* place of local sample 0 in the global batch                          */
    int64_t micro_rows;  /* samples of this micro-batch on all ranks                             */
    int64_t batch_rows;  /* samples of the global batch: the one divisor of the loss             */
    int loss_shift;      /* gradients are those of 2^loss_shift times the loss: dpt_op_seed      */
    double lr;           /* for updates: learning rate of this step                              */
    double grad_scale;   /* for updates: factor on every gradient (clipping, 2^-loss_shift)      */
    int64_t update;      /* for updates: number of this update, from 1                           */
};

/*
 * Where a local operand lies in the logical one: the first index and the whole size of each dimension. For ops that
 * depend on the place of an element (random masks, positions, foreign ids). The place of the samples, which changes
 * from call to call, is in the context.
 */
struct dpt_op_part {
    int64_t begin[DPT_MAX_DIM], whole[DPT_MAX_DIM];
};

struct dpt_op_call {
    const struct dpt_op_types *types; /* shapes at the planned size; the tensors below have those of this call */
    const struct dpt_tensor *in;
    const struct dpt_tensor *out;     /* memory is not zeroed and may hold anything                            */
    void *prep;                       /* from prepare, or NULL                                                 */
    void *scratch;                    /* as many bytes as scratch() asked for; 64-byte aligned                 */
    const struct dpt_op_ctx *ctx;
    const struct dpt_op_part *part;   /* of the inputs, then of the outputs; NULL: whole but for the samples   */
    struct dpt_dev *dev;              /* in whose memory the operands are; NULL: this machine's                */
    bool add;                         /* to what output 0 holds already; only where the op `adds`              */
};

/*
 * The graph side of a gradient rule. The rule reads the forward node and sets din[i] for every input whose need[i]
 * is true, by adding nodes.
 */
struct dpt_op_grad {
    const struct dpt_op_types *types; /* of the forward node                                             */
    const int *in, *out;              /* value ids of the forward node                                   */
    const int *dout;                  /* gradient of each output; DPT_OP_SEED for the loss; -1 for none  */
    const bool *need;                 /* input i needs a gradient                                        */
    int *din;                         /* to be set; -1 on entry                                          */
    void *graph;                      /* for add                                                         */
    /* Adds a node and returns the id of its first output (the others follow), or -1 with the error record set. */
    int (*add)(void *graph, const char *op, const void *param, int nin, const int *in);
};

enum { DPT_OP_SEED = -2 }; /* dout of the loss itself: its gradient is dpt_op_seed for every sample */

/* The gradient that backward passes begin with: 2^loss_shift / batch_rows. Local. */
double dpt_op_seed(const struct dpt_op_ctx *ctx);

/* An op with its parameters: what of another op was taken out (strip). */
struct dpt_op_rest {
    const struct dpt_op *op;
    uint64_t param[2]; /* as bytes: the parameters of that op */
};

/* How a key of [layer.X] sections maps to an op's parameters is the business of model/layers.c. */
struct dpt_op {
    const char *name;    /* "linear_dx"            */
    const char *doc;     /* one line               */
    size_t param_nbytes; /* of the parameter struct, 0 for none; it has no padding: it is hashed and compared as bytes */

    /*
     * Index signature, e.g. "b.h,kh,k?->b.k": a letter a dimension; '.' is the same run of unnamed dimensions in all
     * operands, whose letters are '1', '2', ... by their place in the run; '?' marks an operand that may be missing;
     * '*' after the last input: any number like it. b is the sample. An operand that has the split letter is split; an
     * output that lost it is a partial sum; else copied. A part has at least one element of a letter, but for b.
     */
    const char *signature;
    const char *whole;   /* letters that may not be split; '.': all unnamed ones                 */
    /* Optional: more such letters for these operands and parameters (a bias or activation behind a sum). */
    const char *(*whole_for)(const struct dpt_op_types *types);
    /*
     * Letters along which one operand, the image, is read in windows, of which the others have an element each: rows
     * and columns of convolution and pooling. A part of the windows reads a part of the image and a border of the
     * neighbours'. The image is input 0 or, with `spreads`, output 0, to which a part of the windows gives what it adds.
     */
    const char *halo;
    bool spreads;
    void (*window)(const struct dpt_op_types *types, char letter, struct dpt_op_window *window);
    const char *stat;    /* letters that need steps: `whole` names them too                      */
    const struct dpt_op_step *steps; /* of `stat`, up to one without an op                       */
    bool view;           /* output 0 is input 0 with another shape: no kernel, no memory         */
    bool update;         /* a node of the update phase: reads input 1.., writes input 0.. in place */
    unsigned writes;     /* bit i: input i is written in place (updates only)                    */
    unsigned alias;      /* bit i: output 0 may take the memory of input i when that dies here   */
    unsigned partial;    /* bit i: output i is a contribution to a sum over the ranks that share the batch,
                            although no input has the letter b (statistics already merged)        */
    unsigned adds;       /* bit r: kernel run[r] takes call->add: the gradient of a weight, over micro-batches */
    /* Optional: true when outputs that lost the split letter are meant to differ from rank to rank (batch norm
       without sync), so that no reduction may be inserted after this node. */
    bool (*local)(const void *param);
    unsigned factors;    /* bit i: input i is a factor of a product: in 16 bits where the node computes in them */
    unsigned exact;      /* bit i: output i is never kept in 16 bits (statistics, losses)        */
    bool seed;           /* a loss: output 0 is one value a sample; dout may be DPT_OP_SEED      */
    bool collective;     /* moves values between ranks: put in by plan/, run by exec/ through comm/ */
    /* Optional: inputs that output i depends on, a bit each; 0: all. An output is a partial sum only where one of
       them has the split letter. */
    unsigned char from[DPT_OP_MAX_OUT];
    /*
     * Optional, for ops that compute f(sum, ...), where all that f reads beside the sum are the inputs from number 2 on, and
     * output 0 and more are f's: takes f out of a copy of the parameters and names it in `rest`. Where the sum is split,
     * plan/ runs the op with two inputs and one output, and f behind the sum over the ranks; whole_for need not speak of it.
     */
    void (*strip)(void *param, struct dpt_op_rest *rest);

    /* Sets nout and out[] from param and in[]; refuses with a sentence that names the dimension. */
    enum dpt_status (*shape)(struct dpt_op_types *types);
    /* Terms commented with the loop they count. NULL: bytes only (each operand once). */
    void (*cost)(const struct dpt_op_types *types, struct dpt_op_cost *cost);
    /*
     * Optional: parameters that hold sizes (of a reshape, of an image behind a gradient, of its border), changed in
     * `param`, a copy of part->param, to those of a part with the types `part`, whose operands lie at `place`. Local.
     */
    void (*resize)(const struct dpt_op_types *part, const struct dpt_op_part *place, void *param);
    /* The nodes of the backward pass. NULL: not differentiable (its inputs need no gradient through it). */
    enum dpt_status (*grad)(struct dpt_op_grad *grad);
    /* Makes what the kernel of these types needs (library primitives). May leave *prep NULL. NULL: nothing. */
    enum dpt_status (*prepare)(const struct dpt_op_types *types, enum dpt_run run, int threads, void **prep);
    void (*release)(void *prep);
    /* Bytes of temporary memory for these types and prep. NULL: none. */
    size_t (*scratch)(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);
    /* Kernels. REF takes F32 and F64. CPU does as well where it is set; NULL: REF serves. Never allocates. Those for cards
       are in a table of their own (cuda.def), since a build may be without. */
    enum dpt_status (*run[DPT_RUN_CUDA])(const struct dpt_op_call *call);
    const struct dpt_op_bf16 *bf16; /* optional: kernels of the CPU on bfloat16 (op/half.c) */
};

/*
 * Kernels that take operands in BF16 as they lie. prepare leaves *prep NULL where this machine has no instructions
 * for them; `release` of the op frees it. run sets *done to false, and nothing else, where it was not prepared for the
 * sizes of the call.
 */
struct dpt_op_bf16 {
    enum dpt_status (*prepare)(const struct dpt_op_types *types, int threads, void **prep);
    size_t (*scratch)(const struct dpt_op_types *types, const void *prep);
    enum dpt_status (*run)(const struct dpt_op_call *call, bool *done);
};

#define DPT_OP(name) extern const struct dpt_op dpt_op_##name;
#include "op/ops.def"
#undef DPT_OP

/* Finds an op by name; NULL when there is none. Local. */
const struct dpt_op *dpt_op_find(const char *name);

/* The i-th op of the table, NULL past the end. Local. */
const struct dpt_op *dpt_op_at(int i);

/* Bytes of all operands, each once, added to cost: the default of `cost`. Local. */
void dpt_op_cost_bytes(const struct dpt_op_types *types, struct dpt_op_cost *cost);

/* One flop for every element of output 0, and the bytes: `cost` of element-wise ops. Local. */
void dpt_op__cost_elements(const struct dpt_op_types *types, struct dpt_op_cost *cost);

/* flops, bytes of a node: op->cost, or bytes alone. Local. */
void dpt_op_cost(const struct dpt_op *op, const struct dpt_op_types *types, struct dpt_op_cost *cost);

/*
 * What output o is kept in, which a float kernel sees as F32: for kernels that go on from a number as those would that read
 * it from memory. Local.
 */
static inline enum dpt_dtype dpt_op_kept(const struct dpt_op_types *types, int o)
{
    return types->narrow >> o & 1 ? types->half : types->out[o].dtype;
}

/* First index of dimension `dim` of operand `operand` (inputs first, then outputs) in the logical tensor. Local. */
static inline int64_t dpt_op_begin(const struct dpt_op_call *call, int operand, int dim)
{
    return call->part ? call->part[operand].begin[dim] : 0;
}

/* Whole size of dimension `dim` of operand `operand` in the logical tensor; not for the samples, dimension b. Local. */
static inline int64_t dpt_op_whole(const struct dpt_op_call *call, int operand, int dim)
{
    const int nin = call->types->nin;
    const struct dpt_tensor *tensor = operand < nin ? &call->in[operand] : &call->out[operand - nin];
    return call->part ? call->part[operand].whole[dim] : tensor->type.dim[dim];
}

/* Elements of one sample of operand `operand` in the logical tensor: the product of all but dimension 0. Local. */
static inline int64_t dpt_op_whole_sample(const struct dpt_op_call *call, int operand)
{
    const int nin = call->types->nin;
    const int ndim = operand < nin ? call->in[operand].type.ndim : call->out[operand - nin].type.ndim;
    int64_t numel = 1;
    for (int dim = 1; dim < ndim; dim++) {
        numel *= dpt_op_whole(call, operand, dim);
    }
    return numel;
}

/*
 * The op's own shape, prepare, release, scratch and kernel (for CUDA its twin, op/cuda.h, and what a library has beside it; else the one set for `run`, else
 * REF), for nodes that compute in 16 bits too: op/half.c. Everyone but an op's own tests asks these. dpt_op_scratch wants
 * what dpt_op_prepare made. A card prepares for itself: `dev`, NULL where nothing is to be prepared. A failure on a card names
 * the op and its operands. Local.
 */
enum dpt_status dpt_op_shape(const struct dpt_op *op, struct dpt_op_types *types);
enum dpt_status dpt_op_prepare(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                               struct dpt_dev *dev, void **prep);
void dpt_op_release(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, void *prep);
size_t dpt_op_scratch(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run, int threads,
                      const void *prep);
enum dpt_status dpt_op_call(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_call *call);

/* Refuses a node that no kernel of `run` computes: on a card no twin, or too large sizes. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_op_check_run(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run);

/*
 * About so many bytes of widened operands a float kernel gets at once where a node computes in 16 bits: they stay in the
 * caches between their making and their use. The tests make it small.
 */
extern size_t dpt_op__slice_nbytes;

/*
 * The letter of the split dimension in operand `operand` (inputs first, then outputs) of these types: its dimension,
 * or -1 when the operand does not have it. Expands '.', '?' and '*'. Local.
 */
int dpt_op_index_dim(const struct dpt_op *op, const struct dpt_op_types *types, int operand, char letter);

/* The letter of dimension `dim` of an operand (inputs first, then outputs); 0 past its dimensions. Local. */
char dpt_op_letter_at(const struct dpt_op *op, const struct dpt_op_types *types, int operand, int dim);

/* True when the op may be split along `letter`: an operand has it; whole and whole_for do not name it. Local. */
bool dpt_op_may_split(const struct dpt_op *op, const struct dpt_op_types *types, char letter);

/* True when `letter` is a halo letter and operand `operand` (inputs first, then outputs) the image. Local. */
bool dpt_op_is_image(const struct dpt_op *op, int nin, int operand, char letter);

/* The step that gives output `output` of an op with steps. Local. */
const struct dpt_op_step *dpt_op_step_of(const struct dpt_op *op, int output);

/* range: the places of an image of `whole` that windows [begin, end) read; both ends are equal for none. Local. */
void dpt_op_window_range(const struct dpt_op_window *window, int64_t begin, int64_t end, int64_t whole,
                         int64_t range[2]);

/*
 * For resize: pad before a part of an image along dimension `dim`, and by how much that behind it is more, from the
 * types and places of image and windows. Leaves both as they are where the two are whole. Local.
 */
void dpt_op__window_pads(const struct dpt_op_window *window, const struct dpt_type *image,
                         const struct dpt_op_part *image_place, const struct dpt_type *windows,
                         const struct dpt_op_part *windows_place, int dim, int64_t *pad, int64_t *more);

/* True when output `output` depends on an input that has the letter: without the letter it is then a sum. Local. */
bool dpt_op_depends(const struct dpt_op *op, const struct dpt_op_types *types, int output, char letter);

/*
 * For shape rules: refuses a number of inputs that the signature does not take, and inputs with fewer dimensions than
 * it names or other unnamed ones ('.') in number. Local.
 */
enum dpt_status dpt_op__check_inputs(const struct dpt_op *op, const struct dpt_op_types *types);

/* For shape rules: refuses inputs 0 .. count-1 that are not all F32 or all F64. Local. */
enum dpt_status dpt_op__check_real(const struct dpt_op_types *types, int count);

/* For shape rules: refuses input j unless it has the shape of input i. Local. */
enum dpt_status dpt_op__check_same(const struct dpt_op_types *types, int i, int j);

/* For shape rules: refuses input i, called `name` in the message, unless it has exactly this type. Local. */
enum dpt_status dpt_op__check_shape(const struct dpt_op_types *types, int i, struct dpt_type expected,
                                    const char *name);

/*
 * For gradient rules: grad->add with the id in *id (unless `id` is NULL) and the failure as a status. Local.
 */
enum dpt_status dpt_op__add(struct dpt_op_grad *grad, const char *op, const void *param, int nin, const int *in,
                            int *id);

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Placement: an op is split along one letter on each of one or two mesh axes, on virtual ranks in one process. A rank
 * gets its part of every operand that has the letter, the whole of the others, and is told where its parts lie. Its
 * results are put where they belong, and added where they lost a letter that they depend on: the whole must come out. Of an
 * image that is read in windows a rank gets the places that its windows read; what windows add to one is added.
 */

#include "optest_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { AXES = 2, NOWHERE = -987654321 };

/* One letter on each axis. An axis in one part is none. */
struct split {
    char letter[AXES];
    int parts[AXES];
};

/* What a virtual rank has of each letter; both axes may have the same one. */
struct share {
    char letter[AXES];
    int part[AXES];
    int64_t begin[AXES], end[AXES];
};

/* A block of an operand: the first index and the size of each dimension. */
struct block {
    int64_t begin[DPT_MAX_DIM];
    struct dpt_type type;
};

static const struct dpt_type *type_of(const struct dpt_op_types *types, int operand)
{
    return operand < types->nin ? &types->in[operand] : &types->out[operand - types->nin];
}

static int64_t extent_of(const struct dpt_op *op, const struct dpt_op_types *types, char letter)
{
    for (int i = 0; i < types->nin + types->nout; i++) {
        const int dim = dpt_op_index_dim(op, types, i, letter);
        if (dim >= 0 && !dpt_op_is_image(op, types->nin, i, letter)) {
            return type_of(types, i)->dim[dim];
        }
    }
    return 0;
}

/* Two axes with the same letter make one block partition: the first axis is the slow digit. */
static struct share share_of(const struct dpt_op *op, const struct dpt_op_types *types, const struct split *split,
                             int rank)
{
    const int coord[AXES] = {rank / split->parts[1], rank % split->parts[1]};
    const bool same = split->letter[0] == split->letter[1];
    struct share share = {{0}, {0}, {0}, {0}};
    for (int a = 0; a < (same ? 1 : AXES); a++) {
        const int64_t extent = extent_of(op, types, split->letter[a]);
        const int parts = same ? split->parts[0] * split->parts[1] : split->parts[a], part = same ? rank : coord[a];
        share.letter[a] = split->letter[a];
        share.part[a] = part;
        share.begin[a] = dpt_split_begin(extent, parts, part);
        share.end[a] = dpt_split_begin(extent, parts, part + 1);
    }
    return share;
}

static struct block block_of(const struct dpt_op *op, const struct dpt_op_types *types, const struct share *share,
                             int operand)
{
    struct block block = {{0}, *type_of(types, operand)};
    for (int a = 0; a < AXES; a++) {
        const int dim = share->letter[a] ? dpt_op_index_dim(op, types, operand, share->letter[a]) : -1;
        int64_t range[2] = {share->begin[a], share->end[a]};
        if (dim >= 0 && dpt_op_is_image(op, types->nin, operand, share->letter[a])) {
            struct dpt_op_window window;
            op->window(types, share->letter[a], &window);
            dpt_op_window_range(&window, range[0], range[1], block.type.dim[dim], range);
        }
        if (dim >= 0) {
            block.begin[dim] = range[0];
            block.type.dim[dim] = range[1] - range[0];
        }
    }
    return block;
}

/* Place in the whole of element `i` of a block. */
static int64_t whole_index(const struct dpt_type *whole, const struct block *block, int64_t i)
{
    int64_t index = 0, stride = 1;
    for (int dim = whole->ndim - 1; dim >= 0; dim--) {
        index += (block->begin[dim] + i % block->type.dim[dim]) * stride;
        i /= block->type.dim[dim];
        stride *= whole->dim[dim];
    }
    return index;
}

/* Elements that lie side by side in a block and in the whole: those of the last dimension. */
static int64_t run_of(const struct block *block)
{
    return block->type.ndim > 0 ? block->type.dim[block->type.ndim - 1] : 1;
}

static struct dpt_tensor take(const struct dpt_tensor *whole, const struct block *block)
{
    struct dpt_tensor part = tensor_new(&block->type, 0);
    const size_t size = dpt_dtype_nbytes(block->type.dtype);
    const int64_t numel = dpt_type_numel(&block->type), run = run_of(block);
    for (int64_t i = 0; i < numel; i += run) {
        const int64_t at = whole_index(&whole->type, block, i);
        memcpy((char *)part.data + (size_t)i * size, (const char *)whole->data + (size_t)at * size, (size_t)run * size);
    }
    return part;
}

static void add(const struct dpt_tensor *whole, const struct block *block, const struct dpt_tensor *part)
{
    const int64_t numel = dpt_type_numel(&block->type), run = run_of(block);
    for (int64_t i = 0; i < numel; i += run) {
        const int64_t at = whole_index(&whole->type, block, i);
        for (int64_t k = 0; k < run; k++) {
            set_element(whole, at + k, element(whole, at + k) + element(part, i + k));
        }
    }
}

/* Where each operand of a rank lies. That of the samples is in the context alone. */
static void set_part(const struct dpt_op *op, const struct dpt_op_types *types, const struct block *block,
                     struct dpt_op_part *part)
{
    for (int i = 0; i < types->nin + types->nout; i++) {
        memcpy(part[i].begin, block[i].begin, sizeof part[i].begin);
        memcpy(part[i].whole, type_of(types, i)->dim, sizeof part[i].whole);
        const int dim = dpt_op_index_dim(op, types, i, 'b');
        if (dim >= 0) {
            part[i].begin[dim] = part[i].whole[dim] = NOWHERE;
        }
    }
}

static void set_rows(struct dpt_op_ctx *ctx, const struct share *share)
{
    for (int a = 0; a < AXES; a++) {
        if (share->letter[a] == 'b') {
            ctx->rows = share->end[a] - share->begin[a];
            ctx->first_row += share->begin[a];
        }
    }
}

/* Parameters that hold sizes become those of the part. */
static void *part_param(const struct dpt_op *op, const struct dpt_op_types *types, const struct block *block,
                        const struct dpt_op_part *place)
{
    if (!op->param_nbytes) {
        return NULL;
    }
    void *param = malloc(op->param_nbytes);
    assert_non_null(param);
    memcpy(param, types->param, op->param_nbytes);
    struct dpt_op_types part = {.param = types->param, .nin = types->nin, .nout = types->nout};
    for (int i = 0; i < types->nin + types->nout; i++) {
        *(i < types->nin ? &part.in[i] : &part.out[i - types->nin]) = block[i].type;
    }
    if (op->resize) {
        op->resize(&part, place, param);
    }
    return param;
}

/* What does not depend on a split letter is the same on every part, and counts on the first one. */
static bool counts(const struct dpt_op *op, const struct dpt_op_types *types, const struct share *share, int operand)
{
    for (int a = 0; a < AXES; a++) {
        const char letter = share->letter[a];
        if (share->part[a] > 0 && operand >= types->nin && dpt_op_index_dim(op, types, operand, letter) < 0 &&
            !dpt_op_depends(op, types, operand - types->nin, letter)) {
            return false;
        }
    }
    return true;
}

/* Real numbers of one type as those of the other. */
static void change_type(struct dpt_tensor *tensor, enum dpt_dtype from, enum dpt_dtype to, const char *op)
{
    if (tensor->type.dtype == from) {
        struct dpt_tensor changed = tensor_convert(tensor, to);
        tensor_free(tensor, op);
        *tensor = changed;
    }
}

/* Runs one virtual rank and adds its results to `sum`. */
static void run_rank(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run,
                     const struct dpt_tensor *in, const struct dpt_op_ctx *ctx, const struct share *share,
                     const struct results *sum)
{
    struct block block[MAX_RESULTS];
    struct dpt_op_part part[MAX_RESULTS];
    struct dpt_tensor local[DPT_OP_MAX_IN];
    struct dpt_op_ctx local_ctx = *ctx;
    for (int i = 0; i < types->nin + types->nout; i++) {
        block[i] = block_of(op, types, share, i);
    }
    for (int i = 0; i < types->nin; i++) {
        struct block from = block[i];
        from.type.dtype = in[i].type.dtype; /* on a card less than that of the whole */
        local[i] = take(&in[i], &from);
    }
    set_part(op, types, block, part);
    set_rows(&local_ctx, share);
    void *param = part_param(op, types, block, part);
    struct results got;
    run_op(op, param, run, types->nin, local, &local_ctx, -1, part, &got);
    for (int i = 0; i < got.count; i++) {
        const struct block *at = &block[got.operand[i]];
        if (run == DPT_RUN_CUDA && at->type.dtype == DPT_DTYPE_F64) {
            change_type(&got.tensor[i], DPT_DTYPE_F32, DPT_DTYPE_F64, op->name);
        }
        if (!dpt_type_equal(&got.tensor[i].type, &at->type)) {
            char text[96], text2[96];
            fail_msg("%s, split along %.2s: %s is %s, its part of the whole is %s", op->name, share->letter,
                     got.what[i], dpt_type_text(text, sizeof text, &got.tensor[i].type),
                     dpt_type_text(text2, sizeof text2, &at->type));
        }
        if (counts(op, types, share, got.operand[i])) {
            add(&sum->tensor[i], at, &got.tensor[i]);
        }
    }
    results_free(&got, op->name);
    free(param);
    for (int i = 0; i < types->nin; i++) {
        tensor_free(&local[i], op->name);
    }
}

static void check_run(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run,
                      const struct dpt_tensor *in, const struct dpt_op_ctx *ctx, const struct split *split,
                      double tolerance, const struct results *expected)
{
    struct results sum = {.count = expected->count};
    for (int i = 0; i < sum.count; i++) {
        sum.tensor[i] = tensor_new(&expected->tensor[i].type, 0);
    }
    for (int rank = 0; rank < split->parts[0] * split->parts[1]; rank++) {
        const struct share share = share_of(op, types, split, rank);
        run_rank(op, types, run, in, ctx, &share, &sum);
    }
    char how[96];
    snprintf(how, sizeof how, "%s, split along %c in %d and along %c in %d", run_name(run, run == DPT_RUN_CUDA ? DPT_DTYPE_F32 : DPT_DTYPE_F64),
             split->letter[0], split->parts[0], split->letter[1], split->parts[1]);
    compare_results(op->name, how, &sum, expected, tolerance);
    results_free(&sum, op->name);
}

/* The letters along which these types may be split; where outputs are meant to differ, not b. */
static int letters_of(const struct dpt_op *op, const struct dpt_op_types *types, char letter[64])
{
    const bool local = op->local && op->local(types->param);
    int count = 0;
    for (const char *at = "abcdefghijklmnopqrstuvwxyz123456"; *at; at++) {
        if (dpt_op_may_split(op, types, *at) && !(local && *at == 'b')) {
            letter[count++] = *at;
        }
    }
    return count;
}

/* Every part has an element of the letter and, of an image, a place that its windows read. */
static bool fits_letter(const struct dpt_op *op, const struct dpt_op_types *types, char letter, int parts)
{
    const int64_t extent = extent_of(op, types, letter);
    const int image = op->spreads ? types->nin : 0;
    bool fits = parts <= extent;
    for (int p = 0; p < parts && fits && dpt_op_is_image(op, types->nin, image, letter); p++) {
        struct dpt_op_window window;
        int64_t range[2];
        op->window(types, letter, &window);
        dpt_op_window_range(&window, dpt_split_begin(extent, parts, p), dpt_split_begin(extent, parts, p + 1),
                            type_of(types, image)->dim[dpt_op_index_dim(op, types, image, letter)], range);
        fits = range[0] < range[1];
    }
    return fits;
}

static bool fits(const struct dpt_op *op, const struct dpt_op_types *types, const struct split *split)
{
    return split->letter[0] == split->letter[1]
               ? fits_letter(op, types, split->letter[0], split->parts[0] * split->parts[1])
               : fits_letter(op, types, split->letter[0], split->parts[0]) &&
                     fits_letter(op, types, split->letter[1], split->parts[1]);
}

/* In the plain kernels and in the fast ones; where a letter has fewer elements than parts there is nothing to ask. */
static void check_split(const struct dpt_op *op, const struct dpt_op_types *types, const struct dpt_tensor *in,
                        const struct dpt_tensor *in32, const struct dpt_op_ctx *ctx, const struct split *split,
                        double tolerance, const struct results *expected)
{
    if (fits(op, types, split)) {
        check_run(op, types, DPT_RUN_REF, in, ctx, split, 1e-12, expected);
        check_run(op, types, DPT_RUN_CPU, in, ctx, split, 1e-12, expected);
    }
    if (fits(op, types, split) && card_runs(op)) {
        check_run(op, types, DPT_RUN_CUDA, in32, ctx, split, tolerance, expected);
    }
}

void check_splits(const struct dpt_op *op, const void *param, int nin, const struct dpt_tensor *in,
                  const struct dpt_tensor *in32, const struct dpt_op_ctx *ctx, double tolerance,
                  const struct results *expected)
{
    /* One letter: both. Two letters, or one on both axes: the first that fits. */
    static const int one[][AXES] = {{2, 1}, {3, 1}}, two[][AXES] = {{2, 3}, {3, 2}, {2, 2}};
    struct dpt_op_types types;
    set_types(op, param, nin, in, &types);
    char letter[64];
    const int letters = letters_of(op, &types, letter);
    for (int i = 0; i < letters; i++) {
        for (int k = 0; k < 2; k++) {
            const struct split split = {{letter[i], letter[i]}, {one[k][0], one[k][1]}};
            check_split(op, &types, in, in32, ctx, &split, tolerance, expected);
        }
        for (int j = i; j < letters; j++) {
            struct split split = {{letter[i], letter[j]}, {0}};
            for (int k = 0; k < 3 && (k == 0 || !fits(op, &types, &split)); k++) {
                memcpy(split.parts, two[k], sizeof split.parts);
            }
            check_split(op, &types, in, in32, ctx, &split, tolerance, expected);
        }
    }
}

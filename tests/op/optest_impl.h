/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of optest share: tensors between guard bytes, one call of a kernel, its results. */

#include "optest.h"

enum { GUARD = 64 }; /* bytes before and behind the memory of a tensor */
enum { MAX_RESULTS = DPT_OP_MAX_IN + DPT_OP_MAX_OUT };

/* What a call gives: its outputs, or for an update the inputs that it writes. */
struct results {
    int count;
    struct dpt_tensor tensor[MAX_RESULTS];
    int operand[MAX_RESULTS];   /* inputs first, then outputs */
    char what[MAX_RESULTS][24]; /* "output 0"                 */
};

/* A new tensor whose bytes are all `fill`; its copy; its end, which fails when something was written beside it. */
struct dpt_tensor tensor_new(const struct dpt_type *type, int fill);
struct dpt_tensor tensor_copy(const struct dpt_tensor *from);
void tensor_free(struct dpt_tensor *tensor, const char *what);

/* The same values in another real type; bytes of a tensor's memory with its guards, which begin GUARD before its data. */
struct dpt_tensor tensor_convert(const struct dpt_tensor *from, enum dpt_dtype dtype);
size_t guarded_nbytes(size_t nbytes);

double element(const struct dpt_tensor *tensor, int64_t i);
void set_element(const struct dpt_tensor *tensor, int64_t i, double value);

/* "CPU F64" */
const char *run_name(enum dpt_run run, enum dpt_dtype real);

/* Fills in `types` by the shape rule; fails when it refuses. */
void set_types(const struct dpt_op *op, const void *param, int nin, const struct dpt_tensor *in,
               struct dpt_op_types *types);

/*
 * Runs one kernel on copies of the inputs and gives what it computed. alias >= 0: output 0 takes the memory of that
 * input. Fails when an input changed that should not.
 */
void run_op(const struct dpt_op *op, const void *param, enum dpt_run run, int nin, const struct dpt_tensor *in,
            const struct dpt_op_ctx *ctx, int alias, const struct dpt_op_part *parts, struct results *results);
/* The same for given types of all operands. */
void run_types(const struct dpt_op *op, enum dpt_run run, const struct dpt_op_types *types, const struct dpt_tensor *in,
               const struct dpt_op_ctx *ctx, int alias, const struct dpt_op_part *parts, struct results *results);
void results_free(struct results *results, const char *op);

/* Fails unless every element is within tolerance * (largest expected element). */
void compare_results(const char *op, const char *how, const struct results *got, const struct results *expected,
                     double tolerance);

/*
 * The question of 16 bits, optest_half.c. Real inputs in F32; bit i of `exact`: input i is never kept in 16 bits. `tolerance`
 * is that of the float kernels, `card` is added to it on a card.
 */
void check_half(const struct dpt_op *op, const void *param, enum dpt_dtype half, int nin, const struct dpt_tensor *in,
                unsigned exact, const struct dpt_op_ctx *ctx, double tolerance, double card);

/*
 * The questions of sums, optest_half.c, with operands in `half`, which may be F32. Without a `reader` the last input is added
 * to output 0. As above.
 */
void check_sum(const struct dpt_op *op, const char *reader, const void *param, enum dpt_dtype half, int nin,
               const struct dpt_tensor *in, unsigned exact, const struct dpt_op_ctx *ctx);

/*
 * The question of placement, optest_split.c. Real inputs in F64, and the same in F32 in `in32`; `expected` is of the whole.
 * On a card it is asked in F32, within the tolerance.
 */
void check_splits(const struct dpt_op *op, const void *param, int nin, const struct dpt_tensor *in,
                  const struct dpt_tensor *in32, const struct dpt_op_ctx *ctx, double tolerance,
                  const struct results *expected);

/* optest_card.c: whether there is a card and a kernel for it. Says once that there is none. */
bool card_runs(const struct dpt_op *op);

/* That card, or NULL. */
struct dpt_dev *card_device(void);

/* dpt_op_call on the card, with operands of this machine that tensor_new made, and scratch with the same guards. */
enum dpt_status card_call(const struct dpt_op *op, const struct dpt_op_call *call, size_t scratch_nbytes);

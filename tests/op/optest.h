/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The questions that every op answers. A family's test lists operands; optest_run asks, of the op and of every node
 * that its gradient rule adds:
 *
 *   gradient   analytic against central finite differences, in double, for every input that has one
 *   need       a rule asked for one input's gradient gives the same one and no other
 *   kernels    REF in float, CPU in float and in double against REF in double, twice with equal bits; and in float its twin
 *              for cards, where there is a card
 *   memory     outputs, scratch and inputs lie between guard bytes; outputs begin as NaN; inputs stay as they were;
 *              output 0 in the memory of an input that `alias` names gives the same bits
 *   placement  split along every letter that may be split, in 2 and 3 uneven parts, and along two letters or twice along
 *              one on two axes, then gathered (put in its place, or added where the output lost the letter): equal to
 *              the whole
 *   16 bits    with everything that has the sample index in BF16 or F16, both kernels, at once and in slices of samples, give what
 *              REF in double gives for the rounded operands, within the last rounding (2^-8 of the element, 2^-11) and the
 *              tolerance of float; so does its twin for cards
 *   sum        with `sum`: the bits of the op without its last input and of an add of that, in every type
 *   read sum   with `reader`: the bits of an add of inputs 0 and 1, which is output 0, and of that op of the sum and the others
 *   cost       positive, and equal to the count that the test gives
 */

#include <stdint.h>

#include "op/op.h"

struct optest {
    const char *op;
    const void *param;
    int nin;
    struct dpt_type in[DPT_OP_MAX_IN]; /* F32 stands for the real type: the driver runs F32 and F64     */
    int64_t below[DPT_OP_MAX_IN];      /* integers are drawn from 0 .. below - 1                        */
    double (*draw[DPT_OP_MAX_IN])(double normal); /* real numbers from standard normal ones; NULL: as is */
    unsigned fixed;                    /* bit i: input i has no gradient (given statistics, targets)    */
    unsigned exact;                    /* bit i: input i is never kept in 16 bits, as a given statistic   */
    unsigned dout;                     /* bit i: output i gets a gradient; 0 means output 0 alone       */
    double tolerance;                  /* float kernels, relative to the largest element; 0 means 2e-5  */
    bool sum;                          /* the last input is added to output 0                            */
    const char *reader;                /* the op that reads the sum of inputs 0 and 1                     */
    double all16;                      /* added to that in 16 bits for all kernels, as they round in between */
    double card16;                     /* added to that for cards in 16 bits, where they round in between */
    double flops;                      /* counted by hand; 0: not given                                 */
};

/* Operand types in few letters: OPTEST_F32(4, 3) is F32[4,3]. */
#define OPTEST_TYPE(dtype, ...)                                                                                        \
    {                                                                                                                  \
        dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}                                \
    }
#define OPTEST_F32(...) OPTEST_TYPE(DPT_DTYPE_F32, __VA_ARGS__)
#define OPTEST_F64(...) OPTEST_TYPE(DPT_DTYPE_F64, __VA_ARGS__)
#define OPTEST_I32(...) OPTEST_TYPE(DPT_DTYPE_I32, __VA_ARGS__)

/*
 * card16 of ops that round in between on cards, half a unit of 8 bits of the largest element: a bias, which the library
 * wants in the type of the result; gradients of logits, before they are multiplied.
 */
#define OPTEST_CARD_BIAS 0x1p-9
#define OPTEST_CARD_LOGITS 0x1p-8

/* |normal| + 0.1: variances and the like. */
double optest_positive(double normal);

/* Asks everything; fails the cmocka test with a message that names op, operand, element, got and expected. */
void optest_run(const struct optest *test);

/* Fails unless the shape rule refuses these inputs with a sentence that contains `words`. */
void optest_refuses(const struct optest *test, const char *words);

/* Who computes convolutions on the card from now on. False where there is no card. */
bool optest_convolutions(enum dpt_dev_convolution convolution);

/* One call with plain memory, in the given kernels: for what only one family asks. `in`, `out` point to tensors. */
void optest_call(const char *op, enum dpt_run run, const void *param, int nin, const struct dpt_tensor *in, int nout,
                 const struct dpt_tensor *out, const struct dpt_op_ctx *ctx);

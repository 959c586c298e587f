/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Causal attention (Vaswani and others, 2017) without ever storing a matrix of rows times keys: softmax is taken tile
 * by tile as it goes (Milakov, Gimelshein, 2018; Dao and others, "FlashAttention", 2022), and the backward pass makes
 * the tiles again from the logarithm of each row's sum. Letters: b samples, s rows (of queries), t keys, a heads (of
 * keys and values), g queries of a head (Ainslie and others, "GQA", 2023), d width of a head, p = 3 for query, key and
 * value.
 *
 *   attention         q[bsagd], k[btad], v[btad]  -> y[bsagd], lse[bsag]
 *   attention_dx      q, k, v, y, lse, dy         -> dq[bsagd], dk[btad], dv[btad]
 *   attention_qkv     qkv[bspad]                  -> y[bsad], lse[bsa]
 *   attention_qkv_dx  qkv, y, lse, dy             -> dqkv[bspad]
 *
 * Row i, counted in the logical tensor (call->part), sees keys 0 .. i. So a rank may hold any rows of q with all keys,
 * and a program that generates token after token gives one row with all keys so far. lse has no gradient.
 *
 * `rate` drops probabilities as in dropout.h, keyed by the global element of the matrix that is never stored.
 */

#include <stddef.h>
#include <stdint.h>

#include "op/op.h"

struct dpt_attention_param {
    double scale;    /* of products of queries and keys: usually 1 / sqrt(d) */
    double rate;     /* of dropout on probabilities, 0 <= rate < 1           */
    uint32_t stream; /* graph->streams++ of the forward node                 */
    uint32_t zero;   /* no padding, see op.h                                 */
};

/*
 * Both forms of a call: sizes, and for each tensor the elements between samples and between rows; within a row the
 * heads follow each other, d features each, the queries of a head together.
 */
struct dpt_attention {
    int64_t b, s, t, a, g, d;
    int64_t first;         /* place of row 0 in the logical tensor            */
    int64_t q_sample, q_row, k_sample, k_row, y_sample, y_row;
    const void *q, *k, *v; /* first element of each                           */
    void *y, *lse;         /* outputs forward; not written backward           */
    const void *dy;
    void *dq, *dk, *dv;    /* with the strides of q, k and k                  */
    /* Place in the global matrix of the local (sample 0, head 0, query 0, row 0, key 0), and steps between them. */
    int64_t place, place_sample, place_head, place_query;
};

/* What a call of any of the four ops is about. Local. */
struct dpt_attention dpt_op__attention_of(const struct dpt_op_call *call);

/* Scratch of the plain and the fast kernels. */
size_t dpt_op__attention_scratch(const struct dpt_op_types *types, enum dpt_run run, int threads, const void *prep);

/* Fast kernels in float, attention_cpu.c; their scratch for heads of width d, each with `queries` rows of queries. */
size_t dpt_op__attention_scratch_f32(int64_t d, int64_t queries);
void dpt_op__attention_f32(const struct dpt_op_call *call, const struct dpt_attention *at);
void dpt_op__attention_dx_f32(const struct dpt_op_call *call, const struct dpt_attention *at);

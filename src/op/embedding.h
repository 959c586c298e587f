/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Rows of a table: the vectors of tokens, and those of positions. Letters: b samples, . any dimensions between, s
 * positions, v tokens of the vocabulary, t rows of the table of positions, h features.
 *
 *   embedding     tokens I32[b.], w[vh]           -> y[b.h]    y = w[token]; 0 for a token outside the local rows of w
 *   embedding_dw  tokens I32[b.], dy[b.h], w[vh]  -> dw[vh]    adds the rows of dy; of w only the type is read
 *   position      x[bsh], w[th]                   -> y[bsh]    y = x + w[s]
 *   position_dw   dy[bsh], w[th]                  -> dw[th]    of w only the type is read
 *
 * Split along v, embedding gives a partial sum and embedding_dw the local rows of dw without any message. A token
 * outside the whole vocabulary is refused by the reader of the data; the kernels treat it like one of another rank.
 */

struct dpt_op_call;

/* Fast kernels in float, embedding_cpu.c. */
void dpt_op__position_f32(const struct dpt_op_call *call);
void dpt_op__position_dw_f32(const struct dpt_op_call *call);
void dpt_op__embedding_dw_f32(const struct dpt_op_call *call);

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Plain kernels once for float and once for double. A face says
 *
 *     #define DPT_REF "op/linear_ref.inc"
 *     #include "op/real.h"
 *     DPT_REF_RUN(linear, in[0])
 *
 * The file is included twice, with REAL as the type and NAME(linear) as linear_f32 or linear_f64, and DPT_REF_RUN makes
 * `ref_linear`, which calls the one that the given operand asks for. Sums and transcendental functions of a plain
 * kernel are in double for both types: it is the statement that fast kernels are compared with.
 *
 * No #pragma once: every face includes it for its own file.
 */

#define REAL float
#define NAME(name) name##_f32
#include DPT_REF
#undef REAL
#undef NAME

#define REAL double
#define NAME(name) name##_f64
#include DPT_REF
#undef REAL
#undef NAME
#undef DPT_REF

#ifndef DPT_REF_RUN
#define DPT_REF_RUN(name, operand)                                                                                     \
    static enum dpt_status ref_##name(const struct dpt_op_call *call)                                                  \
    {                                                                                                                  \
        if (call->operand.type.dtype == DPT_DTYPE_F64) {                                                               \
            name##_f64(call);                                                                                          \
        } else {                                                                                                       \
            name##_f32(call);                                                                                          \
        }                                                                                                              \
        return DPT_STATUS_OK;                                                                                          \
    }

/* `cpu_name`: the fast dpt_op__name_f32 of the family for float; double stays with the plain loops. */
#define DPT_CPU_RUN(name, operand)                                                                                     \
    static enum dpt_status cpu_##name(const struct dpt_op_call *call)                                                  \
    {                                                                                                                  \
        if (call->operand.type.dtype == DPT_DTYPE_F64) {                                                               \
            name##_f64(call);                                                                                          \
        } else {                                                                                                       \
            dpt_op__##name##_f32(call);                                                                                \
        }                                                                                                              \
        return DPT_STATUS_OK;                                                                                          \
    }
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of models share: shapes out of lists of names, and jobs of which no model can be made. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"
#include "model/model.h"

/* The type of "64 3 7 7". */
static inline struct dpt_type type_of(const char *dims)
{
    struct dpt_type type = {.dtype = DPT_DTYPE_F32};
    char *end;
    for (const char *next = dims; type.ndim < 4; next = end) {
        const int64_t dim = strtoll(next, &end, 10);
        if (end == next) {
            break;
        }
        type.dim[type.ndim++] = dim;
    }
    return type;
}

/* The job is refused with a sentence that has these words. */
static inline void assert_refused(const struct dpt_job *job, const struct dpt_model_io *io, const char *words)
{
    struct dpt_graph *graph = dpt_graph_new(DPT_DTYPE_F32, 4, true);
    assert_int_equal(dpt_model_build(job, io, false, graph), DPT_STATUS_USAGE);
    if (!strstr(dpt_error_text(), words)) {
        fail_msg("\"%s\" does not say \"%s\"", dpt_error_text(), words);
    }
    dpt_graph_free(graph);
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Values that move between the ranks of one mesh axis. A value is partial (the sum over the ranks counts), split along a
 * dimension, or copied:
 *
 *   all_reduce      x[.] -> y[.]   partial to copied
 *   all_max         x[.] -> y[.]   the greatest over the ranks, for all
 *   reduce_scatter  x[.] -> y[.]   partial to split along `to`
 *   all_gather      x[.] -> y[.]   split along `from` to copied
 *   all_to_all      x[.] -> y[.]   split along `from` to split along `to`
 *   part            x[.] -> y[.]   copied to split along `to`: no message, this rank keeps its part
 *   halo            x[.] -> y[.]   split along `to`, to that with the borders that windows of neighbours' parts read
 *   halo_sum        x[.] -> y[.]   what windows add to a part and its borders, to the split sum: halo the other way round
 *   send            x[.] ->        to another stage
 *   receive              -> y[.]   from another stage
 */

#include <stdint.h>

struct dpt_collective_param {
    int32_t axis;    /* of the mesh                                    */
    int32_t from;    /* dimension, or -1                               */
    int32_t to;      /* dimension, or -1                               */
    int32_t message; /* send, receive: index of the plan's message     */
};

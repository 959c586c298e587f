/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the files of graph/ share. */

#include "graph/graph.h"

/*
 * Makes value `id` the GRADIENT of a PARAM or BUFFER: "<of>.grad". DPT_STATUS_FAILED when it has another shape, or is
 * not the result of a node that nothing else owns. Local.
 */
enum dpt_status dpt_graph__set_gradient(struct dpt_graph *graph, int of, int id);

/* Makes the index of names anew, after values have moved. Local. */
void dpt_graph__index(struct dpt_graph *graph);

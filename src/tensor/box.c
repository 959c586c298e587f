/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/box.h"

#include <string.h>

/* The first dimension of a run: all behind it are whole. */
static int run_dim(const struct dpt_box *box)
{
    int dim = box->ndim - 1;
    while (dim > 0 && box->dim[dim] == box->whole[dim]) {
        dim--;
    }
    return dim > 0 ? dim : 0;
}

static int64_t product(const int64_t *dim, int begin, int end)
{
    int64_t product = 1;
    for (int d = begin; d < end; d++) {
        product *= dim[d];
    }
    return product;
}

int64_t dpt_box_run(const struct dpt_box *box)
{
    return product(box->dim, run_dim(box), box->ndim);
}

int64_t dpt_box_runs(const struct dpt_box *box)
{
    return product(box->dim, 0, run_dim(box));
}

int64_t dpt_box_at(const struct dpt_box *box, int64_t i)
{
    const int dim = run_dim(box);
    int64_t at = 0, scale = product(box->whole, dim, box->ndim);
    if (box->ndim > 0) {
        at = box->begin[dim] * (box->whole[dim] > 0 ? scale / box->whole[dim] : 0);
    }
    for (int d = dim - 1; d >= 0; d--) {
        at += (box->begin[d] + i % box->dim[d]) * scale;
        i /= box->dim[d];
        scale *= box->whole[d];
    }
    return at;
}

void dpt_box_copy(const struct dpt_box *box, int64_t begin, int64_t end, size_t width, void *part, void *whole,
                  bool into_whole)
{
    const int64_t run = dpt_box_run(box);
    for (int64_t i = run > 0 ? begin / run : 0; run > 0 && i * run < end; i++) {
        const int64_t first = i * run > begin ? i * run : begin, stop = (i + 1) * run < end ? (i + 1) * run : end;
        char *mine = (char *)part + (size_t)first * width;
        char *other = (char *)whole + (size_t)(dpt_box_at(box, i) + first - i * run) * width;
        memcpy(into_whole ? other : mine, into_whole ? mine : other, (size_t)(stop - first) * width);
    }
}

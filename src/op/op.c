/* SPDX-License-Identifier: Apache-2.0 */

/* The op table and what every op shares. */

#include "op/op.h"

#include <math.h>
#include <string.h>

#include "op/cuda.h"

static const struct dpt_op *const table[] = {
#define DPT_OP(name) &dpt_op_##name,
#include "op/ops.def"
#undef DPT_OP
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

const struct dpt_op *dpt_op_at(int i)
{
    return i >= 0 && i < TABLE_COUNT ? table[i] : NULL;
}

const struct dpt_op *dpt_op_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}

void dpt_op_cost_bytes(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    for (int i = 0; i < types->nin; i++) {
        cost->bytes_read += (double)dpt_type_nbytes(&types->in[i]);
    }
    for (int i = 0; i < types->nout; i++) {
        cost->bytes_written += (double)dpt_type_nbytes(&types->out[i]);
    }
}

void dpt_op__cost_elements(const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    cost->flops = (double)dpt_type_numel(&types->out[0]);
    dpt_op_cost_bytes(types, cost);
}

double dpt_op_seed(const struct dpt_op_ctx *ctx)
{
    return ldexp(1.0 / (double)ctx->batch_rows, ctx->loss_shift);
}

void dpt_op_cost(const struct dpt_op *op, const struct dpt_op_types *types, struct dpt_op_cost *cost)
{
    *cost = (struct dpt_op_cost){0};
    if (op->cost) {
        op->cost(types, cost);
    } else if (!op->view) {
        dpt_op_cost_bytes(types, cost);
    }
}

enum dpt_status dpt_op_check_run(const struct dpt_op *op, const struct dpt_op_types *types, enum dpt_run run)
{
    if (run != DPT_RUN_CUDA || op->view || op->collective) {
        return DPT_STATUS_OK;
    }
    const struct dpt_op_cuda *twin = dpt_op__cuda(op);
    DPT_CHECK(twin, DPT_STATUS_USAGE, "the op %s has no kernel for cards: set device.kind = cpu", op->name);
    return twin->check ? twin->check(types) : DPT_STATUS_OK;
}

/* One operand of a signature. */
struct pattern {
    const char *text; /* "b.h": not terminated */
    int length;
    bool optional; /* '?' */
    bool repeats;  /* '*' */
};

/* Reads the pattern at *at and moves *at to the next one of the same side; false at the end of the side. */
static bool next_pattern(const char **at, struct pattern *pattern)
{
    if (**at == '\0' || **at == '-') {
        return false;
    }
    pattern->text = *at;
    pattern->length = (int)strcspn(*at, ",-?*");
    *at += pattern->length;
    pattern->optional = **at == '?';
    pattern->repeats = **at == '*';
    *at += pattern->optional || pattern->repeats;
    *at += **at == ',';
    return true;
}

/* The pattern of operand `operand` (inputs first, then outputs). */
static struct pattern operand_pattern(const struct dpt_op *op, const struct dpt_op_types *types, int operand)
{
    const char *at = op->signature;
    if (operand >= types->nin) {
        at = strstr(at, "->") + 2;
        operand -= types->nin;
    }
    struct pattern pattern = {0};
    for (int i = 0; i <= operand && !pattern.repeats; i++) {
        DPT_ASSERT(next_pattern(&at, &pattern));
    }
    return pattern;
}

/* Dimensions that '.' stands for in a tensor of `ndim` dimensions; -1 where the pattern does not fit. */
static int unnamed(const struct pattern *pattern, int ndim)
{
    const bool dots = memchr(pattern->text, '.', (size_t)pattern->length) != NULL;
    const int rest = ndim - (pattern->length - (dots ? 1 : 0));
    return rest > 0 && !dots ? -1 : rest;
}

static const struct dpt_type *operand_type(const struct dpt_op_types *types, int operand)
{
    return operand < types->nin ? &types->in[operand] : &types->out[operand - types->nin];
}

char dpt_op_letter_at(const struct dpt_op *op, const struct dpt_op_types *types, int operand, int dim)
{
    const struct pattern pattern = operand_pattern(op, types, operand);
    const int ndim = operand_type(types, operand)->ndim, run = unnamed(&pattern, ndim);
    DPT_ASSERT(run >= 0);
    if (dim < 0 || dim >= ndim) {
        return 0;
    }
    for (int i = 0; i < pattern.length; i++) {
        const int length = pattern.text[i] == '.' ? run : 1;
        if (dim < length) {
            return pattern.text[i] == '.' ? (char)('1' + dim) : pattern.text[i];
        }
        dim -= length;
    }
    return 0;
}

int dpt_op_index_dim(const struct dpt_op *op, const struct dpt_op_types *types, int operand, char letter)
{
    for (int dim = 0; dim < operand_type(types, operand)->ndim; dim++) {
        if (dpt_op_letter_at(op, types, operand, dim) == letter) {
            return dim;
        }
    }
    return -1;
}

/* True when `letters` names the letter; '.' names all unnamed dimensions. */
static bool names(const char *letters, char letter)
{
    const bool unnamed = letter >= '1' && letter <= '9';
    return letters && (strchr(letters, letter) || (unnamed && strchr(letters, '.')));
}

bool dpt_op_may_split(const struct dpt_op *op, const struct dpt_op_types *types, char letter)
{
    if (names(op->whole, letter) || (op->whole_for && names(op->whole_for(types), letter))) {
        return false;
    }
    for (int i = 0; i < types->nin + types->nout; i++) {
        if (dpt_op_index_dim(op, types, i, letter) >= 0) {
            return true;
        }
    }
    return false;
}

bool dpt_op_is_image(const struct dpt_op *op, int nin, int operand, char letter)
{
    return names(op->halo, letter) && operand == (op->spreads ? nin : 0);
}

const struct dpt_op_step *dpt_op_step_of(const struct dpt_op *op, int output)
{
    const struct dpt_op_step *found = NULL;
    for (const struct dpt_op_step *step = op->steps; step->op; step++) {
        found = step->out >= 0 && step->out <= output ? step : found;
    }
    return found;
}

static int64_t clamp(int64_t x, int64_t most)
{
    return x < 0 ? 0 : x < most ? x : most;
}

void dpt_op_window_range(const struct dpt_op_window *window, int64_t begin, int64_t end, int64_t whole,
                         int64_t range[2])
{
    range[0] = clamp(begin * window->stride - window->pad, whole);
    range[1] = end > begin ? clamp((end - 1) * window->stride - window->pad + window->reach, whole) : range[0];
}

void dpt_op__window_pads(const struct dpt_op_window *window, const struct dpt_type *image,
                         const struct dpt_op_part *image_place, const struct dpt_type *windows,
                         const struct dpt_op_part *windows_place, int dim, int64_t *pad, int64_t *more)
{
    const int64_t count = windows->dim[dim], length = image->dim[dim];
    if (length == image_place->whole[dim] && count == windows_place->whole[dim]) {
        return;
    }
    const int64_t first = windows_place->begin[dim] * window->stride - window->pad;
    const int64_t behind = first + (count - 1) * window->stride + window->reach - image_place->begin[dim] - length;
    *pad = image_place->begin[dim] - first;
    *more = (behind > 0 ? behind : 0) - *pad;
}

bool dpt_op_depends(const struct dpt_op *op, const struct dpt_op_types *types, int output, char letter)
{
    const unsigned from = op->from[output] ? op->from[output] : ~0u;
    for (int i = 0; i < types->nin; i++) {
        if ((from >> i & 1) && dpt_op_index_dim(op, types, i, letter) >= 0) {
            return true;
        }
    }
    return false;
}

enum dpt_status dpt_op__check_inputs(const struct dpt_op *op, const struct dpt_op_types *types)
{
    const char *at = op->signature;
    struct pattern pattern = {0};
    int least = 0, most = 0;
    while (next_pattern(&at, &pattern)) {
        least += !pattern.optional;
        most = pattern.repeats ? DPT_OP_MAX_IN : most + 1;
    }
    DPT_CHECK(types->nin >= least && types->nin <= most, DPT_STATUS_USAGE, "has %d inputs, takes %d to %d (%s)",
              types->nin, least, most, op->signature);
    for (int i = 0; i < types->nin; i++) {
        pattern = operand_pattern(op, types, i);
        DPT_CHECK(unnamed(&pattern, types->in[i].ndim) >= 0, DPT_STATUS_USAGE,
                  "input %d has %d dimensions, expected %.*s ('.' stands for any number)", i, types->in[i].ndim,
                  pattern.length, pattern.text);
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__check_real(const struct dpt_op_types *types, int count)
{
    for (int i = 0; i < count; i++) {
        const enum dpt_dtype dtype = types->in[i].dtype;
        DPT_CHECK(dtype == DPT_DTYPE_F32 || dtype == DPT_DTYPE_F64, DPT_STATUS_USAGE,
                  "input %d holds %s, expected real numbers (F32 or F64)", i, dpt_dtype_name(dtype));
        DPT_CHECK(dtype == types->in[0].dtype, DPT_STATUS_USAGE, "input %d holds %s, but input 0 %s", i,
                  dpt_dtype_name(dtype), dpt_dtype_name(types->in[0].dtype));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__check_same(const struct dpt_op_types *types, int i, int j)
{
    const struct dpt_type *a = &types->in[i], *b = &types->in[j];
    char text_a[96], text_b[96];
    DPT_CHECK(a->ndim == b->ndim && memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof a->dim[0]) == 0, DPT_STATUS_USAGE,
              "input %d is %s, expected the shape of input %d, %s", j, dpt_type_text(text_b, sizeof text_b, b), i,
              dpt_type_text(text_a, sizeof text_a, a));
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__check_shape(const struct dpt_op_types *types, int i, struct dpt_type expected,
                                    const char *name)
{
    char got[96], wanted[96];
    DPT_CHECK(dpt_type_equal(&types->in[i], &expected), DPT_STATUS_USAGE, "%s is %s, expected %s", name,
              dpt_type_text(got, sizeof got, &types->in[i]), dpt_type_text(wanted, sizeof wanted, &expected));
    return DPT_STATUS_OK;
}

enum dpt_status dpt_op__add(struct dpt_op_grad *grad, const char *op, const void *param, int nin, const int *in,
                            int *id)
{
    const int added = grad->add(grad->graph, op, param, nin, in);
    if (added < 0) {
        return DPT_STATUS_FAILED; /* the error record is set */
    }
    if (id) {
        *id = added;
    }
    return DPT_STATUS_OK;
}

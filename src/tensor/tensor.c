/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensor.h"

#include <stdio.h>

int64_t dpt_type_numel(const struct dpt_type *type)
{
    int64_t numel = 1;
    for (int i = 0; i < type->ndim; i++) {
        numel *= type->dim[i];
    }
    return numel;
}

size_t dpt_type_nbytes(const struct dpt_type *type)
{
    return (size_t)dpt_type_numel(type) * dpt_dtype_nbytes(type->dtype);
}

enum dpt_status dpt_type_check(const struct dpt_type *type, const char *name)
{
    DPT_CHECK(type->ndim >= 0 && type->ndim <= DPT_MAX_DIM, DPT_STATUS_FAILED, "%s: has %d dimensions, at most %d fit",
              name, type->ndim, DPT_MAX_DIM);
    int64_t nbytes = (int64_t)dpt_dtype_nbytes(type->dtype);
    for (int i = 0; i < type->ndim; i++) {
        DPT_CHECK(type->dim[i] >= 0, DPT_STATUS_FAILED, "%s: dimension %d is %lld, must not be negative", name, i,
                  (long long)type->dim[i]);
        DPT_CHECK(!__builtin_mul_overflow(nbytes, type->dim[i], &nbytes) && nbytes <= (int64_t)1 << 62,
                  DPT_STATUS_FAILED, "%s: has more than 2^62 bytes", name);
    }
    return DPT_STATUS_OK;
}

bool dpt_type_equal(const struct dpt_type *a, const struct dpt_type *b)
{
    if (a->dtype != b->dtype || a->ndim != b->ndim) {
        return false;
    }
    for (int i = 0; i < a->ndim; i++) {
        if (a->dim[i] != b->dim[i]) {
            return false;
        }
    }
    return true;
}

const char *dpt_type_text(char *out, size_t size, const struct dpt_type *type)
{
    int at = snprintf(out, size, "%s[", dpt_dtype_name(type->dtype));
    for (int i = 0; i < type->ndim && at >= 0 && (size_t)at < size; i++) {
        at += snprintf(out + at, size - (size_t)at, "%s%lld", i ? "," : "", (long long)type->dim[i]);
    }
    if (at >= 0 && (size_t)at < size) {
        snprintf(out + at, size - (size_t)at, "]");
    }
    return out;
}

int64_t dpt_split_begin(int64_t total, int parts, int part)
{
    /* (q * parts + r) * part / parts without the overflow of total * part. */
    const int64_t quotient = total / parts, rest = total % parts;
    return quotient * part + rest * part / parts;
}

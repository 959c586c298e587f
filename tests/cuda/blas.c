/* SPDX-License-Identifier: Apache-2.0 */

/*
 * cuBLASLt for the card that is not there, after its documentation: matrices by columns, D = op(A) op(B) + beta C, with a
 * number of D's type added to each row where the epilogue has BIAS; A and B of one type, D of that or F32. GELU is its tanh
 * form, with AUX its argument is kept, and DGELU reads it; that has D's type and rows at multiples of 8 numbers. BGRADB gives
 * the sum of each column of op(B), in D's type and from the numbers that are multiplied, where D itself is from. Shapes that do
 * not fit are refused, and so is an answer that was given for another product. Of what follows a product this library
 * knows nothing where a row of D has an odd multiple of 8 numbers: one need not know everything.
 */

#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/hash.h"
#include "dev/cuda.h"

static cublasStatus_t create(cublasLtHandle_t *handle)
{
    static char something;
    *handle = (cublasLtHandle_t)(void *)&something;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t destroy(cublasLtHandle_t handle)
{
    (void)handle;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t desc_init(cublasLtMatmulDesc_t desc, size_t size, cublasComputeType_t compute, cudaDataType_t scale)
{
    const bool known = compute == CUBLAS_COMPUTE_32F || compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    *desc = (cublasLtMatmulDescOpaque_t){.compute = compute, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    return known && size == sizeof *desc && scale == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t desc_set(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value,
                               size_t size)
{
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        void *at;
        size_t size;
    } known[] = {
        {CUBLASLT_MATMUL_DESC_TRANSA, &desc->a, sizeof desc->a},
        {CUBLASLT_MATMUL_DESC_TRANSB, &desc->b, sizeof desc->b},
        {CUBLASLT_MATMUL_DESC_EPILOGUE, &desc->epilogue, sizeof desc->epilogue},
        {CUBLASLT_MATMUL_DESC_BIAS_POINTER, &desc->bias, sizeof desc->bias},
        {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &desc->aux, sizeof desc->aux},
        {CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &desc->aux_ld, sizeof desc->aux_ld},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].attribute == attribute && known[i].size == size) {
            memcpy(known[i].at, value, size);
            return CUBLAS_STATUS_SUCCESS;
        }
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t layout_init(cublasLtMatrixLayout_t layout, size_t size, cudaDataType type, uint64_t rows,
                                  uint64_t columns, int64_t ld)
{
    const bool known = type == CUDA_R_32F || type == CUDA_R_16F || type == CUDA_R_16BF;
    *layout = (cublasLtMatrixLayoutOpaque_t){rows, columns, ld, type};
    return known && size == sizeof *layout && ld >= (int64_t)rows ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t preference_init(cublasLtMatmulPreference_t preference, size_t size)
{
    memset(preference, 0, size);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_set(cublasLtMatmulPreference_t preference,
                                     cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t size)
{
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        memcpy(&preference->workspace, value, sizeof preference->workspace);
    }
    return size == (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4) ? CUBLAS_STATUS_SUCCESS
                                                                                  : CUBLAS_STATUS_INVALID_VALUE;
}

/* Epilogues are sums of bits. */
enum { AUX = CUBLASLT_EPILOGUE_GELU_AUX - CUBLASLT_EPILOGUE_GELU, GRADIENT = CUBLASLT_EPILOGUE_DGELU - AUX };

static bool has(const cublasLtMatmulDescOpaque_t *desc, unsigned bit)
{
    return (unsigned)desc->epilogue & bit;
}

/* Of all that an answer depends on. */
static uint64_t hash_of(const cublasLtMatmulDescOpaque_t *desc, const cublasLtMatrixLayoutOpaque_t *a,
                        const cublasLtMatrixLayoutOpaque_t *b, const cublasLtMatrixLayoutOpaque_t *d)
{
    const uint64_t all[] = {
        desc->compute, (uint64_t)desc->a, (uint64_t)desc->b, (uint64_t)desc->epilogue, a->rows, a->columns, (uint64_t)a->ld,
        b->rows,           b->columns,        (uint64_t)b->ld,          d->rows, d->columns, (uint64_t)d->ld,
        a->type,           b->type,           d->type,                  (uint64_t)desc->aux_ld,
    };
    return dpt_hash64(all, sizeof all);
}

static cublasStatus_t heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t *result,
                                int *found)
{
    (void)handle, (void)c, (void)preference, (void)wanted;
    result[0].algo.known = hash_of(desc, a, b, d);
    *found = !has(desc, CUBLASLT_EPILOGUE_GELU) && !has(desc, GRADIENT) && !has(desc, CUBLASLT_EPILOGUE_BGRADB) ? 1 : d->rows % 16 != 8;
    return CUBLAS_STATUS_SUCCESS;
}

static double get(const void *data, cudaDataType type, uint64_t i)
{
    float value = 0.0f;
    if (type == CUDA_R_32F) {
        return ((const float *)data)[i];
    }
    dpt_half_widen(type == CUDA_R_16F ? DPT_DTYPE_F16 : DPT_DTYPE_BF16, 1, (const uint16_t *)data + i, &value);
    return value;
}

static void put(void *data, cudaDataType type, uint64_t i, float value)
{
    if (type == CUDA_R_32F) {
        ((float *)data)[i] = value;
    } else {
        dpt_half_narrow(type == CUDA_R_16F ? DPT_DTYPE_F16 : DPT_DTYPE_BF16, 1, &value, (uint16_t *)data + i);
    }
}

/* To the 11 bits of TF32, halves away from 0. */
static double tf32(double value)
{
    float rounded = (float)value;
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + 0x1000) & ~0x1fffu;
    memcpy(&rounded, &bits, sizeof rounded);
    return isfinite(value) ? rounded : value;
}

/* Element (row, column) of op(matrix), as a factor. */
static double at(const void *matrix, const cublasLtMatrixLayoutOpaque_t *layout, const cublasLtMatmulDescOpaque_t *desc,
                 cublasOperation_t op, uint64_t row, uint64_t column)
{
    const uint64_t ld = (uint64_t)layout->ld;
    const double value = get(matrix, layout->type, op == CUBLAS_OP_N ? column * ld + row : row * ld + column);
    return desc->compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? tf32(value) : value;
}

static double gelu(double x)
{
    return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static double gelu_slope(double x)
{
    const double t = tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.79788456080286535588 * (1.0 + 3.0 * 0.044715 * x * x);
}

/* What a product needs when its turn comes. */
struct product {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a_layout, b_layout, c_layout, d_layout;
    const void *a, *b, *c;
    void *d;
    float factor, before;
    uint64_t m, n, k;
};

static void multiply(const void *argument)
{
    const struct product *p = argument;
    const cudaDataType type = p->d_layout.type;
    for (uint64_t j = 0; j < p->n; j++) {
        for (uint64_t i = 0; i < p->m; i++) {
            double sum = 0.0;
            for (uint64_t l = 0; l < p->k; l++) {
                sum += at(p->a, &p->a_layout, &p->desc, p->desc.a, i, l) * at(p->b, &p->b_layout, &p->desc, p->desc.b, l, j);
            }
            sum = p->factor * sum + (p->before != 0.0f ? p->before * get(p->c, type, j * (uint64_t)p->c_layout.ld + i) : 0.0);
            sum += has(&p->desc, CUBLASLT_EPILOGUE_BIAS) ? get(p->desc.bias, type, i) : 0.0;
            const uint64_t beside = j * (uint64_t)p->desc.aux_ld + i;
            if (has(&p->desc, GRADIENT)) {
                sum *= gelu_slope(get(p->desc.aux, type, beside));
            } else if (has(&p->desc, CUBLASLT_EPILOGUE_GELU)) {
                if (has(&p->desc, AUX)) {
                    put(p->desc.aux, type, beside, (float)sum);
                }
                sum = gelu(sum);
            }
            put(p->d, type, j * (uint64_t)p->d_layout.ld + i, (float)sum);
        }
        double column = 0.0;
        for (uint64_t l = 0; l < p->k && has(&p->desc, CUBLASLT_EPILOGUE_BGRADB); l++) {
            column += at(p->b, &p->b_layout, &p->desc, p->desc.b, l, j);
        }
        if (has(&p->desc, CUBLASLT_EPILOGUE_BGRADB)) {
            put(p->desc.bias, type, j, (float)column);
        }
    }
}

static cublasStatus_t matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                             cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                             const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                             cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                             size_t workspace_nbytes, cudaStream_t stream)
{
    const struct product product = {
        .desc = *desc,
        .a_layout = *a_layout,
        .b_layout = *b_layout,
        .c_layout = *c_layout,
        .d_layout = *d_layout,
        .a = a,
        .b = b,
        .c = c,
        .d = d,
        .factor = *(const float *)alpha,
        .before = *(const float *)beta,
        .m = desc->a == CUBLAS_OP_N ? a_layout->rows : a_layout->columns,
        .n = desc->b == CUBLAS_OP_N ? b_layout->columns : b_layout->rows,
        .k = desc->a == CUBLAS_OP_N ? a_layout->columns : a_layout->rows,
    };
    const uint64_t k_of_b = desc->b == CUBLAS_OP_N ? b_layout->rows : b_layout->columns;
    const uint64_t m = product.m, n = product.n, k = product.k;
    (void)handle, (void)workspace, (void)workspace_nbytes;
    if (has(desc, CUBLASLT_EPILOGUE_BGRADB) && !desc->bias) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (has(desc, AUX) && (!desc->aux || (uintptr_t)desc->aux % 16 || desc->aux_ld % 8 || desc->aux_ld < (int64_t)m)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if ((uintptr_t)a % 16 || (uintptr_t)b % 16 || (uintptr_t)d % 16 || k != k_of_b || d_layout->rows != m ||
        d_layout->columns != n || c_layout->rows != m || c_layout->type != d_layout->type || m * n * k == 0 ||
        a_layout->type != b_layout->type || (d_layout->type != a_layout->type && d_layout->type != CUDA_R_32F) ||
        (algo && algo->known != hash_of(desc, a_layout, b_layout, d_layout))) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    emulated_do_copy(stream, multiply, &product, sizeof product);
    return CUBLAS_STATUS_SUCCESS;
}

enum dpt_status dpt_cuda__open_blas(struct dpt_cublas *blas)
{
    *blas = (struct dpt_cublas){
        .create = create,
        .destroy = destroy,
        .desc_init = desc_init,
        .desc_set = desc_set,
        .layout_init = layout_init,
        .preference_init = preference_init,
        .preference_set = preference_set,
        .heuristic = heuristic,
        .matmul = matmul,
    };
    return DPT_STATUS_OK;
}

void dpt_cuda__close_blas(struct dpt_cublas *blas)
{
    (void)blas;
}

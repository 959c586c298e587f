/* SPDX-License-Identifier: Apache-2.0 */

/*
 * cuBLASLt counts matrices by columns: a packed row-major c[m,n] is there the n x m matrix C^T, and C^T = B^T A^T. So b is
 * its first operand, and is transposed when it is not so here. The bias, one number for each row of C^T, is its epilogue.
 *
 * The library is asked once for each product how it wants it done; answers are kept in the device's table, so that a later
 * step asks and allocates nothing.
 */

#include "op/gemm_cuda.h"

#include "base/hash.h"
#include "dev/cuda.h"

/* The descriptions of a product, on the stack: the library's own constructors would allocate. */
struct described {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

static int form_of(const struct dpt_cuda_gemm *gemm)
{
    const int flags = (gemm->ta ? 2 : 0) + (gemm->tb ? 4 : 0) + (gemm->add ? 8 : 0) + (gemm->bias ? 16 : 0);
    return 1 + flags + 32 * ((int)gemm->factors * DPT_DTYPE_COUNT + (int)gemm->sums);
}

static cudaDataType_t type_of(enum dpt_dtype dtype)
{
    return dtype == DPT_DTYPE_BF16 ? CUDA_R_16BF : dtype == DPT_DTYPE_F16 ? CUDA_R_16F : CUDA_R_32F;
}

static enum dpt_status describe(const struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, struct described *out)
{
    const struct dpt_cublas *blas = &cuda->blas;
    const char *what = "describing a product";
    const cublasOperation_t first = gemm->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = gemm->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const uint64_t m = (uint64_t)gemm->m, n = (uint64_t)gemm->n, k = (uint64_t)gemm->k;
    const uint64_t a_rows = gemm->tb ? k : n, a_columns = gemm->tb ? n : k;
    const uint64_t b_rows = gemm->ta ? m : k, b_columns = gemm->ta ? k : m;
    const cudaDataType_t factors = type_of(gemm->factors), sums = type_of(gemm->sums);
    const bool tf32 = cuda->dev.tf32 && gemm->factors == DPT_DTYPE_F32;
    const cublasComputeType_t compute = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    DPT_BLAS_TRY(cuda, blas->desc_init(&out->desc, sizeof out->desc, compute, CUDA_R_32F), what);
    DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), what);
    DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), what);
    if (gemm->bias) {
        const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue), what);
        DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &gemm->bias, sizeof gemm->bias),
                     what);
    }
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->a, sizeof out->a, factors, a_rows, a_columns, (int64_t)a_rows), what);
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->b, sizeof out->b, factors, b_rows, b_columns, (int64_t)b_rows), what);
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->c, sizeof out->c, sums, n, m, (int64_t)n), what);
    return DPT_STATUS_OK;
}

/* Asks the library. Operands lie at multiples of 64 bytes: parameters in flat buffers, activations in their block. */
static enum dpt_status ask(const struct dpt_cuda *cuda, struct described *described, cublasLtMatmulAlgo_t *algo)
{
    static const cublasLtMatmulPreferenceAttributes_t alignment[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    };
    const struct dpt_cublas *blas = &cuda->blas;
    const char *what = "asking for a product";
    const uint32_t aligned = 16;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    DPT_BLAS_TRY(cuda, blas->preference_init(&preference, sizeof preference), what);
    DPT_BLAS_TRY(cuda, blas->preference_set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                            &cuda->workspace_nbytes, sizeof cuda->workspace_nbytes), what);
    for (int i = 0; i < 4; i++) {
        DPT_BLAS_TRY(cuda, blas->preference_set(&preference, alignment[i], &aligned, sizeof aligned), what);
    }
    DPT_BLAS_TRY(cuda, blas->heuristic(cuda->handle, &described->desc, &described->a, &described->b, &described->c,
                                       &described->c, &preference, 1, &result, &found), what);
    DPT_CHECK(found > 0, DPT_STATUS_FAILED, "%s: cuBLASLt knows no way to make this product", cuda->dev.name);
    *algo = result.algo;
    return DPT_STATUS_OK;
}

/* The entry of a product, filled in at its first use; NULL when the table is full. */
static enum dpt_status look_up(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, struct described *described,
                               const cublasLtMatmulAlgo_t **algo)
{
    const int64_t key[4] = {gemm->m, gemm->n, gemm->k, form_of(gemm)};
    const uint64_t hash = dpt_hash64(key, sizeof key);
    for (uint64_t i = 0; i < DPT_CUDA_PRODUCTS; i++) {
        struct dpt_cuda_product *entry = &cuda->product[(hash + i) % DPT_CUDA_PRODUCTS];
        if (entry->form == 0) {
            DPT_TRY(ask(cuda, described, &entry->algo));
            entry->m = gemm->m;
            entry->n = gemm->n;
            entry->k = gemm->k;
            entry->form = form_of(gemm);
        }
        if (entry->m == gemm->m && entry->n == gemm->n && entry->k == gemm->k && entry->form == form_of(gemm)) {
            *algo = &entry->algo;
            return DPT_STATUS_OK;
        }
    }
    *algo = NULL; /* the library asks itself */
    return DPT_STATUS_OK;
}

enum dpt_status dpt_cuda_gemm(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm)
{
    const float one = 1.0f, beta = gemm->add ? 1.0f : 0.0f;
    const cublasLtMatmulAlgo_t *algo;
    struct described described;
    DPT_ASSERT(!gemm->bias || (!gemm->add && gemm->k > 0));
    if (gemm->m == 0 || gemm->n == 0) {
        return DPT_STATUS_OK;
    }
    if (gemm->k == 0) { /* an empty sum */
        return gemm->add ? DPT_STATUS_OK
                         : dpt_dev_zero(&cuda->dev, gemm->c, (size_t)gemm->m * (size_t)gemm->n * dpt_dtype_nbytes(gemm->sums));
    }
    DPT_TRY(describe(cuda, gemm, &described));
    DPT_TRY(look_up(cuda, gemm, &described, &algo));
    DPT_BLAS_TRY(cuda, cuda->blas.matmul(cuda->handle, &described.desc, &one, gemm->b, &described.a, gemm->a, &described.b,
                                         &beta, gemm->c, &described.c, gemm->c, &described.c, algo, cuda->workspace,
                                         cuda->workspace_nbytes, cuda->stream), "a product");
    return DPT_STATUS_OK;
}

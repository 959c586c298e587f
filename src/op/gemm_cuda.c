/* SPDX-License-Identifier: Apache-2.0 */

/*
 * cuBLASLt counts matrices by columns: a packed row-major c[m,n] is there the n x m matrix C^T, and C^T = B^T A^T. So b is
 * its first operand, and is transposed when it is not so here. The bias, one number for each row of C^T, is its epilogue,
 * and so are GELU in its tanh form, of which it can keep the argument, and the gradient of that. a is its second operand, of
 * which it can sum up what it reads for the product. Its relu would make 0 of nan and hide that a training diverged, so that it
 * is never asked for that.
 *
 * The library is asked once for each product how it wants it done; answers are kept in the device's table, so that a later
 * step asks and allocates nothing.
 */

#include "op/gemm_cuda.h"

#include <string.h>

#include "base/hash.h"
#include "dev/cuda.h"

/* The descriptions of a product, on the stack: the library's own constructors would allocate. */
struct described {
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatrixLayoutOpaque_t a, b, c;
};

/* Numbers of the argument of GELU from row to row, of which the library wants a multiple of this. */
enum { AUX_UNIT = 8 };

/*
 * True when the library may know what is beside the product: sums over it, or an activation, where the product and what is kept
 * or read with that have one type.
 */
static bool may_finish(const struct dpt_cuda_gemm *gemm)
{
    const struct dpt_tensor *aux = gemm->t.data ? &gemm->t : &gemm->z;
    if (gemm->db) {
        return gemm->k > 0 && !gemm->db_apart;
    }
    return gemm->act == DPT_ACTIVATION_KIND_GELU_TANH && !gemm->add && gemm->k > 0 &&
           (!aux->data || (gemm->n % AUX_UNIT == 0 && aux->type.dtype == gemm->sums));
}

/* Type and place of what the library writes: with `finish` the result, else what comes before the activation. */
static enum dpt_dtype type_of_sums(const struct dpt_cuda_gemm *gemm, bool finish)
{
    return !finish && gemm->z.data ? gemm->z.type.dtype : gemm->sums;
}

static void *place_of_sums(const struct dpt_cuda_gemm *gemm, bool finish)
{
    return !finish && gemm->z.data ? gemm->z.data : gemm->c;
}

static cublasLtEpilogue_t epilogue_of(const struct dpt_cuda_gemm *gemm, bool finish)
{
    if (finish && gemm->db) {
        return CUBLASLT_EPILOGUE_BGRADB;
    }
    if (finish && gemm->t.data) {
        return CUBLASLT_EPILOGUE_DGELU;
    }
    if (finish && gemm->z.data) {
        return gemm->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    }
    if (finish) {
        return gemm->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    }
    return gemm->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* What a product is but for its sizes, as a number that is not 0. */
static int form_of(const struct dpt_cuda_gemm *gemm, bool finish)
{
    enum { EPILOGUES = 1024 };
    const int flags = 1 + (gemm->ta ? 2 : 0) + (gemm->tb ? 4 : 0) + (gemm->add ? 8 : 0);
    const int types = (int)gemm->factors * DPT_DTYPE_COUNT + (int)type_of_sums(gemm, finish);
    return flags + 16 * ((int)epilogue_of(gemm, finish) + EPILOGUES * types);
}

static cudaDataType_t type_of(enum dpt_dtype dtype)
{
    return dtype == DPT_DTYPE_BF16 ? CUDA_R_16BF : dtype == DPT_DTYPE_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* The epilogue of a product, and what it reads or keeps. */
static enum dpt_status describe_epilogue(const struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, bool finish,
                                         cublasLtMatmulDesc_t desc)
{
    const struct dpt_cublas *blas = &cuda->blas;
    const char *what = "describing what follows a product";
    const cublasLtEpilogue_t epilogue = epilogue_of(gemm, finish);
    const void *aux = !finish ? NULL : gemm->t.data ? gemm->t.data : gemm->z.data;
    const void *bias = finish && gemm->db ? gemm->db : gemm->bias; /* the library's name for both */
    DPT_BLAS_TRY(cuda, blas->desc_set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue), what);
    if (bias) {
        DPT_BLAS_TRY(cuda, blas->desc_set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias), what);
    }
    if (aux) {
        const int64_t ld = gemm->n;
        DPT_BLAS_TRY(cuda, blas->desc_set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux, sizeof aux), what);
        DPT_BLAS_TRY(cuda, blas->desc_set(desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &ld, sizeof ld), what);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status describe(const struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, bool finish,
                                struct described *out)
{
    const struct dpt_cublas *blas = &cuda->blas;
    const char *what = "describing a product";
    const cublasOperation_t first = gemm->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = gemm->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const uint64_t m = (uint64_t)gemm->m, n = (uint64_t)gemm->n, k = (uint64_t)gemm->k;
    const uint64_t a_rows = gemm->tb ? k : n, a_columns = gemm->tb ? n : k;
    const uint64_t b_rows = gemm->ta ? m : k, b_columns = gemm->ta ? k : m;
    const int64_t b_row = gemm->a_row > 0 ? gemm->a_row : (int64_t)b_rows;
    const cudaDataType_t factors = type_of(gemm->factors), sums = type_of(type_of_sums(gemm, finish));
    const bool tf32 = cuda->dev.tf32 && gemm->factors == DPT_DTYPE_F32;
    const cublasComputeType_t compute = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    DPT_BLAS_TRY(cuda, blas->desc_init(&out->desc, sizeof out->desc, compute, CUDA_R_32F), what);
    DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), what);
    DPT_BLAS_TRY(cuda, blas->desc_set(&out->desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), what);
    DPT_TRY(describe_epilogue(cuda, gemm, finish, &out->desc));
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->a, sizeof out->a, factors, a_rows, a_columns, (int64_t)a_rows), what);
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->b, sizeof out->b, factors, b_rows, b_columns, b_row), what);
    DPT_BLAS_TRY(cuda, blas->layout_init(&out->c, sizeof out->c, sums, n, m, (int64_t)n), what);
    return DPT_STATUS_OK;
}

/*
 * Asks the library; *known: it has a way. Operands lie at multiples of 64 bytes: parameters in flat buffers, activations in
 * their block.
 */
static enum dpt_status ask(const struct dpt_cuda *cuda, bool finish, struct described *described,
                           cublasLtMatmulAlgo_t *algo, bool *known)
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
    const cublasStatus_t status = blas->heuristic(cuda->handle, &described->desc, &described->a, &described->b,
                                                  &described->c, &described->c, &preference, 1, &result, &found);
    *known = status == CUBLAS_STATUS_SUCCESS && found > 0;
    if (*known) {
        *algo = result.algo;
    } else if (!finish && status != CUBLAS_STATUS_NOT_SUPPORTED) { /* an epilogue may be unknown to an older library */
        DPT_BLAS_TRY(cuda, status, what);
    }
    return DPT_STATUS_OK;
}

/* The entry of a product, filled in at its first use; NULL when the table is full. */
static enum dpt_status look_up(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, bool finish,
                               struct described *described, const struct dpt_cuda_product **found)
{
    const int64_t key[5] = {gemm->m, gemm->n, gemm->k, gemm->a_row, form_of(gemm, finish)};
    const uint64_t hash = dpt_hash64(key, sizeof key);
    for (uint64_t i = 0; i < DPT_CUDA_PRODUCTS; i++) {
        struct dpt_cuda_product *entry = &cuda->product[(hash + i) % DPT_CUDA_PRODUCTS];
        if (entry->key[4] == 0) {
            DPT_TRY(ask(cuda, finish, described, &entry->algo, &entry->known));
            memcpy(entry->key, key, sizeof key);
        }
        if (memcmp(entry->key, key, sizeof key) == 0) {
            *found = entry;
            return DPT_STATUS_OK;
        }
    }
    *found = NULL; /* the library asks itself */
    return DPT_STATUS_OK;
}

/* The product, with `finish` and what follows it; *done: the library knows it. */
static enum dpt_status multiply(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm, bool finish, bool *done)
{
    const float one = 1.0f, beta = gemm->add ? 1.0f : 0.0f;
    const struct dpt_cuda_product *product;
    struct described described;
    void *c = place_of_sums(gemm, finish);
    DPT_TRY(describe(cuda, gemm, finish, &described));
    DPT_TRY(look_up(cuda, gemm, finish, &described, &product));
    *done = product ? product->known : !finish;
    if (*done) {
        DPT_BLAS_TRY(cuda, cuda->blas.matmul(cuda->handle, &described.desc, &one, gemm->b, &described.a, gemm->a,
                                             &described.b, &beta, c, &described.c, c, &described.c,
                                             product ? &product->algo : NULL, cuda->workspace, cuda->workspace_nbytes,
                                             cuda->stream), "a product");
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_cuda_gemm(struct dpt_cuda *cuda, const struct dpt_cuda_gemm *gemm)
{
    const enum dpt_dtype type = type_of_sums(gemm, false);
    bool done = false;
    DPT_ASSERT(!gemm->bias || (!gemm->add && gemm->k > 0));
    DPT_ASSERT(!gemm->db || (gemm->ta && gemm->n > 0 && gemm->act == DPT_ACTIVATION_KIND_NONE &&
                             gemm->sums == DPT_DTYPE_F32 && gemm->a_row == 0));
    if (gemm->m == 0 || gemm->n == 0) {
        return DPT_STATUS_OK;
    }
    if (may_finish(gemm)) {
        DPT_TRY(multiply(cuda, gemm, true, &done));
        if (done) {
            return DPT_STATUS_OK;
        }
    }
    if (gemm->k > 0) {
        DPT_TRY(multiply(cuda, gemm, false, &done));
        DPT_CHECK(done, DPT_STATUS_FAILED, "%s: cuBLASLt knows no way to make this product", cuda->dev.name);
    } else if (!gemm->add) { /* an empty sum */
        DPT_TRY(dpt_dev_zero(&cuda->dev, place_of_sums(gemm, false),
                             (size_t)gemm->m * (size_t)gemm->n * dpt_dtype_nbytes(type)));
    }
    if (gemm->db) {
        dpt_op__bias_sums_cuda(cuda, gemm->k, gemm->m, gemm->factors, gemm->a, gemm->db_scratch, gemm->db);
    }
    if (gemm->act != DPT_ACTIVATION_KIND_NONE) {
        const struct dpt_tensor sums = {{.dtype = type}, place_of_sums(gemm, false)};
        const struct dpt_tensor result = {{.dtype = gemm->sums}, gemm->c};
        dpt_op__activate_cuda(cuda, gemm->act, gemm->m * gemm->n, &sums, gemm->t.data ? &gemm->t : NULL, &result);
    }
    return DPT_STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What dev/cuda.c shares with kernels for cards (op/ files with cuda in their name) and with nobody else. Kernels of a rank
 * are in one stream, so that they are done in the order in which they were asked for; three more take what is copied beside
 * them, and events say which waits for which.
 */

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "dev/dev.h"

/* The functions of cuBLASLt that are used. The library is opened when a card is: a program without one never needs it. */
struct dpt_cublas {
    void *library;
    cublasStatus_t (*create)(cublasLtHandle_t *handle);
    cublasStatus_t (*destroy)(cublasLtHandle_t handle);
    cublasStatus_t (*desc_init)(cublasLtMatmulDesc_t desc, size_t size, cublasComputeType_t compute, cudaDataType_t scale);
    cublasStatus_t (*desc_set)(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute, const void *value,
                               size_t size);
    cublasStatus_t (*layout_init)(cublasLtMatrixLayout_t layout, size_t size, cudaDataType type, uint64_t rows,
                                  uint64_t columns, int64_t ld);
    cublasStatus_t (*preference_init)(cublasLtMatmulPreference_t preference, size_t size);
    cublasStatus_t (*preference_set)(cublasLtMatmulPreference_t preference,
                                     cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t size);
    cublasStatus_t (*heuristic)(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t *result,
                                int *found);
    cublasStatus_t (*matmul)(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                             cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                             const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                             cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                             size_t workspace_nbytes, cudaStream_t stream);
};

/* A product that was asked for before, and how the library wants it done. */
struct dpt_cuda_product {
    int64_t key[5]; /* m, n, k, a_row, and what it is but for its sizes, which is not 0; all 0: the entry is free */
    bool known;     /* the library can do this */
    cublasLtMatmulAlgo_t algo;
};

enum { DPT_CUDA_PRODUCTS = 1024 };

/* Sums over ranges of a flat buffer: the most in a launch, each in at most so many parts. */
enum { DPT_CUDA_SQUARES = 128, DPT_CUDA_PARTS = 1024 };

struct dpt_cuda {
    struct dpt_dev dev; /* first: a struct dpt_dev * of a card is one of these */
    int card, multiprocessors;
    cudaStream_t stream;
    cudaStream_t in, out; /* copies beside the line                                         */
    cudaStream_t ahead;   /* those that it does not wait for                                */
    cudaEvent_t asked;    /* in `stream`: what a copy out comes behind                      */
    cudaEvent_t arrived;  /* in `in`: what kernels and copies out come behind                */
    struct dpt_cublas blas;
    cublasLtHandle_t handle;
    struct dpt_cudnn *dnn; /* cuda_dnn.h: NULL where there is none, or nobody asked for it yet */
    bool no_dnn;           /* it was looked for and not found */
    void *workspace;    /* of products, on the card */
    size_t workspace_nbytes;
    struct dpt_cuda_product product[DPT_CUDA_PRODUCTS]; /* by hash */
    uint64_t *step;     /* on the card: where kernels draw from, so that no recording has it in it */
    uint64_t step_now;  /* what is there */
    double *part;       /* on the card: DPT_CUDA_PARTS of each sum over a range, then the sums */
    char *staging;      /* two buffers on the host, through which copies in go */
    cudaEvent_t staged[2];
    int slot;           /* the next one */
};

/* The card of a call's device. */
static inline struct dpt_cuda *dpt_cuda_of(struct dpt_dev *dev)
{
    return (struct dpt_cuda *)dev;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Starts a failure: "cuda 0 (NVIDIA H200): WHAT: the driver's words". Local. */
enum dpt_status dpt_cuda_failed(const struct dpt_cuda *cuda, cudaError_t error, const char *what);
enum dpt_status dpt_cuda_blas_failed(const struct dpt_cuda *cuda, cublasStatus_t status, const char *what);

/* Makes cuda->step on the card that number, in line, unless it is. DPT_STATUS_FAILED. Local. */
enum dpt_status dpt_cuda_step(struct dpt_cuda *cuda, uint64_t step);

/*
 * cuDNN for the convolutions of a card, or NULL where kernels of dpt are to do them: then dev->convolutions says why.
 * DPT_STATUS_USAGE where it is asked for and not found. Local.
 */
struct dpt_cudnn;
enum dpt_status dpt_cuda_dnn(struct dpt_dev *dev, struct dpt_cudnn **found);
void dpt_cuda__close_dnn(struct dpt_cuda *cuda);

/* Opens the library and finds its functions. DPT_STATUS_FAILED says what was looked for. Local. */
enum dpt_status dpt_cuda__open_blas(struct dpt_cublas *blas);
void dpt_cuda__close_blas(struct dpt_cublas *blas);

#ifdef __cplusplus
}
#endif

#define DPT_CUDA_TRY(cuda, call, what)                                                                                 \
    do {                                                                                                               \
        const cudaError_t dpt_cuda_error = (call);                                                                     \
        if (dpt_cuda_error != cudaSuccess) {                                                                           \
            return dpt_cuda_failed(cuda, dpt_cuda_error, what);                                                        \
        }                                                                                                              \
    } while (0)

#define DPT_BLAS_TRY(cuda, call, what)                                                                                 \
    do {                                                                                                               \
        const cublasStatus_t dpt_cuda_status = (call);                                                                 \
        if (dpt_cuda_status != CUBLAS_STATUS_SUCCESS) {                                                                \
            return dpt_cuda_blas_failed(cuda, dpt_cuda_status, what);                                                  \
        }                                                                                                              \
    } while (0)

/* SPDX-License-Identifier: Apache-2.0 */

/* A card of CUDA. The run time library is linked statically and says itself when there is no driver. */

#include "dev/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { STAGING = 8 << 20, WORKSPACE = 32 << 20 };

struct dpt_dev_mark {
    cudaEvent_t event;
};

/* -------------------------------------------------------------------------------------------------------- failures */

enum dpt_status dpt_cuda_failed(const struct dpt_cuda *cuda, cudaError_t error, const char *what)
{
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__,
                         "%s: %s: %s (%s); an earlier kernel may be to blame: with CUDA_LAUNCH_BLOCKING=1 in the "
                         "environment the message names it",
                         cuda->dev.name, what, cudaGetErrorString(error), cudaGetErrorName(error));
}

enum dpt_status dpt_cuda_blas_failed(const struct dpt_cuda *cuda, cublasStatus_t status, const char *what)
{
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "%s: %s: cuBLASLt refuses it (status %d)", cuda->dev.name,
                         what, (int)status);
}

/* ---------------------------------------------------------------------------------------------------------- memory */

/* Words for an allocation that failed. */
static enum dpt_status no_memory(const struct dpt_cuda *cuda, cudaError_t error, size_t nbytes, const char *what)
{
    char asked[24], left[24], all[24];
    size_t free = 0, total = 0;
    if (error != cudaErrorMemoryAllocation || cudaMemGetInfo(&free, &total) != cudaSuccess) {
        return dpt_cuda_failed(cuda, error, what);
    }
    cudaGetLastError(); /* this one is told; the next kernel is not to find it */
    return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__,
                         "%s: not enough memory for %s: %s were asked for, %s of %s are free; more micro-batches "
                         "(batch.micro_batches), parallel.recompute and run.precision = bf16 make activations smaller, "
                         "parallel.shard on several ranks the rest; a smaller model has less of all",
                         cuda->dev.name, what, dpt_text_bytes(asked, sizeof asked, nbytes),
                         dpt_text_bytes(left, sizeof left, free), dpt_text_bytes(all, sizeof all, total));
}

static enum dpt_status take(const struct dpt_cuda *cuda, size_t nbytes, const char *what, void **block)
{
    const cudaError_t error = cudaMalloc(block, nbytes);
    if (error != cudaSuccess) {
        *block = NULL;
        return no_memory(cuda, error, nbytes, what);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status cuda_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_TRY(take(cuda, nbytes, what, block));
    DPT_CUDA_TRY(cuda, cudaMemsetAsync(*block, 0, nbytes, cuda->stream), what);
    return DPT_STATUS_OK;
}

static void cuda_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    (void)dev, (void)nbytes;
    cudaFree(block);
}

static enum dpt_status host_alloc(struct dpt_dev *dev, size_t nbytes, const char *what, void **block)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    char asked[24];
    const cudaError_t error = cudaMallocHost(block, nbytes);
    if (error != cudaSuccess) {
        *block = NULL;
        cudaGetLastError();
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__,
                             "%s: no memory of the host for %s: %s were asked for, pinned (%s; look at ulimit -l)",
                             cuda->dev.name, what, dpt_text_bytes(asked, sizeof asked, nbytes), cudaGetErrorString(error));
    }
    memset(*block, 0, nbytes);
    return DPT_STATUS_OK;
}

/* What is on its way from there, and nobody waits for, arrives first. */
static void host_release(struct dpt_dev *dev, void *block, size_t nbytes)
{
    (void)nbytes;
    cudaStreamSynchronize(dpt_cuda_of(dev)->ahead);
    cudaFreeHost(block);
}

/* ---------------------------------------------------------------------------------------------------------- copies */

/* Piece after piece through two pinned buffers: the card copies one while the host fills the other. */
static enum dpt_status copy_in(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    for (size_t done = 0; done < nbytes;) {
        const size_t part = nbytes - done < STAGING ? nbytes - done : STAGING;
        char *buffer = cuda->staging + (size_t)cuda->slot * STAGING;
        DPT_CUDA_TRY(cuda, cudaEventSynchronize(cuda->staged[cuda->slot]), "a copy to the card");
        memcpy(buffer, (const char *)from_host + done, part);
        DPT_CUDA_TRY(cuda, cudaMemcpyAsync((char *)to + done, buffer, part, cudaMemcpyHostToDevice, cuda->stream),
                     "a copy to the card");
        DPT_CUDA_TRY(cuda, cudaEventRecord(cuda->staged[cuda->slot], cuda->stream), "a copy to the card");
        cuda->slot = !cuda->slot;
        done += part;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status copy_out(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to_host, from, nbytes, cudaMemcpyDeviceToHost, cuda->stream),
                 "a copy from the card");
    DPT_CUDA_TRY(cuda, cudaStreamSynchronize(cuda->stream), "a copy from the card");
    return DPT_STATUS_OK;
}

/* Any thread: one that never called CUDA would begin on card 0. */
static enum dpt_status mark_wait(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaSetDevice(cuda->card), "waiting for a copy");
    DPT_CUDA_TRY(cuda, cudaEventSynchronize(mark->event), "waiting for a copy");
    return DPT_STATUS_OK;
}

/* It sleeps while it waits: the core may be another rank's. */
static enum dpt_status mark_new(struct dpt_dev *dev, struct dpt_dev_mark **mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    struct dpt_dev_mark *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "out of memory for an event");
    const cudaError_t error = cudaEventCreateWithFlags(&made->event, cudaEventDisableTiming | cudaEventBlockingSync);
    if (error != cudaSuccess) {
        free(made);
        return dpt_cuda_failed(cuda, error, "an event");
    }
    *mark = made;
    return DPT_STATUS_OK;
}

static void mark_free(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    (void)dev;
    cudaEventDestroy(mark->event);
    free(mark);
}

static enum dpt_status copy_in_later(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                     struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to, from_host, nbytes, cudaMemcpyHostToDevice, cuda->stream), "a copy to the card");
    DPT_CUDA_TRY(cuda, cudaEventRecord(mark->event, cuda->stream), "a copy to the card");
    return DPT_STATUS_OK;
}

static enum dpt_status copy_out_later(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to_host, from, nbytes, cudaMemcpyDeviceToHost, cuda->stream),
                 "a copy from the card");
    return DPT_STATUS_OK;
}

static enum dpt_status copy_in_beside(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    const char *what = "a copy to the card";
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to, from_host, nbytes, cudaMemcpyHostToDevice, cuda->in), what);
    DPT_CUDA_TRY(cuda, cudaEventRecord(cuda->arrived, cuda->in), what);
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->stream, cuda->arrived, 0), what);
    return DPT_STATUS_OK;
}

static enum dpt_status copy_out_beside(struct dpt_dev *dev, void *to_host, const void *from, size_t nbytes,
                                       struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    const char *what = "a copy from the card";
    DPT_CUDA_TRY(cuda, cudaEventRecord(cuda->asked, cuda->stream), what);
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->out, cuda->asked, 0), what);
    if (nbytes > 0) {
        DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to_host, from, nbytes, cudaMemcpyDeviceToHost, cuda->out), what);
    }
    DPT_CUDA_TRY(cuda, cudaEventRecord(mark->event, cuda->out), what);
    return DPT_STATUS_OK;
}

static enum dpt_status copy_in_ahead(struct dpt_dev *dev, void *to, const void *from_host, size_t nbytes,
                                     struct dpt_dev_mark *after, struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    const char *what = "a copy to the card";
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->ahead, after->event, 0), what);
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to, from_host, nbytes, cudaMemcpyHostToDevice, cuda->ahead), what);
    DPT_CUDA_TRY(cuda, cudaEventRecord(mark->event, cuda->ahead), what);
    return DPT_STATUS_OK;
}

static enum dpt_status mark_line(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaEventRecord(mark->event, cuda->stream), "a mark");
    return DPT_STATUS_OK;
}

static enum dpt_status follow(struct dpt_dev *dev, struct dpt_dev_mark *mark)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaStreamWaitEvent(cuda->stream, mark->event, 0), "a mark");
    return DPT_STATUS_OK;
}

static enum dpt_status wait_for_line(struct dpt_dev *dev)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaStreamSynchronize(cuda->stream), "waiting for the card");
    return DPT_STATUS_OK;
}

static enum dpt_status copy(struct dpt_dev *dev, void *to, const void *from, size_t nbytes)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaMemcpyAsync(to, from, nbytes, cudaMemcpyDeviceToDevice, cuda->stream), "a copy on the card");
    return DPT_STATUS_OK;
}

static enum dpt_status zero(struct dpt_dev *dev, void *to, size_t nbytes)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaMemsetAsync(to, 0, nbytes, cuda->stream), "zeroing memory");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_cuda_step(struct dpt_cuda *cuda, uint64_t step)
{
    if (cuda->step_now == step) {
        return DPT_STATUS_OK;
    }
    cuda->step_now = step;
    return copy_in(&cuda->dev, cuda->step, &step, sizeof step);
}

static enum dpt_status set_step(struct dpt_dev *dev, uint64_t step)
{
    return dpt_cuda_step(dpt_cuda_of(dev), step);
}

static enum dpt_status kernel_end(struct dpt_dev *dev)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaGetLastError(), "a kernel");
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------------- recordings */

static enum dpt_status record_begin(struct dpt_dev *dev)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal), "recording a step");
    return DPT_STATUS_OK;
}

static enum dpt_status record_end(struct dpt_dev *dev, struct dpt_dev_tape **tape)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t error = cudaStreamEndCapture(cuda->stream, &graph);
    if (error == cudaSuccess) {
        error = cudaGraphInstantiateWithFlags(&exec, graph, 0);
    }
    if (graph) {
        cudaGraphDestroy(graph);
    }
    if (error != cudaSuccess) {
        cudaGetLastError(); /* the next kernel is not to find it */
        return dpt_cuda_failed(cuda, error, "recording a step");
    }
    *tape = (struct dpt_dev_tape *)exec;
    return DPT_STATUS_OK;
}

static enum dpt_status play(struct dpt_dev *dev, struct dpt_dev_tape *tape)
{
    const struct dpt_cuda *cuda = dpt_cuda_of(dev);
    DPT_CUDA_TRY(cuda, cudaGraphLaunch((cudaGraphExec_t)tape, cuda->stream), "a recorded part of a step");
    return DPT_STATUS_OK;
}

static void tape_free(struct dpt_dev *dev, struct dpt_dev_tape *tape)
{
    (void)dev;
    cudaGraphExecDestroy((cudaGraphExec_t)tape);
}

/* ---------------------------------------------------------------------------------------------------------- a card */

static void cuda_close(struct dpt_dev *dev)
{
    struct dpt_cuda *cuda = dpt_cuda_of(dev);
    dpt_cuda__close_dnn(cuda); /* which uses cuBLASLt */
    if (cuda->handle) {
        cuda->blas.destroy(cuda->handle);
    }
    dpt_cuda__close_blas(&cuda->blas);
    const cudaEvent_t event[] = {cuda->staged[0], cuda->staged[1], cuda->asked, cuda->arrived};
    const cudaStream_t stream[] = {cuda->stream, cuda->in, cuda->out, cuda->ahead};
    for (size_t i = 0; i < sizeof event / sizeof event[0]; i++) {
        if (event[i]) {
            cudaEventDestroy(event[i]);
        }
    }
    cudaFreeHost(cuda->staging);
    cudaFree(cuda->part);
    cudaFree(cuda->step);
    cudaFree(cuda->workspace);
    for (size_t i = 0; i < sizeof stream / sizeof stream[0]; i++) {
        if (stream[i]) {
            cudaStreamDestroy(stream[i]);
        }
    }
    free(cuda);
}

static enum dpt_status open_card(struct dpt_cuda *cuda)
{
    const char *what = "starting the card";
    void *pinned = NULL;
    DPT_CUDA_TRY(cuda, cudaSetDevice(cuda->card), what);
    cudaStream_t *const stream[] = {&cuda->stream, &cuda->in, &cuda->out, &cuda->ahead};
    cudaEvent_t *const event[] = {&cuda->staged[0], &cuda->staged[1], &cuda->asked, &cuda->arrived};
    for (size_t i = 0; i < sizeof stream / sizeof stream[0]; i++) {
        DPT_CUDA_TRY(cuda, cudaStreamCreateWithFlags(stream[i], cudaStreamNonBlocking), what);
    }
    for (size_t i = 0; i < sizeof event / sizeof event[0]; i++) {
        DPT_CUDA_TRY(cuda, cudaEventCreateWithFlags(event[i], cudaEventDisableTiming), what);
    }
    DPT_CUDA_TRY(cuda, cudaMallocHost(&pinned, 2 * (size_t)STAGING), "buffers on the host");
    cuda->staging = pinned;
    cuda->workspace_nbytes = WORKSPACE;
    DPT_TRY(take(cuda, WORKSPACE, "the workspace of products", &cuda->workspace));
    const size_t sums = DPT_CUDA_SQUARES * (DPT_CUDA_PARTS + 1);
    DPT_TRY(take(cuda, sums * sizeof *cuda->part, "sums on the card", (void **)&cuda->part));
    DPT_TRY(take(cuda, sizeof *cuda->step, "the step on the card", (void **)&cuda->step));
    cuda->step_now = UINT64_MAX;
    DPT_TRY(dpt_cuda__open_blas(&cuda->blas));
    DPT_BLAS_TRY(cuda, cuda->blas.create(&cuda->handle), what);
    return DPT_STATUS_OK;
}

int dpt_dev_cuda_count(const char **why)
{
    int count = 0;
    /* Kernels are loaded when they are first used, and not all at the start: the default only since CUDA 12.2. */
    setenv("CUDA_MODULE_LOADING", "LAZY", 0);
    const cudaError_t error = cudaGetDeviceCount(&count);
    *why = "";
    if (error != cudaSuccess) {
        cudaGetLastError();
        *why = error == cudaErrorInsufficientDriver ? "there is no NVIDIA driver here, or it is older than this dpt wants"
               : error == cudaErrorNoDevice         ? "there is no card here"
                                                    : cudaGetErrorString(error);
        return 0;
    }
    return count;
}

enum dpt_status dpt_dev_cuda_info(int card, struct dpt_dev_info *info)
{
    struct cudaDeviceProp properties;
    const char *why;
    int driver = 0;
    const int count = dpt_dev_cuda_count(&why);
    DPT_CHECK(card >= 0 && card < count, DPT_STATUS_USAGE, "there is no card %d: %d are visible", card, count);
    cudaError_t error = cudaGetDeviceProperties(&properties, card);
    error = error == cudaSuccess ? cudaDriverGetVersion(&driver) : error;
    DPT_CHECK(error == cudaSuccess, DPT_STATUS_FAILED, "card %d does not tell what it is: %s", card,
              cudaGetErrorString(error));
    *info = (struct dpt_dev_info){
        .nbytes = properties.totalGlobalMem,
        .major = properties.major,
        .minor = properties.minor,
        .multiprocessors = properties.multiProcessorCount,
        .driver_major = driver / 1000,
        .driver_minor = driver % 1000 / 10,
    };
    snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, properties.name);
    _Static_assert(sizeof properties.uuid == sizeof info->id, "the number of a card has 16 bytes");
    memcpy(info->id, &properties.uuid, sizeof info->id);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_dev_cuda(int card, struct dpt_dev **dev)
{
    struct dpt_dev_info info;
    char memory[24];
    *dev = NULL;
    DPT_TRY(dpt_dev_cuda_info(card, &info));
    struct dpt_cuda *cuda = calloc(1, sizeof *cuda);
    DPT_CHECK(cuda, DPT_STATUS_SPACE, "out of memory for a device");
    cuda->card = card;
    cuda->multiprocessors = info.multiprocessors;
    cuda->dev = (struct dpt_dev){
        .kind = DPT_DEV_KIND_CUDA,
        .threads = 1,
        .alloc = cuda_alloc,
        .release = cuda_release,
        .copy_in = copy_in,
        .copy_out = copy_out,
        .copy = copy,
        .zero = zero,
        .host_alloc = host_alloc,
        .host_release = host_release,
        .mark_new = mark_new,
        .mark_free = mark_free,
        .mark_wait = mark_wait,
        .copy_in_later = copy_in_later,
        .copy_out_later = copy_out_later,
        .copy_in_beside = copy_in_beside,
        .copy_out_beside = copy_out_beside,
        .copy_in_ahead = copy_in_ahead,
        .mark_line = mark_line,
        .follow = follow,
        .wait = wait_for_line,
        .record_begin = record_begin,
        .record_end = record_end,
        .play = play,
        .tape_free = tape_free,
        .step = set_step,
        .kernel_end = kernel_end,
        .close = cuda_close,
    };
    snprintf(cuda->dev.name, sizeof cuda->dev.name, "cuda %d: %.64s, %s, driver for CUDA %d.%d", card, info.name,
             dpt_text_bytes(memory, sizeof memory, info.nbytes), info.driver_major, info.driver_minor);
    const enum dpt_status status = open_card(cuda);
    if (status != DPT_STATUS_OK) {
        cuda_close(&cuda->dev);
        return status;
    }
    *dev = &cuda->dev;
    return DPT_STATUS_OK;
}

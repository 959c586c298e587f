/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory, streams, events and graphs of the card that is not there. Work is done late: not when it is asked for, but when
 * something waits for it, and then no more of it than that needs. So whoever forgets to wait reads what was there before.
 * DPT_EMULATED_ORDER in the environment says which streams work at once instead, as far as the events that they wait for
 * let them:
 *
 *   late     none (the default)
 *   copies   all but the first stream: copies come before the kernels that were asked for earlier
 *   kernels  the first stream: kernels come before the copies that were asked for earlier
 *
 * Memory of the host that is not pinned is copied when it is asked for, as by CUDA. A stream that is captured does nothing
 * but take notes; what cannot be captured is refused.
 *
 * With DPT_EMULATED_APART in the environment memory of the card is there while the card works and at no other time: the host
 * that touches it ends, with a message unless its thread blocks signals. That takes time. In a build with sanitizers memory of
 * the card is the host's, so that they see what is beyond a block.
 */

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "cuda_runtime.h"

/* Waits for `at` items of another stream, or does something. */
struct item {
    std::function<void()> work;
    std::shared_ptr<struct emulated_stream> after;
    uint64_t at;
};

struct emulated_stream {
    std::deque<struct item> waiting;
    uint64_t asked, done; /* items so far */
    bool first, capturing;
    std::vector<std::function<void()>> notes;
};

/* The place in a stream at which it was recorded. */
struct emulated_event {
    std::shared_ptr<struct emulated_stream> stream;
    uint64_t at;
};

struct emulated_graph {
    std::vector<std::function<void()>> work;
};

static std::recursive_mutex all; /* every call holds it */
static std::map<struct emulated_stream *, std::shared_ptr<struct emulated_stream>> streams;
static std::map<const char *, size_t> pinned;
static bool capturing; /* some stream is */

typedef std::lock_guard<std::recursive_mutex> guard;

/* ---------------------------------------------------------------------------------------------------------- memory */

static const size_t MEMORY = (size_t)4 << 30;
static size_t used;
enum { UNIT = 256, JUNK = 0xA5 };

static std::map<char *, size_t> blocks, holes; /* of the card's memory, in units */

#ifdef __SANITIZE_ADDRESS__
struct access {
    access() {}
};

static void open_memory(void) {}

static char *take(size_t nbytes)
{
    return (char *)aligned_alloc(UNIT, nbytes);
}

static void give(char *block, size_t)
{
    free(block);
}
#else
static char *memory;
static int accesses; /* under way */

static void protect(int how)
{
    if (memory && mprotect(memory, MEMORY, how) != 0) {
        perror("emulated card: mprotect");
        abort();
    }
}

/* While there is one, memory of the card is there. */
struct access {
    access()
    {
        if (accesses++ == 0) {
            protect(PROT_READ | PROT_WRITE);
        }
    }

    ~access()
    {
        if (--accesses == 0) {
            protect(PROT_NONE);
        }
    }
};

static void tell(int number, siginfo_t *info, void *)
{
    static const char words[] = "emulated card: the host touches memory of the card\n";
    const char *at = (const char *)info->si_addr;
    void *frames[32];
    if (at >= memory && at < memory + MEMORY) {
        (void)!write(STDERR_FILENO, words, sizeof words - 1);
        backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    }
    signal(number, SIG_DFL); /* the access is tried again, and ends the program */
}

static void open_memory(void)
{
    struct sigaction action = {};
    if (memory) {
        return;
    }
    void *at = mmap(NULL, MEMORY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        perror("emulated card: mmap");
        abort();
    }
    memory = (char *)at;
    holes[memory] = MEMORY;
    action.sa_sigaction = tell;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    if (!getenv("DPT_EMULATED_APART")) {
        accesses = 1;
        protect(PROT_READ | PROT_WRITE);
    }
}

static char *take(size_t nbytes)
{
    for (auto &hole : holes) {
        if (hole.second >= nbytes) {
            char *at = hole.first;
            const size_t rest = hole.second - nbytes;
            holes.erase(at);
            if (rest > 0) {
                holes[at + nbytes] = rest;
            }
            return at;
        }
    }
    return NULL;
}

static void give(char *block, size_t nbytes)
{
    auto next = holes.upper_bound(block);
    if (next != holes.end() && block + nbytes == next->first) {
        nbytes += next->second;
        next = holes.erase(next);
    }
    if (next != holes.begin() && (--next, next->first + next->second == block)) {
        next->second += nbytes;
    } else {
        holes[block] = nbytes;
    }
}
#endif

/* Does the items of a stream up to number `until`, and what they wait for. */
static void run(struct emulated_stream *stream, uint64_t until)
{
    const struct access access;
    while (stream->done < until) {
        struct item item = stream->waiting.front();
        stream->waiting.pop_front();
        if (item.after) {
            run(item.after.get(), item.at);
        } else {
            item.work();
        }
        stream->done++;
    }
}

static void run_all(void)
{
    for (auto &stream : streams) {
        run(stream.first, stream.second->asked);
    }
}

static bool works_at_once(const struct emulated_stream *stream)
{
    const char *order = getenv("DPT_EMULATED_ORDER");
    return order && strcmp(order, stream->first ? "kernels" : "copies") == 0;
}

/* Streams that work at once do what waits for nothing. */
static void go_on(void)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (auto &entry : streams) {
            struct emulated_stream *stream = entry.first;
            while (works_at_once(stream) && !stream->waiting.empty() &&
                   (!stream->waiting.front().after || stream->waiting.front().after->done >= stream->waiting.front().at)) {
                run(stream, stream->done + 1);
                moved = true;
            }
        }
    }
}

static void ask(struct emulated_stream *stream, struct item item)
{
    stream->waiting.push_back(item);
    stream->asked++;
    go_on();
}

static bool is_pinned(const void *at)
{
    auto next = pinned.upper_bound((const char *)at);
    return next != pinned.begin() && (--next, (const char *)at < next->first + next->second);
}

void emulated_do(cudaStream_t stream, const std::function<void()> &work)
{
    guard lock(all);
    if (stream->capturing) {
        stream->notes.push_back(work);
    } else {
        ask(stream, {work, nullptr, 0});
    }
}

extern "C" {

void emulated_do_copy(cudaStream_t stream, void (*work)(const void *argument), const void *argument, size_t nbytes)
{
    const std::vector<char> copy((const char *)argument, (const char *)argument + nbytes);
    emulated_do(stream, [=] { work(copy.data()); });
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation            ? "out of memory"
           : error == cudaErrorStreamCaptureUnsupported ? "operation not permitted when stream is capturing"
           : error == cudaErrorNotReady                 ? "not ready"
           : error == cudaSuccess                       ? "no error"
                                                        : "invalid argument";
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation            ? "cudaErrorMemoryAllocation"
           : error == cudaErrorStreamCaptureUnsupported ? "cudaErrorStreamCaptureUnsupported"
                                                        : "cudaErrorInvalidValue";
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

/* DPT_EMULATED_CARDS in the environment says how many there are; else none, so that other tests compute on the cores. */
cudaError_t cudaGetDeviceCount(int *count)
{
    const char *text = getenv("DPT_EMULATED_CARDS");
    *count = text ? atoi(text) : 0;
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device)
{
    (void)device;
    return cudaSuccess;
}

/*
 * DPT_EMULATED_FIRST in the environment: which one of the host's cards is the first that this process sees; else 0.
 * DPT_EMULATED_OLD: they are older than kernels are made for.
 */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    const char *first = getenv("DPT_EMULATED_FIRST");
    *properties = {};
    snprintf(properties->uuid.bytes, sizeof properties->uuid.bytes, "%d", (first ? atoi(first) : 0) + device);
    snprintf(properties->name, sizeof properties->name, "emulated card");
    properties->totalGlobalMem = MEMORY;
    properties->major = getenv("DPT_EMULATED_OLD") ? 7 : 8;
    properties->multiProcessorCount = 1;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 0;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    guard lock(all);
    *free = MEMORY - used;
    *total = MEMORY;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **block, size_t nbytes)
{
    guard lock(all);
    if (capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    if (nbytes > MEMORY - used) {
        return cudaErrorMemoryAllocation;
    }
    open_memory();
    const size_t units = (nbytes / UNIT + 1) * UNIT;
    char *at = take(units);
    if (!at) {
        return cudaErrorMemoryAllocation;
    }
    const struct access access;
    memset(at, JUNK, nbytes);
    used += units;
    blocks[at] = units;
    *block = at;
    return cudaSuccess;
}

/* Waits for the card, as CUDA does. */
cudaError_t cudaFree(void *block)
{
    guard lock(all);
    run_all();
    if (block) {
        auto known = blocks.find((char *)block);
        if (known == blocks.end()) {
            return cudaErrorInvalidValue;
        }
        used -= known->second;
        give(known->first, known->second);
        blocks.erase(known);
    }
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **block, size_t nbytes)
{
    guard lock(all);
    if (capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    *block = malloc(nbytes);
    if (*block) {
        memset(*block, JUNK, nbytes);
        pinned[(const char *)*block] = nbytes;
    }
    return *block ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *block)
{
    guard lock(all);
    run_all();
    pinned.erase((const char *)block);
    free(block);
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------------------- copies */

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t nbytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, nbytes, from, nbytes, nbytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from, size_t from_stride, size_t width, size_t rows,
                              enum cudaMemcpyKind kind, cudaStream_t stream)
{
    guard lock(all);
    const bool unpinned = (kind == cudaMemcpyHostToDevice && !is_pinned(from)) ||
                          (kind == cudaMemcpyDeviceToHost && !is_pinned(to));
    if (width > to_stride || width > from_stride) {
        return cudaErrorInvalidValue;
    }
    if (unpinned && stream->capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    const size_t span = rows > 0 ? (rows - 1) * from_stride + width : 0;
    const char *begin = (const char *)from;
    const bool keeps = unpinned && kind == cudaMemcpyHostToDevice;
    const auto kept = std::make_shared<std::vector<char>>(begin, begin + (keeps ? span : 0));
    emulated_do(stream, [=] {
        const char *source = keeps ? kept->data() : begin;
        for (size_t i = 0; i < rows; i++) {
            memcpy((char *)to + i * to_stride, source + i * from_stride, width);
        }
    });
    return unpinned && kind == cudaMemcpyDeviceToHost ? cudaStreamSynchronize(stream) : cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t nbytes, cudaStream_t stream)
{
    emulated_do(stream, [=] { memset(to, byte, nbytes); });
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------- streams and events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    guard lock(all);
    (void)flags;
    auto made = std::make_shared<struct emulated_stream>();
    made->first = streams.empty();
    streams[made.get()] = made;
    *stream = made.get();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    guard lock(all);
    run(stream, stream->asked);
    streams.erase(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    guard lock(all);
    if (stream->capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    run(stream, stream->asked);
    go_on();
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    guard lock(all);
    (void)flags;
    if (stream->capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    if (event->stream) {
        ask(stream, {nullptr, event->stream, event->at});
    }
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    (void)flags;
    *event = new emulated_event();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    guard lock(all);
    if (stream->capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    event->stream = streams[stream];
    event->at = stream->asked;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    guard lock(all);
    if (event->stream) {
        run(event->stream.get(), event->at);
        go_on();
    }
    return cudaSuccess;
}

/* ---------------------------------------------------------------------------------------------------------- graphs */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    guard lock(all);
    (void)mode;
    if (stream->capturing) {
        return cudaErrorStreamCaptureUnsupported;
    }
    stream->capturing = capturing = true;
    stream->notes.clear();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    guard lock(all);
    if (!stream->capturing) {
        return cudaErrorInvalidValue;
    }
    stream->capturing = capturing = false;
    *graph = new emulated_graph{stream->notes};
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    *exec = new emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    for (auto &work : exec->work) {
        emulated_do(stream, work);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

/* ------------------------------------------------------------------------------------------------------------- MPI */

/* Memory of this card is memory of the host, so that every MPI library takes it: DPT_EMULATED_MPI says that it knows. */
int MPIX_Query_cuda_support(void)
{
    return getenv("DPT_EMULATED_MPI") != NULL;
}

} /* extern "C" */

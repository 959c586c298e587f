/* SPDX-License-Identifier: Apache-2.0 */

/* The kernels of the card that is not there; see cuda_runtime.h. */

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <map>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "races.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define FIBER_SWITCH(keep, stack, size) __sanitizer_start_switch_fiber(keep, stack, size)
#define FIBER_ARRIVED(keep) __sanitizer_finish_switch_fiber(keep, &from_stack, &from_size)
#else
#define FIBER_SWITCH(keep, stack, size) ((void)(keep), (void)(stack), (void)(size))
#define FIBER_ARRIVED(keep) ((void)(keep))
#endif

RACES_APART struct emulated_place threadIdx, blockIdx, blockDim, gridDim;

static const unsigned MAX_THREADS = 1024, WARP = 32;
static const size_t STACK = 64 << 10, SHARED_ALIGNMENT = 128;
static const size_t MOST_SHARED = 163 << 10; /* of a block, by compute capability 8.0; 9.0 has more */

/* Threads that met at a barrier go on when `generation` has changed. */
struct barrier {
    unsigned arrived, generation, threads;
};

/* A fiber is made once and runs the threads of its number of all blocks, one after the other. */
struct fiber {
    jmp_buf at; /* where it goes on; swapcontext would ask the system for the signal mask each time */
    char *stack;
    struct emulated_place place;
    bool done;
};

static std::vector<struct fiber *> &fibers = *new std::vector<struct fiber *>; /* they outlive all */
static jmp_buf scheduler;
static const void *scheduler_stack, *from_stack; /* for address sanitizers */
static size_t scheduler_size, from_size;
static struct barrier of_block, of_warp[MAX_THREADS / WARP];
RACES_APART static unsigned char slot[MAX_THREADS][8];
static unsigned now; /* number of the thread that runs */
static const char *kernel_name;
static const std::function<void()> *kernel_body;
static std::map<std::string, long> launches;
static unsigned char *shared_memory; /* of the block that runs */
static char *const stacks = (char *)malloc(MAX_THREADS * STACK);
static bool backwards;               /* this launch */
static bool moved; /* a thread ended or a barrier opened in this round */

/* Lets the other threads run. */
static void yield(void)
{
    struct fiber *me = fibers[now];
    void *keep = NULL;
    FIBER_SWITCH(&keep, scheduler_stack, scheduler_size);
    if (_setjmp(me->at) == 0) {
        _longjmp(scheduler, 1);
    }
    FIBER_ARRIVED(keep);
    scheduler_stack = from_stack; /* any thread may run the next kernel */
    scheduler_size = from_size;
}

static void run_threads(void)
{
    FIBER_ARRIVED(NULL);
    scheduler_stack = from_stack;
    scheduler_size = from_size;
    for (;;) {
        struct fiber *me = fibers[now];
        yield();
        (*kernel_body)();
        me->done = moved = true;
    }
}

/* Makes the fiber of a number; it waits for its first thread. */
static void add_fiber(void)
{
    struct fiber *fiber = (struct fiber *)calloc(1, sizeof *fiber);
    ucontext_t context;
    void *keep = NULL;
    now = (unsigned)fibers.size();
    fiber->stack = stacks + now * STACK;
    fibers.push_back(fiber);
    getcontext(&context);
    context.uc_stack.ss_sp = fiber->stack;
    context.uc_stack.ss_size = STACK;
    context.uc_link = NULL;
    makecontext(&context, run_threads, 0);
    FIBER_SWITCH(&keep, fiber->stack, STACK);
    if (_setjmp(scheduler) == 0) {
        setcontext(&context);
    }
    FIBER_ARRIVED(keep);
}

static void wait(struct barrier *barrier)
{
    const unsigned generation = barrier->generation;
    while (barrier->generation == generation) {
        yield();
    }
}

/* Whether the thread is the last one: the barrier opens. */
static bool arrive(struct barrier *barrier)
{
    if (++barrier->arrived < barrier->threads) {
        return false;
    }
    barrier->arrived = 0;
    barrier->generation++;
    moved = true;
    return true;
}

void emulated_block_barrier(void)
{
    if (arrive(&of_block)) {
        races_block_met();
    } else {
        wait(&of_block);
    }
}

void emulated_warp_barrier(void)
{
    struct barrier *barrier = &of_warp[now / WARP];
    if (!arrive(barrier)) {
        wait(barrier);
    }
}

void emulated_warp_order(void)
{
    struct barrier *barrier = &of_warp[now / WARP];
    if (arrive(barrier)) {
        races_warp_met(now / WARP);
    } else {
        wait(barrier);
    }
}

void emulated_for_lane(int lane)
{
    races_by_thread(now / WARP * WARP + (unsigned)lane);
}

int emulated_lane(void)
{
    return (int)(now % WARP);
}

unsigned char *emulated_slot(int lane)
{
    return slot[now / WARP * WARP + (unsigned)lane];
}

unsigned char *emulated_shared(void)
{
    return shared_memory;
}

static void give_up(const char *what)
{
    fprintf(stderr, "kernel %s: block %u, %u, thread %u: %s\n", kernel_name, blockIdx.x, blockIdx.y, now, what);
    abort();
}

/* What each thread does together with the others of its warp, and what it brings. */
RACES_APART static void *brought[MAX_THREADS];
static void (*meant[MAX_THREADS])(void *const lanes[32]);

void emulated_together(void *mine, void (*instruction)(void *const lanes[32]))
{
    struct barrier *barrier = &of_warp[now / WARP];
    const unsigned first = now / WARP * WARP;
    brought[now] = mine;
    meant[now] = instruction;
    if (barrier->arrived + 1 == barrier->threads) {
        for (unsigned lane = 0; lane < WARP; lane++) {
            if (barrier->threads < WARP || meant[first + lane] != instruction) {
                give_up("the lanes of a warp meet in different instructions, or some are missing");
            }
        }
        instruction(brought + first);
        races_by_thread(now);
    }
    emulated_warp_barrier();
}

const void *emulated_aligned(const void *at, uintptr_t bytes)
{
    if ((uintptr_t)at % bytes != 0) {
        give_up("an address is not aligned");
    }
    return at;
}

/* Copies that a thread began and has not waited for. */
struct copy {
    void *to;
    const void *from;
    int nbytes;
    bool some;
};

static std::vector<struct copy> copies[MAX_THREADS];

/* Others must leave both places alone from the order to the wait. */
static void look_at_copy(const struct copy *copy)
{
    if (copy->some) {
        races_access(copy->from, (size_t)copy->nbytes, false);
    }
    races_access(copy->to, (size_t)copy->nbytes, true);
}

static void do_copy(const struct copy *copy)
{
    if (copy->some) {
        memcpy(copy->to, copy->from, (size_t)copy->nbytes);
    } else {
        memset(copy->to, 0, (size_t)copy->nbytes);
    }
}

void emulated_copy(void *to, const void *from, int nbytes, bool some)
{
    const struct copy copy = {to, from, nbytes, some};
    look_at_copy(&copy);
    if (backwards) {
        do_copy(&copy);
    }
    copies[now].push_back(copy);
}

void emulated_copy_wait(void)
{
    for (const struct copy &copy : copies[now]) {
        look_at_copy(&copy);
        if (!backwards) {
            do_copy(&copy);
        }
    }
    copies[now].clear();
}

/* Runs a thread until it yields. */
static void resume(struct fiber *fiber)
{
    void *keep = NULL;
    threadIdx = fiber->place;
    races_by_thread(now);
    FIBER_SWITCH(&keep, fiber->stack, STACK);
    if (_setjmp(scheduler) == 0) {
        _longjmp(fiber->at, 1);
    }
    FIBER_ARRIVED(keep);
    races_by_nobody();
}

static void run_block(unsigned threads)
{
    of_block = {0, 0, threads};
    for (unsigned w = 0; w * WARP < threads; w++) {
        of_warp[w] = {0, 0, threads - w * WARP < WARP ? threads - w * WARP : WARP};
    }
    for (unsigned t = 0; t < threads; t++) {
        fibers[t]->place = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
        fibers[t]->done = false;
        copies[t].clear();
    }
    for (unsigned left = threads; left > 0;) {
        moved = false;
        left = 0;
        for (unsigned i = 0; i < threads; i++) {
            now = backwards ? threads - 1 - i : i;
            if (!fibers[now]->done) {
                resume(fibers[now]);
                left += !fibers[now]->done;
            }
        }
        if (!moved && left > 0) {
            fprintf(stderr, "kernel %s: %u threads of block %u, %u wait at a barrier that the others never reach\n",
                    kernel_name, left, blockIdx.x, blockIdx.y);
            abort();
        }
    }
}

static void run_kernel(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &kernel)
{
    const unsigned threads = block.x * block.y * block.z, blocks = grid.x * grid.y * grid.z;
    while (fibers.size() < threads) {
        add_fiber();
    }
    launches[name]++;
    kernel_name = name;
    kernel_body = &kernel;
    blockDim = {block.x, block.y, block.z};
    gridDim = {grid.x, grid.y, grid.z};
    shared_memory = (unsigned char *)aligned_alloc(SHARED_ALIGNMENT, shared);
    races_begin_launch(name, kernel.target_type().hash_code(), stacks, MAX_THREADS * STACK);
    for (unsigned i = 0; i < blocks; i++) {
        const unsigned b = backwards ? blocks - 1 - i : i;
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y)};
        memset(shared_memory, 0xff, shared);
        races_begin_block(shared_memory, shared);
        run_block(threads);
    }
    free(shared_memory);
    backwards = !backwards;
}

void emulated_launch(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                     const std::function<void()> &kernel)
{
    const unsigned threads = block.x * block.y * block.z, blocks = grid.x * grid.y * grid.z;
    if (threads == 0 || threads > MAX_THREADS || blocks == 0 || grid.y > 65535 || grid.z > 65535) {
        fprintf(stderr, "kernel %s: a grid of %u, %u, %u blocks of %u threads cannot be launched\n", name, grid.x, grid.y,
                grid.z, threads);
        abort();
    }
    if (shared % SHARED_ALIGNMENT != 0 || shared > MOST_SHARED) {
        fprintf(stderr, "kernel %s: %zu bytes of shared memory are too many, or no multiple of %zu\n", name, shared,
                SHARED_ALIGNMENT);
        abort();
    }
    emulated_do(stream, [=] { run_kernel(name, grid, block, shared, kernel); });
}

extern "C" long emulated_launches(const char *words)
{
    long count = 0;
    for (const auto &entry : launches) {
        count += entry.first.find(words) != std::string::npos ? entry.second : 0;
    }
    return count;
}

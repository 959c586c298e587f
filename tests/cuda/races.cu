/* SPDX-License-Identifier: Apache-2.0 */

/* Who touched which byte last in a launch, as in FastTrack (Flanagan and Freund, 2009), with the barriers of a block as clock. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unordered_map>

#include "cuda_runtime.h"
#include "races.h"

/* Instead of a thread: threads of a warp (and its number), or of more than one. */
enum { LANES = 0x8000, WARPS = 0xffff, WARP = 32, MOST_WARPS = 32 };

/*
 * The last accesses of some bytes. Times count the barriers of all launches, so that a time also says in which block and
 * launch it was; 0: never. Turns count the barriers of a warp.
 */
struct cell {
    uint32_t written, read, read_elsewhere; /* the last: by an earlier block */
    uint16_t writer, reader, writer_turn, reader_turn;
};

/* 4 KiB of memory. A cell stands for as few bytes as a thread has touched alone: 4, 2 or 1. */
enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, RECENT = 4096 };

struct page {
    uintptr_t number;
    unsigned shift;
    struct cell *cell;
};

static std::unordered_map<uintptr_t, struct page *> &pages = *new std::unordered_map<uintptr_t, struct page *>;
static struct page *recent[RECENT];

static const char *kernel_name;
static const char *stacks;
static size_t stacks_nbytes;
static const unsigned char *shared;
static size_t shared_nbytes;
static uint32_t time_now = 1, launch_began, block_began;
static uint16_t turn[MOST_WARPS], me;
static thread_local bool in_kernel;

/* A kernel that has been watched for so many accesses is watched in the first blocks of its launches alone. */
static const uint64_t ENOUGH = 20000000;
static const unsigned FIRST_BLOCKS = 3;
static std::unordered_map<size_t, uint64_t> &accesses = *new std::unordered_map<size_t, uint64_t>; /* of each kernel */
static uint64_t *spent;
static unsigned blocks;

extern "C" char __bss_start[], _end[], __start_emulated[], __stop_emulated[];

void races_begin_launch(const char *name, size_t kernel, const char *at, size_t nbytes)
{
    kernel_name = name;
    spent = &accesses[kernel];
    blocks = 0;
    stacks = at;
    stacks_nbytes = nbytes;
    launch_began = ++time_now;
}

void races_begin_block(const unsigned char *at, size_t nbytes)
{
    shared = at;
    shared_nbytes = nbytes;
    block_began = ++time_now;
    blocks++;
}

void races_block_met(void)
{
    time_now++;
}

void races_warp_met(unsigned warp)
{
    turn[warp]++;
}

void races_by_thread(unsigned thread)
{
    me = (uint16_t)thread;
    in_kernel = blocks <= FIRST_BLOCKS || *spent < ENOUGH;
}

void races_by_nobody(void)
{
    in_kernel = false;
}

static struct page *new_page(uintptr_t number)
{
    struct page *&page = pages[number];
    if (!page) {
        page = (struct page *)calloc(1, sizeof *page);
        page->number = number;
        page->shift = 2;
        page->cell = (struct cell *)calloc(PAGE >> page->shift, sizeof *page->cell);
    }
    recent[number % RECENT] = page;
    return page;
}

static void refine(struct page *page, unsigned shift)
{
    struct cell *cell = (struct cell *)malloc((PAGE >> shift) * sizeof *cell);
    for (size_t i = 0; i < (size_t)PAGE >> shift; i++) {
        cell[i] = page->cell[i << shift >> page->shift];
    }
    free(page->cell);
    page->cell = cell;
    page->shift = shift;
}

static void give_up(const void *at, const char *place, const char *what, const void *code)
{
    Dl_info info = {};
    dladdr(code, &info);
    fprintf(stderr, "kernel %s: block %u, %u, thread %u: %s, in %s at %p (addr2line -ife %s %#tx)\n", kernel_name, blockIdx.x,
            blockIdx.y, me, what, place, at, info.dli_fname ? info.dli_fname : "?",
            (const char *)code - (const char *)info.dli_fbase);
    abort();
}

/* Whether a barrier stands between an access in this block and now. */
static inline bool is_ordered(uint32_t time, uint16_t who, uint16_t at_turn)
{
    return time < time_now || who == me ||
           (who != WARPS && (who & ~LANES) / WARP == me / WARP && at_turn != turn[me / WARP]);
}

static inline void note_read(struct cell *cell)
{
    const uint16_t warp = me / WARP;
    if (cell->read >= launch_began && cell->read < block_began) {
        cell->read_elsewhere = cell->read;
    }
    if (cell->read != time_now || cell->reader == me) {
        cell->reader = me;
    } else if (cell->reader == WARPS || (cell->reader & ~LANES) / WARP != warp) {
        cell->reader = WARPS;
    } else {
        cell->reader = cell->reader_turn == turn[warp] ? (uint16_t)(LANES | warp * WARP) : me;
    }
    cell->read = time_now;
    cell->reader_turn = turn[warp];
}

static inline void access(const void *what, size_t nbytes, bool write, const void *code)
{
    const char *at = (const char *)what;
    if (!in_kernel || (size_t)(at - stacks) < stacks_nbytes || (at >= __start_emulated && at < __stop_emulated)) {
        return;
    }
    ++*spent;
    const bool is_static = at >= __bss_start && at < _end;
    const bool is_shared = is_static || (size_t)((const unsigned char *)at - shared) < shared_nbytes;
    const uint32_t since = is_shared ? block_began : launch_began;
    const char *place = is_static ? "a __shared__ variable" : is_shared ? "shared memory" : "global memory";
    while (nbytes > 0) {
        const uintptr_t number = (uintptr_t)at >> PAGE_BITS;
        const size_t first = (uintptr_t)at % PAGE, some = nbytes < PAGE - first ? nbytes : PAGE - first;
        struct page *page = recent[number % RECENT];
        if (!page || page->number != number) {
            page = new_page(number);
        }
        if (((first | some) & ((1u << page->shift) - 1)) != 0) {
            refine(page, (first | some) % 2);
        }
        for (size_t i = first >> page->shift; i < (first + some) >> page->shift; i++) {
            struct cell *cell = &page->cell[i];
            if (cell->written >= since) {
                if (cell->written < block_began) {
                    give_up(at, place, write ? "writes what another block writes" : "reads what another block writes", code);
                }
                if (!is_ordered(cell->written, cell->writer, cell->writer_turn)) {
                    give_up(at, place,
                            write ? "writes what another thread wrote, and no barrier stands between"
                                  : "reads what another thread wrote, and no barrier stands between",
                            code);
                }
            } else if (is_shared && !write) {
                give_up(at, place, "reads what no thread of the block has written", code);
            }
            if (!write) {
                note_read(cell);
                continue;
            }
            if (!is_shared && (cell->read_elsewhere >= launch_began || (cell->read >= since && cell->read < block_began))) {
                give_up(at, place, "writes what another block reads", code);
            }
            if (cell->read >= since && !is_ordered(cell->read, cell->reader, cell->reader_turn)) {
                give_up(at, place, "writes what another thread read, and no barrier stands between", code);
            }
            cell->written = time_now;
            cell->writer = me;
            cell->writer_turn = turn[me / WARP];
        }
        at += some;
        nbytes -= some;
    }
}

void races_access(const void *at, size_t nbytes, bool write)
{
    access(at, nbytes, write, __builtin_return_address(0));
}

/*
 * The calls that gcc and clang make. In a build of which all is under the race detector of the compiler, they go to its
 * library, and nothing is looked at here.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__
#endif
#endif
#ifndef __SANITIZE_THREAD__
extern "C" {

void __tsan_init(void);
void __tsan_func_entry(void *);
void __tsan_func_exit(void);
void __tsan_vptr_read(void **);
void __tsan_vptr_update(void **, void *);
void __tsan_read_range(void *at, size_t nbytes);
void __tsan_write_range(void *at, size_t nbytes);
void *__tsan_memcpy(void *to, const void *from, size_t nbytes);
void *__tsan_memset(void *to, int byte, size_t nbytes);

void __tsan_init(void) {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_vptr_read(void **) {}
void __tsan_vptr_update(void **, void *) {}

void __tsan_read_range(void *at, size_t nbytes)
{
    access(at, nbytes, false, __builtin_return_address(0));
}

void __tsan_write_range(void *at, size_t nbytes)
{
    access(at, nbytes, true, __builtin_return_address(0));
}

void *__tsan_memcpy(void *to, const void *from, size_t nbytes)
{
    access(from, nbytes, false, __builtin_return_address(0));
    access(to, nbytes, true, __builtin_return_address(0));
    return memcpy(to, from, nbytes);
}

void *__tsan_memset(void *to, int byte, size_t nbytes)
{
    access(to, nbytes, true, __builtin_return_address(0));
    return memset(to, byte, nbytes);
}

#define ACCESS(name, nbytes, write)                                                                                    \
    void __tsan_##name(void *at);                                                                                      \
    void __tsan_##name(void *at)                                                                                       \
    {                                                                                                                  \
        access(at, nbytes, write, __builtin_return_address(0));                                                        \
    }

ACCESS(read1, 1, false)
ACCESS(read2, 2, false)
ACCESS(read4, 4, false)
ACCESS(read8, 8, false)
ACCESS(read16, 16, false)
ACCESS(unaligned_read2, 2, false)
ACCESS(unaligned_read4, 4, false)
ACCESS(unaligned_read8, 8, false)
ACCESS(unaligned_read16, 16, false)
ACCESS(write1, 1, true)
ACCESS(write2, 2, true)
ACCESS(write4, 4, true)
ACCESS(write8, 8, true)
ACCESS(write16, 16, true)
ACCESS(unaligned_write2, 2, true)
ACCESS(unaligned_write4, 4, true)
ACCESS(unaligned_write8, 8, true)
ACCESS(unaligned_write16, 16, true)

} /* extern "C" */
#endif

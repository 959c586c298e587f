/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Libraries for cards are opened at run time, by processes that have a card, so that a program starts without them. */

#include <stdbool.h>
#include <stddef.h>

#define DPT_CUDA_TEXT(x) #x
#define DPT_CUDA_NUMBER(macro) DPT_CUDA_TEXT(macro) /* the version in the name of a library */

/* Where a function of a library goes: a pointer to a pointer to it. */
struct dpt_cuda_function {
    void *slot;
    const char *name;
};

/*
 * Opens the first library of these names, which end with NULL, that is there, and finds its `count` functions. False:
 * *library is NULL, and *missing names a function that it lacks, or is NULL where no library is there. Local.
 */
bool dpt_cuda__open_library(const char *const *name, size_t count, const struct dpt_cuda_function *function, void **library,
                            const char **missing);

enum { DPT_CUDA_PROBLEM = 160 };

/* The same; NULL, or `problem`, the sentence that says why not. Local. */
const char *dpt_cuda__try_library(const char *const *name, size_t count, const struct dpt_cuda_function *function,
                                  void **library, char problem[DPT_CUDA_PROBLEM]);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of comm/ share: cmocka, and the world that main starts and ends. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "comm/comm.h"

static struct dpt_comm *world;

/* Runs the tests on all ranks; a rank whose test fails takes the others out of their collectives. */
static inline int run_in_world(const char *name, const struct CMUnitTest *tests, size_t count)
{
    if (dpt_comm_start(&world) != DPT_STATUS_OK) {
        fprintf(stderr, "%s\n", dpt_error_text());
        return 1;
    }
    const int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    if (failed > 0) {
        dpt_comm_abort(DPT_STATUS_FAILED);
    }
    dpt_comm_end(world);
    return 0;
}

#define RUN_IN_WORLD(tests) run_in_world(#tests, tests, sizeof(tests) / sizeof((tests)[0]))

/* A different but reproducible number for each rank and element, of many magnitudes. */
static inline double value_of(int rank, int64_t i)
{
    uint64_t x = (uint64_t)i * 2654435761u + (uint64_t)rank * UINT64_C(0x9e3779b97f4a7c15) + 12345;
    x ^= x >> 31;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 29;
    const double unit = (double)(x >> 11) * 0x1p-53 - 0.5;
    return unit * (double)(UINT64_C(1) << (x & 31));
}

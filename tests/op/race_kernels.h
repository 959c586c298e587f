/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tests/op/test_races.c asks of the emulated card: kernels with and without mistakes. */

#ifdef __cplusplus
extern "C" {
#endif

struct dpt_dev;

enum { RACE_BLOCK = 64, RACE_BLOCKS = 4, RACE_NUMBERS = 2 * RACE_BLOCK * RACE_BLOCKS };

struct race_case {
    const char *name, *says; /* says: NULL, or what the emulator has to say */
    void (*launch)(struct dpt_dev *card, float *x);
};

/* Ends with a case without a name. x: RACE_NUMBERS floats on the card. */
extern const struct race_case race_cases[];

#ifdef __cplusplus
}
#endif

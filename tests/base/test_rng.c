/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

/* Known answers of Philox4x32-10 from the Random123 distribution (kat_vectors), reached through our counter layout. */
static void known_answers(void **state)
{
    (void)state;
    uint32_t word[4];
    dpt_rng_words(0, (enum dpt_rng_use)0, 0, 0, 0, word);
    assert_int_equal(word[0], 0x6627e8d5);
    assert_int_equal(word[1], 0xe169c58d);
    assert_int_equal(word[2], 0xbc57ac4c);
    assert_int_equal(word[3], 0x9b00dbd8);
    /* All bits set: use 0xff and op 0xffffff fill the last counter word. */
    dpt_rng_words(UINT64_MAX, (enum dpt_rng_use)0xff, UINT32_MAX, UINT64_MAX, UINT64_MAX, word);
    assert_int_equal(word[0], 0x408f276d);
    assert_int_equal(word[1], 0x41c83b0e);
    assert_int_equal(word[2], 0xa20bc7c6);
    assert_int_equal(word[3], 0x6d5451fd);
}

static void many_at_once_are_the_same(void **state)
{
    (void)state;
    enum { MOST = 200 };
    const uint64_t first = UINT32_MAX - 70u; /* the index passes 2^32 on the way */
    uint32_t word[4 * MOST], one[4];
    for (size_t count = 0; count <= MOST; count += 1 + count / 7) {
        dpt_rng_fill(11, DPT_RNG_USE_DROPOUT, 3, 17, first, count, word);
        for (size_t i = 0; i < count; i++) {
            dpt_rng_words(11, DPT_RNG_USE_DROPOUT, 3, 17, first + i, one);
            assert_memory_equal(word + 4 * i, one, sizeof one);
        }
    }
}

static void permutation_is_a_bijection(void **state)
{
    (void)state;
    const uint64_t sizes[] = {1, 2, 3, 5, 16, 17, 720, 4097};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const uint64_t n = sizes[s];
        unsigned char *seen = calloc(n, 1);
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t at = dpt_rng_permute(42, 3, i, n);
            assert_true(at < n);
            assert_int_equal(seen[at], 0);
            seen[at] = 1;
        }
        free(seen);
    }
}

static void orders_differ_by_epoch_and_seed(void **state)
{
    (void)state;
    int same_epoch = 0, same_seed = 0, fixed = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        same_epoch += dpt_rng_permute(1, 0, i, 1000) == dpt_rng_permute(1, 1, i, 1000);
        same_seed += dpt_rng_permute(1, 0, i, 1000) == dpt_rng_permute(2, 0, i, 1000);
        fixed += dpt_rng_permute(1, 0, i, 1000) == i;
    }
    /* One coincidence is expected; ten would be a broken network. */
    assert_true(same_epoch < 10 && same_seed < 10 && fixed < 10);
}

static void normals_have_their_moments(void **state)
{
    (void)state;
    double sum = 0.0, squares = 0.0;
    const int n = 20000;
    for (int i = 0; i < n; i++) {
        uint32_t word[4];
        double normal[2];
        dpt_rng_words(7, DPT_RNG_USE_INIT, 1, 0, (uint64_t)i, word);
        dpt_rng_normal(1, word, normal);
        sum += normal[0] + normal[1];
        squares += normal[0] * normal[0] + normal[1] * normal[1];
    }
    assert_true(fabs(sum / (2 * n)) < 0.02);
    assert_true(fabs(squares / (2 * n) - 1.0) < 0.03);
}

/* Alone or among others, and against the C library: its last bits may be other ones, those of a float are not. */
static void normals_are_those_of_the_library(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint32_t word[4 * N];
    double many[2 * N];
    dpt_rng_fill(3, DPT_RNG_USE_INIT, 1, 0, 0, N - 2, word);
    memset(word + 4 * (N - 2), 0, 4 * sizeof *word); /* the greatest radius, and the least */
    memset(word + 4 * (N - 1), 0xff, 4 * sizeof *word);
    dpt_rng_normal(N, word, many);
    for (int i = 0; i < N; i++) {
        double one[2];
        dpt_rng_normal(1, word + 4 * i, one);
        assert_memory_equal(one, many + 2 * i, sizeof one);
        const double radius = sqrt(-2.0 * log(dpt_rng_unit64(word[4 * i], word[4 * i + 1])));
        const double angle = 6.283185307179586477 * dpt_rng_unit64(word[4 * i + 2], word[4 * i + 3]);
        assert_true(fabs(one[0] - radius * cos(angle)) < 4e-15);
        assert_true(fabs(one[1] - radius * sin(angle)) < 4e-15);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(many_at_once_are_the_same),
        cmocka_unit_test(permutation_is_a_bijection),
        cmocka_unit_test(orders_differ_by_epoch_and_seed),
        cmocka_unit_test(normals_have_their_moments),
        cmocka_unit_test(normals_are_those_of_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

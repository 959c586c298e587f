/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"

/* The value of the empty input is a known answer of the XXH3 specification; xxh128sum prints the same. */
static void known_answer(void **state)
{
    (void)state;
    char text[33];
    dpt_hash128("", 0, text);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
}

static void pieces_give_the_hash_of_the_whole(void **state)
{
    (void)state;
    unsigned char data[5000];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 31 + i / 251);
    }
    char whole[33], pieces[33];
    struct dpt_hash *hash = dpt_hash_new();
    for (size_t step = 1; step < sizeof data; step = 3 * step + 1) {
        dpt_hash_reset(hash);
        for (size_t at = 0; at < sizeof data; at += step) {
            dpt_hash_add(hash, data + at, at + step <= sizeof data ? step : sizeof data - at);
        }
        dpt_hash_text(hash, pieces);
        dpt_hash128(data, sizeof data, whole);
        assert_string_equal(pieces, whole);
    }
    dpt_hash_free(hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answer),
        cmocka_unit_test(pieces_give_the_hash_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

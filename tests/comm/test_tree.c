/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "comm/impl.h"

/* The definition: the sum over ranks [begin, begin + n), n a power of two, in pairs. */
static float tree32(int begin, int n, int64_t i)
{
    return n == 1 ? (float)value_of(begin, i) : tree32(begin, n / 2, i) + tree32(begin + n / 2, n / 2, i);
}

static double tree64(int begin, int n, int64_t i)
{
    return n == 1 ? value_of(begin, i) : tree64(begin, n / 2, i) + tree64(begin + n / 2, n / 2, i);
}

static void check_f32(int64_t count)
{
    float *x = malloc((size_t)(count + 1) * sizeof *x), *scratch = malloc((size_t)(count + 1) * sizeof *x);
    for (int64_t i = 0; i <= count; i++) {
        x[i] = (float)value_of(dpt_comm_rank(world), i);
        scratch[i] = 7.0f;
    }
    const float beyond = x[count];
    assert_int_equal(dpt_comm_allreduce_tree(world, x, count, DPT_DTYPE_F32, scratch), DPT_STATUS_OK);
    for (int64_t i = 0; i < count; i++) {
        const float want = tree32(0, dpt_comm_size(world), i);
        assert_memory_equal(&x[i], &want, sizeof want);
    }
    assert_true(x[count] == beyond && scratch[count] == 7.0f);
    free(x);
    free(scratch);
}

static void check_f64(int64_t count)
{
    double *x = malloc((size_t)(count + 1) * sizeof *x), *scratch = malloc((size_t)(count + 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        x[i] = value_of(dpt_comm_rank(world), i);
    }
    assert_int_equal(dpt_comm_allreduce_tree(world, x, count, DPT_DTYPE_F64, scratch), DPT_STATUS_OK);
    for (int64_t i = 0; i < count; i++) {
        const double want = tree64(0, dpt_comm_size(world), i);
        assert_memory_equal(&x[i], &want, sizeof want);
    }
    free(x);
    free(scratch);
}

static void adds_like_the_tree_bit_for_bit(void **state)
{
    (void)state;
    const int64_t counts[] = {0, 1, 2, 3, 5, 7, 8, 9, 1000, 4097, 100003};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        check_f32(counts[c]);
        check_f64(counts[c]);
    }
}

static void adds_in_pieces(void **state)
{
    (void)state;
    const int64_t piece_before = dpt_comm__piece;
    dpt_comm__piece = 5;
    check_f32(20);
    check_f32(21);
    check_f32(43);
    check_f64(11);
    dpt_comm__piece = piece_before;
}

/* If the values did not tell the orders apart, the test above would prove nothing. */
static void other_orders_give_other_bits(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world);
    if (size < 4) {
        return;
    }
    int differ = 0;
    for (int64_t i = 0; i < 1000; i++) {
        float chain = 0.0f;
        for (int r = 0; r < size; r++) {
            chain += (float)value_of(r, i);
        }
        differ += chain != tree32(0, size, i);
    }
    assert_true(differ > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_like_the_tree_bit_for_bit),
        cmocka_unit_test(adds_in_pieces),
        cmocka_unit_test(other_orders_give_other_bits),
    };
    return RUN_IN_WORLD(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <unistd.h>

#include "comm/impl.h"

static void knows_its_place(void **state)
{
    (void)state;
    const int rank = dpt_comm_rank(world), size = dpt_comm_size(world);
    assert_in_range(rank, 0, size - 1);
    char host[65] = "";
    gethostname(host, sizeof host - 1);
    assert_string_equal(dpt_comm_host(), host);
    /* The tests run on one host. */
    assert_int_equal(dpt_comm_nodes(), 1);
    assert_int_equal(dpt_comm_node_size(), size);
    assert_int_equal(dpt_comm_node_rank(), rank);
    assert_true(strncmp(dpt_comm_library(), "Open MPI ", 9) == 0 || strncmp(dpt_comm_library(), "MPICH ", 6) == 0 ||
                strlen(dpt_comm_library()) > 0);
    assert_null(strchr(dpt_comm_library(), '\n'));
}

static void broadcasts_in_pieces(void **state)
{
    (void)state;
    const int64_t piece_before = dpt_comm__piece;
    for (dpt_comm__piece = 7; dpt_comm__piece < 30; dpt_comm__piece += 7) {
        for (int root = 0; root < dpt_comm_size(world); root++) {
            unsigned char data[26];
            for (int i = 0; i < 26; i++) {
                data[i] = (unsigned char)(dpt_comm_rank(world) == root ? i + root : 255);
            }
            assert_int_equal(dpt_comm_bcast(world, data, 25, root), DPT_STATUS_OK);
            for (int i = 0; i < 25; i++) {
                assert_int_equal(data[i], i + root);
            }
            assert_int_equal(data[25], dpt_comm_rank(world) == root ? 25 + root : 255);
        }
    }
    dpt_comm__piece = piece_before;
}

static void gathers_in_rank_order(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), root = size - 1;
    const int mine[2] = {dpt_comm_rank(world), 10 * dpt_comm_rank(world)};
    int *all = calloc((size_t)size, sizeof mine);
    assert_int_equal(dpt_comm_gather(world, mine, sizeof mine, all, root), DPT_STATUS_OK);
    for (int r = 0; r < size; r++) {
        assert_int_equal(all[2 * r], dpt_comm_rank(world) == root ? r : 0);
        assert_int_equal(all[2 * r + 1], dpt_comm_rank(world) == root ? 10 * r : 0);
    }
    free(all);
}

/* Small whole numbers: every order of addition gives the same. */
#define CHECK_REDUCTIONS(type, dtype)                                                                                  \
    do {                                                                                                               \
        enum { N = 23 };                                                                                               \
        type x[N + 1];                                                                                                 \
        for (int op = DPT_COMM_REDUCE_SUM; op <= DPT_COMM_REDUCE_MIN; op++) {                                          \
            for (int i = 0; i <= N; i++) {                                                                             \
                x[i] = (type)((i + 3 * dpt_comm_rank(world)) % 5 - 2);                                                 \
            }                                                                                                          \
            const type beyond = x[N];                                                                                  \
            assert_int_equal(dpt_comm_allreduce(world, x, N, dtype, (enum dpt_comm_reduce)op), DPT_STATUS_OK);         \
            for (int i = 0; i < N; i++) {                                                                              \
                type sum = 0, max = -9, min = 9;                                                                       \
                for (int r = 0; r < dpt_comm_size(world); r++) {                                                       \
                    const type v = (type)((i + 3 * r) % 5 - 2);                                                        \
                    sum += v;                                                                                          \
                    max = v > max ? v : max;                                                                           \
                    min = v < min ? v : min;                                                                           \
                }                                                                                                      \
                const type want = op == DPT_COMM_REDUCE_SUM ? sum : op == DPT_COMM_REDUCE_MAX ? max : min;             \
                assert_true(x[i] == want);                                                                             \
            }                                                                                                          \
            assert_true(x[N] == beyond);                                                                               \
        }                                                                                                              \
    } while (0)

static void reduces_all_types_in_pieces(void **state)
{
    (void)state;
    const int64_t piece_before = dpt_comm__piece;
    const int64_t pieces[] = {1, 5, 23, piece_before};
    for (int p = 0; p < 4; p++) {
        dpt_comm__piece = pieces[p];
        CHECK_REDUCTIONS(float, DPT_DTYPE_F32);
        CHECK_REDUCTIONS(double, DPT_DTYPE_F64);
        CHECK_REDUCTIONS(int32_t, DPT_DTYPE_I32);
        CHECK_REDUCTIONS(int64_t, DPT_DTYPE_I64);
    }
    dpt_comm__piece = piece_before;
    assert_int_equal(dpt_comm_allreduce(world, NULL, 0, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
}

static void splits_by_color(void **state)
{
    (void)state;
    const int rank = dpt_comm_rank(world), size = dpt_comm_size(world);
    struct dpt_comm *part;
    assert_int_equal(dpt_comm_split(world, rank % 2, &part), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_rank(part), rank / 2);
    assert_int_equal(dpt_comm_size(part), (size + 1 - rank % 2) / 2);
    int64_t sum = rank;
    assert_int_equal(dpt_comm_allreduce(part, &sum, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    int64_t want = 0;
    for (int r = rank % 2; r < size; r += 2) {
        want += r;
    }
    assert_int_equal(sum, want);
    dpt_comm_free(part);
    assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
}

static void makes_a_data_mesh(void **state)
{
    (void)state;
    struct dpt_mesh mesh;
    assert_int_equal(dpt_mesh_data(world, &mesh), DPT_STATUS_OK);
    assert_int_equal(mesh.naxes, 1);
    assert_string_equal(mesh.axis[0].name, "data");
    assert_int_equal(mesh.axis[0].size, dpt_comm_size(world));
    assert_int_equal(mesh.axis[0].coord, dpt_comm_rank(world));
    assert_ptr_equal(mesh.axis[0].comm, world);
}

/* A group of one without MPI does everything, beside a started world too. */
static void works_alone(void **state)
{
    (void)state;
    struct dpt_comm *alone, *part;
    float x[3] = {1.0f, 2.0f, 3.0f}, scratch[3], all[3] = {0};
    assert_int_equal(dpt_comm_start_alone(&alone), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_size(alone), 1);
    assert_int_equal(dpt_comm_bcast(alone, x, sizeof x, 0), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_allreduce(alone, x, 3, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_allreduce_tree(alone, x, 3, DPT_DTYPE_F32, scratch), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_gather(alone, x, sizeof x, all, 0), DPT_STATUS_OK);
    assert_memory_equal(all, x, sizeof x);
    assert_int_equal(dpt_comm_barrier(alone), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_split(alone, 3, &part), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_size(part), 1);
    dpt_comm_free(part);
    assert_int_equal(dpt_agree(DPT_STATUS_DATA, alone), DPT_STATUS_DATA);
    assert_true(x[0] == 1.0f && x[1] == 2.0f && x[2] == 3.0f);
    dpt_comm_free(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_its_place),
        cmocka_unit_test(broadcasts_in_pieces),
        cmocka_unit_test(gathers_in_rank_order),
        cmocka_unit_test(reduces_all_types_in_pieces),
        cmocka_unit_test(splits_by_color),
        cmocka_unit_test(makes_a_data_mesh),
        cmocka_unit_test(works_alone),
    };
    return RUN_IN_WORLD(tests);
}

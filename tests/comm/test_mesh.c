/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdbool.h>

static struct dpt_mesh_axis axis(const char *name, int size)
{
    struct dpt_mesh_axis a = {.size = size};
    snprintf(a.name, sizeof a.name, "%s", name);
    return a;
}

/* The sum of the ranks of a group: who is in it. */
static int64_t sum_of_ranks(struct dpt_comm *group)
{
    int64_t sum = dpt_comm_rank(world);
    assert_int_equal(dpt_comm_allreduce(group, &sum, 1, DPT_DTYPE_I64, DPT_COMM_REDUCE_SUM), DPT_STATUS_OK);
    return sum;
}

/* Every factorisation of the number of ranks into three axes: coordinates, neighbours, groups. */
static void axes_of_every_shape(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    for (int data = 1; data <= size; data++) {
        for (int tensor = 1; tensor <= size / data; tensor++) {
            const int pipeline = size / data / tensor;
            if (data * tensor * pipeline != size) {
                continue;
            }
            const struct dpt_mesh_axis wanted[] = {axis("pipeline", pipeline), axis("data", data),
                                                   axis("tensor", tensor)};
            struct dpt_mesh mesh;
            assert_int_equal(dpt_mesh_new(world, 3, wanted, &mesh), DPT_STATUS_OK);
            const int coord[] = {mesh.axis[0].coord, mesh.axis[1].coord, mesh.axis[2].coord};
            assert_int_equal(rank, (coord[0] * data + coord[1]) * tensor + coord[2]);
            assert_int_equal(dpt_mesh_rank(&mesh, coord), rank);
            for (int a = 0; a < 3; a++) {
                assert_string_equal(mesh.axis[a].name, wanted[a].name);
                assert_int_equal(dpt_comm_size(mesh.axis[a].comm), wanted[a].size);
                assert_int_equal(dpt_comm_rank(mesh.axis[a].comm), coord[a]);
                int64_t expected = 0;
                for (int c = 0; c < wanted[a].size; c++) {
                    int other[3] = {coord[0], coord[1], coord[2]};
                    other[a] = c;
                    expected += dpt_mesh_rank(&mesh, other);
                }
                assert_int_equal(sum_of_ranks(mesh.axis[a].comm), expected);
            }
            dpt_mesh_free(&mesh);
        }
    }
}

/* Coordinates of all ranks without groups, on any number of ranks. */
static void places_of_other_ranks(void **state)
{
    (void)state;
    const struct dpt_mesh_axis wanted[] = {axis("data", 5), axis("tensor", 3), axis("pipeline", 2)};
    struct dpt_mesh mesh;
    assert_int_equal(dpt_mesh_shape(30, 3, wanted, &mesh), DPT_STATUS_OK);
    assert_null(mesh.world);
    for (int rank = 0; rank < 30; rank++) {
        dpt_mesh_place(&mesh, rank);
        assert_int_equal(mesh.axis[0].coord, rank / 6);
        assert_int_equal(mesh.axis[1].coord, rank / 2 % 3);
        assert_int_equal(mesh.axis[2].coord, rank % 2);
    }
    assert_int_equal(dpt_mesh_shape(1, 0, NULL, &mesh), DPT_STATUS_OK);
}

/* Groups over two axes, and over the first and the last stage alone. */
static void groups_over_axes(void **state)
{
    (void)state;
    const int size = dpt_comm_size(world), rank = dpt_comm_rank(world);
    const int fast = size % 2 == 0 ? 2 : 1, slow = size / fast;
    const struct dpt_mesh_axis wanted[] = {axis("pipeline", slow), axis("data", fast)};
    struct dpt_mesh mesh;
    struct dpt_comm *group;
    assert_int_equal(dpt_mesh_new(world, 2, wanted, &mesh), DPT_STATUS_OK);

    assert_int_equal(dpt_mesh_group(&mesh, 3, -1, NULL, &group), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_size(group), size);
    assert_int_equal(dpt_comm_rank(group), rank);
    dpt_comm_free(group);

    assert_int_equal(dpt_mesh_group(&mesh, 0, -1, NULL, &group), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_size(group), 1);
    dpt_comm_free(group);

    assert_int_equal(dpt_mesh_group(&mesh, 1, -1, NULL, &group), DPT_STATUS_OK);
    assert_int_equal(dpt_comm_size(group), slow);
    assert_int_equal(sum_of_ranks(group), slow * (rank % fast) + fast * (slow * (slow - 1) / 2));
    dpt_comm_free(group);

    bool member[8] = {false};
    member[0] = member[slow - 1] = true;
    const bool in = member[mesh.axis[0].coord];
    assert_int_equal(dpt_mesh_group(&mesh, 1, 0, member, &group), DPT_STATUS_OK);
    assert_int_equal(group != NULL, in);
    if (in) {
        const int last = rank % fast + fast * (slow - 1), first = rank % fast;
        assert_int_equal(dpt_comm_size(group), slow > 1 ? 2 : 1);
        assert_int_equal(sum_of_ranks(group), slow > 1 ? first + last : rank);
    }
    dpt_comm_free(group);
    dpt_mesh_free(&mesh);
    assert_int_equal(dpt_comm_barrier(world), DPT_STATUS_OK);
}

static void refuses(int naxes, const struct dpt_mesh_axis *wanted, const char *words)
{
    struct dpt_mesh mesh;
    dpt_error_clear();
    assert_int_equal(dpt_mesh_new(world, naxes, wanted, &mesh), DPT_STATUS_USAGE);
    if (!strstr(dpt_error_text(), words)) {
        fail_msg("refused with \"%s\", expected \"...%s...\"", dpt_error_text(), words);
    }
}

static void refusals(void **state)
{
    (void)state;
    char words[96];
    const int size = dpt_comm_size(world);
    snprintf(words, sizeof words, "the layout data:%d tensor:2 is for another number of ranks than the %d", size, size);
    refuses(2, (const struct dpt_mesh_axis[]){axis("data", size), axis("tensor", 2)}, words);
    refuses(3, (const struct dpt_mesh_axis[]){axis("a", INT32_MAX), axis("b", INT32_MAX), axis("c", INT32_MAX)},
            "another number of ranks");
    refuses(2, (const struct dpt_mesh_axis[]){axis("data", size), axis("tensor", 0)}, "axis tensor has 0 ranks");
    refuses(2, (const struct dpt_mesh_axis[]){axis("data", size), axis("data", 1)}, "axis data is named twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_of_every_shape),
        cmocka_unit_test(places_of_other_ranks),
        cmocka_unit_test(groups_over_axes),
        cmocka_unit_test(refusals),
    };
    return RUN_IN_WORLD(tests);
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reproducible training in float: the same bits on any number of ranks as alone (with a tree 1, 2, 4 and 8), with buckets
 * of another size, the exchange on a thread or not, through messages, through the memory of one host or of several.
 */

#include "../comm/world.h"
#include "rig.h"

#define RIG_DIGITS "[run]\nseed = 5\n[parallel]\nreduce = fixed\nshards = 8\n"

enum { FLAT = -1, ONE_HOST = 0 }; /* or so many ranks a host */

static void expect_same_bits_on(const char *together_job, const char *alone_job, bool thread, int hosts)
{
    struct dpt_mesh mesh;
    struct dpt_exchange *exchange;
    const int size = dpt_comm_size(world);
    const bool fixed = strstr(together_job, "reduce = fixed") != NULL;
    if (!fixed && (size & (size - 1)) != 0) {
        return;
    }
    EXPECT_OK(dpt_mesh_data(world, &mesh));
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .tree = !fixed,
        .path = hosts == FLAT ? DPT_EXCHANGE_PATH_FLAT : DPT_EXCHANGE_PATH_AUTO,
        .node_ranks = hosts > 0 ? hosts : 0,
    };
    EXPECT_OK(dpt_exchange_new(&conf, &exchange));
    struct rig *together = rig_new(together_job, &mesh, exchange, DPT_RUN_CPU);
    struct rig *alone = rig_new(alone_job, NULL, NULL, DPT_RUN_CPU);
    struct rig_eval eval_together, eval_alone;
    rig_eval_new(together, 11, true, &eval_together);
    rig_eval_new(alone, 11, false, &eval_alone);
    assert_true(dpt_state_hash(together->state) == dpt_state_hash(alone->state));
    for (int i = 0; i < 5; i++) {
        const struct dpt_exec_step a = rig_train(together), b = rig_train(alone);
        assert_memory_equal(a.metric, b.metric, sizeof a.metric);
        assert_memory_equal(&a.grad_norm, &b.grad_norm, sizeof a.grad_norm);
        assert_true(dpt_state_hash(together->state) == dpt_state_hash(alone->state));
        assert_true(a.finite);
    }
    double a[DPT_EXEC_METRICS], b[DPT_EXEC_METRICS];
    rig_evaluate(together, &eval_together, a, NULL, NULL);
    rig_evaluate(alone, &eval_alone, b, NULL, NULL);
    assert_memory_equal(a, b, sizeof a);
    rig_eval_free(&eval_together);
    rig_eval_free(&eval_alone);
    rig_free(together);
    rig_free(alone);
    dpt_exchange_free(exchange);
}

static void expect_same_bits(const char *together_job, const char *alone_job, bool thread)
{
    expect_same_bits_on(together_job, alone_job, thread, ONE_HOST);
}

#define SMALL_BUCKETS(bytes) "bucket = " bytes " B\n"

/* 13 samples in 8 shards of one or two; the last batch of 6 leaves shards empty. */
static void mlp_has_the_same_bits(void **state)
{
    (void)state;
    expect_same_bits(RIG_SHARDS RIG_MLP RIG_BATCH("13", "1") RIG_SGD, RIG_SHARDS RIG_MLP RIG_BATCH("13", "1") RIG_SGD,
                     false);
    expect_same_bits(RIG_SHARDS SMALL_BUCKETS("100") RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW "clip = 0.3\n",
                     RIG_SHARDS RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW "clip = 0.3\n", true);
}

static void regression_has_the_same_bits(void **state)
{
    (void)state;
    expect_same_bits(RIG_SHARDS SMALL_BUCKETS("100") RIG_REGRESSION RIG_BATCH("16", "1") RIG_SGD,
                     RIG_SHARDS RIG_REGRESSION RIG_BATCH("16", "1") RIG_SGD, false);
}

static void cnn_has_the_same_bits(void **state)
{
    (void)state;
    expect_same_bits(RIG_SHARDS SMALL_BUCKETS("300") RIG_CNN RIG_BATCH("19", "1") RIG_SGD,
                     RIG_SHARDS RIG_CNN RIG_BATCH("19", "1") RIG_SGD, true);
}

/* Batch norm sees the samples of a shard. */
static void resnet_has_the_same_bits(void **state)
{
    (void)state;
    expect_same_bits(RIG_SHARDS SMALL_BUCKETS("20000") RIG_RESNET RIG_BATCH("19", "1") RIG_SGD,
                     RIG_SHARDS RIG_RESNET RIG_BATCH("19", "1") RIG_SGD, false);
}

/* Digits, on 3 and 5 ranks too, which have shards of unequal number; all ways give the bits of one rank. */
static void digits_have_the_same_bits(void **state)
{
    (void)state;
    static const int hosts[] = {ONE_HOST, FLAT, 2, 3};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        for (int thread = 0; thread < 2; thread++) {
            expect_same_bits_on(RIG_DIGITS SMALL_BUCKETS("100") RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW "clip = 0.3\n",
                                RIG_DIGITS RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW "clip = 0.3\n", thread, hosts[i]);
        }
    }
    expect_same_bits(RIG_DIGITS SMALL_BUCKETS("300") RIG_CNN RIG_BATCH("19", "1") RIG_SGD,
                     RIG_DIGITS RIG_CNN RIG_BATCH("19", "1") RIG_SGD, false);
    expect_same_bits(RIG_DIGITS "[run]\nprecision = fp64\n[parallel]\n" SMALL_BUCKETS("300") RIG_MLP RIG_BATCH("13", "1") RIG_SGD,
                     RIG_DIGITS "[run]\nprecision = fp64\n" RIG_MLP RIG_BATCH("13", "1") RIG_SGD, false);
}

/* The tree of messages, of one host and of several. */
static void a_tree_has_the_same_bits_every_way(void **state)
{
    (void)state;
    static const int hosts[] = {FLAT, 2, 4};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        expect_same_bits_on(RIG_SHARDS RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW, RIG_SHARDS RIG_MLP RIG_BATCH("13", "1") RIG_ADAMW,
                            i % 2, hosts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp_has_the_same_bits),
        cmocka_unit_test(regression_has_the_same_bits),
        cmocka_unit_test(cnn_has_the_same_bits),
        cmocka_unit_test(resnet_has_the_same_bits),
        cmocka_unit_test(digits_have_the_same_bits),
        cmocka_unit_test(a_tree_has_the_same_bits_every_way),
    };
    return RUN_IN_WORLD(tests);
}

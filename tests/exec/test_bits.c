/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reproducible training in float: the same bits on 1, 2, 4 and 8 ranks as alone, with buckets of another size and the
 * exchange on a thread or not.
 */

#include "../comm/world.h"
#include "rig.h"

static void expect_same_bits(const char *together_job, const char *alone_job, bool thread)
{
    struct dpt_mesh mesh;
    struct dpt_exchange *exchange;
    EXPECT_OK(dpt_mesh_data(world, &mesh));
    const struct dpt_exchange_conf conf = {
        .comm = world,
        .thread = thread ? DPT_EXCHANGE_THREAD_ON : DPT_EXCHANGE_THREAD_OFF,
        .tree = true,
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mlp_has_the_same_bits),
        cmocka_unit_test(regression_has_the_same_bits),
        cmocka_unit_test(cnn_has_the_same_bits),
        cmocka_unit_test(resnet_has_the_same_bits),
    };
    return RUN_IN_WORLD(tests);
}

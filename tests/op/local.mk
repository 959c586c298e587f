# SPDX-License-Identifier: Apache-2.0
# optest.c holds the questions that every op answers; each family's test lists its operands.
check_LIBRARIES = tests/op/liboptest.a
tests_op_liboptest_a_SOURCES = %D%/optest.c %D%/optest.h %D%/optest_half.c %D%/optest_card.c %D%/optest_impl.h %D%/optest_split.c
OP_TEST_LDADD = tests/op/liboptest.a $(TEST_LDADD)

unit_tests += tests/op/test_activation
tests_op_test_activation_SOURCES = %D%/test_activation.c
tests_op_test_activation_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_attention
tests_op_test_attention_SOURCES = %D%/test_attention.c
tests_op_test_attention_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_batch_norm
tests_op_test_batch_norm_SOURCES = %D%/test_batch_norm.c
tests_op_test_batch_norm_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_bias_act
tests_op_test_bias_act_SOURCES = %D%/test_bias_act.c
tests_op_test_bias_act_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_collective
tests_op_test_collective_SOURCES = %D%/test_collective.c
tests_op_test_collective_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_combine
tests_op_test_combine_SOURCES = %D%/test_combine.c
tests_op_test_combine_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_conv
tests_op_test_conv_SOURCES = %D%/test_conv.c
tests_op_test_conv_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_dropout
tests_op_test_dropout_SOURCES = %D%/test_dropout.c
tests_op_test_dropout_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_embedding
tests_op_test_embedding_SOURCES = %D%/test_embedding.c
tests_op_test_embedding_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_gemm
tests_op_test_gemm_SOURCES = %D%/test_gemm.c
tests_op_test_gemm_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_layer_norm
tests_op_test_layer_norm_SOURCES = %D%/test_layer_norm.c
tests_op_test_layer_norm_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_linear
tests_op_test_linear_SOURCES = %D%/test_linear.c
tests_op_test_linear_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_linear_bf16
tests_op_test_linear_bf16_SOURCES = %D%/test_linear_bf16.c
tests_op_test_linear_bf16_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_linear_heads
tests_op_test_linear_heads_SOURCES = %D%/test_linear_heads.c
tests_op_test_linear_heads_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_linear_loss
tests_op_test_linear_loss_SOURCES = %D%/test_linear_loss.c
tests_op_test_linear_loss_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_loss
tests_op_test_loss_SOURCES = %D%/test_loss.c
tests_op_test_loss_LDADD = $(OP_TEST_LDADD)

# Tensor cores of cards alone.
EXTRA_DIST += %D%/mma_kernels.cu %D%/mma_kernels.h %D%/test_mma.c
if CUDA
unit_tests += tests/op/test_mma
tests_op_test_mma_SOURCES = %D%/test_mma.c %D%/mma_kernels.cu %D%/mma_kernels.h
tests_op_test_mma_LDADD = $(TEST_LDADD)
endif
EXTRA_DIST += %D%/race_kernels.cu %D%/race_kernels.h %D%/test_races.c
if CUDA_WATCHED
unit_tests += tests/op/test_races
tests_op_test_races_SOURCES = %D%/test_races.c %D%/race_kernels.cu %D%/race_kernels.h
tests_op_test_races_LDADD = $(TEST_LDADD)
endif

unit_tests += tests/op/test_mathf
tests_op_test_mathf_SOURCES = %D%/test_mathf.c
tests_op_test_mathf_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_op
tests_op_test_op_SOURCES = %D%/test_op.c
tests_op_test_op_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_pool
tests_op_test_pool_SOURCES = %D%/test_pool.c
tests_op_test_pool_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_reshape
tests_op_test_reshape_SOURCES = %D%/test_reshape.c
tests_op_test_reshape_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_rms_norm
tests_op_test_rms_norm_SOURCES = %D%/test_rms_norm.c
tests_op_test_rms_norm_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_rotary
tests_op_test_rotary_SOURCES = %D%/test_rotary.c
tests_op_test_rotary_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_swiglu
tests_op_test_swiglu_SOURCES = %D%/test_swiglu.c
tests_op_test_swiglu_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_update
tests_op_test_update_SOURCES = %D%/test_update.c
tests_op_test_update_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_vocab_loss
tests_op_test_vocab_loss_SOURCES = %D%/test_vocab_loss.c
tests_op_test_vocab_loss_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_onednn
tests_op_test_onednn_SOURCES = %D%/test_onednn.c
tests_op_test_onednn_LDADD = $(TEST_LDADD)

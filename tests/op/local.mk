# SPDX-License-Identifier: Apache-2.0
# optest.c holds the questions that every op answers; each family's test lists its operands.
check_LIBRARIES = tests/op/liboptest.a
tests_op_liboptest_a_SOURCES = %D%/optest.c %D%/optest.h
OP_TEST_LDADD = tests/op/liboptest.a $(TEST_LDADD)

unit_tests += tests/op/test_linear
tests_op_test_linear_SOURCES = %D%/test_linear.c
tests_op_test_linear_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_conv
tests_op_test_conv_SOURCES = %D%/test_conv.c
tests_op_test_conv_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_activation
tests_op_test_activation_SOURCES = %D%/test_activation.c
tests_op_test_activation_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_mathf
tests_op_test_mathf_SOURCES = %D%/test_mathf.c
tests_op_test_mathf_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_pool
tests_op_test_pool_SOURCES = %D%/test_pool.c
tests_op_test_pool_LDADD = $(OP_TEST_LDADD)

unit_tests += tests/op/test_batch_norm
tests_op_test_batch_norm_SOURCES = %D%/test_batch_norm.c
tests_op_test_batch_norm_LDADD = $(OP_TEST_LDADD)

# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/tensor/test_box
tests_tensor_test_box_SOURCES = %D%/test_box.c
tests_tensor_test_box_LDADD = $(TEST_LDADD)

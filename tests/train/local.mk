# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/train/test_options
tests_train_test_options_SOURCES = %D%/test_options.c
tests_train_test_options_LDADD = $(TEST_LDADD)

unit_tests += tests/train/test_tensorboard
tests_train_test_tensorboard_SOURCES = %D%/test_tensorboard.c
tests_train_test_tensorboard_LDADD = $(TEST_LDADD)

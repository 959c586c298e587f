# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/train/test_options
tests_train_test_options_SOURCES = %D%/test_options.c
tests_train_test_options_LDADD = $(TEST_LDADD)

unit_tests += tests/train/test_tensorboard
tests_train_test_tensorboard_SOURCES = %D%/test_tensorboard.c
tests_train_test_tensorboard_LDADD = $(TEST_LDADD)

unit_tests += tests/train/test_predict
tests_train_test_predict_SOURCES = %D%/test_predict.c %D%/made.c %D%/made.h $(toy)
tests_train_test_predict_LDADD = $(TEST_LDADD)

check_PROGRAMS += tests/train/made-run
tests_train_made_run_SOURCES = %D%/made-run.c %D%/made.c %D%/made.h

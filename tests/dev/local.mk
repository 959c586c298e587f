# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/dev/test_dev
tests_dev_test_dev_SOURCES = %D%/test_dev.c
tests_dev_test_dev_LDADD = $(TEST_LDADD)

# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/conf/test_value
tests_conf_test_value_SOURCES = %D%/test_value.c %D%/job_text.h
tests_conf_test_value_LDADD = $(TEST_LDADD)
unit_tests += tests/conf/test_read
tests_conf_test_read_SOURCES = %D%/test_read.c %D%/job_text.h
tests_conf_test_read_LDADD = $(TEST_LDADD)
unit_tests += tests/conf/test_print
tests_conf_test_print_SOURCES = %D%/test_print.c %D%/job_text.h
tests_conf_test_print_LDADD = $(TEST_LDADD)
unit_tests += tests/conf/test_mutate
tests_conf_test_mutate_SOURCES = %D%/test_mutate.c %D%/job_text.h
tests_conf_test_mutate_LDADD = $(TEST_LDADD)

# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/optim/test_schedule
tests_optim_test_schedule_SOURCES = %D%/test_schedule.c
tests_optim_test_schedule_LDADD = $(TEST_LDADD)

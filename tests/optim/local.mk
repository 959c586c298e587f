# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/optim/test_schedule
tests_optim_test_schedule_SOURCES = %D%/test_schedule.c
tests_optim_test_schedule_LDADD = $(TEST_LDADD)

unit_tests += tests/optim/test_optim
tests_optim_test_optim_SOURCES = %D%/test_optim.c
tests_optim_test_optim_LDADD = $(INTERPRET_LIBS)

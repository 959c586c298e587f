# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/plan/test_plan
tests_plan_test_plan_SOURCES = %D%/test_plan.c
tests_plan_test_plan_LDADD = $(RIG_LIBS)

unit_tests += tests/plan/test_memory
tests_plan_test_memory_SOURCES = %D%/test_memory.c
tests_plan_test_memory_LDADD = $(TEST_LDADD)

unit_tests += tests/plan/test_schedule
tests_plan_test_schedule_SOURCES = %D%/test_schedule.c
tests_plan_test_schedule_LDADD = $(TEST_LDADD)

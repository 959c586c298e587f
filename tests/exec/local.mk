# SPDX-License-Identifier: Apache-2.0
# rig.c makes all that the training of a job needs; the tests of plan/ use it too.
check_LIBRARIES += tests/exec/librig.a
tests_exec_librig_a_SOURCES = %D%/far.c %D%/far.h %D%/rig.c %D%/rig.h
RIG_LIBS = tests/exec/librig.a $(INTERPRET_LIBS)

unit_tests += \
	tests/exec/test_alloc \
	tests/exec/test_bits \
	tests/exec/test_card \
	tests/exec/test_far \
	tests/exec/test_layouts \
	tests/exec/test_ranks \
	tests/exec/test_step
tests_exec_test_alloc_SOURCES = %D%/test_alloc.c
tests_exec_test_alloc_LDADD = $(RIG_LIBS)
tests_exec_test_bits_SOURCES = %D%/test_bits.c
tests_exec_test_bits_LDADD = $(RIG_LIBS)
tests_exec_test_card_SOURCES = %D%/test_card.c
tests_exec_test_card_LDADD = $(RIG_LIBS)
tests_exec_test_far_SOURCES = %D%/test_far.c
tests_exec_test_far_LDADD = $(RIG_LIBS)
tests_exec_test_layouts_SOURCES = %D%/test_layouts.c
tests_exec_test_layouts_LDADD = $(RIG_LIBS)
tests_exec_test_ranks_SOURCES = %D%/test_ranks.c
tests_exec_test_ranks_LDADD = $(RIG_LIBS)
tests_exec_test_step_SOURCES = %D%/test_step.c
tests_exec_test_step_LDADD = $(RIG_LIBS)

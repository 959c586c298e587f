# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/lm/test_decode
tests_lm_test_decode_SOURCES = %D%/test_decode.c
tests_lm_test_decode_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/lm/test_sample
tests_lm_test_sample_SOURCES = %D%/test_sample.c
tests_lm_test_sample_LDADD = $(TEST_LDADD)

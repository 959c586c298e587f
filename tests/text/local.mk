# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/text/test_tokenizer
tests_text_test_tokenizer_SOURCES = %D%/test_tokenizer.c %D%/texts.h
tests_text_test_tokenizer_LDADD = $(TEST_LDADD)
unit_tests += tests/text/test_gpt2
tests_text_test_gpt2_SOURCES = %D%/test_gpt2.c %D%/texts.h
tests_text_test_gpt2_LDADD = $(TEST_LDADD)

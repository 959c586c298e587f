# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/text/test_tokenizer
tests_text_test_tokenizer_SOURCES = %D%/test_tokenizer.c %D%/texts.h
tests_text_test_tokenizer_LDADD = $(TEST_LDADD)
unit_tests += tests/text/test_gpt2
tests_text_test_gpt2_SOURCES = %D%/test_gpt2.c %D%/texts.h
tests_text_test_gpt2_LDADD = $(TEST_LDADD)
unit_tests += tests/text/test_learn
tests_text_test_learn_SOURCES = %D%/test_learn.c %D%/texts.h
tests_text_test_learn_LDADD = $(TEST_LDADD)
unit_tests += tests/text/test_input
tests_text_test_input_SOURCES = %D%/test_input.c %D%/texts.h
tests_text_test_input_LDADD = $(TEST_LDADD)
unit_tests += tests/text/test_prepare
tests_text_test_prepare_SOURCES = %D%/test_prepare.c %D%/texts.h
tests_text_test_prepare_LDADD = $(TEST_LDADD)

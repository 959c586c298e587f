# SPDX-License-Identifier: Apache-2.0
unit_tests += tests/base/test_half
tests_base_test_half_SOURCES = %D%/test_half.c
tests_base_test_half_LDADD = $(TEST_LDADD)

unit_tests += tests/base/test_hash
tests_base_test_hash_SOURCES = %D%/test_hash.c
tests_base_test_hash_LDADD = $(TEST_LDADD)

unit_tests += tests/base/test_limit
tests_base_test_limit_SOURCES = %D%/test_limit.c
tests_base_test_limit_LDADD = $(TEST_LDADD)

unit_tests += tests/base/test_rng
tests_base_test_rng_SOURCES = %D%/test_rng.c
tests_base_test_rng_LDADD = $(TEST_LDADD)

unit_tests += tests/base/test_command
tests_base_test_command_SOURCES = %D%/test_command.c
tests_base_test_command_LDADD = $(TEST_LDADD)

# SPDX-License-Identifier: Apache-2.0
EXTRA_DIST += tests/reference/safetensors_fixture.py tests/reference/tiny.safetensors
toy = %D%/toy.c %D%/toy.h

unit_tests += tests/ckpt/test_damage
tests_ckpt_test_damage_SOURCES = %D%/test_damage.c $(toy)
tests_ckpt_test_damage_LDADD = $(TEST_LDADD)

# The linker leads the calls that change the disk to the test, which makes them fail.
unit_tests += tests/ckpt/test_faults
tests_ckpt_test_faults_SOURCES = %D%/test_faults.c $(toy)
tests_ckpt_test_faults_LDADD = $(TEST_LDADD)
tests_ckpt_test_faults_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=open,--wrap=write,--wrap=fsync,--wrap=close \
	-Wl,--wrap=mkdir,--wrap=rename,--wrap=renameat2,--wrap=unlinkat,--wrap=rmdir,--wrap=statvfs

unit_tests += tests/ckpt/test_load
tests_ckpt_test_load_SOURCES = %D%/test_load.c $(toy)
tests_ckpt_test_load_LDADD = $(TEST_LDADD)

unit_tests += tests/ckpt/test_manifest
tests_ckpt_test_manifest_SOURCES = %D%/test_manifest.c $(toy)
tests_ckpt_test_manifest_LDADD = $(TEST_LDADD)

unit_tests += tests/ckpt/test_safetensors
tests_ckpt_test_safetensors_SOURCES = %D%/test_safetensors.c $(toy)
tests_ckpt_test_safetensors_LDADD = $(TEST_LDADD)

unit_tests += tests/ckpt/test_save
tests_ckpt_test_save_SOURCES = %D%/test_save.c $(toy)
tests_ckpt_test_save_LDADD = $(TEST_LDADD)

check_PROGRAMS += tests/ckpt/toy-run
tests_ckpt_toy_run_SOURCES = %D%/toy-run.c $(toy)

unit_tests += tests/ckpt/test_tensors
tests_ckpt_test_tensors_SOURCES = %D%/test_tensors.c
tests_ckpt_test_tensors_LDADD = $(TEST_LDADD)

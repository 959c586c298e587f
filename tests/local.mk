# SPDX-License-Identifier: Apache-2.0
# Tests mirror src/: tests/<room>/test_<file>.c is one cmocka program; tests/testlist gives the rank counts of those
# that run under MPI. tests/run is the driver: it starts the launcher for each count, with a time limit.
TEST_EXTENSIONS = .sh
LOG_COMPILER = $(top_builddir)/tests/run
SH_LOG_COMPILER = $(top_builddir)/tests/run
check_SCRIPTS = tests/run
AM_TESTS_ENVIRONMENT = \
	abs_srcdir='$(abs_srcdir)'; abs_builddir='$(abs_builddir)'; MPIEXEC='$(MPIEXEC)'; \
	export abs_srcdir abs_builddir MPIEXEC;
unit_tests =
TEST_LDADD = $(DPT_LIBS) $(CMOCKA_LIBS)
EXTRA_DIST += tests/folder.h tests/testlist tests/tsan.supp

include tests/cuda/local.mk
if HAVE_CMOCKA
include tests/base/local.mk
include tests/comm/local.mk
include tests/dev/local.mk
include tests/conf/local.mk
include tests/tensor/local.mk
include tests/text/local.mk
include tests/data/local.mk
include tests/op/local.mk
include tests/graph/local.mk
include tests/model/local.mk
include tests/optim/local.mk
include tests/plan/local.mk
include tests/exec/local.mk
include tests/ckpt/local.mk
include tests/train/local.mk
include tests/lm/local.mk
endif
include tests/jobs/local.mk
include tests/cli/local.mk
check_PROGRAMS += $(unit_tests)
TESTS += $(unit_tests)

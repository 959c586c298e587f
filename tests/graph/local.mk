# SPDX-License-Identifier: Apache-2.0
# interpret.c runs a graph node by node with the plain kernels; the tests of model/ and optim/ use it too.
check_LIBRARIES += tests/graph/libinterpret.a
tests_graph_libinterpret_a_SOURCES = %D%/interpret.c %D%/interpret.h
INTERPRET_LIBS = tests/graph/libinterpret.a $(TEST_LDADD)

unit_tests += tests/graph/test_graph
tests_graph_test_graph_SOURCES = %D%/test_graph.c
tests_graph_test_graph_LDADD = $(TEST_LDADD)

unit_tests += tests/graph/test_check
tests_graph_test_check_SOURCES = %D%/test_check.c
tests_graph_test_check_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/graph/test_fuse
tests_graph_test_fuse_SOURCES = %D%/test_fuse.c
tests_graph_test_fuse_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/graph/test_gradient
tests_graph_test_gradient_SOURCES = %D%/test_gradient.c
tests_graph_test_gradient_LDADD = $(INTERPRET_LIBS)

unit_tests += tests/graph/test_recompute
tests_graph_test_recompute_SOURCES = %D%/test_recompute.c
tests_graph_test_recompute_LDADD = $(RIG_LIBS)

unit_tests += tests/graph/test_precision
tests_graph_test_precision_SOURCES = %D%/test_precision.c
tests_graph_test_precision_LDADD = $(RIG_LIBS)

# SPDX-License-Identifier: Apache-2.0
unit_tests += \
	tests/comm/test_agree \
	tests/comm/test_channel \
	tests/comm/test_collect \
	tests/comm/test_cores \
	tests/comm/test_exchange \
	tests/comm/test_fixed \
	tests/comm/test_group \
	tests/comm/test_mailbox \
	tests/comm/test_kept \
	tests/comm/test_mesh \
	tests/comm/test_shared \
	tests/comm/test_slices \
	tests/comm/test_tree \
	tests/comm/test_wire
tests_comm_test_agree_SOURCES = %D%/test_agree.c %D%/world.h
tests_comm_test_agree_LDADD = $(TEST_LDADD)
tests_comm_test_channel_SOURCES = %D%/test_channel.c %D%/world.h
tests_comm_test_channel_LDADD = $(TEST_LDADD)
tests_comm_test_collect_SOURCES = %D%/test_collect.c %D%/world.h
tests_comm_test_collect_LDADD = $(TEST_LDADD)
tests_comm_test_cores_SOURCES = %D%/test_cores.c %D%/world.h
tests_comm_test_cores_LDADD = $(TEST_LDADD)
tests_comm_test_exchange_SOURCES = %D%/test_exchange.c %D%/world.h
tests_comm_test_exchange_LDADD = $(TEST_LDADD)
tests_comm_test_fixed_SOURCES = %D%/test_fixed.c %D%/world.h
tests_comm_test_fixed_LDADD = $(TEST_LDADD)
tests_comm_test_group_SOURCES = %D%/test_group.c %D%/world.h
tests_comm_test_group_LDADD = $(TEST_LDADD)
tests_comm_test_mailbox_SOURCES = %D%/test_mailbox.c %D%/world.h
tests_comm_test_mailbox_LDADD = $(TEST_LDADD)
tests_comm_test_kept_SOURCES = %D%/test_kept.c %D%/world.h
tests_comm_test_kept_LDADD = $(TEST_LDADD)
tests_comm_test_mesh_SOURCES = %D%/test_mesh.c %D%/world.h
tests_comm_test_mesh_LDADD = $(TEST_LDADD)
tests_comm_test_shared_SOURCES = %D%/test_shared.c %D%/world.h
tests_comm_test_shared_LDADD = $(TEST_LDADD)
tests_comm_test_slices_SOURCES = %D%/test_slices.c %D%/world.h
tests_comm_test_slices_LDADD = $(TEST_LDADD)
tests_comm_test_tree_SOURCES = %D%/test_tree.c %D%/world.h
tests_comm_test_tree_LDADD = $(TEST_LDADD)
tests_comm_test_wire_SOURCES = %D%/test_wire.c %D%/world.h
tests_comm_test_wire_LDADD = $(TEST_LDADD)

check_PROGRAMS += tests/comm/trouble
tests_comm_trouble_SOURCES = %D%/trouble.c
TESTS += %D%/test_deadline.sh %D%/test_launch.sh
EXTRA_DIST += %D%/common.sh %D%/test_deadline.sh %D%/test_launch.sh

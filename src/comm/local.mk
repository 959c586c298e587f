# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/add.c \
	%D%/add.h \
	%D%/agree.c \
	%D%/board.c \
	%D%/board.h \
	%D%/collect.c \
	%D%/comm.h \
	%D%/cores.c \
	%D%/deadline.c \
	%D%/exchange.c \
	%D%/exchange.h \
	%D%/exchange_impl.h \
	%D%/exchange_inline.c \
	%D%/exchange_node.c \
	%D%/exchange_node.h \
	%D%/exchange_thread.c \
	%D%/group.c \
	%D%/impl.h \
	%D%/mailbox.c \
	%D%/mailbox.h \
	%D%/mailbox_impl.h \
	%D%/mailbox_p2p.c \
	%D%/mailbox_rma.c \
	%D%/mailbox_shm.c \
	%D%/mailbox_test.c \
	%D%/mailbox_triple.c \
	%D%/mesh.c \
	%D%/message.c \
	%D%/segment.c \
	%D%/segment.h \
	%D%/slices.c \
	%D%/slices.h \
	%D%/start.c \
	%D%/tree.c \
	%D%/wire.c \
	%D%/wire.h

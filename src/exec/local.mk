# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/border.c \
	%D%/collect.c \
	%D%/device.c \
	%D%/device.h \
	%D%/exec.c \
	%D%/exec.h \
	%D%/groups.c \
	%D%/internal.h \
	%D%/load.c \
	%D%/message.c \
	%D%/record.c \
	%D%/ring.c \
	%D%/state.c \
	%D%/stay.c \
	%D%/step.c \
	%D%/sum.c \
	%D%/whole.c

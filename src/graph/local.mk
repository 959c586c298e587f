# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/build.c \
	%D%/build.h \
	%D%/check.c \
	%D%/fuse.c \
	%D%/gradient.c \
	%D%/graph.c \
	%D%/graph.h \
	%D%/internal.h \
	%D%/precision.c \
	%D%/print.c \
	%D%/recompute.c

# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/actions.c \
	%D%/internal.h \
	%D%/layout.c \
	%D%/memory.c \
	%D%/place.c \
	%D%/plan.c \
	%D%/plan.h \
	%D%/print.c \
	%D%/variant.c

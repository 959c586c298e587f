# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/actions.c \
	%D%/forms.c \
	%D%/internal.h \
	%D%/layout.c \
	%D%/local.c \
	%D%/local.h \
	%D%/memory.c \
	%D%/part.c \
	%D%/place.c \
	%D%/plan.c \
	%D%/plan.h \
	%D%/print.c \
	%D%/schedule.c \
	%D%/schedule.h \
	%D%/simulate.c \
	%D%/simulate.h \
	%D%/stage.c \
	%D%/stay.c \
	%D%/traffic.c \
	%D%/variant.c

# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/check.c \
	%D%/conf.h \
	%D%/job.h \
	%D%/keys.c \
	%D%/layout.c \
	%D%/layout.h \
	%D%/layers.c \
	%D%/print.c \
	%D%/read.c \
	%D%/value.c

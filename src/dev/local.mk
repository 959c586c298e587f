# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/cpu.c \
	%D%/dev.c \
	%D%/dev.h \
	%D%/null.c \
	%D%/peak.c \
	%D%/peak.h

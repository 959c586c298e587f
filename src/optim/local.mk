# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/optim.c \
	%D%/optim.h \
	%D%/schedule.c

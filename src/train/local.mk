# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/options.c \
	%D%/options.h \
	%D%/tensorboard.c \
	%D%/tensorboard.h

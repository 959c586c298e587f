# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/box.c \
	%D%/box.h \
	%D%/tensor.c \
	%D%/tensor.h

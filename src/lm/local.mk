# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/convert.c \
	%D%/convert.h \
	%D%/decode.c \
	%D%/decode.h \
	%D%/generate.c \
	%D%/generate.h \
	%D%/hf.c \
	%D%/hf.h \
	%D%/model.c \
	%D%/model.h \
	%D%/sample.c \
	%D%/sample.h

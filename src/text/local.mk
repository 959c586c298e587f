# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/bpe.c \
	%D%/files.c \
	%D%/internal.h \
	%D%/split.c \
	%D%/symbols.c \
	%D%/tokenizer.c \
	%D%/tokenizer.h

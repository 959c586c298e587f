# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/bpe.c \
	%D%/cut.c \
	%D%/cut.h \
	%D%/files.c \
	%D%/input.c \
	%D%/input.h \
	%D%/internal.h \
	%D%/learn.c \
	%D%/learn.h \
	%D%/page.c \
	%D%/prepare.c \
	%D%/prepare.h \
	%D%/record.c \
	%D%/record.h \
	%D%/split.c \
	%D%/stream.c \
	%D%/stream.h \
	%D%/symbols.c \
	%D%/system.c \
	%D%/system.h \
	%D%/tokenizer.c \
	%D%/tokenizer.h

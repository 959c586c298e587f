# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/add.c \
	%D%/add.h \
	%D%/arena.c \
	%D%/arena.h \
	%D%/both.h \
	%D%/bf16.c \
	%D%/bf16.h \
	%D%/clock.c \
	%D%/clock.h \
	%D%/command.c \
	%D%/command.h \
	%D%/dtype.h \
	%D%/f16.c \
	%D%/f16.h \
	%D%/file.c \
	%D%/file.h \
	%D%/half.c \
	%D%/half.h \
	%D%/hash.c \
	%D%/hash.h \
	%D%/limit.c \
	%D%/limit.h \
	%D%/log.c \
	%D%/log.h \
	%D%/normal.c \
	%D%/rng.c \
	%D%/rng.h \
	%D%/simd.h \
	%D%/square.c \
	%D%/square.h \
	%D%/status.c \
	%D%/status.h \
	%D%/text.c \
	%D%/text.h \
	%D%/thread.c \
	%D%/thread.h

# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/augment.c \
	%D%/csv.c \
	%D%/data.c \
	%D%/data.h \
	%D%/idx.c \
	%D%/loader.c \
	%D%/place.c \
	%D%/prepare.c \
	%D%/reader.h \
	%D%/shard.c \
	%D%/shard.h \
	%D%/shard_header.h \
	%D%/shard_write.c \
	%D%/synthetic.c \
	%D%/table.c \
	%D%/table.h \
	%D%/tokens.c

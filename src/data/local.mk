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
	%D%/synthetic.c \
	%D%/table.c \
	%D%/table.h

# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/ckpt.h \
	%D%/find.c \
	%D%/load.c \
	%D%/manifest.c \
	%D%/manifest.h \
	%D%/private.h \
	%D%/safetensors.c \
	%D%/safetensors.h \
	%D%/save.c \
	%D%/tensors.c \
	%D%/tensors.h \
	%D%/use.c

# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/cnn.c \
	%D%/gpt.c \
	%D%/internal.h \
	%D%/language.c \
	%D%/language.h \
	%D%/layers.c \
	%D%/llama.c \
	%D%/mlp.c \
	%D%/model.c \
	%D%/model.h \
	%D%/resnet.c \
	%D%/sizes.c

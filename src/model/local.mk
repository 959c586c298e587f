# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/cnn.c \
	%D%/internal.h \
	%D%/layers.c \
	%D%/mlp.c \
	%D%/model.c \
	%D%/model.h \
	%D%/resnet.c

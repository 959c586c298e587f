# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/op.c \
	%D%/op.h \
	%D%/ops.def \
	%D%/activation.h \
	%D%/batch_norm.h \
	%D%/combine.h \
	%D%/conv.h \
	%D%/dropout.h \
	%D%/layer_norm.h \
	%D%/linear.c \
	%D%/linear.h \
	%D%/linear_cpu.c \
	%D%/linear_ref.inc \
	%D%/loss.h \
	%D%/onednn.h \
	%D%/pool.h \
	%D%/real.h \
	%D%/reshape.h \
	%D%/update.h

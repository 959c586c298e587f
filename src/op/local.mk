# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/op.c \
	%D%/op.h \
	%D%/ops.def \
	%D%/activation.c \
	%D%/activation.h \
	%D%/activation_cpu.c \
	%D%/activation_ref.inc \
	%D%/batch_norm.c \
	%D%/batch_norm.h \
	%D%/batch_norm_cpu.c \
	%D%/batch_norm_ref.inc \
	%D%/combine.h \
	%D%/conv.c \
	%D%/conv.h \
	%D%/conv_cpu.c \
	%D%/conv_cpu.inc \
	%D%/conv_ref.inc \
	%D%/dropout.h \
	%D%/layer_norm.h \
	%D%/linear.c \
	%D%/linear.h \
	%D%/linear_cpu.c \
	%D%/linear_ref.inc \
	%D%/loss.h \
	%D%/mathf.h \
	%D%/onednn.h \
	%D%/pool.c \
	%D%/pool.h \
	%D%/pool_cpu.c \
	%D%/pool_ref.inc \
	%D%/real.h \
	%D%/reshape.h \
	%D%/update.h

# oneDNN: the version that configure found, or the one that is not here.
if ONEDNN_V2
libdpt_a_SOURCES += %D%/onednn.c %D%/onednn_conv.h %D%/onednn_v2.c
else
if ONEDNN_V3
libdpt_a_SOURCES += %D%/onednn.c %D%/onednn_conv.h %D%/onednn_v3.c
else
libdpt_a_SOURCES += %D%/onednn_none.c
endif
endif

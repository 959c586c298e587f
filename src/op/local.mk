# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/op.c \
	%D%/op.h \
	%D%/ops.def \
	%D%/activation.c \
	%D%/activation.h \
	%D%/activation_cpu.c \
	%D%/activation_ref.inc \
	%D%/attention.c \
	%D%/attention.h \
	%D%/attention_cpu.c \
	%D%/attention_ref.inc \
	%D%/attention_rows.h \
	%D%/batch_norm.c \
	%D%/batch_norm.h \
	%D%/batch_norm_cpu.c \
	%D%/batch_norm_ref.inc \
	%D%/half.c \
	%D%/bias_act.c \
	%D%/bias_act_cpu.c \
	%D%/bias_act_ref.inc \
	%D%/collective.c \
	%D%/collective.h \
	%D%/combine.c \
	%D%/combine.h \
	%D%/combine_cpu.c \
	%D%/combine_ref.inc \
	%D%/conv.c \
	%D%/conv.h \
	%D%/conv_cpu.c \
	%D%/conv_cpu.inc \
	%D%/conv_direct.c \
	%D%/conv_direct.h \
	%D%/conv_ref.inc \
	%D%/cuda.def \
	%D%/cuda.h \
	%D%/dropout.c \
	%D%/dropout.h \
	%D%/dropout_ref.inc \
	%D%/embedding.c \
	%D%/embedding.h \
	%D%/embedding_cpu.c \
	%D%/embedding_ref.inc \
	%D%/flat.c \
	%D%/flat.h \
	%D%/gemm.c \
	%D%/gemm.h \
	%D%/layer_norm.c \
	%D%/layer_norm.h \
	%D%/layer_norm_cpu.c \
	%D%/layer_norm_ref.inc \
	%D%/linear.c \
	%D%/linear.h \
	%D%/linear_bf16.c \
	%D%/linear_cpu.c \
	%D%/linear_heads.c \
	%D%/linear_loss.c \
	%D%/linear_loss.h \
	%D%/linear_loss_cpu.c \
	%D%/linear_loss_ref.inc \
	%D%/linear_ref.inc \
	%D%/loss.c \
	%D%/loss.h \
	%D%/loss_cpu.c \
	%D%/loss_ref.inc \
	%D%/mathf.h \
	%D%/mathv.h \
	%D%/norm.h \
	%D%/onednn.h \
	%D%/pool.c \
	%D%/pool.h \
	%D%/pool_cpu.c \
	%D%/pool_ref.inc \
	%D%/real.h \
	%D%/reshape.c \
	%D%/reshape.h \
	%D%/rms_norm.c \
	%D%/rms_norm.h \
	%D%/rms_norm_cpu.c \
	%D%/rms_norm_ref.inc \
	%D%/rotary.c \
	%D%/rotary.h \
	%D%/rotary_cpu.c \
	%D%/rotary_ref.inc \
	%D%/softmax.c \
	%D%/softmax.h \
	%D%/swiglu.c \
	%D%/swiglu.h \
	%D%/swiglu_cpu.c \
	%D%/swiglu_ref.inc \
	%D%/tile.c \
	%D%/tile.h \
	%D%/update.c \
	%D%/update.h \
	%D%/update_cpu.c \
	%D%/update_ref.inc \
	%D%/vocab_loss.c \
	%D%/vocab_loss.h \
	%D%/vocab_loss_ref.inc

# oneDNN: the version that configure found, or the one that is not here.
if ONEDNN_V2
libdpt_a_SOURCES += %D%/onednn.c %D%/onednn_desc.h %D%/onednn_v2.c
else
if ONEDNN_V3
libdpt_a_SOURCES += %D%/onednn.c %D%/onednn_desc.h %D%/onednn_v3.c
else
libdpt_a_SOURCES += %D%/onednn_none.c
endif
endif

# Kernels for cards, or the table without any.
if CUDA
libdpt_a_SOURCES += \
	%D%/attention_cuda.cu \
	%D%/attention_cuda.cuh \
	%D%/attention_mma_cuda.cu \
	%D%/batch_norm_cuda.cu \
	%D%/conv_cuda.cu \
	%D%/conv_cuda.cuh \
	%D%/conv_mma_cuda.cu \
	%D%/cuda.cuh \
	%D%/cuda_mma.cuh \
	%D%/cuda_table.c \
	%D%/embedding_cuda.cu \
	%D%/flat_cuda.cu \
	%D%/gemm_cuda.c \
	%D%/gemm_cuda.h \
	%D%/linear_cuda.c \
	%D%/linear_loss_cuda.cu \
	%D%/loss_cuda.cu \
	%D%/norm_cuda.cu \
	%D%/pointwise_cuda.cu \
	%D%/pool_cuda.cu \
	%D%/update_cuda.cu
if CUDNN
libdpt_a_SOURCES += %D%/conv_cudnn.c %D%/conv_cudnn.h %D%/conv_layout_cuda.cu
else
libdpt_a_SOURCES += %D%/conv_cudnn_none.c
endif
else
libdpt_a_SOURCES += %D%/cuda_none.c
endif

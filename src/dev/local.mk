# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/cpu.c \
	%D%/dev.c \
	%D%/dev.h \
	%D%/null.c \
	%D%/peak.c \
	%D%/peak.h \
	%D%/ring.h

# A card, or the one that is never there.
if CUDA
libdpt_a_SOURCES += %D%/cuda.c %D%/cuda.h
if !CUDA_EMULATED
libdpt_a_SOURCES += %D%/cuda_blas.c %D%/cuda_open.c %D%/cuda_open.h
endif
else
libdpt_a_SOURCES += %D%/cuda_stub.c
endif

# Sums among cards, or the stub.
if NCCL
libdpt_a_SOURCES += %D%/cuda_nccl.c %D%/cuda_nccl.h
if !CUDA_EMULATED
libdpt_a_SOURCES += %D%/cuda_nccl_open.c
endif
else
libdpt_a_SOURCES += %D%/ring_stub.c
endif

# Convolutions on a card by cuDNN, or not.
if CUDNN
libdpt_a_SOURCES += %D%/cuda_dnn.c %D%/cuda_dnn.h
if !CUDA_EMULATED
libdpt_a_SOURCES += %D%/cuda_dnn_open.c
endif
else
if CUDA
libdpt_a_SOURCES += %D%/cuda_dnn_none.c
endif
endif

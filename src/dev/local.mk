# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/cpu.c \
	%D%/dev.c \
	%D%/dev.h \
	%D%/null.c \
	%D%/peak.c \
	%D%/peak.h

# A card, or the one that is never there.
if CUDA
libdpt_a_SOURCES += %D%/cuda.c %D%/cuda.h
if !CUDA_EMULATED
libdpt_a_SOURCES += %D%/cuda_blas.c
endif
else
libdpt_a_SOURCES += %D%/cuda_stub.c
endif

# SPDX-License-Identifier: Apache-2.0
# A card that is not there, for configure --with-cuda=emulate.
EXTRA_DIST += %D%/cublasLt.h %D%/cuda_bf16.h %D%/cuda_fp16.h %D%/cuda_mma.h %D%/cuda_runtime.h %D%/cuda_runtime_api.h %D%/cudnn.h \
	%D%/nccl.h %D%/races.h
if CUDA_EMULATED
libdpt_a_SOURCES += %D%/blas.c %D%/cudnn.c %D%/emulate.cu %D%/nccl.c %D%/races.cu %D%/runtime.cu
endif

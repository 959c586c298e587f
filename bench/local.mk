# SPDX-License-Identifier: Apache-2.0
# What one core can do at best: make bench/peak && bench/peak. Op by op: make bench/ops. Against PyTorch: bench/compare.
# Layouts against each other: bench/parallel.
EXTRA_PROGRAMS = bench/ops bench/peak
bench_ops_SOURCES = %D%/ops.c
bench_peak_SOURCES = %D%/peak.c
CLEANFILES += bench/ops$(EXEEXT) bench/peak$(EXEEXT)
EXTRA_DIST += \
	%D%/cnn.ini \
	%D%/compare \
	%D%/flops.awk \
	%D%/gpt.ini \
	%D%/gpt2.ini \
	%D%/mlp.ini \
	%D%/parallel \
	%D%/resnet20.ini \
	%D%/torch_gpt.py \
	%D%/torch_step.py

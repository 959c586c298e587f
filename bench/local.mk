# SPDX-License-Identifier: Apache-2.0
# What one core can do at best: make bench/peak && bench/peak. Op by op: make bench/ops.
# Exchange and update: make bench/exchange. Against PyTorch: bench/compare. Layouts against each other: bench/parallel.
# On a card, against PyTorch: bench/gpu; what the card can do at best: make bench/card.
# Ways in which ranks learn from each other: bench/methods. Two pretended hosts and a slow network: bench/hosts.
EXTRA_PROGRAMS = bench/exchange bench/ops bench/peak
bench_exchange_SOURCES = %D%/exchange.c
bench_ops_SOURCES = %D%/ops.c
bench_peak_SOURCES = %D%/peak.c
CLEANFILES += bench/exchange$(EXEEXT) bench/ops$(EXEEXT) bench/peak$(EXEEXT)
EXTRA_DIST += \
	%D%/cnn.ini \
	%D%/compare \
	%D%/flops.awk \
	%D%/gpt.ini \
	%D%/gpt2.ini \
	%D%/gpu \
	%D%/hosts \
	%D%/methods \
	%D%/mlp.ini \
	%D%/parallel \
	%D%/resnet20.ini \
	%D%/resnet50.ini \
	%D%/straggler \
	%D%/torch_gpt.py \
	%D%/torch_step.py \
	%D%/wide.ini
if CUDA
EXTRA_PROGRAMS += bench/card
bench_card_SOURCES = %D%/card_cuda.c
CLEANFILES += bench/card$(EXEEXT)
endif
.PHONY: benches
benches: $(EXTRA_PROGRAMS)

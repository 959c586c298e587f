# SPDX-License-Identifier: Apache-2.0
# What one core can do at best: make bench/peak && bench/peak.
EXTRA_PROGRAMS = bench/peak
bench_peak_SOURCES = %D%/peak.c
EXTRA_DIST += %D%/torch_step.py
CLEANFILES += bench/peak$(EXEEXT)

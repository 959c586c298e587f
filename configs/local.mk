# SPDX-License-Identifier: Apache-2.0
# Job files to copy, and the table that one of them reads.
configdir = $(pkgdatadir)/configs
dist_config_DATA = \
	%D%/benchmark.ini \
	%D%/fashion-mnist.ini \
	%D%/gpt-shakespeare-char.ini \
	%D%/gpt-shakespeare-char-small.ini \
	%D%/gpt-system.ini \
	%D%/gpt2-124m.ini \
	%D%/layout-hybrid.ini \
	%D%/layout-pipeline.ini \
	%D%/layout-rows.ini \
	%D%/layout-sharded.ini \
	%D%/layout-tensor.ini \
	%D%/linear-regression.ini \
	%D%/llama-tiny.ini \
	%D%/mlp-async.ini \
	%D%/mlp-fashion.ini \
	%D%/mlp-layout.ini \
	%D%/mlp-table.ini \
	%D%/reproducible.ini \
	%D%/resnet18.ini \
	%D%/resnet20.ini \
	%D%/houses.csv

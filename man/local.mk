# SPDX-License-Identifier: Apache-2.0
dist_man_MANS += %D%/dpt-train.1 %D%/dpt-convert.1 %D%/dpt-data.1 %D%/dpt-generate.1 %D%/dpt-info.1 \
	%D%/dpt-predict.1 %D%/dpt-job.5 %D%/dpt-ckpt.5 %D%/dpt-exchange.7 %D%/dpt-layouts.7 %D%/dpt.7

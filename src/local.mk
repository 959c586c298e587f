# SPDX-License-Identifier: Apache-2.0
# The programs: one thin main each.
bin_PROGRAMS += dpt-convert
dpt_convert_SOURCES = %D%/dpt-convert.c

bin_PROGRAMS += dpt-data
dpt_data_SOURCES = %D%/dpt-data.c

bin_PROGRAMS += dpt-generate
dpt_generate_SOURCES = %D%/dpt-generate.c

bin_PROGRAMS += dpt-info
dpt_info_SOURCES = %D%/dpt-info.c

bin_PROGRAMS += dpt-predict
dpt_predict_SOURCES = %D%/dpt-predict.c

bin_PROGRAMS += dpt-train
dpt_train_SOURCES = %D%/dpt-train.c

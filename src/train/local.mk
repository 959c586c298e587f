# SPDX-License-Identifier: Apache-2.0
libdpt_a_SOURCES += \
	%D%/async.c \
	%D%/async.h \
	%D%/async_gossip.c \
	%D%/async_owner.c \
	%D%/async_report.c \
	%D%/async_wait.c \
	%D%/cards.c \
	%D%/device.c \
	%D%/dry_run.c \
	%D%/end.c \
	%D%/host.c \
	%D%/internal.h \
	%D%/local.c \
	%D%/loop.c \
	%D%/metrics.c \
	%D%/options.c \
	%D%/options.h \
	%D%/predict.c \
	%D%/predict.h \
	%D%/predict_rows.c \
	%D%/predict_rows.h \
	%D%/report.c \
	%D%/run.c \
	%D%/scale.c \
	%D%/score.c \
	%D%/setup.c \
	%D%/shares.c \
	%D%/stop.c \
	%D%/stream.c \
	%D%/tensorboard.c \
	%D%/tensorboard.h \
	%D%/train.h

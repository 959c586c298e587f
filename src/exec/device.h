/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a process computes on: a card of its host, or the cores; and in which precision. */

#include "conf/job.h"
#include "dev/dev.h"
#include "graph/graph.h"

enum { DPT_EXEC_WHY = 320 };

struct dpt_exec_device_conf {
    enum dpt_device kind;
    const struct dpt_graph *graph; /* whose ops a card must have kernels for                                */
    int rank;                      /* this one of those on its host                                         */
    int sharers;                   /* ranks that would compute on its card: 1                               */
    bool share;                    /* unless they may share                                                 */
    int threads;                   /* of the cores                                                          */
    enum dpt_convolution convolution; /* of a card                                                          */
    bool tf32;                     /* products of F32 may be rounded to 11 bits on a card                   */
};

/* Refuses what no kernel for cards does: DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_exec_check_card(const struct dpt_exec_device_conf *conf);

/*
 * The card that a rank of a host computes on where it computes on one: the same bytes for all ranks that take the same card,
 * whatever number it has for them; zeros where this rank sees none. Local.
 */
void dpt_exec_card_id(int rank, unsigned char id[DPT_DEV_ID]);

/*
 * Opens it. With kind auto `why` says why it is the cores although there is a card, else it is "". DPT_STATUS_USAGE where
 * a card is asked for and there is none, or it has other ranks, or one of the ops has no kernel. Local.
 */
enum dpt_status dpt_exec_open_device(const struct dpt_exec_device_conf *conf, struct dpt_dev **dev, enum dpt_run *run,
                                     char why[DPT_EXEC_WHY]);

/*
 * The kind for programs that use a trained net: the one asked for (an enum dpt_device), or with asked = -1 that of the
 * job, but a net that learned on a card is used on cores where there is none. Local.
 */
enum dpt_device dpt_exec_used_device(int asked, enum dpt_device trained);

/* The value of an option --device: *kind is an enum dpt_device. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_exec_device_option(const char *text, int *kind);

/*
 * The same for the precision: that asked for (an enum dpt_precision), or with asked = -1 that of the job. Numbers of files
 * are not converted: DPT_STATUS_USAGE where another is asked for than the fp64 of the job. Local.
 */
enum dpt_status dpt_exec_used_precision(int asked, enum dpt_precision trained, enum dpt_precision *precision);

/* The value of an option --precision: *precision is an enum dpt_precision, not fp64. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_exec_precision_option(const char *text, int *precision);

/* The real numbers of a graph in this precision, and what dpt_graph_precision makes of its values; F32: nothing. Local. */
enum dpt_dtype dpt_exec_real(enum dpt_precision precision);
enum dpt_dtype dpt_exec_half(enum dpt_precision precision);

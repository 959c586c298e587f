/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A ring of cards, one of each rank: sums of floats in their memory, and slices that all get to know, without the host
 * (NCCL). They go beside the line of kernels of their card (dev.h): each comes behind all that was asked for before it; what is
 * asked for after dpt_dev_ring_join comes behind them. All ranks ask for the same in the same order. The library is
 * looked for when a ring is: a program without it never needs it. ring_stub.c stands here in builds without NCCL.
 */

#include "dev/dev.h"

struct dpt_dev_ring;

/* "NCCL 2.27.3" where there is a library, or NULL and in *why the reason. Local. */
const char *dpt_dev_ring_library(const char **why);

/* What all members of a new ring must know, made by one of them. DPT_STATUS_FAILED. Local. */
enum { DPT_DEV_RING_ID = 128 };
enum dpt_status dpt_dev_ring_id(struct dpt_dev *dev, unsigned char id[DPT_DEV_RING_ID]);

/* Makes this rank a member. Freed by _free, before the device is closed. DPT_STATUS_FAILED. Collective over the ring. */
enum dpt_status dpt_dev_ring_new(struct dpt_dev *dev, int ranks, int rank, const unsigned char id[DPT_DEV_RING_ID],
                                 struct dpt_dev_ring **ring);
void dpt_dev_ring_free(struct dpt_dev_ring *ring);

/* data = the sum over the ranks. DPT_STATUS_FAILED. Collective over the ring. */
enum dpt_status dpt_dev_ring_sum(struct dpt_dev_ring *ring, float *data, int64_t count);

/*
 * Of data that are cut at begin[0] = 0, ..., begin[ranks]: _scatter makes this rank's slice its sum over the ranks, _gather
 * gives everybody's slice to all. DPT_STATUS_FAILED. Collective over the ring.
 */
enum dpt_status dpt_dev_ring_scatter(struct dpt_dev_ring *ring, float *data, const int64_t *begin);
enum dpt_status dpt_dev_ring_gather(struct dpt_dev_ring *ring, float *data, const int64_t *begin);

/* What is asked for from now on comes behind all of the above so far. DPT_STATUS_FAILED. Local. */
enum dpt_status dpt_dev_ring_join(struct dpt_dev_ring *ring);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Channels: messages between ranks of one host through memory that they share. A message of MPI that is longer than the
 * library sends at once waits until both ends are in MPI again, which ranks that compute seldom are; here the sender
 * leaves it in a slot of its own block and goes on, and the receiver takes it from there when it comes by.
 *
 * A rank writes its own block only: as the sender of a channel how many messages it has left, as the receiver how many it
 * has taken. What a count covers was written before it (release, acquire).
 */

#include <stdbool.h>
#include <stddef.h>

#include "comm/comm.h"

struct dpt_channels;

/*
 * `count` channels, numbered alike on all ranks, and a zeroed block of nbytes for the slots of this rank's messages.
 * *channels is NULL, and the status OK, where no rank shares a host with another, or that has no memory to share.
 * Collective over comm; closed by every rank before comm is freed.
 */
enum dpt_status dpt_channels_open(struct dpt_comm *comm, int count, size_t nbytes, struct dpt_channels **channels);
void dpt_channels_close(struct dpt_channels *channels);

/* This rank's block. Local. */
void *dpt_channels_block(const struct dpt_channels *channels);

/* Whether `peer` of comm is on this host. Local. */
bool dpt_channels_reach(const struct dpt_channels *channels, int peer);

/* The slots of a channel on which this rank sends: `window` of `stride` bytes from `slots` on, in its block. Local. */
void dpt_channels_place(struct dpt_channels *channels, int channel, const void *slots, size_t stride, int window);

/*
 * Leaves a message of nbytes in the next slot of the channel, once that is free, or takes the next from the slot of
 * `peer`, once it is there. Receiver and sender agree on nbytes, at most the stride. Both wait without MPI, and the
 * deadline knows for whom. Local wait.
 */
void dpt_channels_send(struct dpt_channels *channels, int channel, int peer, const void *data, size_t nbytes);
void dpt_channels_receive(struct dpt_channels *channels, int channel, int peer, void *data, size_t nbytes);

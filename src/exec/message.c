/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Messages between stages: through memory to stages on the same host, by MPI to others. There receives are posted as many
 * micro-batches ahead as there are buffers, and a send waits for its own buffer only.
 */

#include <stdio.h>
#include <string.h>

#include "exec/internal.h"

static char *buffer_of(const struct dpt_exec *exec, int m, int micro)
{
    const struct dpt_plan_message *message = &exec->plan->message[m];
    return (char *)exec->messages + message->offset + micro % message->window * message->nbytes;
}

static bool is_received(const struct dpt_exec *exec, int m)
{
    const struct dpt_plan_message *message = &exec->plan->message[m];
    return message->value >= 0 && message->to == exec->pipeline->coord;
}

/* Bytes of a message of this micro-batch: those of its rows. */
static size_t message_nbytes(const struct dpt_exec *exec, int m, int micro)
{
    const int value = exec->plan->message[m].value;
    struct dpt_type type = exec->plan->value[value].type;
    if (exec->plan->graph->value[value].batch) {
        int64_t first, all;
        dpt_plan_rows(exec->plan, exec->ctx.batch_rows, micro, &first, &type.dim[0], &all);
    }
    return dpt_type_nbytes(&type);
}

static enum dpt_status post_receive(struct dpt_exec *exec, int m, int micro)
{
    const struct dpt_plan_message *message = &exec->plan->message[m];
    struct dpt_exec__message *at = &exec->message[m];
    const int slot = micro % exec->plan->message[m].window;
    at->open[slot] = true;
    return dpt_comm_recv_start(exec->pipeline->comm, message->from, m, buffer_of(exec, m, micro),
                               message_nbytes(exec, m, micro), &at->request[slot]);
}

/* The rank along the pipeline at the other end of a message. */
static int peer_of(const struct dpt_exec *exec, int m)
{
    return is_received(exec, m) ? exec->plan->message[m].from : exec->plan->message[m].to;
}

static bool is_channel(const struct dpt_exec *exec, int m)
{
    return exec->channels && dpt_channels_reach(exec->channels, peer_of(exec, m));
}

enum dpt_status dpt_exec__take_messages(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    const size_t nbytes = (size_t)plan->memory.messages;
    if (!exec->flat) {
        DPT_TRY(dpt_channels_open(exec->pipeline->comm, plan->nmessages, nbytes, &exec->channels));
    }
    if (!exec->channels) {
        return dpt_dev_host_alloc(exec->dev, nbytes, "messages between stages", &exec->messages);
    }
    exec->messages = dpt_channels_block(exec->channels);
    for (int m = 0; m < plan->nmessages; m++) {
        if (plan->message[m].value >= 0 && !is_received(exec, m)) {
            dpt_channels_place(exec->channels, m, buffer_of(exec, m, 0), (size_t)plan->message[m].nbytes,
                               plan->message[m].window);
        }
    }
    return DPT_STATUS_OK;
}

void dpt_exec__release_messages(struct dpt_exec *exec)
{
    if (!exec->channels && exec->messages) {
        dpt_dev_host_release(exec->dev, exec->messages, (size_t)exec->plan->memory.messages);
    }
    dpt_channels_close(exec->channels);
}

int64_t dpt_exec_shared_nbytes(const struct dpt_exec *exec)
{
    return exec->channels ? exec->plan->memory.messages : 0;
}

enum dpt_status dpt_exec__open_messages(struct dpt_exec *exec)
{
    for (int m = 0; m < exec->plan->nmessages; m++) {
        for (int micro = 0; micro < exec->plan->message[m].window && is_received(exec, m) && !is_channel(exec, m); micro++) {
            DPT_TRY(post_receive(exec, m, micro));
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status finish(struct dpt_exec *exec, int m, int slot)
{
    struct dpt_exec__message *at = &exec->message[m];
    if (!at->open[slot]) {
        return DPT_STATUS_OK;
    }
    at->open[slot] = false;
    return dpt_comm_request_wait(&at->request[slot]);
}

enum dpt_status dpt_exec__close_messages(struct dpt_exec *exec)
{
    for (int m = 0; m < exec->plan->nmessages; m++) {
        for (int slot = 0; slot < exec->plan->message[m].window; slot++) {
            DPT_TRY(finish(exec, m, slot));
        }
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec__send(struct dpt_exec *exec, int m, int micro, const struct dpt_tensor *in)
{
    const int slot = micro % exec->plan->message[m].window;
    char *buffer = buffer_of(exec, m, micro);
    const size_t nbytes = dpt_type_nbytes(&in->type);
    if (is_channel(exec, m)) {
        dpt_channels_send(exec->channels, m, peer_of(exec, m), in->data, nbytes);
        return DPT_STATUS_OK;
    }
    DPT_TRY(finish(exec, m, slot));
    if (nbytes > 0) {
        memcpy(buffer, in->data, nbytes);
    }
    exec->message[m].open[slot] = true;
    return dpt_comm_send_start(exec->pipeline->comm, exec->plan->message[m].to, m, buffer, nbytes,
                               &exec->message[m].request[slot]);
}

enum dpt_status dpt_exec__receive(struct dpt_exec *exec, int m, int micro, const struct dpt_tensor *out)
{
    const size_t nbytes = dpt_type_nbytes(&out->type);
    if (is_channel(exec, m)) {
        dpt_channels_receive(exec->channels, m, peer_of(exec, m), out->data, nbytes);
        return DPT_STATUS_OK;
    }
    const int window = exec->plan->message[m].window;
    DPT_TRY(finish(exec, m, micro % window));
    if (nbytes > 0) {
        memcpy(out->data, buffer_of(exec, m, micro), nbytes);
    }
    return micro + window < exec->plan->micros ? post_receive(exec, m, micro + window) : DPT_STATUS_OK;
}

void dpt_exec__prepare_messages(struct dpt_exec *exec)
{
    const struct dpt_plan *plan = exec->plan;
    for (int m = 0, at = 0; m < plan->nmessages; at += plan->message[m++].window) {
        exec->message[m].request = &exec->request[at];
        exec->message[m].open = &exec->open[at];
    }
    for (int m = 0; m < plan->nmessages; m++) {
        if (plan->message[m].value >= 0) {
            const bool in = is_received(exec, m);
            snprintf(exec->message[m].what, sizeof exec->message[m].what, "%.40s %s stage %d",
                     plan->graph->value[plan->message[m].value].name, in ? "from" : "to",
                     in ? plan->message[m].from : plan->message[m].to);
        }
    }
}

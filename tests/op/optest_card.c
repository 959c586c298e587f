/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Calls of kernels on a card: operands and scratch go there whole, with their guard bytes, and come back, so that the
 * questions of optest are asked in the same way as of kernels of this machine.
 */

#include "optest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "op/cuda.h"
#include "optest_impl.h"

static struct dpt_dev *card;

/*
 * The card of this process; NULL where there is none, which is said once. The end of the process closes it: what is called at
 * exit would come when cuDNN, which is opened later, is gone.
 */
static struct dpt_dev *open_card(void)
{
    static bool asked;
    const char *why;
    if (asked) {
        return card;
    }
    asked = true;
    setenv("DPT_EMULATED_CARDS", "1", 0);
    if (dpt_dev_cuda_count(&why) == 0) {
        print_message("kernels for cards were not run: %s\n", why);
    } else if (dpt_dev_cuda(0, &card) != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    } else {
        print_message("kernels for cards run on %s\n", card->name);
    }
    return card;
}

struct dpt_dev *card_device(void)
{
    return open_card();
}

bool optest_convolutions(enum dpt_dev_convolution convolution)
{
    if (open_card()) {
        card->convolution = convolution;
    }
    return card != NULL;
}

bool card_runs(const struct dpt_op *op)
{
    return open_card() && dpt_op__cuda(op);
}

enum { MAX_COPIES = DPT_OP_MAX_IN + DPT_OP_MAX_OUT + 1 };

/* Blocks of the host and their copies on the card. */
struct copies {
    int count;
    void *host[MAX_COPIES], *there[MAX_COPIES];
    size_t nbytes[MAX_COPIES];
};

static void expect_ok(enum dpt_status status)
{
    if (status != DPT_STATUS_OK) {
        fail_msg("%s", dpt_error_text());
    }
}

/* Where what is at `data` of the host lies on the card; a block that is known has one copy. */
static void *copy_there(struct copies *copies, void *data, size_t nbytes)
{
    int i = 0;
    if (!data) {
        return NULL;
    }
    void *host = (char *)data - GUARD;
    while (i < copies->count && copies->host[i] != host) {
        i++;
    }
    if (i == copies->count) {
        copies->count++;
        copies->host[i] = host;
        copies->nbytes[i] = guarded_nbytes(nbytes);
        expect_ok(dpt_dev_alloc(card, copies->nbytes[i], "an operand", &copies->there[i]));
        expect_ok(dpt_dev_copy_in(card, copies->there[i], host, copies->nbytes[i]));
    }
    return (char *)copies->there[i] + GUARD;
}

enum dpt_status card_call(const struct dpt_op *op, const struct dpt_op_call *call, size_t scratch_nbytes)
{
    struct copies copies = {0};
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    struct dpt_op_call there = *call;
    for (int i = 0; i < call->types->nin; i++) {
        in[i] = call->in[i];
        in[i].data = copy_there(&copies, in[i].data, dpt_type_nbytes(&in[i].type));
    }
    for (int i = 0; i < call->types->nout; i++) {
        out[i] = call->out[i];
        out[i].data = copy_there(&copies, out[i].data, dpt_type_nbytes(&out[i].type));
    }
    there.in = in;
    there.out = out;
    there.dev = card;
    there.scratch = copy_there(&copies, call->scratch, scratch_nbytes);
    const enum dpt_status status = dpt_op_call(op, DPT_RUN_CUDA, &there);
    for (int i = 0; i < copies.count; i++) {
        if (status == DPT_STATUS_OK) {
            expect_ok(dpt_dev_copy_out(card, copies.host[i], copies.there[i], copies.nbytes[i]));
        }
        dpt_dev_release(card, copies.there[i], copies.nbytes[i]);
    }
    return status;
}

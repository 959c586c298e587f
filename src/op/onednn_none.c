/* SPDX-License-Identifier: Apache-2.0 */

/* No oneDNN in this build: every operation is "not here". */

#include "op/onednn.h"

enum dpt_status dpt_onednn_conv(const struct dpt_onednn_conv *conv, struct dpt_onednn **op)
{
    (void)conv;
    *op = NULL;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_onednn_matmul(const struct dpt_onednn_matmul *matmul, struct dpt_onednn **op)
{
    (void)matmul;
    *op = NULL;
    return DPT_STATUS_OK;
}

void dpt_onednn_free(struct dpt_onednn *op)
{
    DPT_ASSERT(!op);
}

size_t dpt_onednn_scratch(const struct dpt_onednn *op)
{
    (void)op;
    return 0;
}

const char *dpt_onednn_name(const struct dpt_onednn *op)
{
    (void)op;
    return "none";
}

enum dpt_status dpt_onednn_run(struct dpt_onednn *op, const void *a, const void *b, float *bias, void *out,
                               void *scratch)
{
    (void)op, (void)a, (void)b, (void)bias, (void)out, (void)scratch;
    DPT_CHECK(false, DPT_STATUS_FAILED, "this build has no oneDNN");
}

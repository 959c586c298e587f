/* SPDX-License-Identifier: Apache-2.0 */

/* No oneDNN in this build: every convolution is "not here". */

#include "op/onednn.h"

enum dpt_status dpt_onednn_conv_new(const struct dpt_onednn_conv_spec *spec, struct dpt_onednn_conv **conv)
{
    (void)spec;
    *conv = NULL;
    return DPT_STATUS_OK;
}

void dpt_onednn_conv_free(struct dpt_onednn_conv *conv)
{
    DPT_ASSERT(!conv);
}

size_t dpt_onednn_conv_scratch(const struct dpt_onednn_conv *conv)
{
    (void)conv;
    return 0;
}

const char *dpt_onednn_conv_name(const struct dpt_onednn_conv *conv)
{
    (void)conv;
    return "none";
}

enum dpt_status dpt_onednn_conv_run(struct dpt_onednn_conv *conv, const float *a, const float *b, float *bias,
                                    float *out, void *scratch)
{
    (void)conv, (void)a, (void)b, (void)bias, (void)out, (void)scratch;
    DPT_CHECK(false, DPT_STATUS_FAILED, "this build has no oneDNN");
}

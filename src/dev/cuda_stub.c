/* SPDX-License-Identifier: Apache-2.0 */

/* In builds without CUDA: no card is ever there. */

#include "dev/dev.h"

int dpt_dev_cuda_count(const char **why)
{
    *why = "this dpt was built without CUDA (configure --with-cuda)";
    return 0;
}

enum dpt_status dpt_dev_cuda_info(int card, struct dpt_dev_info *info)
{
    (void)info;
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "there is no card %d: this dpt was built without CUDA", card);
}

enum dpt_status dpt_dev_cuda(int card, struct dpt_dev **dev)
{
    struct dpt_dev_info info;
    *dev = NULL;
    return dpt_dev_cuda_info(card, &info);
}

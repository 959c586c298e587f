/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

int main(void)
{
    dpt_fatal(DPT_STATUS_FAILED, "the training loop is not built yet");
}

/* SPDX-License-Identifier: Apache-2.0 */

/* Which samples belong to a step. */

#include "data/data.h"

int64_t dpt_batch_steps_per_epoch(int64_t samples, int64_t global)
{
    DPT_ASSERT(samples > 0 && global > 0);
    return samples / global + (samples % global != 0);
}

struct dpt_batch_place dpt_batch_place(int64_t samples, int64_t global, int64_t step)
{
    DPT_ASSERT(step >= 0);
    const int64_t steps = dpt_batch_steps_per_epoch(samples, global);
    const int64_t first = step % steps * global;
    const int64_t left = samples - first;
    return (struct dpt_batch_place){.epoch = step / steps, .first = first, .count = left < global ? left : global};
}

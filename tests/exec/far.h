/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A device whose memory the host may not touch, as a card's: reads and writes outside of copies and kernels end the test
 * with a fault. Its kernels are those of the CPU. It shows that whatever uses a device asks it for everything.
 */

#include "dev/dev.h"

/* Closed by dpt_dev_close. */
enum dpt_status far_dev(struct dpt_dev **dev);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* DPT_BOTH marks an inline function that kernels for cards use too: index arithmetic has one text, tested on the host. */

#ifdef __CUDACC__
#define DPT_BOTH __host__ __device__
#else
#define DPT_BOTH
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * oneDNN behind one small wrapper, so that 2.6 and 3.x look the same: onednn_v2.c, onednn_v3.c or, where configure
 * found none, onednn_none.c (which always answers "not here", so that callers fall back to their own kernels).
 */

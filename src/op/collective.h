/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 *   all_reduce  x[.] -> y[.]   the sum of x over the ranks: a partial value becomes a copied one
 */

/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/comm.h"

/* An extension of Open MPI and of MPICH, which other libraries lack. */
extern int MPIX_Query_cuda_support(void) __attribute__((weak));

bool dpt_comm_takes_cards(void)
{
    return MPIX_Query_cuda_support && MPIX_Query_cuda_support() == 1;
}

/* SPDX-License-Identifier: Apache-2.0 */

/* toy-run DIR STEP...: a run directory with a small checkpoint of each step, the first as the best; for shell tests. */

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "toy.h"

int main(int argc, char **argv)
{
    struct dpt_comm *alone;
    enum dpt_status status = argc < 2 ? DPT_STATUS_USAGE : dpt_comm_start_alone(&alone);
    if (status == DPT_STATUS_OK) {
        status = dpt_file_mkdir(argv[1]);
    }
    for (int i = 2; i < argc && status == DPT_STATUS_OK; i++) {
        const int step = atoi(argv[i]);
        status = toy_save(argv[1], alone, step, step, argc, i == 2);
    }
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "toy-run: %s\n", dpt_error_text());
    }
    return (int)status;
}

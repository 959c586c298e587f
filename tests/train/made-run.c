/* SPDX-License-Identifier: Apache-2.0 */

/* made-run JOB RUN STEP [best|nan]: a run directory with untrained checkpoints of a job; for shell tests. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "made.h"

int main(int argc, char **argv)
{
    struct dpt_job *job = NULL;
    enum dpt_status status = DPT_STATUS_USAGE;
    if (argc == 4 || argc == 5) {
        const char *const files[1] = {argv[1]};
        const char *how = argc == 5 ? argv[4] : "";
        status = dpt_job_read(1, files, 0, NULL, &job, NULL);
        if (status == DPT_STATUS_OK) {
            status = dpt_file_mkdir(argv[2]);
        }
        if (status == DPT_STATUS_OK) {
            status = made_run(argv[2], job, atoi(argv[3]), strcmp(how, "best") == 0, strcmp(how, "nan") == 0);
        }
    }
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "made-run: %s\n", dpt_error_text());
    }
    dpt_job_free(job);
    return (int)status;
}

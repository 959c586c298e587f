/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-train: what only informs is answered before MPI starts. */

#include <stdio.h>
#include <string.h>

#include "train/options.h"

/* Says why nothing was started: each problem in a line of its own. */
static void complain(const struct dpt_text *problems)
{
    if (!problems->length) {
        fprintf(stderr, "dpt-train: %s\n", dpt_error_text());
        return;
    }
    int count = 0;
    for (const char *at = problems->data; *at; at += strcspn(at, "\n") + 1) {
        fprintf(stderr, "dpt-train: %.*s\n", (int)strcspn(at, "\n"), at);
        count++;
    }
    if (count > 1) {
        fprintf(stderr, "dpt-train: %d problems; nothing was started\n", count);
    }
}

static enum dpt_status answer(const struct dpt_options *options, struct dpt_text *problems)
{
    struct dpt_text out = {0};
    enum dpt_status status = dpt_options_answer(options, &out, problems);
    if (status == DPT_STATUS_OK && out.length && dpt_options_speak()) {
        const bool written = fwrite(out.data, 1, out.length, stdout) == out.length;
        if (fflush(stdout) != 0 || !written) {
            status = dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__, "standard output: cannot be written");
        }
    }
    dpt_text_free(&out);
    return status;
}

int main(int argc, char **argv)
{
    struct dpt_options options;
    struct dpt_text problems = {0};
    enum dpt_status status = dpt_options_parse(argc, argv, &options);
    if (status == DPT_STATUS_OK && options.ask != DPT_ASK_TRAIN) {
        status = answer(&options, &problems);
    } else if (status == DPT_STATUS_OK) {
        dpt_fatal(DPT_STATUS_FAILED, "the training loop is not built yet");
    }
    if (status != DPT_STATUS_OK && dpt_options_speak()) {
        complain(&problems);
    }
    dpt_text_free(&problems);
    dpt_options_free(&options);
    return (int)status;
}

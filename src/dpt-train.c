/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-train: what only informs is answered before MPI starts. */

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "train/options.h"
#include "train/train.h"

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
        status = dpt_command_print(&out);
    }
    dpt_text_free(&out);
    return status;
}

/* Ranks that the launcher started, as far as it says so. */
static int launched_ranks(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *size = getenv(names[i]);
        const long ranks = size ? strtol(size, NULL, 10) : 0;
        if (ranks > 0 && ranks <= INT_MAX) {
            return (int)ranks;
        }
    }
    return 1;
}

static enum dpt_status dry_run(const struct dpt_options *options, const struct dpt_job *job)
{
    if (!dpt_options_speak()) {
        return DPT_STATUS_OK; /* another rank says it */
    }
    const int launched = launched_ranks();
    const struct dpt_text nothing = {0};
    DPT_TRY(dpt_train_dry_run(job, options->plan_ranks ? options->plan_ranks : launched > 1 ? launched : 0,
                              options->plan_ranks > 0));
    return dpt_command_print(&nothing); /* the log has written it all, or not */
}

/*
 * Trains. Every rank has read the job before MPI starts, so that a wrong one costs nothing; a rank that alone could not
 * read it says so now, when the others can hear it. Sets *code.
 */
static enum dpt_status train(const struct dpt_options *options, enum dpt_status read, const struct dpt_job *job,
                             bool *speaks, int *code)
{
    struct dpt_comm *world;
    bool paused = false;
    DPT_TRY(dpt_comm_start(&world));
    *speaks = dpt_comm_rank(world) == 0;
    enum dpt_status status = dpt_agree(read, world);
    if (status == DPT_STATUS_OK) {
        status = dpt_train(job, options, world, &paused);
    }
    if (status == DPT_STATUS_COMM) {
        dpt_fatal(status, "%s", dpt_error_text()); /* other ranks may wait for ever */
    }
    dpt_comm_end(world);
    *code = paused ? options->stop_status : (int)status;
    return status;
}

int main(int argc, char **argv)
{
    struct dpt_options options;
    struct dpt_job *job = NULL;
    struct dpt_text problems = {0};
    bool speaks = dpt_options_speak();
    enum dpt_status status = dpt_options_parse(argc, argv, &options);
    int code = 0;
    if (status == DPT_STATUS_OK && options.ask != DPT_ASK_TRAIN) {
        status = answer(&options, &problems);
    } else if (status == DPT_STATUS_OK) {
        status = dpt_job_read(options.nfiles, options.file, options.noverrides, options.override, &job, &problems);
        if (status == DPT_STATUS_OK && options.dry_run) {
            status = dry_run(&options, job);
        } else if (!options.dry_run && (status == DPT_STATUS_OK || !speaks)) {
            status = train(&options, status, job, &speaks, &code);
        }
    }
    if (status != DPT_STATUS_OK && speaks) {
        complain(&problems);
    }
    dpt_job_free(job);
    dpt_text_free(&problems);
    dpt_options_free(&options);
    return status == DPT_STATUS_OK ? code : (int)status;
}

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of dpt-train. Everything here works without MPI: what only informs (help, version, lists, the job
 * as dpt sees it) is answered before MPI is started, on a login node as well as under a launcher.
 *
 *     status = dpt_options_parse(argc, argv, &options);
 *     if (status == DPT_STATUS_OK && options.ask != DPT_ASK_TRAIN) {
 *         status = dpt_options_answer(&options, &out, &problems);
 *     }
 */

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "conf/job.h"

enum dpt_ask {
    DPT_ASK_TRAIN, /* or only to plan, with dry_run */
    DPT_ASK_HELP,
    DPT_ASK_VERSION,
    DPT_ASK_PRINT_CONFIG,
    DPT_ASK_EXPLAIN,
    DPT_ASK_LIST,
    DPT_ASK_COMPLETION,
};

enum dpt_resume {
    DPT_RESUME_AUTO,  /* go on where there is a checkpoint, else start */
    DPT_RESUME_NEVER, /* start; a run directory in use is refused      */
    DPT_RESUME_MUST,  /* go on; no checkpoint is an error              */
    DPT_RESUME_PATH,  /* go on from this checkpoint                    */
};

struct dpt_options {
    enum dpt_ask ask;
    const char *word;          /* KEY of --explain; KIND of --list, NULL: the kinds      */
    enum dpt_job_print print;  /* of --print-config                                      */
    int nfiles;
    const char **file;         /* job files; @NAME is already the path                   */
    int noverrides;
    const char **override;     /* "section.key=value": -s, -o and -t in their order      */
    enum dpt_resume resume;
    const char *resume_path;
    bool eval_only;            /* evaluates a checkpoint, writes nothing                 */
    bool dry_run;
    int plan_ranks;            /* --plan=N; 0: as many as there are                      */
    bool quiet;
    int stop_status;           /* exit status when stopped before the end, state saved   */
    struct dpt_arena *arena;   /* owns the lists                                         */
};

/*
 * Reads the command line. DPT_STATUS_USAGE; the sentence ends with where help is to be had. Freed by dpt_options_free,
 * also after a failure. Local.
 */
enum dpt_status dpt_options_parse(int argc, char *const *argv, struct dpt_options *options);
void dpt_options_free(struct dpt_options *options);

/*
 * Answers what only informs: appends to `out` what belongs on stdout, and to `problems` all faults of the job file, one
 * a line. DPT_STATUS_USAGE. Local.
 */
enum dpt_status dpt_options_answer(const struct dpt_options *options, struct dpt_text *out, struct dpt_text *problems);

/*
 * True unless the launcher's environment says that this process is another rank than the first: so that what is
 * printed before MPI starts is printed once. Local.
 */
bool dpt_options_speak(void);

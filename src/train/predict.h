/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a trained model says about the samples of a file: all of dpt-predict but its command line. It needs a checkpoint
 * and the file, nothing else: neither MPI nor the data of the training, for the checkpoint holds the job and what was
 * learned from the data.
 */

#include "base/status.h"
#include "base/text.h"
#include "ckpt/ckpt.h"

enum dpt_predict_format { DPT_PREDICT_FORMAT_CSV, DPT_PREDICT_FORMAT_JSONL };

enum { DPT_PREDICT_TOP_MAX = 100 };

struct dpt_predict_conf {
    const char *checkpoint; /* run directory or folder of one checkpoint                          */
    enum dpt_ckpt_which which;
    const char *data;       /* file of the format that the job has; NULL: the job's test data     */
    enum dpt_predict_format format;
    const char *output;     /* file, which appears when it is complete; NULL: standard output     */
    int top;                /* classes of each sample, 1 to DPT_PREDICT_TOP_MAX                   */
    int rows;               /* samples that are computed at a time                                */
    int threads;            /* 0: one for each core that the process may use                      */
    int device;             /* an enum dpt_device; -1: as the job says, on cores where there is no card */
    int precision;          /* an enum dpt_precision; -1: as the job says                         */
};

/*
 * Writes a prediction for each sample, in the order of the file. `notes` gets what the user should know about
 * checkpoint and data, also after a failure, and `summary` one line: how many, and how good where the file has targets.
 * DPT_STATUS_DATA for what cannot be read or does not fit the model, DPT_STATUS_DIVERGED when the model's outputs are
 * not finite, DPT_STATUS_SPACE for memory and full disks, DPT_STATUS_FAILED for other failures of the output. Local.
 */
enum dpt_status dpt_predict(const struct dpt_predict_conf *conf, struct dpt_text *notes, struct dpt_text *summary);

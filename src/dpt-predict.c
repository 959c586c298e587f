/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-predict: what a trained model says about the samples of a file. Needs no MPI. */

#include <string.h>

#include "base/command.h"
#include "exec/device.h"
#include "train/predict.h"

enum { BEST = DPT_COMMAND_LONG, LATEST, DEVICE, PRECISION, MAX_ROWS = 1 << 20, MAX_THREADS = 4096 };

static const struct dpt_command_option table[] = {
    {"output", 'o', "FILE", "write to FILE, not to standard output"},
    {"format", 'f', "FORMAT", "csv (default) or jsonl, one JSON object a line"},
    {"top", 'n', "N", "the N most likely classes of each sample (1)"},
    {"best", BEST, NULL, "of a run, the best checkpoint (default where there is one)"},
    {"latest", LATEST, NULL, "of a run, the newest checkpoint"},
    {"batch", 'b', "N", "samples computed at a time (128)"},
    {"device", DEVICE, "KIND", "auto, cpu or cuda (as the job says)"},
    {"precision", PRECISION, "FORMAT", "fp32, tf32, bf16 or fp16 (as the job says)"},
    {"threads", 't', "N", "threads (default: the cores that may be used)"},
    {"quiet", 'q', NULL, "no summary on standard error"},
};

struct options {
    struct dpt_predict_conf conf;
    int words;
    bool quiet;
};

static enum dpt_status take_format(const char *text, struct dpt_predict_conf *conf)
{
    static const char *const names[] = {"csv", "jsonl"};
    int format = 0;
    DPT_TRY(dpt_command_word("format", text, names, 2, &format));
    conf->format = (enum dpt_predict_format)format;
    return DPT_STATUS_OK;
}

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct options *options = user;
    struct dpt_predict_conf *conf = &options->conf;
    switch (letter) {
    case DPT_COMMAND_WORD:
        options->words++;
        conf->data = options->words == 2 ? value : conf->data;
        conf->checkpoint = options->words == 1 ? value : conf->checkpoint;
        break;
    case 'o':
        conf->output = strcmp(value, "-") == 0 ? NULL : value;
        break;
    case 'f':
        return take_format(value, conf);
    case 'n':
        return dpt_command_int("top", value, 1, DPT_PREDICT_TOP_MAX, &conf->top);
    case BEST:
        conf->which = DPT_CKPT_WHICH_BEST;
        break;
    case LATEST:
        conf->which = DPT_CKPT_WHICH_LATEST;
        break;
    case 'b':
        return dpt_command_int("batch", value, 1, MAX_ROWS, &conf->rows);
    case DEVICE:
        return dpt_exec_device_option(value, &conf->device);
    case PRECISION:
        return dpt_exec_precision_option(value, &conf->precision);
    case 't':
        return dpt_command_int("threads", value, 1, MAX_THREADS, &conf->threads);
    default: /* 'q' */
        options->quiet = true;
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct options *options = user;
    DPT_CHECK(options->words >= 1, DPT_STATUS_USAGE, "a run directory or checkpoint is missing");
    DPT_CHECK(options->words <= 2, DPT_STATUS_USAGE, "there are too many files: a checkpoint, and one file of samples");
    return DPT_STATUS_OK;
}

static const struct dpt_command command;

static enum dpt_status predict(void *user)
{
    const struct options *options = user;
    struct dpt_text notes = {0}, summary = {0};
    const enum dpt_status status = dpt_predict(&options->conf, &notes, &summary);
    dpt_command_tell(&command, &notes, true);
    dpt_command_tell(&command, &summary, status == DPT_STATUS_OK && !options->quiet);
    return status;
}

static const struct dpt_command command = {
    .name = "dpt-predict",
    .begin = "Usage: dpt-predict [OPTION]... CHECKPOINT [FILE]\n"
             "Write what a trained model says about each sample of FILE, in the order of FILE.\n"
             "\n"
             "CHECKPOINT is a run directory or the folder of one checkpoint. FILE has the format\n"
             "of the training data; targets may be missing. Without FILE: the job's test data.\n"
             "\n",
    .end = "\n"
           "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 checkpoint or data missing,\n"
           "damaged or not matching, 4 predictions not finite, 5 memory or disk. See dpt-predict(1).\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
    .work = predict,
};

int main(int argc, char **argv)
{
    struct options options = {.conf = {.top = 1, .rows = 128, .device = -1, .precision = -1}};
    return dpt_command_main(&command, argc, argv, &options);
}

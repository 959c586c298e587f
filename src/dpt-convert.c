/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-convert: weights to and from folders of Hugging Face's transformers. Needs no MPI. */

#include "base/command.h"
#include "lm/convert.h"

enum { BEST = DPT_COMMAND_LONG, LATEST };

static const struct dpt_command_option table[] = {
    {"best", BEST, NULL, "of a run, the best checkpoint (default where there is one)"},
    {"latest", LATEST, NULL, "of a run, the newest checkpoint"},
    {"quiet", 'q', NULL, "no summary on standard error"},
};

struct options {
    struct dpt_convert_conf conf;
    int words;
    bool quiet;
};

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct options *options = user;
    switch (letter) {
    case DPT_COMMAND_WORD:
        options->words++;
        options->conf.from = options->words == 1 ? value : options->conf.from;
        options->conf.to = options->words == 2 ? value : options->conf.to;
        break;
    case BEST:
        options->conf.which = DPT_CKPT_WHICH_BEST;
        break;
    case LATEST:
        options->conf.which = DPT_CKPT_WHICH_LATEST;
        break;
    default: /* 'q' */
        options->quiet = true;
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct options *options = user;
    DPT_CHECK(options->words >= 2, DPT_STATUS_USAGE, "two folders are needed, FROM and TO");
    DPT_CHECK(options->words == 2, DPT_STATUS_USAGE, "there are too many folders: FROM and TO are two");
    return DPT_STATUS_OK;
}

static const struct dpt_command command;

static enum dpt_status convert(void *user)
{
    const struct options *options = user;
    struct dpt_text notes = {0}, summary = {0};
    const enum dpt_status status = dpt_convert(&options->conf, &notes, &summary);
    dpt_command_tell(&command, &notes, true);
    dpt_command_tell(&command, &summary, status == DPT_STATUS_OK && !options->quiet);
    return status;
}

static const struct dpt_command command = {
    .name = "dpt-convert",
    .begin = "Usage: dpt-convert [OPTION]... FROM TO\n"
             "Convert the weights of a language model between dpt and Hugging Face's transformers.\n"
             "\n"
             "FROM is a run directory or the folder of one checkpoint: TO becomes a folder that\n"
             "transformers loads, with config.json, model.safetensors and the tokenizer's files.\n"
             "FROM is such a folder of a gpt2 or llama model: TO becomes a run directory with one\n"
             "checkpoint, for dpt-generate and for [model] weights of a job. TO must be new.\n"
             "\n",
    .end = "\n"
           "Exit status: 0 good, 1 failed, 2 wrong usage, 3 FROM missing, damaged or a model that\n"
           "dpt does not have, 5 memory or disk. See dpt-convert(1).\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
    .work = convert,
};

int main(int argc, char **argv)
{
    struct options options = {0};
    return dpt_command_main(&command, argc, argv, &options);
}

/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-generate: text from a trained language model. Needs no MPI. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/command.h"
#include "base/file.h"
#include "exec/device.h"
#include "lm/generate.h"

enum { TOP_K = DPT_COMMAND_LONG, TOP_P, TOKENIZER, BEST, LATEST, DEVICE, PRECISION };

static const struct dpt_command_option table[] = {
    {"checkpoint", 'k', "DIR", "run directory, or folder of one checkpoint"},
    {"prompt", 'p', "TEXT", "what the text begins with; -: standard input"},
    {"tokens", 'n', "N", "tokens behind the prompt, at most (256)"},
    {"count", 'c', "N", "texts to make, side by side (1)"},
    {"temperature", 'T', "X", "below 1: likelier tokens; 0: always the likeliest (1)"},
    {"top-k", TOP_K, "K", "only the K likeliest tokens (all)"},
    {"top-p", TOP_P, "P", "only the likeliest tokens that make up a share P (1)"},
    {"seed", 's', "N", "another seed gives other texts (1)"},
    {"tokenizer", TOKENIZER, "PATH", "a tokenizer in place of the checkpoint's"},
    {"best", BEST, NULL, "of a run, the best checkpoint (default where there is one)"},
    {"latest", LATEST, NULL, "of a run, the newest checkpoint"},
    {"device", DEVICE, "KIND", "auto, cpu or cuda (as the job says)"},
    {"precision", PRECISION, "FORMAT", "fp32, tf32, bf16 or fp16 (as the job says)"},
    {"threads", 't', "N", "threads (default: the cores that may be used)"},
    {"quiet", 'q', NULL, "no summary on standard error"},
};

struct options {
    struct dpt_generate_conf conf;
    bool quiet;
};

static enum dpt_status take_seed(const char *text, struct dpt_sample_conf *sample)
{
    int64_t seed = 0;
    DPT_TRY(dpt_command_number("seed", text, 0, INT64_MAX, &seed));
    sample->seed = (uint64_t)seed;
    return DPT_STATUS_OK;
}

static enum dpt_status take(void *user, int letter, const char *value)
{
    enum { MAX_TOKENS = 1 << 24, MAX_TEXTS = 4096, MAX_THREADS = 4096 };
    struct options *options = user;
    struct dpt_generate_conf *conf = &options->conf;
    switch (letter) {
    case DPT_COMMAND_WORD:
        return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "%.60s: a prompt is given with -p, a checkpoint with -k",
                             value);
    case 'k':
        conf->checkpoint = value;
        break;
    case 'p':
        conf->prompt = value;
        break;
    case 'n':
        return dpt_command_number("tokens", value, 1, MAX_TOKENS, &conf->tokens);
    case 'c':
        return dpt_command_int("count", value, 1, MAX_TEXTS, &conf->texts);
    case 'T':
        return dpt_command_real("temperature", value, 1e6, true, &conf->sample.temperature);
    case TOP_K:
        return dpt_command_number("top-k", value, 1, INT32_MAX, &conf->sample.top_k);
    case TOP_P:
        return dpt_command_real("top-p", value, 1.0, false, &conf->sample.top_p);
    case 's':
        return take_seed(value, &conf->sample);
    case TOKENIZER:
        conf->tokenizer = value;
        break;
    case BEST:
        conf->which = DPT_CKPT_WHICH_BEST;
        break;
    case LATEST:
        conf->which = DPT_CKPT_WHICH_LATEST;
        break;
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
    DPT_CHECK(options->conf.checkpoint, DPT_STATUS_USAGE, "a checkpoint is missing: give one with -k");
    return DPT_STATUS_OK;
}

/* The prompt, from the command line or all of standard input. */
static enum dpt_status read_prompt(struct dpt_generate_conf *conf, struct dpt_text *input)
{
    enum { LIMIT = 1 << 30 };
    char block[1 << 14];
    if (!conf->prompt || strcmp(conf->prompt, "-") != 0) {
        conf->prompt_nbytes = conf->prompt ? strlen(conf->prompt) : 0;
        return DPT_STATUS_OK;
    }
    for (size_t n; (n = fread(block, 1, sizeof block, stdin)) > 0;) {
        DPT_CHECK(!memchr(block, '\0', n) && input->length + n <= LIMIT, DPT_STATUS_DATA,
                  "standard input: has a byte 0 or more than 1 GiB; a prompt is text");
        dpt_text_append(input, block, n);
    }
    DPT_CHECK(!ferror(stdin), DPT_STATUS_DATA, "standard input: %s", strerror(errno));
    conf->prompt = input->data;
    conf->prompt_nbytes = input->length;
    return DPT_STATUS_OK;
}

/* Texts on standard output, a line of dashes between them. */
static enum dpt_status write_piece(void *user, int text, const char *bytes, size_t nbytes, bool end)
{
    const int *texts = user;
    bool good = fwrite(bytes, 1, nbytes, stdout) == nbytes;
    if (end) {
        good = good && fputs(text + 1 < *texts ? "\n---------------\n" : "\n", stdout) != EOF;
    }
    if (fflush(stdout) != 0 || !good) {
        const int error = errno;
        return dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__,
                             "standard output: cannot be written: %s", strerror(error));
    }
    return DPT_STATUS_OK;
}

static const struct dpt_command command;

static enum dpt_status generate(void *user)
{
    struct options *options = user;
    struct dpt_text notes = {0}, summary = {0}, input = {0};
    enum dpt_status status = read_prompt(&options->conf, &input);
    if (status == DPT_STATUS_OK) {
        status = dpt_generate(&options->conf, write_piece, &options->conf.texts, &notes, &summary);
    }
    dpt_command_tell(&command, &notes, true);
    dpt_command_tell(&command, &summary, status == DPT_STATUS_OK && !options->quiet);
    dpt_text_free(&input);
    return status;
}

static const struct dpt_command command = {
    .name = "dpt-generate",
    .begin = "Usage: dpt-generate [OPTION]... -k CHECKPOINT\n"
             "Write text that a trained language model makes, beginning with a prompt.\n"
             "\n",
    .end = "\n"
           "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 checkpoint or prompt\n"
           "damaged or not matching, 4 outputs not finite, 5 memory. See dpt-generate(1).\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
    .work = generate,
};

int main(int argc, char **argv)
{
    struct options options = {
        .conf = {.sample = {.temperature = 1.0, .top_p = 1.0, .seed = 1},
                 .texts = 1,
                 .tokens = 256,
                 .device = -1,
                 .precision = -1}};
    return dpt_command_main(&command, argc, argv, &options);
}

/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-convert: weights to and from folders of Hugging Face's transformers. Needs no MPI. */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "lm/convert.h"

static const char usage[] =
    "Usage: dpt-convert [OPTION]... FROM TO\n"
    "Convert the weights of a language model between dpt and Hugging Face's transformers.\n"
    "\n"
    "FROM is a run directory or the folder of one checkpoint: TO becomes a folder that\n"
    "transformers loads, with config.json, model.safetensors and the tokenizer's files.\n"
    "FROM is such a folder of a gpt2 or llama model: TO becomes a run directory with one\n"
    "checkpoint, for dpt-generate and for [model] weights of a job. TO must be new.\n"
    "\n"
    "      --best           of a run, the best checkpoint (default where there is one)\n"
    "      --latest         of a run, the newest checkpoint\n"
    "  -q, --quiet          no summary on standard error\n"
    "  -h, --help           print this text\n"
    "  -V, --version        print the version\n"
    "\n"
    "Exit status: 0 good, 1 failed, 2 wrong usage, 3 FROM missing, damaged or a model that\n"
    "dpt does not have, 5 memory or disk. See dpt-convert(1).\n";

static _Noreturn void wrong_usage(const char *what)
{
    fprintf(stderr, "dpt-convert: %sTry 'dpt-convert --help'.\n", what);
    exit(DPT_STATUS_USAGE);
}

/* Prints what only informs, and ends; a text that is lost on its way is a failure too. */
static _Noreturn void inform(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        const int error = errno;
        fprintf(stderr, "dpt-convert: standard output: cannot be written: %s\n", strerror(error));
        exit((int)dpt_file_write_status(error));
    }
    exit(DPT_STATUS_OK);
}

static void parse(int argc, char **argv, struct dpt_convert_conf *conf, bool *quiet)
{
    enum { BEST = 256, LATEST };
    static const struct option longs[] = {
        {"best", no_argument, NULL, BEST},     {"latest", no_argument, NULL, LATEST}, {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},      {"version", no_argument, NULL, 'V'},   {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "qhV", longs, NULL)) != -1;) {
        switch (option) {
        case BEST:
            conf->which = DPT_LM_WHICH_BEST;
            break;
        case LATEST:
            conf->which = DPT_LM_WHICH_LATEST;
            break;
        case 'q':
            *quiet = true;
            break;
        case 'h':
            inform(usage);
        case 'V':
            inform("dpt-convert " PACKAGE_VERSION "\n");
        default:
            wrong_usage("");
        }
    }
    if (argc - optind != 2) {
        wrong_usage(argc - optind < 2 ? "two folders are needed, FROM and TO. " : "there are too many folders. ");
    }
    conf->from = argv[optind];
    conf->to = argv[optind + 1];
}

/* Each line of a text on standard error, behind the program's name. */
static void tell(const struct dpt_text *text)
{
    for (const char *at = text->length ? text->data : ""; *at;) {
        const int length = (int)strcspn(at, "\n");
        fprintf(stderr, "dpt-convert: %.*s\n", length, at);
        at += length + (at[length] == '\n');
    }
}

int main(int argc, char **argv)
{
    struct dpt_convert_conf conf = {0};
    struct dpt_text notes = {0}, summary = {0};
    bool quiet = false;
    parse(argc, argv, &conf, &quiet);
    const enum dpt_status status = dpt_convert(&conf, &notes, &summary);
    tell(&notes);
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "dpt-convert: %s\n", dpt_error_text());
    } else if (!quiet) {
        tell(&summary);
    }
    dpt_text_free(&notes);
    dpt_text_free(&summary);
    return (int)status;
}

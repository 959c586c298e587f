/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-predict: what a trained model says about the samples of a file. Needs no MPI. */

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "train/predict.h"

static const char usage[] =
    "Usage: dpt-predict [OPTION]... CHECKPOINT [FILE]\n"
    "Write what a trained model says about each sample of FILE, in the order of FILE.\n"
    "\n"
    "CHECKPOINT is a run directory or the folder of one checkpoint. FILE has the format\n"
    "of the training data; targets may be missing. Without FILE: the job's test data.\n"
    "\n"
    "  -o, --output=FILE    write to FILE, not to standard output\n"
    "  -f, --format=FORMAT  csv (default) or jsonl, one JSON object a line\n"
    "  -n, --top=N          the N most likely classes of each sample (1)\n"
    "      --best           of a run, the best checkpoint (default where there is one)\n"
    "      --latest         of a run, the newest checkpoint\n"
    "  -b, --batch=N        samples computed at a time (128)\n"
    "  -t, --threads=N      threads (default: the cores that may be used)\n"
    "  -q, --quiet          no summary on standard error\n"
    "  -h, --help           print this text\n"
    "  -V, --version        print the version\n"
    "\n"
    "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 checkpoint or data missing,\n"
    "damaged or not matching, 4 predictions not finite, 5 memory or disk. See dpt-predict(1).\n";

static _Noreturn void wrong_usage(const char *what)
{
    fprintf(stderr, "dpt-predict: %sTry 'dpt-predict --help'.\n", what);
    exit(DPT_STATUS_USAGE);
}

static int number(const char *option, const char *text, int max)
{
    char *end, what[160];
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 1 || value > max) {
        snprintf(what, sizeof what, "--%s=%.60s: expected a whole number from 1 to %d. ", option, text, max);
        wrong_usage(what);
    }
    return (int)value;
}

static enum dpt_predict_format format(const char *text)
{
    char what[160];
    if (strcmp(text, "csv") != 0 && strcmp(text, "jsonl") != 0) {
        snprintf(what, sizeof what, "--format=%.60s: expected csv or jsonl. ", text);
        wrong_usage(what);
    }
    return strcmp(text, "csv") == 0 ? DPT_PREDICT_FORMAT_CSV : DPT_PREDICT_FORMAT_JSONL;
}

/* Prints what only informs, and ends; a text that is lost on its way is a failure too. */
static _Noreturn void inform(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        const int error = errno;
        fprintf(stderr, "dpt-predict: standard output: cannot be written: %s\n", strerror(error));
        exit((int)dpt_file_write_status(error));
    }
    exit(DPT_STATUS_OK);
}

static void parse(int argc, char **argv, struct dpt_predict_conf *conf, bool *quiet)
{
    enum { BEST = 256, LATEST, MAX_ROWS = 1 << 20, MAX_THREADS = 4096 };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'},
        {"format", required_argument, NULL, 'f'},
        {"top", required_argument, NULL, 'n'},
        {"best", no_argument, NULL, BEST},
        {"latest", no_argument, NULL, LATEST},
        {"batch", required_argument, NULL, 'b'},
        {"threads", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "o:f:n:b:t:qhV", longs, NULL)) != -1;) {
        switch (option) {
        case 'o':
            conf->output = strcmp(optarg, "-") == 0 ? NULL : optarg;
            break;
        case 'f':
            conf->format = format(optarg);
            break;
        case 'n':
            conf->top = number("top", optarg, DPT_PREDICT_TOP_MAX);
            break;
        case BEST:
            conf->which = DPT_PREDICT_WHICH_BEST;
            break;
        case LATEST:
            conf->which = DPT_PREDICT_WHICH_LATEST;
            break;
        case 'b':
            conf->rows = number("batch", optarg, MAX_ROWS);
            break;
        case 't':
            conf->threads = number("threads", optarg, MAX_THREADS);
            break;
        case 'q':
            *quiet = true;
            break;
        case 'h':
            inform(usage);
        case 'V':
            inform("dpt-predict " PACKAGE_VERSION "\n");
        default:
            wrong_usage("");
        }
    }
    if (argc - optind < 1 || argc - optind > 2) {
        wrong_usage(argc == optind ? "a run directory or checkpoint is missing. " : "there are too many files. ");
    }
    conf->checkpoint = argv[optind];
    conf->data = argc - optind == 2 ? argv[optind + 1] : NULL;
}

/* Each line of a text on standard error, behind the program's name. */
static void tell(const struct dpt_text *text)
{
    for (const char *at = text->length ? text->data : ""; *at;) {
        const int length = (int)strcspn(at, "\n");
        fprintf(stderr, "dpt-predict: %.*s\n", length, at);
        at += length + (at[length] == '\n');
    }
}

int main(int argc, char **argv)
{
    struct dpt_predict_conf conf = {.top = 1, .rows = 128};
    struct dpt_text notes = {0}, summary = {0};
    bool quiet = false;
    parse(argc, argv, &conf, &quiet);
    const enum dpt_status status = dpt_predict(&conf, &notes, &summary);
    tell(&notes);
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "dpt-predict: %s\n", dpt_error_text());
    } else if (!quiet) {
        tell(&summary);
    }
    dpt_text_free(&notes);
    dpt_text_free(&summary);
    return (int)status;
}

/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-generate: text from a trained language model. Needs no MPI. */

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "lm/generate.h"

static const char usage[] =
    "Usage: dpt-generate [OPTION]... -k CHECKPOINT\n"
    "Write text that a trained language model makes, beginning with a prompt.\n"
    "\n"
    "  -k, --checkpoint=DIR   run directory, or folder of one checkpoint\n"
    "  -p, --prompt=TEXT      what the text begins with; -: standard input\n"
    "  -n, --tokens=N         tokens behind the prompt, at most (256)\n"
    "  -c, --count=N          texts to make, side by side (1)\n"
    "  -T, --temperature=X    below 1: likelier tokens; 0: always the likeliest (1)\n"
    "      --top-k=K          only the K likeliest tokens (all)\n"
    "      --top-p=P          only the likeliest tokens that make up a share P (1)\n"
    "  -s, --seed=N           another seed gives other texts (1)\n"
    "      --tokenizer=PATH   a tokenizer in place of the checkpoint's\n"
    "      --best             of a run, the best checkpoint (default where there is one)\n"
    "      --latest           of a run, the newest checkpoint\n"
    "  -t, --threads=N        threads (default: the cores that may be used)\n"
    "  -q, --quiet            no summary on standard error\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n"
    "\n"
    "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 checkpoint or prompt\n"
    "damaged or not matching, 4 outputs not finite, 5 memory. See dpt-generate(1).\n";

static _Noreturn void wrong_usage(const char *what)
{
    fprintf(stderr, "dpt-generate: %sTry 'dpt-generate --help'.\n", what);
    exit(DPT_STATUS_USAGE);
}

static int64_t number(const char *option, const char *text, int64_t min, int64_t max)
{
    char *end, what[160];
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < min || value > max) {
        snprintf(what, sizeof what, "--%s=%.60s: expected a whole number from %lld to %lld. ", option, text,
                 (long long)min, (long long)max);
        wrong_usage(what);
    }
    return value;
}

/* A number from 0 to max; 0 itself only where `zero`. */
static double real(const char *option, const char *text, double max, bool zero)
{
    char *end, what[160];
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value < 0.0 || value > max || (value == 0.0 && !zero)) {
        snprintf(what, sizeof what, "--%s=%.60s: expected a number %s 0, up to %g. ", option, text,
                 zero ? "from" : "above", max);
        wrong_usage(what);
    }
    return value;
}

/* Prints what only informs, and ends; a text that is lost on its way is a failure too. */
static _Noreturn void inform(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        const int error = errno;
        fprintf(stderr, "dpt-generate: standard output: cannot be written: %s\n", strerror(error));
        exit((int)dpt_file_write_status(error));
    }
    exit(DPT_STATUS_OK);
}

static void parse(int argc, char **argv, struct dpt_generate_conf *conf, bool *quiet)
{
    enum { TOP_K = 256, TOP_P, TOKENIZER, BEST, LATEST };
    enum { MAX_TOKENS = 1 << 24, MAX_TEXTS = 4096, MAX_THREADS = 4096 };
    static const struct option longs[] = {
        {"checkpoint", required_argument, NULL, 'k'},
        {"prompt", required_argument, NULL, 'p'},
        {"tokens", required_argument, NULL, 'n'},
        {"count", required_argument, NULL, 'c'},
        {"temperature", required_argument, NULL, 'T'},
        {"top-k", required_argument, NULL, TOP_K},
        {"top-p", required_argument, NULL, TOP_P},
        {"seed", required_argument, NULL, 's'},
        {"tokenizer", required_argument, NULL, TOKENIZER},
        {"best", no_argument, NULL, BEST},
        {"latest", no_argument, NULL, LATEST},
        {"threads", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "k:p:n:c:T:s:t:qhV", longs, NULL)) != -1;) {
        switch (option) {
        case 'k':
            conf->checkpoint = optarg;
            break;
        case 'p':
            conf->prompt = optarg;
            break;
        case 'n':
            conf->tokens = number("tokens", optarg, 1, MAX_TOKENS);
            break;
        case 'c':
            conf->texts = (int)number("count", optarg, 1, MAX_TEXTS);
            break;
        case 'T':
            conf->sample.temperature = real("temperature", optarg, 1e6, true);
            break;
        case TOP_K:
            conf->sample.top_k = number("top-k", optarg, 1, INT32_MAX);
            break;
        case TOP_P:
            conf->sample.top_p = real("top-p", optarg, 1.0, false);
            break;
        case 's':
            conf->sample.seed = (uint64_t)number("seed", optarg, 0, INT64_MAX);
            break;
        case TOKENIZER:
            conf->tokenizer = optarg;
            break;
        case BEST:
            conf->which = DPT_LM_WHICH_BEST;
            break;
        case LATEST:
            conf->which = DPT_LM_WHICH_LATEST;
            break;
        case 't':
            conf->threads = (int)number("threads", optarg, 1, MAX_THREADS);
            break;
        case 'q':
            *quiet = true;
            break;
        case 'h':
            inform(usage);
        case 'V':
            inform("dpt-generate " PACKAGE_VERSION "\n");
        default:
            wrong_usage("");
        }
    }
    if (optind < argc) {
        wrong_usage("a prompt is given with -p, a checkpoint with -k. ");
    }
    if (!conf->checkpoint) {
        wrong_usage("a checkpoint is missing: give one with -k. ");
    }
}

/* The prompt, from the command line or all of standard input. */
static void read_prompt(struct dpt_generate_conf *conf, struct dpt_text *input)
{
    enum { LIMIT = 1 << 30 };
    char block[1 << 14];
    if (!conf->prompt || strcmp(conf->prompt, "-") != 0) {
        conf->prompt_nbytes = conf->prompt ? strlen(conf->prompt) : 0;
        return;
    }
    for (size_t n; (n = fread(block, 1, sizeof block, stdin)) > 0;) {
        if (memchr(block, '\0', n) || input->length + n > LIMIT) {
            fprintf(stderr, "dpt-generate: standard input: has a byte 0 or more than 1 GiB; a prompt is text\n");
            exit(DPT_STATUS_DATA);
        }
        dpt_text_add(input, "%.*s", (int)n, block);
    }
    if (ferror(stdin)) {
        fprintf(stderr, "dpt-generate: standard input: %s\n", strerror(errno));
        exit(DPT_STATUS_DATA);
    }
    conf->prompt = input->data;
    conf->prompt_nbytes = input->length;
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

/* Each line of a text on standard error, behind the program's name. */
static void tell(const struct dpt_text *text)
{
    for (const char *at = text->length ? text->data : ""; *at;) {
        const int length = (int)strcspn(at, "\n");
        fprintf(stderr, "dpt-generate: %.*s\n", length, at);
        at += length + (at[length] == '\n');
    }
}

int main(int argc, char **argv)
{
    struct dpt_generate_conf conf = {.sample = {.temperature = 1.0, .top_p = 1.0, .seed = 1}, .texts = 1, .tokens = 256};
    struct dpt_text notes = {0}, summary = {0}, input = {0};
    bool quiet = false;
    parse(argc, argv, &conf, &quiet);
    read_prompt(&conf, &input);
    const enum dpt_status status = dpt_generate(&conf, write_piece, &conf.texts, &notes, &summary);
    tell(&notes);
    if (status != DPT_STATUS_OK) {
        fprintf(stderr, "dpt-generate: %s\n", dpt_error_text());
    } else if (!quiet) {
        tell(&summary);
    }
    dpt_text_free(&notes);
    dpt_text_free(&summary);
    dpt_text_free(&input);
    return (int)status;
}

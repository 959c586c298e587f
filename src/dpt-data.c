/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-data: text to tokens for dpt-train, and what goes with it. Needs no MPI. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/shard.h"
#include "text/prepare.h"

static const char usage[] =
    "Usage: dpt-data tokenize  [OPTION]... -o FOLDER FILE...    text to shards of tokens\n"
    "       dpt-data train-bpe [OPTION]... -o FOLDER FILE...    learn a tokenizer\n"
    "       dpt-data collect   [OPTION]... -o FILE              text that this system has\n"
    "       dpt-data show FILE...                               what shards hold\n"
    "\n"
    "FILE is UTF-8 text, or JSON lines where the name says .jsonl; .gz and .zst too.\n"
    "--system in place of FILEs: licences and manual pages of this system.\n"
    "\n"
    "  -o, --output=PATH      what is made; it must not exist yet\n"
    "  -t, --tokenizer=WHAT   bytes (default), chars, bpe:SIZE to learn one, or a folder\n"
    "                         or file with a tokenizer\n"
    "  -n, --size=N           train-bpe: tokens of the vocabulary (4096)\n"
    "      --valid-share=X    share of the text for validation (0)\n"
    "      --separate=WHEN    end-of-text tokens between documents: auto, yes, no\n"
    "      --field=NAME       JSON lines: the field with the text (text)\n"
    "      --system[=ROOT]    take the texts of the system, or of the one below ROOT\n"
    "      --shard-tokens=N   tokens of a shard (100000000)\n"
    "      --seed=N           draws the documents for validation (42)\n"
    "  -q, --quiet            no progress, no summary\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n"
    "\n"
    "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 input missing or damaged,\n"
    "5 memory or disk. See dpt-data(1).\n";

struct options {
    const char *output;
    int64_t size, shard_tokens;
    bool quiet;
    struct dpt_prepare_conf prepare;
};

static _Noreturn void wrong_usage(const char *what)
{
    fprintf(stderr, "dpt-data: %sTry 'dpt-data --help'.\n", what);
    exit(DPT_STATUS_USAGE);
}

static int64_t number(const char *option, const char *text, int64_t min, int64_t max)
{
    char *end, what[200];
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < min || value > max) {
        snprintf(what, sizeof what, "--%s=%.60s: expected a whole number from %" PRId64 " to %" PRId64 ". ", option, text,
                 min, max);
        wrong_usage(what);
    }
    return value;
}

static double share(const char *text)
{
    char *end, what[160];
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.0 && value < 1.0)) {
        snprintf(what, sizeof what, "--valid-share=%.60s: expected a number from 0 to less than 1. ", text);
        wrong_usage(what);
    }
    return value;
}

static enum dpt_prepare_separate separate(const char *text)
{
    static const char *const name[] = {"auto", "yes", "no"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, name[i]) == 0) {
            return (enum dpt_prepare_separate)i;
        }
    }
    wrong_usage("--separate: expected auto, yes or no. ");
}

/* Prints what only informs, and ends; a text that is lost on its way is a failure too. */
static _Noreturn void inform(const char *text)
{
    if (fputs(text, stdout) == EOF || fflush(stdout) != 0) {
        const int error = errno;
        fprintf(stderr, "dpt-data: standard output: cannot be written: %s\n", strerror(error));
        exit((int)dpt_file_write_status(error));
    }
    exit(DPT_STATUS_OK);
}

static void parse(int argc, char **argv, struct options *options)
{
    enum { VALID_SHARE = 256, SEPARATE, FIELD, SYSTEM, SHARD_TOKENS, SEED };
    static const struct option longs[] = {
        {"output", required_argument, NULL, 'o'},
        {"tokenizer", required_argument, NULL, 't'},
        {"size", required_argument, NULL, 'n'},
        {"valid-share", required_argument, NULL, VALID_SHARE},
        {"separate", required_argument, NULL, SEPARATE},
        {"field", required_argument, NULL, FIELD},
        {"system", optional_argument, NULL, SYSTEM},
        {"shard-tokens", required_argument, NULL, SHARD_TOKENS},
        {"seed", required_argument, NULL, SEED},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct dpt_prepare_conf *prepare = &options->prepare;
    for (int option; (option = getopt_long(argc, argv, "o:t:n:qhV", longs, NULL)) != -1;) {
        switch (option) {
        case 'o':
            options->output = optarg;
            break;
        case 't':
            prepare->tokenizer = optarg;
            break;
        case 'n':
            options->size = number("size", optarg, 257, 1 << 24);
            break;
        case VALID_SHARE:
            prepare->valid_share = share(optarg);
            break;
        case SEPARATE:
            prepare->separate = separate(optarg);
            break;
        case FIELD:
            prepare->input.field = optarg;
            break;
        case SYSTEM:
            prepare->input.system = optarg ? optarg : "";
            break;
        case SHARD_TOKENS:
            options->shard_tokens = number("shard-tokens", optarg, 1, INT64_MAX / 16);
            break;
        case SEED:
            prepare->seed = (uint64_t)number("seed", optarg, 0, INT64_MAX);
            break;
        case 'q':
            options->quiet = true;
            break;
        case 'h':
            inform(usage);
        case 'V':
            inform("dpt-data " PACKAGE_VERSION "\n");
        default:
            wrong_usage("");
        }
    }
    prepare->input.nfiles = argc - optind;
    prepare->input.file = (const char *const *)argv + optind;
}

/* What every command that makes something asks of its command line. */
static void want(const struct options *options, bool input)
{
    const struct dpt_input_conf *conf = &options->prepare.input;
    if (!options->output || !*options->output) {
        wrong_usage("--output is missing. ");
    }
    if (input && conf->nfiles == 0 && !conf->system) {
        wrong_usage("a file of text is missing. ");
    }
    if (conf->nfiles > 0 && (conf->system || !input)) {
        wrong_usage("there is a file beside the texts of the system. ");
    }
}

/* ----------------------------------------------------------------------------------------------- what is made */

/* A folder that is made beside its place and moved there when it is whole. */
struct output {
    const char *path;
    struct dpt_text partial;
    int lock; /* of the folder while it is made; 0: it is not ours */
};

/* "a/b" of "a/b///"; arena-free, since the program ends soon. */
static const char *without_slashes(char *path)
{
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--) {
        path[n - 1] = '\0';
    }
    return path;
}

static enum dpt_status check_new(const char *path)
{
    DPT_CHECK(!dpt_file_exists(path), DPT_STATUS_USAGE, "%s: exists already; remove it, or choose another --output", path);
    return DPT_STATUS_OK;
}

static enum dpt_status begin_output(struct output *output)
{
    DPT_TRY(check_new(output->path));
    dpt_text_add(&output->partial, "%s.partial", output->path);
    const char *partial = output->partial.data;
    for (int turn = 0; turn < 2; turn++) {
        DPT_TRY(dpt_file_mkdir(partial));
        const int lock = open(partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DPT_CHECK(lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0, DPT_STATUS_USAGE,
                  "%s: another dpt-data is making it", partial);
        /* What a run that was killed has left goes, once. */
        if (turn == 0) {
            DPT_TRY(dpt_file_remove_dir(partial));
            close(lock);
        } else {
            output->lock = lock;
        }
    }
    return DPT_STATUS_OK;
}

/* After a failure nothing is left behind, unless it is another's. */
static void drop_output(const struct output *output)
{
    if (output->lock > 0) {
        dpt_file_remove_dir(output->partial.data);
    }
}

static enum dpt_status end_output(struct output *output)
{
    DPT_TRY(check_new(output->path));
    DPT_CHECK(rename(output->partial.data, output->path) == 0, dpt_file_write_status(errno),
              "%s: cannot be renamed to %s: %s", output->partial.data, output->path, strerror(errno));
    output->lock = 0;
    output->partial.length = 0;
    dpt_text_add(&output->partial, "%s", output->path);
    char *slash = strrchr(output->partial.data, '/');
    return dpt_file_sync_dir(!slash ? "." : slash == output->partial.data ? "/" : (*slash = '\0', output->partial.data));
}

/* ------------------------------------------------------------------------------------------------- progress */

struct progress {
    bool shown, terminal;
    double begin_s, last_s;
};

/* On a terminal a line drawn anew; else a line each ten seconds. */
static void tell(void *context, const char *what, int64_t done, int64_t all, const struct dpt_prepare_counts *counts)
{
    struct progress *progress = context;
    const double now_s = dpt_clock_s();
    char nbytes[24], rate[24], tokens[24];
    if (!progress->terminal && now_s - progress->last_s < 10.0) {
        return;
    }
    fprintf(stderr, "%sdpt-data: %s %3.0f %%, %s of text", progress->terminal ? "\r" : "", what,
            all > 0 ? 100.0 * (double)done / (double)all : 100.0,
            dpt_text_bytes(nbytes, sizeof nbytes, (uint64_t)counts->text_nbytes));
    if (counts->tokens > 0) {
        fprintf(stderr, ", %s tokens", dpt_text_count(tokens, sizeof tokens, (double)counts->tokens));
    }
    fprintf(stderr, ", %s/s  %s",
            dpt_text_bytes(rate, sizeof rate, (uint64_t)((double)counts->text_nbytes / (now_s - progress->begin_s))),
            progress->terminal ? "" : "\n");
    progress->shown = true;
    progress->last_s = now_s;
}

static void end_progress(const struct progress *progress)
{
    if (progress->shown && progress->terminal) {
        fputs("\n", stderr);
    }
}

/* ------------------------------------------------------------------------------------------------ dpt-data tokenize */

static const char *const part_name[DPT_PREPARE_PARTS] = {"train", "valid"};

struct shards {
    const struct options *options;
    const char *folder;
    char tokenizer[64]; /* its name */
    int64_t vocab;
    int width;
    struct dpt_shard_writer *writer[DPT_PREPARE_PARTS];
};

static enum dpt_status begin_shards(void *context, const struct dpt_tokenizer *tokenizer)
{
    struct shards *shards = context;
    shards->vocab = dpt_tokenizer_vocab(tokenizer);
    dpt_tokenizer_name(tokenizer, shards->tokenizer, sizeof shards->tokenizer);
    DPT_TRY(dpt_tokenizer_save(tokenizer, shards->folder));
    for (int i = 0; i < DPT_PREPARE_PARTS; i++) {
        const struct dpt_shard_conf conf = {
            .folder = shards->folder,
            .name = part_name[i],
            .vocab = shards->vocab,
            .end = dpt_tokenizer_end(tokenizer),
            .tokenizer = dpt_tokenizer_hash(tokenizer),
            .most = shards->options->shard_tokens,
        };
        DPT_TRY(dpt_shard_writer_new(&conf, &shards->writer[i]));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status add_to_shards(void *context, enum dpt_prepare_part part, const int32_t *id, int64_t count,
                                     int64_t text_nbytes, int64_t documents)
{
    struct shards *shards = context;
    return dpt_shard_writer_add(shards->writer[part], id, count, text_nbytes, documents);
}

static void tell_part(const struct shards *shards, const char *output, int part, const struct dpt_prepare_counts *counts,
                      int64_t nshards)
{
    char nbytes[24];
    fprintf(stderr, "dpt-data: %s/%s: %" PRId64 " tokens of %d bytes in %" PRId64 " shard%s | %" PRId64 " document%s, %s, "
            "%.3f bytes a token\n",
            output, part_name[part], counts->tokens, shards->vocab <= 65536 ? 2 : 4, nshards, nshards == 1 ? "" : "s",
            counts->documents, counts->documents == 1 ? "" : "s",
            dpt_text_bytes(nbytes, sizeof nbytes, (uint64_t)counts->text_nbytes),
            (double)counts->text_nbytes / (double)counts->tokens);
}

static enum dpt_status make_shards(const struct options *options, struct output *output, struct shards *shards)
{
    const struct dpt_prepare_sink sink = {.context = shards, .begin = begin_shards, .add = add_to_shards};
    struct dpt_prepare_counts counts[DPT_PREPARE_PARTS];
    int64_t nshards[DPT_PREPARE_PARTS];
    struct progress *progress = options->prepare.tell_context;
    DPT_TRY(begin_output(output));
    shards->folder = output->partial.data;
    DPT_TRY(dpt_prepare_tokens(&options->prepare, &sink, counts));
    for (int i = 0; i < DPT_PREPARE_PARTS; i++) {
        DPT_TRY(dpt_shard_writer_finish(shards->writer[i], &nshards[i]));
    }
    DPT_TRY(dpt_file_sync_dir(shards->folder));
    DPT_TRY(end_output(output));
    if (!options->quiet) {
        const double seconds = dpt_clock_s() - progress->begin_s;
        char nbytes[24], took[24];
        const int64_t all = counts[0].text_nbytes + counts[1].text_nbytes;
        end_progress(progress);
        fprintf(stderr, "dpt-data: %s | %s in %s, %.1f MB/s\n", shards->tokenizer,
                dpt_text_bytes(nbytes, sizeof nbytes, (uint64_t)all), dpt_text_time(took, sizeof took, seconds),
                (double)all / 1e6 / seconds);
        for (int i = 0; i < DPT_PREPARE_PARTS; i++) {
            if (nshards[i] > 0) {
                tell_part(shards, output->path, i, &counts[i], nshards[i]);
            }
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status tokenize(const struct options *options, struct output *output)
{
    struct shards shards = {.options = options};
    const enum dpt_status status = make_shards(options, output, &shards);
    for (int i = 0; i < DPT_PREPARE_PARTS; i++) {
        dpt_shard_writer_free(shards.writer[i]);
    }
    return status;
}

/* ----------------------------------------------------------------------------------------------- the other commands */

static enum dpt_status train_bpe(const struct options *options, struct output *output)
{
    struct dpt_tokenizer *tokenizer;
    DPT_TRY(begin_output(output));
    DPT_TRY(dpt_prepare_bpe(&options->prepare, options->size, &tokenizer));
    enum dpt_status status = dpt_tokenizer_save(tokenizer, output->partial.data);
    dpt_tokenizer_free(tokenizer);
    DPT_TRY(status);
    DPT_TRY(dpt_file_sync_dir(output->partial.data));
    DPT_TRY(end_output(output));
    if (!options->quiet) {
        end_progress(options->prepare.tell_context);
        fprintf(stderr, "dpt-data: %s: a byte-level BPE of %" PRId64 " tokens\n", output->path, options->size);
    }
    return DPT_STATUS_OK;
}

/* Writes each text as a line of JSON. */
static enum dpt_status write_texts(struct dpt_input *input, FILE *file, const char *path, int64_t *count)
{
    struct dpt_input_piece piece;
    struct dpt_text line = {0};
    enum dpt_status status;
    while ((status = dpt_input_next(input, &piece)) == DPT_STATUS_OK && piece.text) {
        line.length = 0;
        dpt_text_add(&line, "{\"source\":");
        dpt_text_add_json(&line, piece.source);
        dpt_text_add(&line, ",\"text\":");
        dpt_text_add_json(&line, piece.text); /* texts of a system have no NUL */
        dpt_text_add(&line, "}\n");
        if (fwrite(line.data, 1, line.length, file) != line.length) {
            status = dpt_error_set(dpt_file_write_status(errno), __FILE__, __LINE__, "%s: cannot be written: %s", path,
                                   strerror(errno));
            break;
        }
        ++*count;
    }
    dpt_text_free(&line);
    return status;
}

static enum dpt_status collect(const struct options *options, struct output *output)
{
    struct dpt_input_conf conf = options->prepare.input;
    struct dpt_input *input;
    int64_t count = 0;
    conf.system = conf.system ? conf.system : "";
    DPT_TRY(check_new(output->path));
    dpt_text_add(&output->partial, "%s.partial", output->path);
    const char *partial = output->partial.data;
    DPT_TRY(dpt_input_open(&conf, &input));
    FILE *file = fopen(partial, "w");
    enum dpt_status status = file ? write_texts(input, file, partial, &count)
                                  : dpt_error_set(dpt_file_write_status(errno), __FILE__, __LINE__,
                                                  "%s: cannot be created: %s", partial, strerror(errno));
    dpt_input_close(input);
    const bool lost = file && (fflush(file) != 0 || fsync(fileno(file)) != 0);
    const int error = errno;
    if ((file && fclose(file) != 0) || lost) {
        status = status != DPT_STATUS_OK ? status
                                         : dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__,
                                                         "%s: cannot be written: %s", partial, strerror(error));
    }
    if (status != DPT_STATUS_OK) {
        unlink(partial);
        return status;
    }
    DPT_TRY(end_output(output));
    if (!options->quiet) {
        fprintf(stderr, "dpt-data: %s: %" PRId64 " texts\n", output->path, count);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status show(const struct options *options)
{
    static const char *const layout[] = {"dpt", "llm.c", "no header, as of nanoGPT"};
    for (int i = 0; i < options->prepare.input.nfiles; i++) {
        struct dpt_shard shard;
        DPT_TRY(dpt_shard_open(options->prepare.input.file[i], &shard));
        printf("%s: %s | %" PRId64 " tokens of %d bytes", shard.path, layout[shard.layout], shard.count, shard.width);
        if (shard.vocab > 0) {
            printf(" | vocabulary %" PRId64, shard.vocab);
        }
        if (shard.end >= 0) {
            printf(", %" PRId64 " ends a text", shard.end);
        }
        if (shard.text_nbytes > 0) {
            printf(" | %" PRId64 " documents, %" PRId64 " bytes, %.3f a token", shard.documents, shard.text_nbytes,
                   (double)shard.text_nbytes / (double)shard.count);
        }
        printf("\n");
        dpt_shard_close(&shard);
    }
    DPT_CHECK(fflush(stdout) == 0, dpt_file_write_status(errno), "standard output: cannot be written: %s", strerror(errno));
    return DPT_STATUS_OK;
}

static enum dpt_status run(const char *command, struct options *options)
{
    struct output output = {.path = options->output ? without_slashes((char *)options->output) : NULL};
    enum dpt_status status;
    if (strcmp(command, "tokenize") == 0) {
        want(options, true);
        status = tokenize(options, &output);
    } else if (strcmp(command, "train-bpe") == 0) {
        want(options, true);
        status = train_bpe(options, &output);
    } else if (strcmp(command, "collect") == 0) {
        want(options, false);
        status = collect(options, &output);
    } else if (strcmp(command, "show") == 0) {
        if (options->prepare.input.nfiles == 0) {
            wrong_usage("a file of tokens is missing. ");
        }
        status = show(options);
    } else {
        char what[160];
        snprintf(what, sizeof what, "%.60s: expected tokenize, train-bpe, collect or show. ", command);
        wrong_usage(what);
    }
    if (status != DPT_STATUS_OK) {
        drop_output(&output);
    }
    dpt_text_free(&output.partial);
    return status;
}

int main(int argc, char **argv)
{
    struct progress progress = {.terminal = isatty(2), .begin_s = dpt_clock_s(), .last_s = dpt_clock_s()};
    struct options options = {
        .size = 4096,
        .shard_tokens = 100000000,
        .prepare = {.tokenizer = "bytes", .seed = 42, .input.field = "text", .tell_context = &progress},
    };
    if (argc < 2 || *argv[1] == '-') {
        parse(argc, argv, &options); /* --help, --version */
        wrong_usage("a command is missing: tokenize, train-bpe, collect or show. ");
    }
    parse(argc - 1, argv + 1, &options);
    options.prepare.tell = options.quiet ? NULL : tell;
    const enum dpt_status status = run(argv[1], &options);
    if (status != DPT_STATUS_OK) {
        end_progress(&progress);
        fprintf(stderr, "dpt-data: %s\n", dpt_error_text());
    }
    return (int)status;
}

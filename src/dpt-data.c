/* SPDX-License-Identifier: Apache-2.0 */

/* dpt-data: text to tokens for dpt-train, and what goes with it. Needs no MPI. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/file.h"
#include "data/shard.h"
#include "text/prepare.h"

enum { VALID_SHARE = DPT_COMMAND_LONG, SEPARATE, FIELD, SYSTEM, SHARD_TOKENS, SEED };

static const struct dpt_command_option table[] = {
    {"output", 'o', "PATH", "what is made; it must not exist yet"},
    {"tokenizer", 't', "WHAT", "bytes (default), chars, bpe:SIZE to learn one, or a folder\nor file with a tokenizer"},
    {"size", 'n', "N", "train-bpe: tokens of the vocabulary (4096)"},
    {"valid-share", VALID_SHARE, "X", "share of the text for validation (0)"},
    {"separate", SEPARATE, "WHEN", "end-of-text tokens between documents: auto, yes, no"},
    {"field", FIELD, "NAME", "JSON lines: the field with the text (text)"},
    {"system", SYSTEM, "[ROOT]", "take the texts of the system, or of the one below ROOT"},
    {"shard-tokens", SHARD_TOKENS, "N", "tokens of a shard (100000000)"},
    {"seed", SEED, "N", "draws the documents for validation (42)"},
    {"quiet", 'q', NULL, "no progress, no summary"},
};

struct options;

/* What a program does is its first word. */
struct task {
    const char *name;
    bool makes, reads; /* an --output; files of text, or the system's */
    enum dpt_status (*run)(const struct options *options);
};

struct options {
    const struct task *task;
    const char *output;
    int64_t size, shard_tokens;
    bool quiet;
    struct dpt_prepare_conf prepare;
    const char **file; /* as many as there are words */
};

/* ----------------------------------------------------------------------------------------------- what is made */

/* A folder that is made beside its place and moved there when it is whole. */
struct output {
    const char *path;
    struct dpt_text partial;
    int lock; /* of the folder while it is made; 0: it is not ours */
};

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
    return DPT_STATUS_OK;
}

/* Runs what makes something; after a failure nothing of it stays. */
static enum dpt_status make(const struct options *options,
                            enum dpt_status (*maker)(const struct options *options, struct output *output))
{
    struct output output = {.path = options->output};
    const enum dpt_status status = maker(options, &output);
    if (status != DPT_STATUS_OK) {
        drop_output(&output);
    }
    dpt_text_free(&output.partial);
    return status;
}

static enum dpt_status run_tokenize(const struct options *options)
{
    return make(options, tokenize);
}

static enum dpt_status run_train_bpe(const struct options *options)
{
    return make(options, train_bpe);
}

static enum dpt_status run_collect(const struct options *options)
{
    return make(options, collect);
}

/* ------------------------------------------------------------------------------------------------------------- main */

static const struct task tasks[] = {
    {"tokenize", true, true, run_tokenize},
    {"train-bpe", true, true, run_train_bpe},
    {"collect", true, false, run_collect},
    {"show", false, true, show},
};

/* "a/b" of "a/b///"; memory of the command line, which is ours to write. */
static const char *without_slashes(const char *path)
{
    char *own = (char *)(uintptr_t)path;
    for (size_t n = strlen(own); n > 1 && own[n - 1] == '/'; n--) {
        own[n - 1] = '\0';
    }
    return own;
}

static enum dpt_status take_word(const char *word, struct options *options)
{
    enum { TASKS = sizeof tasks / sizeof tasks[0] };
    if (options->task) {
        options->file[options->prepare.input.nfiles++] = word;
        return DPT_STATUS_OK;
    }
    for (int i = 0; i < TASKS; i++) {
        options->task = strcmp(word, tasks[i].name) == 0 ? &tasks[i] : options->task;
    }
    DPT_CHECK(options->task, DPT_STATUS_USAGE, "%.60s: expected tokenize, train-bpe, collect or show", word);
    return DPT_STATUS_OK;
}

static enum dpt_status take_share(const char *text, double *share)
{
    double value = 0.0;
    DPT_TRY(dpt_command_real("valid-share", text, 1.0, true, &value));
    DPT_CHECK(value < 1.0, DPT_STATUS_USAGE, "--valid-share=%.60s: leaves nothing to train on; expected less than 1", text);
    *share = value;
    return DPT_STATUS_OK;
}

static enum dpt_status take_separate(const char *text, enum dpt_prepare_separate *separate)
{
    static const char *const words[] = {"auto", "yes", "no"};
    int value = 0;
    DPT_TRY(dpt_command_word("separate", text, words, 3, &value));
    *separate = (enum dpt_prepare_separate)value;
    return DPT_STATUS_OK;
}

static enum dpt_status take_seed(const char *text, uint64_t *seed)
{
    int64_t value = 0;
    DPT_TRY(dpt_command_number("seed", text, 0, INT64_MAX, &value));
    *seed = (uint64_t)value;
    return DPT_STATUS_OK;
}

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct options *options = user;
    struct dpt_prepare_conf *prepare = &options->prepare;
    switch (letter) {
    case DPT_COMMAND_WORD:
        return take_word(value, options);
    case 'o':
        options->output = without_slashes(value);
        break;
    case 't':
        prepare->tokenizer = value;
        break;
    case 'n':
        return dpt_command_number("size", value, 257, 1 << 24, &options->size);
    case VALID_SHARE:
        return take_share(value, &prepare->valid_share);
    case SEPARATE:
        return take_separate(value, &prepare->separate);
    case FIELD:
        prepare->input.field = value;
        break;
    case SYSTEM:
        prepare->input.system = value ? value : "";
        break;
    case SHARD_TOKENS:
        return dpt_command_number("shard-tokens", value, 1, INT64_MAX / 16, &options->shard_tokens);
    case SEED:
        return take_seed(value, &prepare->seed);
    default: /* 'q' */
        options->quiet = true;
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct options *options = user;
    const struct dpt_input_conf *input = &options->prepare.input;
    const struct task *task = options->task;
    DPT_CHECK(task, DPT_STATUS_USAGE, "a command is missing: tokenize, train-bpe, collect or show");
    DPT_CHECK(!task->makes || (options->output && *options->output), DPT_STATUS_USAGE, "--output is missing");
    DPT_CHECK(!task->reads || input->nfiles > 0 || (task->makes && input->system), DPT_STATUS_USAGE,
              task->makes ? "a file of text is missing" : "a file of tokens is missing");
    DPT_CHECK(!task->makes || input->nfiles == 0 || (task->reads && !input->system), DPT_STATUS_USAGE,
              "there is a file beside the texts of the system");
    return DPT_STATUS_OK;
}

static enum dpt_status work(void *user)
{
    struct options *options = user;
    options->prepare.input.file = options->file;
    options->prepare.tell = options->quiet ? NULL : tell;
    const enum dpt_status status = options->task->run(options);
    if (status != DPT_STATUS_OK) {
        end_progress(options->prepare.tell_context);
    }
    return status;
}

static const struct dpt_command command = {
    .name = "dpt-data",
    .begin = "Usage: dpt-data tokenize  [OPTION]... -o FOLDER FILE...    text to shards of tokens\n"
             "       dpt-data train-bpe [OPTION]... -o FOLDER FILE...    learn a tokenizer\n"
             "       dpt-data collect   [OPTION]... -o FILE              text that this system has\n"
             "       dpt-data show FILE...                               what shards hold\n"
             "\n"
             "FILE is UTF-8 text, or JSON lines where the name says .jsonl; .gz and .zst too.\n"
             "--system in place of FILEs: licences and manual pages of this system.\n"
             "\n",
    .end = "\n"
           "Exit status: 0 good, 1 output failed, 2 wrong usage, 3 input missing or damaged,\n"
           "5 memory or disk. See dpt-data(1).\n",
    .option = table,
    .noptions = sizeof table / sizeof table[0],
    .take = take,
    .check = check,
    .work = work,
};

int main(int argc, char **argv)
{
    struct progress progress = {.terminal = isatty(2), .begin_s = dpt_clock_s(), .last_s = dpt_clock_s()};
    struct options options = {
        .size = 4096,
        .shard_tokens = 100000000,
        .prepare = {.tokenizer = "bytes", .seed = 42, .input.field = "text", .tell_context = &progress},
        .file = calloc((size_t)argc, sizeof *options.file),
    };
    if (!options.file) {
        dpt_fatal(DPT_STATUS_SPACE, "out of memory for a list of %d words", argc);
    }
    const int code = dpt_command_main(&command, argc, argv, &options);
    free(options.file);
    return code;
}

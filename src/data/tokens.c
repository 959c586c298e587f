/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Windows of tokens. With context T a sample is T + 1 tokens in a row of one shard: the first T are x, the last T the
 * targets, so that target t is what follows x[0 .. t].
 *
 * A stretch of n tokens (a shard, or the part of one that belongs here) is cut into windows that begin T apart, so that
 * each token is a target once. In the stored order they begin at its first token:
 *
 *     |--- T ---|--- T ---|--- T ---|.rest
 *
 * In training each epoch shifts the windows of each stretch by a keyed number from 0 to T - 1, so that over the epochs
 * every place is the beginning of a window; then one window less fits. The order of windows over all stretches is
 * dpt_rng_permute's: keyed, random, without replacement. So a window is a function of (seed, epoch, place), and any
 * layout resumes anywhere.
 *
 * Where documents are to stay apart, each is a stretch of its own, with the end-of-text token behind it.
 */

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "data/reader.h"
#include "data/shard.h"

enum { SHARDS_MAX = 1 << 20, TOKENIZER_MAX = 1 << 28, SHIFT_STREAM = 1 /* 0 is augmentation's */ };

/* What was left out since it is shorter than a window. */
struct left_out {
    int64_t documents, tokens;
};

/* A stretch of tokens and its windows. */
struct stretch {
    const struct dpt_shard *shard;
    int64_t first, count; /* tokens */
    int64_t before;       /* windows of the stretches before this one */
    int64_t windows;
    int64_t shifts;       /* of an epoch of training: 0 to shifts - 1 */
};

struct tokens {
    int64_t context, vocab;
    int64_t nshards;
    struct dpt_shard *shard;
    bool apart;         /* a stretch is a document                           */
    int64_t nstretches; /* first those of this split, then those held back   */
    int64_t capacity;
    struct stretch *stretch;
    struct left_out left_out;
};

/* ----------------------------------------------------------------------------------------------- finding shards */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All files of a folder whose names begin so and end in .bin, by name. */
static enum dpt_status list_shards(struct dpt_arena *arena, const char *prefix, char ***path, int64_t *count)
{
    const char *slash = strrchr(prefix, '/');
    const char *begin = slash ? slash + 1 : prefix;
    const char *where = slash ? dpt_arena_printf(arena, "%.*s", (int)(slash - prefix) + 1, prefix) : "./";
    size_t capacity = 0, found = 0;
    DIR *folder = *begin ? opendir(where) : NULL;
    *path = NULL;
    while (folder) {
        const struct dirent *entry = readdir(folder);
        if (!entry || found > SHARDS_MAX) {
            break;
        }
        if (strncmp(entry->d_name, begin, strlen(begin)) == 0 && ends_with(entry->d_name, ".bin")) {
            *path = dpt_arena_grow(arena, *path, found, &capacity, sizeof **path);
            (*path)[found++] = dpt_arena_printf(arena, "%s%s", slash ? where : "", entry->d_name);
        }
    }
    if (folder) {
        closedir(folder);
    }
    DPT_CHECK(found <= SHARDS_MAX, DPT_STATUS_DATA, "%s*.bin: are more than %d files", prefix, (int)SHARDS_MAX);
    if (found > 0) {
        qsort(*path, found, sizeof **path, compare_texts);
    }
    *count = (int64_t)found;
    return DPT_STATUS_OK;
}

static enum dpt_status find_shards(const struct dpt_data__request *request, struct dpt_arena *arena, char ***path,
                                   int64_t *count)
{
    DPT_CHECK(!dpt_file_is_folder(request->path), DPT_STATUS_USAGE,
              "%s%s: is a folder; say by what the names of the shards begin, as in %s/train", request->where,
              request->path, request->path);
    if (dpt_file_exists(request->path)) {
        *path = dpt_arena_array(arena, 1, sizeof **path);
        (*path)[0] = dpt_arena_strdup(arena, request->path);
        *count = 1;
        return DPT_STATUS_OK;
    }
    DPT_TRY(list_shards(arena, request->path, path, count));
    DPT_CHECK(*count > 0, DPT_STATUS_DATA,
              "%s%s: there is no such file, and none that begins so and ends in .bin; dpt-data tokenize makes such files "
              "of text",
              request->where, request->path);
    return DPT_STATUS_OK;
}

/* --------------------------------------------------------------------------------------- vocabulary, tokenizer */

/* All shards come from one tokenizer, as far as they say, and from that of the training data. */
static enum dpt_status compare_shards(const struct tokens *tokens, const struct dpt_data__prep *train)
{
    const struct dpt_shard *known = NULL;
    for (int64_t i = 0; i < tokens->nshards; i++) {
        const struct dpt_shard *shard = &tokens->shard[i];
        if (shard->tokenizer == 0) {
            continue;
        }
        DPT_CHECK(!known || known->tokenizer == shard->tokenizer, DPT_STATUS_DATA,
                  "%s: was made with another tokenizer than %s", shard->path, known->path);
        DPT_CHECK(!train || train->tokenizer_hash == 0 || train->tokenizer_hash == shard->tokenizer, DPT_STATUS_DATA,
                  "%s: was made with another tokenizer than the training data", shard->path);
        known = shard;
    }
    return DPT_STATUS_OK;
}

/* How many tokens there are: as the job says, else as the files say. */
static enum dpt_status find_vocab(const struct dpt_job *job, struct tokens *tokens, const struct dpt_data__prep *train)
{
    const struct dpt_shard *most = &tokens->shard[0];
    for (int64_t i = 1; i < tokens->nshards; i++) {
        most = tokens->shard[i].vocab > most->vocab ? &tokens->shard[i] : most;
    }
    tokens->vocab = train ? train->classes : job->data.vocab ? job->data.vocab : most->vocab;
    DPT_CHECK(tokens->vocab > 0, DPT_STATUS_USAGE,
              "%s: does not say how many tokens there are; [data] vocab can, such as 50257 for GPT-2. If it is text: dpt-data "
              "tokenize makes tokens of it",
              most->path);
    DPT_CHECK(most->vocab <= tokens->vocab, DPT_STATUS_DATA,
              "%s: its vocabulary has %lld tokens, but %s says %lld", most->path, (long long)most->vocab,
              train ? "the training data" : "[data] vocab", (long long)tokens->vocab);
    return DPT_STATUS_OK;
}

/* Reads the tokenizer.json beside the first shard, if there is one, and sees that the shards were made with it. */
static enum dpt_status read_tokenizer(const struct tokens *tokens, struct dpt_arena *arena, struct dpt_data__prep *prep)
{
    const char *first = tokens->shard[0].path, *slash = strrchr(first, '/');
    const char *path = dpt_arena_printf(arena, "%.*stokenizer.json", slash ? (int)(slash - first) + 1 : 0, first);
    char *text;
    size_t nbytes;
    if (!dpt_file_exists(path)) {
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_file_read(path, TOKENIZER_MAX, &text, &nbytes));
    json_error_t error = {.line = 1, .text = "another value"};
    json_t *root = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &error);
    const bool object = json_is_object(root);
    json_decref(root);
    /* dpt-data writes the text that was hashed and a newline. */
    const uint64_t hash = dpt_hash64(text, nbytes - (nbytes > 0 && text[nbytes - 1] == '\n'));
    enum dpt_status status = DPT_STATUS_OK;
    if (!object) {
        status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: line %d: is no JSON object: %s", path,
                               error.line, error.text);
    } else if (prep->tokenizer_hash != 0 && prep->tokenizer_hash != hash) {
        status = dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                               "%s: is not the tokenizer that made %s; put it back or make the shards again", path, first);
    } else {
        prep->tokenizer = dpt_arena_strdup(arena, text);
    }
    free(text);
    return status;
}

/* ------------------------------------------------------------------------------------------------- the windows */

/* Adds tokens [first, first + count) of a shard; too few for a window are left out. */
static enum dpt_status add_stretch(struct tokens *tokens, const struct dpt_shard *shard, int64_t first, int64_t count,
                                   bool shifted, int64_t *windows)
{
    const int64_t context = tokens->context;
    if (count <= context) {
        tokens->left_out.documents++;
        tokens->left_out.tokens += count;
        return DPT_STATUS_OK;
    }
    if (tokens->nstretches == tokens->capacity) {
        const int64_t capacity = tokens->capacity ? 2 * tokens->capacity : 64;
        struct stretch *grown = realloc(tokens->stretch, (size_t)capacity * sizeof *grown);
        DPT_CHECK(grown, DPT_STATUS_SPACE, "%s: no memory for the places of %lld documents", shard->path,
                  (long long)capacity);
        tokens->stretch = grown;
        tokens->capacity = capacity;
    }
    struct stretch *stretch = &tokens->stretch[tokens->nstretches++];
    *stretch = (struct stretch){.shard = shard, .first = first, .count = count, .before = *windows};
    stretch->windows = shifted && count >= 2 * context ? count / context - 1 : (count - 1) / context;
    const int64_t rest = count - 1 - stretch->windows * context;
    stretch->shifts = !shifted ? 1 : rest < context ? rest + 1 : context;
    *windows += stretch->windows;
    return DPT_STATUS_OK;
}

/* Adds each document of tokens [first, last) of a shard. */
static enum dpt_status add_documents(struct tokens *tokens, const struct dpt_shard *shard, int64_t first, int64_t last,
                                     bool shifted, int64_t *windows)
{
    DPT_CHECK(shard->end >= 0, DPT_STATUS_USAGE,
              "%s: does not say which token ends a document, so [data] documents = apart cannot be", shard->path);
    while (first < last) {
        const int64_t end = dpt_shard_find(shard, first, last, shard->end);
        const int64_t behind = end < last ? end + 1 : last;
        DPT_TRY(add_stretch(tokens, shard, first, behind - first, shifted, windows));
        first = behind;
    }
    return DPT_STATUS_OK;
}

/* Adds the part of all tokens that lies in [begin, end), shard by shard. */
static enum dpt_status add_part(struct tokens *tokens, int64_t begin, int64_t end, bool shifted, int64_t *windows)
{
    int64_t at = 0;
    for (int64_t i = 0; i < tokens->nshards; i++) {
        const struct dpt_shard *shard = &tokens->shard[i];
        const int64_t first = begin > at ? begin - at : 0;
        const int64_t last = end - at < shard->count ? end - at : shard->count;
        if (first < last && tokens->apart) {
            DPT_TRY(add_documents(tokens, shard, first, last, shifted, windows));
        } else if (first < last) {
            DPT_TRY(add_stretch(tokens, shard, first, last - first, shifted, windows));
        }
        at += shard->count;
    }
    return DPT_STATUS_OK;
}

/* What the user should know of what no window reaches. */
static void note_left_out(struct dpt_data *data, int64_t total)
{
    const struct tokens *tokens = data->tables;
    if (tokens->left_out.documents > 0) {
        dpt_text_add(&data->notes, "%s: %lld %s%s shorter than [data] context + 1 = %lld %s left out, %.3g %% of the tokens\n",
                     data->info.source, (long long)tokens->left_out.documents, tokens->apart ? "document" : "shard",
                     tokens->left_out.documents == 1 ? "" : "s", (long long)tokens->context + 1,
                     tokens->left_out.documents == 1 ? "is" : "are",
                     100.0 * (double)tokens->left_out.tokens / (double)total);
    }
}

/* Cuts the tokens into windows: those of this split, then those held back, which are the last of the tokens. */
static enum dpt_status cut_windows(const struct dpt_job *job, const struct dpt_data__request *request,
                                   struct dpt_data *data)
{
    struct tokens *tokens = data->tables;
    int64_t total = 0, windows = 0;
    for (int64_t i = 0; i < tokens->nshards; i++) {
        DPT_CHECK(!__builtin_add_overflow(total, tokens->shard[i].count, &total), DPT_STATUS_DATA,
                  "%s: too many tokens", request->path);
    }
    const int64_t kept = (int64_t)((double)total * (1.0 - request->held_share));
    DPT_TRY(add_part(tokens, 0, kept, request->first && job->data.shuffle, &windows));
    data->info.samples = windows;
    DPT_TRY(add_part(tokens, kept, total, false, &windows));
    data->held_first = data->info.samples;
    data->nheld = windows - data->info.samples;
    DPT_CHECK(data->info.samples > 0 && (kept == total || data->nheld > 0), DPT_STATUS_USAGE,
              "%s%s: %s %lld tokens in %lld shard%s, which hold no window of [data] context + 1 = %lld", request->where,
              request->path, kept == total ? "has" : "a part of the", (long long)total, (long long)tokens->nshards,
              tokens->nshards == 1 ? "" : "s", (long long)tokens->context + 1);
    note_left_out(data, total);
    return DPT_STATUS_OK;
}

static enum dpt_status open_shards(const struct dpt_data__request *request, struct dpt_data *data)
{
    struct tokens *tokens = data->tables;
    char **path = NULL;
    int64_t count = 0;
    DPT_TRY(find_shards(request, data->arena, &path, &count));
    tokens->shard = dpt_arena_array(data->arena, (size_t)count, sizeof *tokens->shard);
    for (int64_t i = 0; i < count; i++) {
        DPT_TRY(dpt_shard_open(path[i], &tokens->shard[i]));
        tokens->nshards++;
    }
    return DPT_STATUS_OK;
}

/* Bytes of text a token, where all shards say. */
static double token_bytes(const struct tokens *tokens)
{
    double nbytes = 0.0, count = 0.0;
    for (int64_t i = 0; i < tokens->nshards; i++) {
        if (tokens->shard[i].text_nbytes == 0) {
            return 0.0;
        }
        nbytes += (double)tokens->shard[i].text_nbytes;
        count += (double)tokens->shard[i].count;
    }
    return nbytes / count;
}

static enum dpt_status open_tokens(const struct dpt_job *job, const struct dpt_data__request *request,
                                   struct dpt_data *data)
{
    const struct dpt_data__prep *train = data->prep;
    struct tokens *tokens = dpt_arena_alloc(data->arena, sizeof *tokens);
    data->tables = tokens;
    tokens->context = job->data.context;
    tokens->apart = job->data.documents == DPT_DOCUMENTS_APART;
    DPT_ASSERT(tokens->context > 0);
    DPT_TRY(open_shards(request, data));
    DPT_TRY(compare_shards(tokens, train));
    DPT_TRY(find_vocab(job, tokens, train));
    if (!train) {
        struct dpt_data__prep *prep = dpt_arena_alloc(data->arena, sizeof *prep);
        prep->format = DPT_DATA_FORMAT_TOKENS;
        prep->ndim = 1;
        prep->dim[0] = prep->targets = tokens->context;
        prep->classes = tokens->vocab;
        for (int64_t i = 0; i < tokens->nshards && prep->tokenizer_hash == 0; i++) {
            prep->tokenizer_hash = tokens->shard[i].tokenizer;
        }
        DPT_TRY(read_tokenizer(tokens, data->arena, prep));
        data->prep = prep;
    }
    DPT_TRY(cut_windows(job, request, data));
    data->info.token_bytes = token_bytes(tokens);
    data->info.labelled = true;
    return DPT_STATUS_OK;
}

static void close_tokens(struct dpt_data *data)
{
    struct tokens *tokens = data->tables;
    for (int64_t i = 0; tokens && i < tokens->nshards; i++) {
        dpt_shard_close(&tokens->shard[i]);
    }
    if (tokens) {
        free(tokens->stretch);
    }
}

/* ---------------------------------------------------------------------------------------------------- fetching */

/* The stretch that a window lies in: the last whose first window is not behind it. */
static int64_t find_stretch(const struct tokens *tokens, int64_t window)
{
    int64_t low = 0, high = tokens->nstretches - 1;
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (tokens->stretch[middle].before <= window) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static int64_t draw_shift(const struct dpt_data *data, int64_t epoch, int64_t which, int64_t shifts)
{
    uint32_t word[4];
    dpt_rng_words(data->seed, DPT_RNG_USE_AUGMENT, SHIFT_STREAM, (uint64_t)epoch, (uint64_t)which, word);
    return (int64_t)((uint64_t)word[0] * (uint64_t)shifts >> 32);
}

static enum dpt_status window(const struct dpt_data *data, int64_t epoch, int64_t sample, int32_t *x, int32_t *target)
{
    const struct tokens *tokens = data->tables;
    const int64_t which = find_stretch(tokens, sample);
    const struct stretch *stretch = &tokens->stretch[which];
    const int64_t shift = epoch >= 0 ? draw_shift(data, epoch, which, stretch->shifts) : 0;
    const int64_t first = stretch->first + shift + (sample - stretch->before) * tokens->context;
    int64_t bad = 0;
    const bool good = dpt_shard_copy(stretch->shard, first, tokens->context, tokens->vocab, x, &bad) &&
                      (!target ||
                       dpt_shard_copy(stretch->shard, first + 1, tokens->context, tokens->vocab, target, &bad));
    DPT_CHECK(good, DPT_STATUS_DATA,
              "%s: token %lld is %lld, but the vocabulary has the tokens 0 to %lld: the file is damaged, or [data] vocab "
              "is wrong",
              stretch->shard->path, (long long)bad, (long long)dpt_shard_token(stretch->shard, bad),
              (long long)tokens->vocab - 1);
    return DPT_STATUS_OK;
}

const struct dpt_data__reader dpt_data__tokens = {
    .format = DPT_DATA_FORMAT_TOKENS,
    .name = "tokens",
    .open = open_tokens,
    .window = window,
    .close = close_tokens,
};

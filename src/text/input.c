/* SPDX-License-Identifier: Apache-2.0 */

#include "text/input.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "text/cut.h"
#include "text/record.h"
#include "text/stream.h"
#include "text/system.h"

enum {
    BUFFER = 1 << 20,      /* bytes of a piece, and the longest stretch without a place to cut */
    RECORD_MAX = 64 << 20, /* bytes of a line of JSON                                          */
};

struct dpt_input {
    struct dpt_input_conf conf;
    int file;                        /* the current one                                  */
    struct dpt_text__stream *stream; /* of it; NULL: none is open                        */
    bool json, ended;                /* the stream has no more than is in the buffer     */
    size_t capacity, used, at;       /* of the buffer: bytes [at, used) are still to go  */
    char *buffer;
    int64_t offset;                  /* of buffer[at] in the document                    */
    int64_t line;
    struct dpt_text__record record;  /* whose text was handed out                        */
    struct dpt_text source;
    struct dpt_system *system;
    int64_t all, done;               /* bytes of all files, of those behind us           */
};

/* --------------------------------------------------------------------------------------------------- files */

static int64_t file_nbytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (int64_t)info.st_size : 0;
}

static bool ends_with(const char *name, size_t length, const char *end)
{
    const size_t n = strlen(end);
    return length > n && strncmp(name + length - n, end, n) == 0;
}

/* JSON lines are told by the name, behind which a name of a packing may stand. */
static bool is_json(const char *path)
{
    size_t length = strlen(path);
    length -= ends_with(path, length, ".gz") ? 3 : ends_with(path, length, ".zst") ? 4 : 0;
    return ends_with(path, length, ".jsonl") || ends_with(path, length, ".ndjson");
}

static enum dpt_status open_file(struct dpt_input *input)
{
    const char *path = input->conf.file[input->file];
    DPT_TRY(dpt_text__stream_open(path, &input->stream));
    input->json = is_json(path);
    input->ended = false;
    input->used = input->at = 0;
    input->offset = input->line = 0;
    return DPT_STATUS_OK;
}

static void close_file(struct dpt_input *input)
{
    dpt_text__stream_close(input->stream);
    input->stream = NULL;
    input->done += file_nbytes(input->conf.file[input->file]);
    input->file++;
}

static enum dpt_status open_all(struct dpt_input *input)
{
    if (input->conf.system) {
        return dpt_system_open(input->conf.system, &input->system);
    }
    input->capacity = BUFFER;
    input->buffer = malloc(input->capacity);
    DPT_CHECK(input->buffer, DPT_STATUS_SPACE, "no memory to read text");
    for (int i = 0; i < input->conf.nfiles; i++) {
        input->all += file_nbytes(input->conf.file[i]);
    }
    return input->conf.nfiles > 0 ? open_file(input) : DPT_STATUS_OK;
}

enum dpt_status dpt_input_open(const struct dpt_input_conf *conf, struct dpt_input **input)
{
    *input = NULL;
    struct dpt_input *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory to read text");
    made->conf = *conf;
    const enum dpt_status status = open_all(made);
    if (status != DPT_STATUS_OK) {
        dpt_input_close(made);
        return status;
    }
    *input = made;
    return DPT_STATUS_OK;
}

void dpt_input_close(struct dpt_input *input)
{
    if (!input) {
        return;
    }
    dpt_text__stream_close(input->stream);
    dpt_system_close(input->system);
    dpt_text__record_free(&input->record);
    dpt_text_free(&input->source);
    free(input->buffer);
    free(input);
}

bool dpt_input_is_drawn(const struct dpt_input_conf *conf)
{
    bool drawn = conf->system != NULL;
    for (int i = 0; i < conf->nfiles; i++) {
        drawn = drawn || is_json(conf->file[i]);
    }
    return drawn;
}

void dpt_input_progress(const struct dpt_input *input, int64_t *done, int64_t *all)
{
    if (input->system) {
        dpt_system_progress(input->system, done, all);
        return;
    }
    *done = input->done + (input->stream ? dpt_text__stream_done(input->stream) : 0);
    *all = input->all;
}

/* -------------------------------------------------------------------------------------------------- pieces */

/* Moves what is left to the front and fills the buffer up. */
static enum dpt_status refill(struct dpt_input *input)
{
    size_t got = 0;
    memmove(input->buffer, input->buffer + input->at, input->used - input->at);
    input->used -= input->at;
    input->at = 0;
    const size_t room = input->capacity - input->used;
    DPT_TRY(dpt_text__stream_read(input->stream, input->buffer + input->used, room, &got));
    input->used += got;
    input->ended = got < room;
    return DPT_STATUS_OK;
}

static enum dpt_status next_text(struct dpt_input *input, struct dpt_input_piece *piece)
{
    const char *path = input->conf.file[input->file];
    DPT_TRY(refill(input));
    const size_t n = input->ended ? input->used : dpt_text__cut(input->conf.cut, input->buffer, input->used);
    DPT_CHECK(n > 0 || input->ended, DPT_STATUS_DATA,
              "%s: byte %lld: no word ends for %d bytes from here: is it text? If it is, take bytes or characters as "
              "tokens",
              path, (long long)input->offset, (int)BUFFER);
    *piece = (struct dpt_input_piece){.source = path, .offset = input->offset, .text = input->buffer, .nbytes = n,
                                      .ends = input->ended};
    input->at = n;
    input->offset += (int64_t)n;
    if (input->ended) {
        close_file(input);
    }
    return DPT_STATUS_OK;
}

/* The next line that is not empty; *line NULL at the end of the file. */
static enum dpt_status next_line(struct dpt_input *input, char **line, size_t *nbytes)
{
    *line = NULL;
    for (size_t searched = 0;;) {
        char *begin = input->buffer + input->at;
        char *end = memchr(begin + searched, '\n', input->used - input->at - searched);
        if (end || (input->ended && input->at < input->used)) {
            *nbytes = end ? (size_t)(end - begin) : input->used - input->at;
            input->at += *nbytes + (end != NULL);
            input->line++;
            if (strspn(begin, " \t\r") >= *nbytes) {
                searched = 0;
                continue;
            }
            *line = begin;
            return DPT_STATUS_OK;
        }
        if (input->ended) {
            return DPT_STATUS_OK;
        }
        searched = input->used - input->at;
        if (searched == input->capacity) {
            DPT_CHECK(input->capacity < RECORD_MAX, DPT_STATUS_DATA, "%s: line %lld has more than %d bytes",
                      input->conf.file[input->file], (long long)input->line + 1, (int)RECORD_MAX);
            char *bigger = realloc(input->buffer, 2 * input->capacity);
            DPT_CHECK(bigger, DPT_STATUS_SPACE, "%s: no memory for line %lld", input->conf.file[input->file],
                      (long long)input->line + 1);
            input->buffer = bigger;
            input->capacity *= 2;
        }
        DPT_TRY(refill(input));
    }
}

static enum dpt_status next_record(struct dpt_input *input, struct dpt_input_piece *piece)
{
    const char *path = input->conf.file[input->file], *text;
    char *line;
    size_t nbytes, length;
    DPT_TRY(next_line(input, &line, &nbytes));
    if (!line) {
        close_file(input);
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_text__record_read(&input->record, path, input->line, input->conf.field, line, nbytes, &text, &length));
    input->source.length = 0;
    dpt_text_add(&input->source, "%s: line %lld", path, (long long)input->line);
    *piece = (struct dpt_input_piece){.source = input->source.data, .text = text, .nbytes = length, .ends = true};
    return DPT_STATUS_OK;
}

enum dpt_status dpt_input_next(struct dpt_input *input, struct dpt_input_piece *piece)
{
    *piece = (struct dpt_input_piece){0};
    if (input->system) {
        return dpt_system_next(input->system, piece);
    }
    while (!piece->text && input->file < input->conf.nfiles) {
        if (!input->stream) {
            DPT_TRY(open_file(input));
        }
        DPT_TRY(input->json ? next_record(input, piece) : next_text(input, piece));
    }
    return DPT_STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */

/* Writing files of tokens: through a buffer, the header last, since only then its counts are known. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/shard.h"
#include "data/shard_header.h"

enum { BUFFER = 1 << 20, SHARDS_MAX = 100000 };

struct dpt_shard_writer {
    struct dpt_shard_conf conf;
    int width;
    int64_t nshards;
    char path[PATH_MAX];
    int fd; /* -1: no shard is open */
    int64_t count, text_nbytes, documents; /* of the open shard */
    size_t used;
    unsigned char buffer[BUFFER];
};

static void put(unsigned char *p, uint64_t value, int nbytes)
{
    for (int i = 0; i < nbytes; i++) {
        p[i] = (unsigned char)(value >> (8 * i));
    }
}

static enum dpt_status failed(const struct dpt_shard_writer *writer, int error)
{
    return dpt_error_set(dpt_file_write_status(error), __FILE__, __LINE__, "%s: cannot be written: %s", writer->path,
                         strerror(error));
}

/* Writes all bytes; at a place of the file when `at` >= 0. */
static enum dpt_status write_all(const struct dpt_shard_writer *writer, const unsigned char *data, size_t nbytes, off_t at)
{
    while (nbytes > 0) {
        const ssize_t put_nbytes = at < 0 ? write(writer->fd, data, nbytes) : pwrite(writer->fd, data, nbytes, at);
        if (put_nbytes < 0 && errno == EINTR) {
            continue;
        }
        if (put_nbytes < 0) {
            return failed(writer, errno);
        }
        data += put_nbytes;
        nbytes -= (size_t)put_nbytes;
        at += at < 0 ? 0 : put_nbytes;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status flush(struct dpt_shard_writer *writer)
{
    DPT_TRY(write_all(writer, writer->buffer, writer->used, -1));
    writer->used = 0;
    return DPT_STATUS_OK;
}

static enum dpt_status begin_shard(struct dpt_shard_writer *writer)
{
    DPT_CHECK(writer->nshards < SHARDS_MAX, DPT_STATUS_USAGE, "%s: there would be more than %d shards; make them larger",
              writer->conf.folder, (int)SHARDS_MAX);
    DPT_CHECK(snprintf(writer->path, sizeof writer->path, "%s/%s-%05lld.bin", writer->conf.folder, writer->conf.name,
                       (long long)writer->nshards) < (int)sizeof writer->path,
              DPT_STATUS_FAILED, "%s: the path is too long", writer->conf.folder);
    writer->fd = open(writer->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        return failed(writer, errno);
    }
    writer->nshards++;
    writer->count = writer->text_nbytes = writer->documents = 0;
    memset(writer->buffer, 0, DPT_SHARD__NBYTES);
    writer->used = DPT_SHARD__NBYTES;
    return DPT_STATUS_OK;
}

static enum dpt_status end_shard(struct dpt_shard_writer *writer)
{
    unsigned char head[DPT_SHARD__NBYTES] = DPT_SHARD__MAGIC;
    DPT_TRY(flush(writer));
    put(head + DPT_SHARD__VERSION, 1, 4);
    put(head + DPT_SHARD__WIDTH, (uint64_t)writer->width, 4);
    put(head + DPT_SHARD__COUNT, (uint64_t)writer->count, 8);
    put(head + DPT_SHARD__VOCAB, (uint64_t)writer->conf.vocab, 8);
    put(head + DPT_SHARD__TEXT, (uint64_t)writer->text_nbytes, 8);
    put(head + DPT_SHARD__DOCUMENTS, (uint64_t)writer->documents, 8);
    put(head + DPT_SHARD__TOKENIZER, writer->conf.tokenizer, 8);
    put(head + DPT_SHARD__END, (uint32_t)writer->conf.end, 4);
    DPT_TRY(write_all(writer, head, sizeof head, 0));
    const int error = fsync(writer->fd) != 0 ? errno : 0;
    const int closed = close(writer->fd) != 0 ? errno : 0;
    writer->fd = -1;
    return error || closed ? failed(writer, error ? error : closed) : DPT_STATUS_OK;
}

enum dpt_status dpt_shard_writer_new(const struct dpt_shard_conf *conf, struct dpt_shard_writer **writer)
{
    DPT_ASSERT(conf->vocab > 0 && conf->vocab <= INT32_MAX && conf->most > 0 && conf->end < conf->vocab);
    *writer = malloc(sizeof **writer);
    DPT_CHECK(*writer, DPT_STATUS_SPACE, "%s: no memory to write tokens", conf->folder);
    (*writer)->conf = *conf;
    (*writer)->width = conf->vocab <= 65536 ? 2 : 4;
    (*writer)->nshards = 0;
    (*writer)->fd = -1;
    (*writer)->used = 0;
    return DPT_STATUS_OK;
}

/* Tokens that fit into the open shard. */
static enum dpt_status add_tokens(struct dpt_shard_writer *writer, const int32_t *id, int64_t count)
{
    const size_t width = (size_t)writer->width;
    for (int64_t i = 0; i < count;) {
        if (writer->used + width > BUFFER) {
            DPT_TRY(flush(writer));
        }
        const int64_t room = (int64_t)((BUFFER - writer->used) / width);
        const int64_t n = count - i < room ? count - i : room;
        unsigned char *to = writer->buffer + writer->used;
        for (int64_t k = 0; k < n; k++) {
            put(to + (size_t)k * width, (uint32_t)id[i + k], writer->width);
        }
        writer->used += (size_t)n * width;
        i += n;
    }
    writer->count += count;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_shard_writer_add(struct dpt_shard_writer *writer, const int32_t *id, int64_t count,
                                     int64_t text_nbytes, int64_t documents)
{
    while (count > 0) {
        if (writer->fd >= 0 && writer->count == writer->conf.most) {
            DPT_TRY(end_shard(writer));
        }
        if (writer->fd < 0) {
            DPT_TRY(begin_shard(writer));
        }
        const int64_t room = writer->conf.most - writer->count;
        const int64_t n = count < room ? count : room;
        /* Of a piece that is cut, bytes go with tokens, and documents with the last. */
        const int64_t nbytes = n == count ? text_nbytes : (int64_t)((double)text_nbytes * (double)n / (double)count);
        DPT_TRY(add_tokens(writer, id, n));
        writer->text_nbytes += nbytes;
        writer->documents += n == count ? documents : 0;
        text_nbytes -= nbytes;
        id += n;
        count -= n;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_shard_writer_finish(struct dpt_shard_writer *writer, int64_t *count)
{
    if (writer->fd >= 0) {
        DPT_TRY(end_shard(writer));
    }
    if (count) {
        *count = writer->nshards;
    }
    return dpt_file_sync_dir(writer->conf.folder);
}

void dpt_shard_writer_free(struct dpt_shard_writer *writer)
{
    if (writer && writer->fd >= 0) {
        close(writer->fd);
    }
    free(writer);
}

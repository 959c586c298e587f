/* SPDX-License-Identifier: Apache-2.0 */

/* zlib reads plain files as well as gzip; Zstandard has its own four bytes at the beginning. */

#include "text/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { GZIP_BUFFER = 256 * 1024 };

struct dpt_text__stream {
    const char *path;
    int64_t out;  /* bytes handed out */
    gzFile gzip;  /* plain too; NULL: Zstandard */
    /* Zstandard */
    int fd;
    ZSTD_DStream *zstd;
    ZSTD_inBuffer in;
    int64_t done; /* bytes read of the file */
    bool at_end;
    bool in_frame; /* a frame was begun and not ended */
    size_t capacity;
    char *buffer;
};

static enum dpt_status open_zstd(struct dpt_text__stream *stream)
{
    stream->zstd = ZSTD_createDStream();
    stream->capacity = ZSTD_DStreamInSize();
    stream->buffer = malloc(stream->capacity);
    stream->in.src = stream->buffer;
    DPT_CHECK(stream->zstd && stream->buffer, DPT_STATUS_SPACE, "%s: no memory to unpack it", stream->path);
    return DPT_STATUS_OK;
}

static enum dpt_status open_file(struct dpt_text__stream *stream)
{
    static const unsigned char zstd_magic[4] = {0x28, 0xB5, 0x2F, 0xFD};
    unsigned char head[4] = {0};
    struct stat info;
    /* O_NONBLOCK: opening a named pipe must not wait for a writer. */
    stream->fd = open(stream->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    DPT_CHECK(stream->fd >= 0, DPT_STATUS_DATA, "%s: cannot be opened: %s", stream->path, strerror(errno));
    DPT_CHECK(fstat(stream->fd, &info) == 0 && S_ISREG(info.st_mode), DPT_STATUS_DATA,
              "%s: is not a file that can be read", stream->path);
    if (pread(stream->fd, head, sizeof head, 0) == sizeof head && memcmp(head, zstd_magic, sizeof head) == 0) {
        return open_zstd(stream);
    }
    stream->gzip = gzdopen(stream->fd, "rb");
    DPT_CHECK(stream->gzip, DPT_STATUS_SPACE, "%s: no memory to read it", stream->path);
    stream->fd = -1; /* zlib's now */
    gzbuffer(stream->gzip, GZIP_BUFFER);
    return DPT_STATUS_OK;
}

enum dpt_status dpt_text__stream_open(const char *path, struct dpt_text__stream **stream)
{
    *stream = NULL;
    struct dpt_text__stream *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "%s: no memory to read it", path);
    made->path = path;
    made->fd = -1;
    const enum dpt_status status = open_file(made);
    if (status != DPT_STATUS_OK) {
        dpt_text__stream_close(made);
        return status;
    }
    *stream = made;
    return DPT_STATUS_OK;
}

void dpt_text__stream_close(struct dpt_text__stream *stream)
{
    if (!stream) {
        return;
    }
    if (stream->gzip) {
        gzclose_r(stream->gzip);
    }
    if (stream->fd >= 0) {
        close(stream->fd);
    }
    ZSTD_freeDStream(stream->zstd);
    free(stream->buffer);
    free(stream);
}

int64_t dpt_text__stream_done(const struct dpt_text__stream *stream)
{
    return stream->gzip ? (int64_t)gzoffset(stream->gzip) : stream->done;
}

static enum dpt_status damaged(const struct dpt_text__stream *stream, size_t got, const char *why)
{
    return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__,
                         "%s: damaged after byte %lld of its content: %s; get the file again", stream->path,
                         (long long)stream->out + (long long)got, why);
}

static enum dpt_status read_gzip(struct dpt_text__stream *stream, char *to, size_t nbytes, size_t *got)
{
    while (*got < nbytes) {
        const size_t left = nbytes - *got;
        const int n = gzread(stream->gzip, to + *got, left < INT_MAX / 2 ? (unsigned)left : INT_MAX / 2);
        int error = Z_OK;
        const char *text = gzerror(stream->gzip, &error);
        if (error != Z_OK) {
            return damaged(stream, *got, error == Z_ERRNO ? strerror(errno) : error == Z_BUF_ERROR ? "cut short" : text);
        }
        if (n <= 0) {
            break;
        }
        *got += (size_t)n;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status refill(struct dpt_text__stream *stream)
{
    ssize_t n;
    do {
        n = read(stream->fd, stream->buffer, stream->capacity);
    } while (n < 0 && errno == EINTR);
    DPT_CHECK(n >= 0, DPT_STATUS_DATA, "%s: cannot be read: %s", stream->path, strerror(errno));
    stream->in.size = (size_t)n;
    stream->in.pos = 0;
    stream->done += n;
    stream->at_end = n == 0;
    return DPT_STATUS_OK;
}

static enum dpt_status read_zstd(struct dpt_text__stream *stream, char *to, size_t nbytes, size_t *got)
{
    ZSTD_outBuffer out = {.dst = to, .size = nbytes};
    while (out.pos < nbytes) {
        if (stream->in.pos == stream->in.size && !stream->at_end) {
            DPT_TRY(refill(stream));
        }
        if (stream->at_end && !stream->in_frame) {
            break;
        }
        const size_t before = out.pos;
        const size_t left = ZSTD_decompressStream(stream->zstd, &out, &stream->in);
        if (ZSTD_isError(left)) {
            return damaged(stream, out.pos, ZSTD_getErrorName(left));
        }
        stream->in_frame = left != 0;
        if (stream->at_end && out.pos == before && left != 0) {
            return damaged(stream, out.pos, "cut short");
        }
    }
    *got = out.pos;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_text__stream_read(struct dpt_text__stream *stream, char *to, size_t nbytes, size_t *got)
{
    *got = 0;
    DPT_TRY(stream->gzip ? read_gzip(stream, to, nbytes, got) : read_zstd(stream, to, nbytes, got));
    stream->out += (int64_t)*got;
    return DPT_STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */

/* Reading files of tokens. */

#include "data/shard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/shard_header.h"

enum { LLMC_HEADER = 1024, LLMC_MAGIC = 20240520, LLMC_VOCAB = 50257 };

static uint64_t little_endian(const unsigned char *p, int nbytes)
{
    uint64_t value = 0;
    for (int i = nbytes - 1; i >= 0; i--) {
        value = value << 8 | p[i];
    }
    return value;
}

/* Compares what a header announces with the size of the file. */
static enum dpt_status check_size(const struct dpt_shard *shard, uint64_t header, uint64_t count)
{
    const uint64_t nbytes = shard->map_nbytes - header;
    DPT_CHECK(count <= INT64_MAX / 8 && nbytes == count * (uint64_t)shard->width, DPT_STATUS_DATA,
              "%s: has %zu bytes; its header announces %llu tokens of %d bytes behind byte %llu. Was it cut short? Make it "
              "again",
              shard->path, shard->map_nbytes, (unsigned long long)count, shard->width, (unsigned long long)header);
    return DPT_STATUS_OK;
}

static enum dpt_status read_own(struct dpt_shard *shard, const unsigned char *head)
{
    const uint64_t version = little_endian(head + DPT_SHARD__VERSION, 4), width = little_endian(head + DPT_SHARD__WIDTH, 4);
    const uint64_t count = little_endian(head + DPT_SHARD__COUNT, 8), vocab = little_endian(head + DPT_SHARD__VOCAB, 8);
    const uint64_t text = little_endian(head + DPT_SHARD__TEXT, 8), end = little_endian(head + DPT_SHARD__END, 4);
    const uint64_t documents = little_endian(head + DPT_SHARD__DOCUMENTS, 8);
    DPT_CHECK(version == 1, DPT_STATUS_DATA,
              "%s: bytes 8 to 11 say version %llu; this dpt knows version 1. Make it again, or take a newer dpt",
              shard->path, (unsigned long long)version);
    DPT_CHECK(width == 2 || width == 4, DPT_STATUS_DATA, "%s: bytes 12 to 15 say %llu bytes a token: expected are 2 or 4",
              shard->path, (unsigned long long)width);
    DPT_CHECK(vocab > 0 && vocab <= (width == 2 ? 65536 : INT32_MAX), DPT_STATUS_DATA,
              "%s: bytes 24 to 31 say a vocabulary of %llu, which is none for tokens of %llu bytes", shard->path,
              (unsigned long long)vocab, (unsigned long long)width);
    DPT_CHECK(text <= INT64_MAX && documents <= INT64_MAX && (end < vocab || end == UINT32_MAX), DPT_STATUS_DATA,
              "%s: bytes 32 to 59 of its header are damaged; make it again", shard->path);
    shard->layout = DPT_SHARD_LAYOUT_DPT;
    shard->width = (int)width;
    shard->vocab = (int64_t)vocab;
    shard->text_nbytes = (int64_t)text;
    shard->documents = (int64_t)documents;
    shard->tokenizer = little_endian(head + DPT_SHARD__TOKENIZER, 8);
    shard->end = end == UINT32_MAX ? -1 : (int64_t)end;
    shard->token = head + DPT_SHARD__NBYTES;
    DPT_TRY(check_size(shard, DPT_SHARD__NBYTES, count));
    shard->count = (int64_t)count;
    return DPT_STATUS_OK;
}

static enum dpt_status read_llmc(struct dpt_shard *shard, const unsigned char *head)
{
    const uint64_t version = little_endian(head + 4, 4), count = little_endian(head + 8, 4);
    DPT_CHECK(version == 1, DPT_STATUS_DATA,
              "%s: begins as a file of llm.c, but bytes 4 to 7 say version %llu: expected is 1", shard->path,
              (unsigned long long)version);
    shard->layout = DPT_SHARD_LAYOUT_LLMC;
    shard->vocab = LLMC_VOCAB;
    shard->end = LLMC_VOCAB - 1;
    shard->token = head + LLMC_HEADER;
    DPT_TRY(check_size(shard, LLMC_HEADER, count));
    shard->count = (int64_t)count;
    return DPT_STATUS_OK;
}

static enum dpt_status read_plain(struct dpt_shard *shard, const unsigned char *head)
{
    DPT_CHECK(shard->map_nbytes % 2 == 0, DPT_STATUS_DATA,
              "%s: has no header, so it is taken for tokens of 2 bytes, but it has %zu bytes, an odd number",
              shard->path, shard->map_nbytes);
    shard->layout = DPT_SHARD_LAYOUT_NANOGPT;
    shard->token = head;
    shard->count = (int64_t)(shard->map_nbytes / 2);
    return DPT_STATUS_OK;
}

static enum dpt_status map_file(struct dpt_shard *shard)
{
    struct stat info;
    /* O_NONBLOCK: opening a named pipe must not wait for a writer. */
    const int fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    DPT_CHECK(fd >= 0, DPT_STATUS_DATA, "%s: cannot be opened: %s", shard->path, strerror(errno));
    const bool plain = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    void *map = plain && info.st_size > 0 ? mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    const int error = errno;
    close(fd);
    DPT_CHECK(plain, DPT_STATUS_DATA, "%s: is not a file that can be read", shard->path);
    DPT_CHECK(info.st_size > 0, DPT_STATUS_DATA, "%s: is empty: expected are tokens", shard->path);
    DPT_CHECK(map != MAP_FAILED, DPT_STATUS_SPACE, "%s: cannot be mapped: %s", shard->path, strerror(error));
    shard->map = map;
    shard->map_nbytes = (size_t)info.st_size;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_shard_open(const char *path, struct dpt_shard *shard)
{
    *shard = (struct dpt_shard){.path = path, .width = 2, .end = -1};
    DPT_TRY(map_file(shard));
    const unsigned char *head = shard->map;
    const bool own = shard->map_nbytes >= DPT_SHARD__NBYTES && memcmp(head, DPT_SHARD__MAGIC, 8) == 0;
    const bool llmc = shard->map_nbytes >= LLMC_HEADER && little_endian(head, 4) == LLMC_MAGIC;
    const enum dpt_status status = own ? read_own(shard, head) : llmc ? read_llmc(shard, head) : read_plain(shard, head);
    if (status != DPT_STATUS_OK) {
        dpt_shard_close(shard);
    }
    return status;
}

void dpt_shard_close(struct dpt_shard *shard)
{
    if (shard->map) {
        munmap(shard->map, shard->map_nbytes);
    }
    shard->map = NULL;
}

int64_t dpt_shard_token(const struct dpt_shard *shard, int64_t at)
{
    return (int64_t)little_endian(shard->token + at * shard->width, shard->width);
}

/* The largest of the copied tokens. On little-endian machines the compiler makes plain loads of this. */
static uint32_t copy_narrow(const unsigned char *p, int64_t count, int32_t *to)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t token = (uint32_t)p[2 * i] | (uint32_t)p[2 * i + 1] << 8;
        most = token > most ? token : most;
        to[i] = (int32_t)token;
    }
    return most;
}

static uint32_t copy_wide(const unsigned char *p, int64_t count, int32_t *to)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t token = (uint32_t)little_endian(p + 4 * i, 4);
        most = token > most ? token : most;
        to[i] = (int32_t)token;
    }
    return most;
}

bool dpt_shard_copy(const struct dpt_shard *shard, int64_t first, int64_t count, int64_t vocab, int32_t *to, int64_t *bad)
{
    DPT_ASSERT(first >= 0 && count >= 0 && count <= shard->count && first <= shard->count - count);
    const unsigned char *from = shard->token + first * shard->width;
    const uint32_t most = shard->width == 2 ? copy_narrow(from, count, to) : copy_wide(from, count, to);
    if (most < vocab) {
        return true;
    }
    for (*bad = first; dpt_shard_token(shard, *bad) < vocab; ++*bad) {
    }
    return false;
}

int64_t dpt_shard_find(const struct dpt_shard *shard, int64_t first, int64_t last, int64_t token)
{
    DPT_ASSERT(first >= 0 && first <= last && last <= shard->count);
    const unsigned char *p = shard->token;
    if (shard->width == 2) {
        while (first < last && (p[2 * first] | p[2 * first + 1] << 8) != token) {
            first++;
        }
        return first;
    }
    while (first < last && dpt_shard_token(shard, first) != token) {
        first++;
    }
    return first;
}

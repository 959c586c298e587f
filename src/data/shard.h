/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Files of tokens. A shard is a header of 256 bytes and then its tokens, little-endian, 2 or 4 bytes each:
 *
 *     0  8  "dpttoken"
 *     8  4  version, 1                  32  8  bytes of text that the tokens stand for
 *    12  4  bytes of a token, 2 or 4    40  8  documents
 *    16  8  tokens                      48  8  hash of the tokenizer
 *    24  8  vocabulary                  56  4  end-of-text token, 2^32 - 1: none
 *                                       60     zeros
 *
 * Two other layouts are read too: llm.c's (a header of 1024 bytes that begins with 20240520, 1 and the number of tokens,
 * then tokens of GPT-2 in 2 bytes) and nanoGPT's (tokens in 2 bytes, no header).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* --------------------------------------------------------------------------------------------------- reading */

enum dpt_shard_layout { DPT_SHARD_LAYOUT_DPT, DPT_SHARD_LAYOUT_LLMC, DPT_SHARD_LAYOUT_NANOGPT };

struct dpt_shard {
    const char *path;           /* the caller's                                          */
    enum dpt_shard_layout layout;
    int width;                  /* bytes of a token                                      */
    int64_t count;              /* tokens                                                */
    int64_t vocab;              /* 0: not known                                          */
    int64_t text_nbytes;        /* 0: not known                                          */
    int64_t documents;          /* 0: not known                                          */
    uint64_t tokenizer;         /* hash; 0: not known                                    */
    int64_t end;                /* -1: none, or not known                                */
    const unsigned char *token; /* [count * width], mapped: pages come and go as needed  */
    void *map;
    size_t map_nbytes;
};

/*
 * Maps a shard; its header is compared with its size, its tokens are not looked at. Of a shard that is cut short while
 * it is mapped the system ends the process. DPT_STATUS_DATA. Closed by dpt_shard_close. Local.
 */
enum dpt_status dpt_shard_open(const char *path, struct dpt_shard *shard);

/* An empty shard is fine. Local. */
void dpt_shard_close(struct dpt_shard *shard);

/*
 * Copies `count` tokens from `first` on, which lie in the shard. False when one is not less than `vocab`: then *bad is
 * the place of the first such token in the shard. Local.
 */
bool dpt_shard_copy(const struct dpt_shard *shard, int64_t first, int64_t count, int64_t vocab, int32_t *to,
                    int64_t *bad);

/* The token at a place in the shard. Local. */
int64_t dpt_shard_token(const struct dpt_shard *shard, int64_t at);

/* The first place from `first` on and before `last` where this token stands, or `last`. Local. */
int64_t dpt_shard_find(const struct dpt_shard *shard, int64_t first, int64_t last, int64_t token);

/* --------------------------------------------------------------------------------------------------- writing */

struct dpt_shard_conf {
    const char *folder, *name; /* files FOLDER/NAME-00000.bin, -00001 ... */
    int64_t vocab;             /* up to 65536: 2 bytes a token            */
    int32_t end;
    uint64_t tokenizer;
    int64_t most;              /* tokens of a shard                       */
};

struct dpt_shard_writer;

/* A writer that has made no file yet; the folder exists, and the files do not. Local. */
enum dpt_status dpt_shard_writer_new(const struct dpt_shard_conf *conf, struct dpt_shard_writer **writer);

/*
 * Appends tokens that stand for `text_nbytes` bytes and end `documents` documents. A shard that is full is finished and
 * the next begun. DPT_STATUS_SPACE, DPT_STATUS_FAILED; the writer is then only good for free. Local.
 */
enum dpt_status dpt_shard_writer_add(struct dpt_shard_writer *writer, const int32_t *id, int64_t count,
                                     int64_t text_nbytes, int64_t documents);

/* Writes what is left and makes all of it last (fsync). *count gets the shards, may be NULL. Local. */
enum dpt_status dpt_shard_writer_finish(struct dpt_shard_writer *writer, int64_t *count);

/* Closes; what was not finished stays as it is. NULL is fine. Local. */
void dpt_shard_writer_free(struct dpt_shard_writer *writer);

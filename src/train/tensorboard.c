/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The messages, in the numbers of TensorFlow's event.proto and summary.proto:
 *
 *     Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }
 *     Summary { repeated Value value = 1; }    Value { string tag = 1; float simple_value = 2; }
 *
 * A record is built in a buffer on the stack and written by one call, so that a reader never sees half of it.
 */

#include "train/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum {
    TAG_MAX = 512,               /* bytes of a tag                   */
    RECORD_MAX = TAG_MAX + 128,  /* a whole framed record            */
};

enum { WIRE_VARINT = 0, WIRE_DOUBLE = 1, WIRE_BYTES = 2, WIRE_FLOAT = 5 };

struct dpt_tensorboard {
    int fd;
    char path[PATH_MAX];
};

uint32_t dpt_tensorboard__crc32c(const void *data, size_t nbytes)
{
    /* The remainders of the 16 half bytes; records are small, so two steps a byte are fast enough. */
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = 0xffffffff;
    const unsigned char *at = data;
    for (size_t i = 0; i < nbytes; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* A checksum of data that holds checksums is weak, so the format stores them rotated and shifted by a constant. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---------------------------------------------------------------------------------------------------- encoding */

struct bytes {
    unsigned char data[RECORD_MAX];
    size_t length;
};

static void add_bytes(struct bytes *out, const void *data, size_t nbytes)
{
    DPT_ASSERT(nbytes <= sizeof out->data - out->length);
    memcpy(out->data + out->length, data, nbytes);
    out->length += nbytes;
}

/* The low `nbytes` bytes of a number, least first. */
static void add_fixed(struct bytes *out, uint64_t value, int nbytes)
{
    for (int i = 0; i < nbytes; i++) {
        const unsigned char byte = (unsigned char)(value >> 8 * i);
        add_bytes(out, &byte, 1);
    }
}

/* Seven bits a byte, least first; the top bit says that more follow. */
static void add_varint(struct bytes *out, uint64_t value)
{
    while (value >= 128) {
        add_fixed(out, value | 128, 1);
        value >>= 7;
    }
    add_fixed(out, value, 1);
}

static void add_key(struct bytes *out, unsigned field, unsigned wire)
{
    add_varint(out, field << 3 | wire);
}

static void add_field(struct bytes *out, unsigned field, const void *data, size_t nbytes)
{
    add_key(out, field, WIRE_BYTES);
    add_varint(out, nbytes);
    add_bytes(out, data, nbytes);
}

static void add_wall_time(struct bytes *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    add_key(out, 1, WIRE_DOUBLE);
    add_fixed(out, bits, 8);
}

/* Frames an Event and writes it. */
static enum dpt_status write_event(struct dpt_tensorboard *writer, const struct bytes *event)
{
    struct bytes record = {.length = 0};
    add_fixed(&record, event->length, 8);
    add_fixed(&record, masked(dpt_tensorboard__crc32c(record.data, 8)), 4);
    add_bytes(&record, event->data, event->length);
    add_fixed(&record, masked(dpt_tensorboard__crc32c(event->data, event->length)), 4);
    for (size_t done = 0; done < record.length;) {
        const ssize_t put = write(writer->fd, record.data + done, record.length - done);
        DPT_CHECK(put >= 0 || errno == EINTR, dpt_file_write_status(errno), "%s: cannot be written: %s", writer->path,
                  strerror(errno));
        done += put > 0 ? (size_t)put : 0;
    }
    return DPT_STATUS_OK;
}

/* -------------------------------------------------------------------------------------------------------- face */

enum dpt_status dpt_tensorboard_open(const char *folder, struct dpt_tensorboard **out)
{
    char host[64] = "host";
    gethostname(host, sizeof host - 1);
    struct dpt_tensorboard *writer = malloc(sizeof *writer);
    DPT_CHECK(writer, DPT_STATUS_SPACE, "%s: no memory for the event file", folder);
    writer->fd = -1;
    if (snprintf(writer->path, sizeof writer->path, "%s/events.out.tfevents.%lld.%s", folder, (long long)time(NULL),
                 host) < (int)sizeof writer->path) {
        /* Two starts in one second append to one file, which is as good as two files. */
        writer->fd = open(writer->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    } else {
        errno = ENAMETOOLONG;
    }
    enum dpt_status status = DPT_STATUS_OK;
    if (writer->fd < 0) {
        status = dpt_error_set(dpt_file_write_status(errno), __FILE__, __LINE__,
                               "%s: an event file cannot be created: %s", folder, strerror(errno));
    } else {
        static const char version[] = "brain.Event:2";
        struct bytes event = {.length = 0};
        add_wall_time(&event);
        add_field(&event, 3, version, sizeof version - 1);
        status = write_event(writer, &event);
    }
    if (status != DPT_STATUS_OK) {
        dpt_tensorboard_close(writer);
        return status;
    }
    *out = writer;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_tensorboard_scalar(struct dpt_tensorboard *writer, const char *tag, int64_t step, double value)
{
    const size_t ntag = strlen(tag);
    DPT_ASSERT(ntag <= TAG_MAX);
    const float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    struct bytes item = {.length = 0}, summary = {.length = 0}, event = {.length = 0};
    add_field(&item, 1, tag, ntag);
    add_key(&item, 2, WIRE_FLOAT);
    add_fixed(&item, bits, 4);
    add_field(&summary, 1, item.data, item.length);
    add_wall_time(&event);
    add_key(&event, 2, WIRE_VARINT);
    add_varint(&event, (uint64_t)step);
    add_field(&event, 5, summary.data, summary.length);
    return write_event(writer, &event);
}

void dpt_tensorboard_close(struct dpt_tensorboard *writer)
{
    if (writer) {
        if (writer->fd >= 0) {
            close(writer->fd);
        }
        free(writer);
    }
}

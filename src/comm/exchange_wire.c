/* SPDX-License-Identifier: Apache-2.0 */
#include "comm/exchange_wire.h"

#include <stdlib.h>
#include <string.h>

#include "comm/exchange_node.h"
#include "comm/topk.h"

static bool keeps(const struct dpt_exchange *e)
{
    return e->wire.kind == DPT_WIRE_KIND_TOPK || e->wire.kind == DPT_WIRE_KIND_POWERSGD;
}

/* The ranks among which a bucket's messages go; NULL: it goes through memory alone. */
static const struct dpt_comm *senders(const struct dpt_exchange *e)
{
    return e->buffer_block ? e->node->rail : e->comm;
}

enum dpt_wire_kind dpt_exchange__wire_of(const struct dpt_exchange *exchange, int bucket)
{
    const struct dpt_exchange *e = exchange;
    const bool lossy = e->dtype == DPT_DTYPE_F32 && e->bucket[bucket].end <= e->lossy_end;
    return lossy && senders(e) ? e->wire.kind : DPT_WIRE_KIND_FP32;
}

/* ------------------------------------------------------------------------------------------------------ what is kept */

/* Rows of a matrix that lie whole in a range: all that a rank may project. */
static struct dpt_range rows_in(const struct dpt_exchange_matrix *matrix, struct dpt_range range)
{
    const int64_t before = range.begin - matrix->begin, behind = range.end - matrix->begin;
    struct dpt_range rows = {before > 0 ? (before + matrix->cols - 1) / matrix->cols : 0,
                             behind > 0 ? behind / matrix->cols : 0};
    rows.end = rows.end < matrix->rows ? rows.end : matrix->rows;
    return rows.begin < rows.end ? rows : (struct dpt_range){0, 0};
}

/* Finds the matrices of a range; only counts them and their columns where l->part is NULL. */
static void find_parts(int rank, int nmatrices, const struct dpt_exchange_matrix *matrices, struct dpt_range range,
                       struct dpt_comm__lowrank *l, float *q)
{
    l->rank = rank;
    l->n = range.end - range.begin;
    l->thin = l->n;
    l->nparts = 0;
    l->wide = 0;
    for (int m = 0; m < nmatrices; m++) {
        const struct dpt_exchange_matrix *matrix = &matrices[m];
        const struct dpt_range in = rows_in(matrix, range);
        const int64_t rows = in.end - in.begin, cols = matrix->cols;
        if (!dpt_comm__lowrank_gains(rows, cols, l->rank)) {
            continue;
        }
        if (l->part) {
            l->part[l->nparts] = (struct dpt_comm__lowrank_part){
                .at = matrix->begin + in.begin * cols - range.begin,
                .rows = rows,
                .cols = cols,
                .q = q + l->wide,
            };
        }
        l->nparts++;
        l->thin += l->rank * rows - rows * cols;
        l->wide += l->rank * cols;
    }
}

/* Begins anew: the same on all ranks that send with this one, whatever was before. */
static void begin_columns(struct dpt_exchange *e)
{
    for (int b = 0; b < e->nbuckets; b++) {
        const struct dpt_exchange__kept *kept = &e->kept[b];
        for (int p = 0; p < kept->lowrank.nparts; p++) {
            dpt_comm__lowrank_begin(&kept->lowrank.part[p], e->wire.rank, e->seed,
                                    kept->range.begin + kept->lowrank.part[p].at);
        }
    }
}

static enum dpt_status take(struct dpt_exchange *e, int b)
{
    struct dpt_exchange__kept *kept = &e->kept[b];
    const int64_t n = kept->range.end - kept->range.begin;
    kept->residual = calloc((size_t)n + 1, sizeof *kept->residual);
    DPT_CHECK(kept->residual, DPT_STATUS_SPACE, "out of memory: %lld floats that are kept from the gradients of a bucket",
              (long long)n);
    e->kept_nbytes += (size_t)n * sizeof(float);
    if (e->wire.kind != DPT_WIRE_KIND_POWERSGD) {
        DPT_CHECK(n < INT64_C(1) << 32, DPT_STATUS_USAGE,
                  "[parallel] wire = topk: a bucket has %lld numbers, more than 2^32: set parallel.bucket", (long long)n);
        return DPT_STATUS_OK;
    }
    struct dpt_comm__lowrank *l = &kept->lowrank;
    find_parts(e->wire.rank, e->nmatrices, e->matrix, kept->range, l, NULL);
    l->part = calloc((size_t)l->nparts + 1, sizeof *l->part);
    float *q = calloc((size_t)l->wide + 1, sizeof *q);
    kept->columns = q;
    DPT_CHECK(l->part && q, DPT_STATUS_SPACE, "out of memory: %lld floats of thin matrices", (long long)l->wide);
    find_parts(e->wire.rank, e->nmatrices, e->matrix, kept->range, l, q);
    e->kept_nbytes += (size_t)l->wide * sizeof *q;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exchange__wire_bind(struct dpt_exchange *exchange)
{
    struct dpt_exchange *e = exchange;
    e->kept_nbytes = 0;
    if (!e->way || !keeps(e) || !senders(e)) {
        return DPT_STATUS_OK;
    }
    DPT_CHECK(!e->sliced || e->by_host, DPT_STATUS_USAGE,
              "[parallel] wire = topk and powersgd keep what they do not send, of whole buckets: set shard = none");
    e->kept = calloc((size_t)e->nbuckets + 1, sizeof *e->kept);
    DPT_CHECK(e->kept, DPT_STATUS_SPACE, "out of memory for %d buckets", e->nbuckets);
    for (int b = 0; b < e->nbuckets; b++) {
        if (dpt_exchange__wire_of(e, b) != DPT_WIRE_KIND_FP32) {
            e->kept[b].range = e->buffer_block ? dpt_exchange_slice_of(e->bucket[b], e->node->size, e->node->rank) : e->bucket[b];
            DPT_TRY(take(e, b));
        }
    }
    begin_columns(e);
    return DPT_STATUS_OK;
}

void dpt_exchange__wire_unbind(struct dpt_exchange *exchange)
{
    for (int b = 0; b < exchange->nbuckets && exchange->kept; b++) {
        free(exchange->kept[b].residual);
        free(exchange->kept[b].lowrank.part);
        free(exchange->kept[b].columns);
    }
    free(exchange->kept);
    exchange->kept = NULL;
}

bool dpt_exchange_keeps(const struct dpt_exchange *exchange)
{
    return exchange->kept != NULL;
}

size_t dpt_exchange_kept_nbytes(const struct dpt_exchange *exchange)
{
    return exchange->kept_nbytes;
}

enum dpt_status dpt_exchange_get_kept(struct dpt_exchange *exchange, int64_t count, float *whole)
{
    struct dpt_exchange *e = exchange;
    memset(whole, 0, (size_t)count * sizeof *whole);
    if (!e->kept) {
        return DPT_STATUS_OK;
    }
    for (int b = 0; b < e->nbuckets; b++) {
        const struct dpt_exchange__kept *kept = &e->kept[b];
        if (kept->residual) {
            DPT_ASSERT(kept->range.end <= count);
            memcpy(whole + kept->range.begin, kept->residual,
                   (size_t)(kept->range.end - kept->range.begin) * sizeof *whole);
        }
    }
    DPT_TRY(dpt_comm_allreduce(e->comm, whole, count, DPT_DTYPE_F32, DPT_COMM_REDUCE_SUM));
    dpt_exchange_set_kept(e, count, whole);
    return DPT_STATUS_OK;
}

void dpt_exchange_set_kept(struct dpt_exchange *exchange, int64_t count, const float *whole)
{
    struct dpt_exchange *e = exchange;
    for (int b = 0; b < e->nbuckets && e->kept; b++) {
        const struct dpt_exchange__kept *kept = &e->kept[b];
        for (int64_t i = kept->range.begin; i < kept->range.end && kept->residual; i++) {
            DPT_ASSERT(i < count);
            kept->residual[i - kept->range.begin] = whole[i] / (float)senders(e)->size;
        }
    }
    if (e->kept) {
        begin_columns(e);
    }
}

/* ---------------------------------------------------------------------------------------------------------- sums */

size_t dpt_exchange__wire_scratch(const struct dpt_exchange *exchange, int64_t longest)
{
    const struct dpt_exchange *e = exchange;
    const int ranks = senders(e) ? senders(e)->size : 1;
    size_t most = 0;
    switch (e->wire.kind) {
    case DPT_WIRE_KIND_FP32: return 0;
    case DPT_WIRE_KIND_BF16:
    case DPT_WIRE_KIND_INT8: return dpt_comm__wire_scratch(e->wire.kind, ranks, longest);
    case DPT_WIRE_KIND_TOPK: return dpt_comm__topk_scratch(ranks, longest, e->wire.share);
    case DPT_WIRE_KIND_POWERSGD: break;
    }
    for (int b = 0; b < e->nbuckets && e->kept; b++) {
        const struct dpt_comm__lowrank *l = &e->kept[b].lowrank;
        const size_t nbytes = (size_t)(l->thin + l->wide) * sizeof(float);
        most = nbytes > most ? nbytes : most;
    }
    return most;
}

struct dpt_comm__code dpt_exchange__code(const struct dpt_exchange *exchange, const struct dpt_exchange__job *job, int64_t at)
{
    return (struct dpt_comm__code){
        .kind = job->wire,
        .seed = exchange->seed,
        .step = (uint64_t)exchange->step,
        .first = job->first + at,
        .sender = exchange->comm->rank,
    };
}

enum dpt_status dpt_exchange__wire_sum(struct dpt_exchange *exchange, const struct dpt_exchange__job *job,
                                       struct dpt_comm *comm, struct dpt_comm__slices *slices, struct dpt_range range)
{
    struct dpt_exchange *e = exchange;
    const size_t width = dpt_dtype_nbytes(job->dtype);
    const int64_t n = range.end - range.begin;
    void *data = (char *)job->data + (size_t)range.begin * width;
    switch (job->wire) {
    case DPT_WIRE_KIND_BF16:
    case DPT_WIRE_KIND_INT8: {
        const struct dpt_comm__code code = dpt_exchange__code(e, job, range.begin);
        dpt_comm__slices_even(comm, slices, n);
        DPT_TRY(dpt_comm__wire_scatter(comm, slices, &code, data, job->scratch));
        return dpt_comm__wire_collect(comm, slices, &code, data, job->scratch);
    }
    case DPT_WIRE_KIND_TOPK:
        return dpt_comm__topk_sum(comm, slices, n, data, e->kept[job->bucket].residual, e->wire.share, job->scratch);
    case DPT_WIRE_KIND_POWERSGD:
        return dpt_comm__lowrank_sum(comm, &e->kept[job->bucket].lowrank, data, e->kept[job->bucket].residual,
                                     job->scratch);
    case DPT_WIRE_KIND_FP32: break;
    }
    return e->tree && job->reduce == DPT_COMM_REDUCE_SUM
               ? dpt_comm__allreduce_tree(comm, data, n, job->dtype, job->scratch)
               : dpt_comm__allreduce(comm, data, n, job->dtype, job->reduce);
}

/* ------------------------------------------------------------------------------------------------ what it comes to */

int64_t dpt_wire_columns(const struct dpt_wire *wire, struct dpt_range range, int nmatrices,
                         const struct dpt_exchange_matrix *matrix)
{
    struct dpt_comm__lowrank l = {0};
    if (wire->kind == DPT_WIRE_KIND_POWERSGD) {
        find_parts(wire->rank, nmatrices, matrix, range, &l, NULL);
    }
    return l.wide;
}

double dpt_wire_sent(const struct dpt_wire *wire, int ranks, struct dpt_range range, int nmatrices,
                     const struct dpt_exchange_matrix *matrix)
{
    const int64_t n = range.end - range.begin;
    const double ring = 2.0 * (ranks - 1) / ranks; /* of an all-reduce in a ring, or of slices and back */
    struct dpt_comm__lowrank l = {0};
    switch (wire->kind) {
    case DPT_WIRE_KIND_FP32: break;
    case DPT_WIRE_KIND_BF16:
    case DPT_WIRE_KIND_INT8: return ring * (double)dpt_comm__code_nbytes(wire->kind, n);
    case DPT_WIRE_KIND_TOPK: return (ranks - 1) * 8.0 * (double)dpt_comm__topk_count(n, wire->share);
    case DPT_WIRE_KIND_POWERSGD: find_parts(wire->rank, nmatrices, matrix, range, &l, NULL); return ring * 4.0 * (double)(l.thin + l.wide);
    }
    return ring * 4.0 * (double)n;
}

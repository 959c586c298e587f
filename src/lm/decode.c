/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/decode.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "dev/dev.h"
#include "exec/device.h"
#include "graph/graph.h"
#include "op/attention.h"

enum { CHUNK = 32 }; /* positions of a text that are read at once */

/* The model's graph for `rows` texts and a number of positions, with memory for every value. */
struct program {
    struct dpt_graph *graph;
    int64_t rows, positions;
    void **prep;   /* of each node                                                       */
    void **data;   /* of each value; weights are those of the decoder                    */
    bool *rounded; /* of each value: a weight whose numbers have been rounded to 16 bits */
};

/* Keys and values of one attention: [texts, most, heads, width] each. */
struct cache {
    int64_t row; /* bytes of one position */
    char *key, *value;
};

struct block {
    void *data;
    size_t nbytes;
};

struct dpt_decode {
    struct dpt_arena *arena;
    struct dpt_decode_conf conf;
    enum dpt_dtype real, half; /* half: F32, or what is computed in instead */
    struct dpt_dev *dev;
    enum dpt_run run;
    char why[DPT_EXEC_WHY];
    void *host;     /* logits, where the device is apart */
    struct program chunk, single, step; /* one text and CHUNK positions, one text and one, all texts and one */
    int nweights;
    struct dpt_tensor *weight;
    int *value;     /* of each weight, in the graph of `step` */
    int ncaches;
    struct cache *cache;
    char *queries;  /* of one text, packed, where they come between keys and values */
    void *scratch;
    size_t scratch_nbytes;
    int64_t position;
    struct block *block; /* all memory but the arena's */
    int nblocks;
    size_t blocks_capacity;
};

static enum dpt_status take(struct dpt_decode *decode, size_t nbytes, const char *what, void *at)
{
    void *data;
    DPT_TRY(dpt_dev_alloc(decode->dev, nbytes ? nbytes : 1, what, &data));
    decode->block = dpt_arena_grow(decode->arena, decode->block, (size_t)decode->nblocks, &decode->blocks_capacity,
                                   sizeof *decode->block);
    decode->block[decode->nblocks++] = (struct block){data, nbytes ? nbytes : 1};
    memcpy(at, &data, sizeof data);
    return DPT_STATUS_OK;
}

static bool is_attention(const struct dpt_node *node)
{
    return node->op == &dpt_op_attention || node->op == &dpt_op_attention_qkv;
}

/* ------------------------------------------------------------------------------------------------------ programs */

static enum dpt_status build(const struct dpt_decode *decode, struct program *program, int64_t rows, int64_t positions)
{
    struct dpt_model_io io = decode->conf.io;
    struct dpt_job job = *decode->conf.job;
    job.model.context = io.dim[0]; /* the table of positions is whole, however few are run */
    io.dim[0] = positions;
    program->rows = rows;
    program->positions = positions;
    program->graph = dpt_graph_new(decode->real, rows, false);
    DPT_TRY(dpt_model_build(&job, &io, true, program->graph));
    DPT_TRY(dpt_graph_fuse(program->graph));
    DPT_TRY(dpt_graph_fuse_norms(program->graph));
    if (decode->half != DPT_DTYPE_F32) {
        dpt_graph_precision(program->graph, decode->half);
    }
    return dpt_graph_check(program->graph);
}

/*
 * True when every reader of a weight takes it rounded to 16 bits: as a factor of a product, or to give it out so. Then it
 * is rounded once, when it comes, and not for each token: that would cost more than the products of one token.
 */
static bool is_rounded(const struct dpt_graph *graph, int weight)
{
    bool all = true;
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        for (int i = 0; i < node->nin; i++) {
            all = all && (node->in[i] != weight || node->op == &dpt_op_embedding || (node->op->factors >> i & 1));
        }
    }
    return all && graph->node[0].half != DPT_DTYPE_F32;
}

/* Marks the weights that are rounded when they come; a card keeps them in 16 bits. */
static void find_rounded(const struct dpt_decode *decode, struct program *program)
{
    const struct dpt_graph *graph = program->graph;
    program->rounded = dpt_arena_array(decode->arena, (size_t)graph->nvalues, sizeof *program->rounded);
    for (int v = 0; v < graph->nvalues; v++) {
        struct dpt_value *value = &graph->value[v];
        program->rounded[v] = value->kind == DPT_VALUE_KIND_PARAM && is_rounded(graph, v);
        value->type.dtype = program->rounded[v] && decode->run == DPT_RUN_CUDA ? decode->half : value->type.dtype;
    }
}

/* The types of a node, with what is known of its weights. */
static void types_of(const struct program *program, const struct dpt_node *node, struct dpt_op_types *types)
{
    dpt_graph_types(program->graph, node, types);
    for (int i = 0; i < node->nin; i++) {
        types->rounded |= (unsigned char)((program->rounded[node->in[i]] ? 1u : 0u) << i);
    }
}

/* Weights of all programs are those of the first, by name. */
static enum dpt_status take_weights(struct dpt_decode *decode)
{
    const struct dpt_graph *graph = decode->step.graph;
    decode->weight = dpt_arena_array(decode->arena, (size_t)graph->nvalues, sizeof *decode->weight);
    decode->value = dpt_arena_array(decode->arena, (size_t)graph->nvalues, sizeof *decode->value);
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        if (value->kind == DPT_VALUE_KIND_PARAM) {
            struct dpt_tensor *weight = &decode->weight[decode->nweights];
            decode->value[decode->nweights++] = v;
            weight->type = dpt_graph_stored(graph, v);
            DPT_TRY(take(decode, dpt_type_nbytes(&weight->type), "the weights", &weight->data));
            decode->step.data[v] = weight->data;
        }
    }
    return DPT_STATUS_OK;
}

static enum dpt_status take_values(struct dpt_decode *decode, struct program *program)
{
    const struct dpt_graph *graph = program->graph;
    for (int v = 0; v < graph->nvalues; v++) {
        const struct dpt_value *value = &graph->value[v];
        if (value->kind == DPT_VALUE_KIND_PARAM) {
            const int same = dpt_graph_find(decode->step.graph, value->name);
            DPT_ASSERT(same >= 0);
            program->data[v] = decode->step.data[same];
        } else if (value->producer >= 0 && graph->node[value->producer].op->view) {
            program->data[v] = program->data[graph->node[value->producer].in[0]];
        } else {
            DPT_TRY(take(decode, dpt_type_nbytes(&value->type), "the activations", &program->data[v]));
        }
    }
    return DPT_STATUS_OK;
}

static void need_scratch(struct dpt_decode *decode, const struct dpt_op *op, const struct dpt_op_types *types,
                         const void *prep)
{
    const size_t need = dpt_op_scratch(op, types, decode->run, decode->conf.threads, prep);
    decode->scratch_nbytes = need > decode->scratch_nbytes ? need : decode->scratch_nbytes;
}

/* The operands of attention for one text with `rows` queries and `keys` keys, from those of a node. */
static void attention_types(const struct dpt_graph *graph, const struct dpt_node *node, int64_t rows, int64_t keys,
                            struct dpt_op_types *types)
{
    const struct dpt_type *first = &graph->value[node->in[0]].type;
    const bool joined = node->op == &dpt_op_attention_qkv; /* [b, s, 3, a, d] */
    const struct dpt_type query = joined ? (struct dpt_type){first->dtype, 5, {1, rows, first->dim[3], 1, first->dim[4]}}
                                         : (struct dpt_type){first->dtype, 5, {1, rows, first->dim[2], first->dim[3],
                                                                               first->dim[4]}};
    const struct dpt_type key = {first->dtype, 4, {1, keys, query.dim[2], query.dim[4]}};
    *types = (struct dpt_op_types){
        .param = node->param, .nin = 3, .in = {query, key, key}, .half = node->half, .narrow = node->narrow};
    if (dpt_op_shape(&dpt_op_attention, types) != DPT_STATUS_OK) {
        dpt_fatal(DPT_STATUS_FAILED, "internal error: %s: %s; please report it", node->name, dpt_error_text());
    }
}

static enum dpt_status prepare(struct dpt_decode *decode, struct program *program)
{
    const struct dpt_graph *graph = program->graph;
    program->prep = dpt_arena_array(decode->arena, (size_t)graph->nnodes, sizeof *program->prep);
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        struct dpt_op_types types;
        if (is_attention(node)) {
            const int64_t most = decode->conf.most, least = program->positions;
            attention_types(graph, node, least, most > least ? most : least, &types);
            need_scratch(decode, &dpt_op_attention, &types, NULL);
            continue;
        }
        types_of(program, node, &types);
        DPT_TRY(dpt_op_prepare(node->op, &types, decode->run, decode->conf.threads, decode->dev,
                               &program->prep[n]));
        need_scratch(decode, node->op, &types, program->prep[n]);
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------ keys and values */

static enum dpt_status take_caches(struct dpt_decode *decode)
{
    const struct dpt_graph *graph = decode->step.graph;
    size_t queries = 0;
    decode->cache = dpt_arena_array(decode->arena, (size_t)graph->nnodes, sizeof *decode->cache);
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_op_types types;
        if (!is_attention(&graph->node[n])) {
            continue;
        }
        attention_types(graph, &graph->node[n], CHUNK, CHUNK, &types);
        const size_t need = dpt_type_nbytes(&types.in[0]);
        queries = need > queries ? need : queries;
        struct cache *cache = &decode->cache[decode->ncaches++];
        cache->row = (int64_t)dpt_type_nbytes(&types.in[1]) / CHUNK;
        const size_t nbytes = (size_t)decode->conf.texts * (size_t)decode->conf.most * (size_t)cache->row;
        DPT_TRY(take(decode, nbytes, "keys", &cache->key));
        DPT_TRY(take(decode, nbytes, "values", &cache->value));
    }
    return take(decode, queries, "queries", &decode->queries);
}

static char *in_cache(const struct dpt_decode *decode, const struct cache *cache, char *base, int text, int64_t position)
{
    return base + ((int64_t)text * decode->conf.most + position) * cache->row;
}

enum dpt_status dpt_decode_copy(struct dpt_decode *decode, int from, int to)
{
    for (int i = 0; i < decode->ncaches && from != to; i++) {
        const struct cache *cache = &decode->cache[i];
        const size_t nbytes = (size_t)(decode->position * cache->row);
        char *const base[2] = {cache->key, cache->value};
        for (int k = 0; k < 2; k++) {
            DPT_TRY(dpt_dev_copy(decode->dev, in_cache(decode, cache, base[k], to, 0),
                                 in_cache(decode, cache, base[k], from, 0), nbytes));
        }
    }
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------------- running */

/* Where an operand of this call lies in the text: dimension 1 of all that has texts is the position. */
static struct dpt_op_part place(const struct dpt_value *value, int64_t position)
{
    struct dpt_op_part part = {.begin = {0}};
    memcpy(part.whole, value->type.dim, sizeof part.whole);
    if (value->batch && value->type.ndim > 1) {
        part.begin[1] = position;
        part.whole[1] += position;
    }
    return part;
}

/* Puts the keys and values of one text into its cache; *queries are its queries, packed. */
static enum dpt_status file_away(struct dpt_decode *decode, const struct program *program, const struct dpt_node *node,
                                 const struct cache *cache, int row, int text, char **queries)
{
    const struct dpt_type *type = &program->graph->value[node->in[0]].type;
    const int64_t rows = program->positions, all = (int64_t)dpt_type_nbytes(type) / program->rows;
    char *first = (char *)program->data[node->in[0]] + row * all;
    char *key = in_cache(decode, cache, cache->key, text, decode->position);
    char *value = in_cache(decode, cache, cache->value, text, decode->position);
    struct dpt_dev *dev = decode->dev;
    if (node->op == &dpt_op_attention) {
        const size_t nbytes = (size_t)(rows * cache->row);
        *queries = first;
        DPT_TRY(dpt_dev_copy(dev, key, (char *)program->data[node->in[1]] + (size_t)row * nbytes, nbytes));
        return dpt_dev_copy(dev, value, (char *)program->data[node->in[2]] + (size_t)row * nbytes, nbytes);
    }
    *queries = decode->queries;
    for (int64_t s = 0; s < rows; s++) { /* query, key and value of a position stand one after the other */
        const char *at = first + s * 3 * cache->row;
        DPT_TRY(dpt_dev_copy(dev, decode->queries + s * cache->row, at, (size_t)cache->row));
        DPT_TRY(dpt_dev_copy(dev, key + s * cache->row, at + cache->row, (size_t)cache->row));
        DPT_TRY(dpt_dev_copy(dev, value + s * cache->row, at + 2 * cache->row, (size_t)cache->row));
    }
    return DPT_STATUS_OK;
}

static enum dpt_status attend(struct dpt_decode *decode, const struct program *program, const struct dpt_node *node,
                              const struct cache *cache, int row, int text, const struct dpt_op_ctx *ctx)
{
    struct dpt_op_types types;
    struct dpt_op_part part[DPT_OP_MAX_IN + DPT_OP_MAX_OUT] = {0};
    struct dpt_tensor in[3], out[DPT_OP_MAX_OUT];
    attention_types(program->graph, node, program->positions, decode->position + program->positions, &types);
    char *operand[3] = {NULL, in_cache(decode, cache, cache->key, text, 0), in_cache(decode, cache, cache->value, text, 0)};
    DPT_TRY(file_away(decode, program, node, cache, row, text, &operand[0]));
    for (int i = 0; i < 3; i++) {
        in[i] = (struct dpt_tensor){types.in[i], operand[i]};
        memcpy(part[i].whole, types.in[i].dim, sizeof part[i].whole);
    }
    for (int i = 0; i < types.nout; i++) {
        out[i] = (struct dpt_tensor){types.out[i], (char *)program->data[node->out[i]] +
                                                       (size_t)row * dpt_type_nbytes(&types.out[i])};
        memcpy(part[3 + i].whole, types.out[i].dim, sizeof part[0].whole);
        part[3 + i].begin[1] = decode->position;
        part[3 + i].whole[1] += decode->position;
    }
    part[0].begin[1] = decode->position;
    part[0].whole[1] += decode->position;
    struct dpt_op_call call = {.types = &types,
                               .in = in,
                               .out = out,
                               .scratch = decode->scratch,
                               .ctx = ctx,
                               .part = part,
                               .dev = decode->dev};
    DPT_TRY(dpt_op_prepare(&dpt_op_attention, &types, decode->run, decode->conf.threads, decode->dev, &call.prep));
    const enum dpt_status status = dpt_op_call(&dpt_op_attention, decode->run, &call);
    dpt_op_release(&dpt_op_attention, &types, decode->run, call.prep);
    return status;
}

static enum dpt_status run_node(struct dpt_decode *decode, const struct program *program, int n,
                                const struct dpt_op_ctx *ctx)
{
    const struct dpt_node *node = &program->graph->node[n];
    struct dpt_op_types types;
    struct dpt_op_part part[DPT_OP_MAX_IN + DPT_OP_MAX_OUT];
    struct dpt_tensor in[DPT_OP_MAX_IN], out[DPT_OP_MAX_OUT];
    if (node->op->view) {
        return DPT_STATUS_OK;
    }
    types_of(program, node, &types);
    for (int i = 0; i < node->nin; i++) {
        in[i] = (struct dpt_tensor){types.in[i], program->data[node->in[i]]};
        part[i] = place(&program->graph->value[node->in[i]], decode->position);
    }
    for (int i = 0; i < node->nout; i++) {
        out[i] = (struct dpt_tensor){types.out[i], program->data[node->out[i]]};
        part[node->nin + i] = place(&program->graph->value[node->out[i]], decode->position);
    }
    const struct dpt_op_call call = {.types = &types,
                                     .in = in,
                                     .out = out,
                                     .prep = program->prep[n],
                                     .scratch = decode->scratch,
                                     .ctx = ctx,
                                     .part = part,
                                     .dev = decode->dev};
    return dpt_op_call(node->op, decode->run, &call);
}

/* Reads `positions` tokens of each of the program's texts, the first of which is `text`. */
static enum dpt_status run(struct dpt_decode *decode, const struct program *program, int text, const int32_t *id)
{
    const struct dpt_graph *graph = program->graph;
    const struct dpt_op_ctx ctx = {
        .rows = program->rows, .micro_rows = program->rows, .batch_rows = program->rows, .grad_scale = 1.0};
    int attention = 0;
    DPT_TRY(dpt_dev_copy_in(decode->dev, program->data[graph->input], id,
                            (size_t)(program->rows * program->positions) * sizeof *id));
    for (int n = 0; n < graph->nnodes; n++) {
        const struct dpt_node *node = &graph->node[n];
        if (!is_attention(node)) {
            DPT_TRY(run_node(decode, program, n, &ctx));
            continue;
        }
        for (int row = 0; row < (int)program->rows; row++) {
            DPT_TRY(attend(decode, program, node, &decode->cache[attention], row, text + row, &ctx));
        }
        attention++;
    }
    decode->position += program->positions;
    return DPT_STATUS_OK;
}

/* The logits of the last position of the program's texts, on the host. */
static enum dpt_status last_logits(struct dpt_decode *decode, const struct program *program, struct dpt_tensor *logits)
{
    const struct dpt_type *type = &program->graph->value[program->graph->output].type; /* [b, s, v] */
    const size_t row = (size_t)type->dim[2] * dpt_dtype_nbytes(type->dtype);
    const struct dpt_type last = {type->dtype, 2, {program->rows, type->dim[2]}};
    char *data = (char *)program->data[program->graph->output] + (size_t)(program->positions - 1) * row;
    *logits = (struct dpt_tensor){last, decode->host ? decode->host : data};
    return decode->host ? dpt_dev_copy_out(decode->dev, decode->host, data, dpt_type_nbytes(&last)) : DPT_STATUS_OK;
}

enum dpt_status dpt_decode_begin(struct dpt_decode *decode, int text, const int32_t *id, int64_t count,
                                 struct dpt_tensor *logits)
{
    DPT_ASSERT(count >= 1 && count <= decode->conf.most && text >= 0 && text < decode->conf.texts);
    decode->position = 0;
    for (int64_t at = 0; at < count;) {
        const struct program *program = count - at >= CHUNK ? &decode->chunk : &decode->single;
        DPT_TRY(run(decode, program, text, id + at));
        at += program->positions;
        DPT_TRY(at < count ? DPT_STATUS_OK : last_logits(decode, program, logits));
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_decode_next(struct dpt_decode *decode, const int32_t *id, struct dpt_tensor *logits)
{
    DPT_ASSERT(decode->position < decode->conf.most);
    DPT_TRY(run(decode, &decode->step, 0, id));
    return last_logits(decode, &decode->step, logits);
}

int64_t dpt_decode_position(const struct dpt_decode *decode)
{
    return decode->position;
}

/* -------------------------------------------------------------------------------------------------- life of a decoder */

/* The device, and where it is apart memory of the host for logits. */
static enum dpt_status open_device(struct dpt_decode *decode)
{
    const struct dpt_graph *graph = decode->step.graph;
    const struct dpt_exec_device_conf conf = {
        .kind = decode->conf.device, .graph = graph, .sharers = 1, .threads = decode->conf.threads,
        .tf32 = decode->conf.precision == DPT_PRECISION_TF32};
    DPT_TRY(dpt_exec_open_device(&conf, &decode->dev, &decode->run, decode->why));
    if (dpt_dev_is_apart(decode->dev)) {
        return dpt_dev_host_alloc(decode->dev, dpt_type_nbytes(&graph->value[graph->output].type), "the logits",
                                  &decode->host);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status make(struct dpt_decode *decode)
{
    struct program *const program[3] = {&decode->step, &decode->chunk, &decode->single};
    DPT_ASSERT(decode->conf.most >= 1 && decode->conf.most <= decode->conf.io.dim[0]);
    DPT_TRY(build(decode, &decode->step, decode->conf.texts, 1));
    DPT_TRY(build(decode, &decode->chunk, 1, CHUNK));
    DPT_TRY(build(decode, &decode->single, 1, 1));
    DPT_TRY(open_device(decode));
    for (int i = 0; i < 3; i++) {
        find_rounded(decode, program[i]);
        program[i]->data = dpt_arena_array(decode->arena, (size_t)program[i]->graph->nvalues, sizeof(void *));
    }
    DPT_TRY(take_weights(decode));
    for (int i = 0; i < 3; i++) {
        DPT_TRY(take_values(decode, program[i]));
        DPT_TRY(prepare(decode, program[i]));
    }
    DPT_TRY(take_caches(decode));
    return take(decode, decode->scratch_nbytes, "the scratch memory of kernels", &decode->scratch);
}

enum dpt_status dpt_decode_new(const struct dpt_decode_conf *conf, struct dpt_decode **decode)
{
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_decode *made = dpt_arena_alloc(arena, sizeof *made);
    *made = (struct dpt_decode){.arena = arena,
                                .conf = *conf,
                                .real = dpt_exec_real(conf->precision),
                                .half = dpt_exec_half(conf->precision)};
    *decode = NULL;
    const enum dpt_status status = make(made);
    if (status != DPT_STATUS_OK) {
        dpt_decode_free(made);
        return status;
    }
    *decode = made;
    return DPT_STATUS_OK;
}

void dpt_decode_free(struct dpt_decode *decode)
{
    if (!decode) {
        return;
    }
    struct program *const program[3] = {&decode->step, &decode->chunk, &decode->single};
    for (int i = 0; i < 3; i++) {
        for (int n = 0; program[i]->prep && n < program[i]->graph->nnodes; n++) {
            const struct dpt_node *node = &program[i]->graph->node[n];
            struct dpt_op_types types;
            dpt_graph_types(program[i]->graph, node, &types);
            dpt_op_release(node->op, &types, decode->run, program[i]->prep[n]);
        }
    }
    for (int i = 0; i < decode->nblocks; i++) {
        dpt_dev_release(decode->dev, decode->block[i].data, decode->block[i].nbytes);
    }
    if (decode->host) {
        dpt_dev_host_release(decode->dev, decode->host,
                             dpt_type_nbytes(&decode->step.graph->value[decode->step.graph->output].type));
    }
    for (int i = 0; i < 3; i++) {
        dpt_graph_free(program[i]->graph);
    }
    if (decode->dev) {
        dpt_dev_close(decode->dev);
    }
    dpt_arena_free(decode->arena);
}

const char *dpt_decode_why(const struct dpt_decode *decode)
{
    return decode->why;
}

bool dpt_decode_weight(const struct dpt_decode *decode, int i, const char **name, struct dpt_tensor *tensor)
{
    if (i < 0 || i >= decode->nweights) {
        return false;
    }
    *tensor = decode->weight[i];
    *name = decode->step.graph->value[decode->value[i]].name;
    return true;
}

/* Takes what a file says of a weight: rounded where its readers want it so, to a device that is apart by a copy. */
static enum dpt_status give(void *user, int item, const void *data, size_t nbytes)
{
    struct dpt_decode *decode = user;
    const struct dpt_tensor *weight = &decode->weight[item];
    const int64_t count = dpt_type_numel(&weight->type);
    if (weight->type.dtype != decode->real) {
        uint16_t *narrow = malloc((size_t)count * sizeof *narrow);
        DPT_CHECK(narrow, DPT_STATUS_SPACE, "no memory to round a weight: %zu bytes", (size_t)count * sizeof *narrow);
        dpt_half_narrow(decode->half, count, data, narrow);
        const enum dpt_status status = dpt_dev_copy_in(decode->dev, weight->data, narrow, (size_t)count * sizeof *narrow);
        free(narrow);
        return status;
    }
    if (decode->step.rounded[decode->value[item]]) { /* by the cores, in memory of this machine */
        dpt_half_round(decode->half, count, data, weight->data);
        return DPT_STATUS_OK;
    }
    return dpt_dev_copy_in(decode->dev, weight->data, data, nbytes);
}

enum dpt_status dpt_decode_load(struct dpt_decode *decode, struct dpt_ckpt *ckpt)
{
    struct dpt_ckpt_item *item = dpt_arena_array(decode->arena, (size_t)decode->nweights, sizeof *item);
    const bool as_is = !dpt_dev_is_apart(decode->dev) && decode->half == DPT_DTYPE_F32;
    for (int i = 0; i < decode->nweights; i++) {
        dpt_decode_weight(decode, i, &item[i].name, &(struct dpt_tensor){0});
        item[i].file = DPT_CKPT_FILE_MODEL;
        item[i].type = decode->weight[i].type;
        item[i].type.dtype = decode->real;
        item[i].data = decode->weight[i].data;
        memcpy(item[i].extent, item[i].type.dim, sizeof item[i].extent);
    }
    return as_is ? dpt_ckpt_load(ckpt, decode->nweights, item, true)
                 : dpt_ckpt_load_each(ckpt, decode->nweights, item, give, decode);
}

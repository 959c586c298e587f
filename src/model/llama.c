/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Llama (Touvron and others, 2023; Llama 2 with grouped queries): a decoder of blocks with RMS norm before each half,
 * rotary positions and SwiGLU, no biases.
 *
 *   x = embed_tokens[token]
 *   x = x + o_proj(attention(rotary(q_proj(n)), rotary(k_proj(n)), v_proj(n))),  n = input_layernorm(x)
 *   x = x + down_proj(silu(gate_proj(n)) * up_proj(n)),  n = post_attention_layernorm(x)     blocks of both lines
 *   x = norm(x)
 *
 * Names and shapes are those of LlamaForCausalLM in Hugging Face's transformers, and so is the order of the numbers of a
 * head that rotary positions turn: element i with element i + d / 2.
 */

#include <math.h>

#include "model/language.h"
#include "op/attention.h"
#include "op/rms_norm.h"
#include "op/rotary.h"

static const double deviation = 0.02;

static int norm(const struct dpt_model__net *net, const char *layer, int x)
{
    const struct dpt_rms_norm_param param = {.eps = net->shape.eps};
    const int weight = dpt_model__param(net, layer, "weight", 0.0, 0, 1, &net->shape.width);
    if (weight < 0) {
        return -1;
    }
    net->graph->value[weight].init = (struct dpt_init){DPT_INIT_KIND_CONST, 1.0};
    net->graph->value[weight].decay = false;
    return dpt_model__node(net, layer, "rms_norm", &param, 2, 0, (const int[]){x, weight});
}

/* Keys and values, one head of them for each group of queries. */
static int project(const struct dpt_model__net *net, const char *block, const char *part, int x)
{
    const struct dpt_model_shape *shape = &net->shape;
    const char *layer = dpt_model__join(net, block, part);
    const int64_t dim[3] = {shape->kv_heads, shape->width / shape->heads, shape->width};
    const int weight = dpt_model__param(net, layer, "weight", deviation, 2, 3, dim);
    return dpt_model__node(net, layer, "linear_heads", NULL, 2, 0, (const int[]){x, weight});
}

static int project_queries(const struct dpt_model__net *net, const char *block, int x)
{
    const struct dpt_model_shape *shape = &net->shape;
    const char *layer = dpt_model__join(net, block, "self_attn.q_proj");
    const int64_t dim[4] = {shape->kv_heads, shape->heads / shape->kv_heads, shape->width / shape->heads, shape->width};
    const int weight = dpt_model__param(net, layer, "weight", deviation, 3, 4, dim);
    return dpt_model__node(net, layer, "linear_grouped", NULL, 2, 0, (const int[]){x, weight});
}

static int attention(const struct dpt_model__net *net, const char *block, int x)
{
    const struct dpt_model_shape *shape = &net->shape;
    const int64_t d = shape->width / shape->heads;
    const int64_t dim[4] = {shape->width, shape->kv_heads, shape->heads / shape->kv_heads, d};
    const struct dpt_rotary_param turn = {.base = shape->theta};
    const struct dpt_attention_param param = {.scale = 1.0 / sqrt((double)d)};
    const char *layer = dpt_model__join(net, block, "self_attn"), *out = dpt_model__join(net, layer, "o_proj");
    int q = project_queries(net, block, x), k = project(net, block, "self_attn.k_proj", x);
    const int v = project(net, block, "self_attn.v_proj", x);
    q = dpt_model__node(net, layer, "rotary", &turn, 1, 0, &q);
    k = dpt_model__node(net, layer, "rotary", &turn, 1, 0, &k);
    x = dpt_model__node(net, layer, "attention", &param, 3, 0, (const int[]){q, k, v});
    const int weight = dpt_model__param(net, out, "weight", net->residual, 1, 4, dim);
    return dpt_model__node(net, out, "linear_merge_grouped", NULL, 2, 0, (const int[]){x, weight});
}

static int mlp(const struct dpt_model__net *net, const char *block, int x)
{
    const int64_t ffn = net->shape.ffn;
    const int gate = dpt_model__linear(net, dpt_model__join(net, block, "mlp.gate_proj"), x, ffn, false, deviation);
    const int up = dpt_model__linear(net, dpt_model__join(net, block, "mlp.up_proj"), x, ffn, false, deviation);
    x = dpt_model__node(net, dpt_model__join(net, block, "mlp"), "swiglu", NULL, 2, 0, (const int[]){gate, up});
    return dpt_model__linear(net, dpt_model__join(net, block, "mlp.down_proj"), x, net->shape.width, false,
                             net->residual);
}

int dpt_model__llama(const struct dpt_model__net *net, int tokens)
{
    struct dpt_graph *graph = net->graph;
    int x = dpt_model__embedding(net, "model.embed_tokens", tokens);
    for (int64_t i = 0; i < net->shape.depth && x >= 0; i++) {
        const char *block = dpt_arena_printf(graph->arena, "model.layers.%lld", (long long)i);
        int y = attention(net, block, norm(net, dpt_model__join(net, block, "input_layernorm"), x));
        x = dpt_build_combine(graph, block, "add", 2, (const int[]){x, y});
        y = mlp(net, block, norm(net, dpt_model__join(net, block, "post_attention_layernorm"), x));
        x = dpt_build_combine(graph, block, "add", 2, (const int[]){x, y});
    }
    return norm(net, "model.norm", x);
}

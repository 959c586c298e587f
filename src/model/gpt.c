/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GPT-2 (Radford and others, 2019): a decoder of blocks with the norm before each half, learned positions and GELU in
 * its tanh form. GPT-3 (Brown and others, 2020) has the same blocks; its sparse layers are dense here.
 *
 *   x = wte[token] + wpe[position], dropout
 *   x = x + c_proj(attention(c_attn(ln_1(x)))), dropout
 *   x = x + c_proj(gelu(c_fc(ln_2(x)))), dropout                    blocks of both lines
 *   x = ln_f(x)
 *
 * Names are those of GPT2LMHeadModel in Hugging Face's transformers. Its files hold the four weights of a block
 * transposed; ours have [outputs, inputs] everywhere, and dpt-convert turns them.
 */

#include <math.h>

#include "model/language.h"
#include "op/attention.h"
#include "op/layer_norm.h"

static const double deviation = 0.02;

static int norm(const struct dpt_model__net *net, const char *layer, int x)
{
    const struct dpt_layer_norm_param param = {.eps = net->shape.eps};
    const int weight = dpt_model__param(net, layer, "weight", 0.0, 0, 1, &net->shape.width);
    const int bias = net->shape.bias ? dpt_model__param(net, layer, "bias", 0.0, 0, 1, &net->shape.width) : -1;
    if (weight < 0 || (net->shape.bias && bias < 0)) {
        return -1;
    }
    net->graph->value[weight].init = (struct dpt_init){DPT_INIT_KIND_CONST, 1.0};
    net->graph->value[weight].decay = false;
    return dpt_model__node(net, layer, "layer_norm", &param, 3, 1, (const int[]){x, weight, bias});
}

static int attention(const struct dpt_model__net *net, const char *block, int x)
{
    struct dpt_graph *graph = net->graph;
    const int64_t heads = net->shape.heads, d = net->shape.width / heads, width = net->shape.width;
    const int64_t in_dim[4] = {3, heads, d, width}, out_dim[3] = {width, heads, d};
    const bool bias = net->shape.bias;
    const char *in = dpt_model__join(net, block, "attn.c_attn"), *out = dpt_model__join(net, block, "attn.c_proj");
    struct dpt_attention_param param = {.scale = 1.0 / sqrt((double)d)};
    if (graph->training && net->shape.dropout > 0.0) {
        param.rate = net->shape.dropout;
        param.stream = graph->streams++;
    }
    int weight = dpt_model__param(net, in, "weight", deviation, 3, 4, in_dim);
    int offset = bias ? dpt_model__param(net, in, "bias", 0.0, 3, 3, in_dim) : -1;
    if (bias && offset < 0) {
        return -1;
    }
    x = dpt_model__node(net, in, "linear_qkv", NULL, 3, 1, (const int[]){x, weight, offset});
    x = dpt_model__node(net, dpt_model__join(net, block, "attn"), "attention_qkv", &param, 1, 0, &x);
    weight = dpt_model__param(net, out, "weight", net->residual, 1, 3, out_dim);
    offset = bias ? dpt_model__param(net, out, "bias", 0.0, 0, 1, &width) : -1;
    if (bias && offset < 0) {
        return -1;
    }
    x = dpt_model__node(net, out, "linear_merge", NULL, 3, 1, (const int[]){x, weight, offset});
    return dpt_build_dropout(graph, dpt_model__join(net, block, "attn.resid_dropout"), x, net->shape.dropout);
}

static int mlp(const struct dpt_model__net *net, const char *block, int x)
{
    const bool bias = net->shape.bias;
    x = dpt_model__linear(net, dpt_model__join(net, block, "mlp.c_fc"), x, net->shape.ffn, bias, deviation);
    x = dpt_build_activation(net->graph, dpt_model__join(net, block, "mlp.act"), x, DPT_ACTIVATION_KIND_GELU_TANH);
    x = dpt_model__linear(net, dpt_model__join(net, block, "mlp.c_proj"), x, net->shape.width, bias, net->residual);
    return dpt_build_dropout(net->graph, dpt_model__join(net, block, "mlp.dropout"), x, net->shape.dropout);
}

int dpt_model__gpt(const struct dpt_model__net *net, int tokens)
{
    struct dpt_graph *graph = net->graph;
    const int64_t dim[2] = {net->shape.context, net->shape.width};
    int x = dpt_model__embedding(net, "transformer.wte", tokens);
    const int table = dpt_model__param(net, "transformer.wpe", "weight", deviation, 0, 2, dim);
    x = dpt_model__node(net, "transformer.wpe", "position", NULL, 2, 0, (const int[]){x, table});
    x = dpt_build_dropout(graph, "transformer.drop", x, net->shape.dropout);
    for (int64_t i = 0; i < net->shape.depth && x >= 0; i++) {
        const char *block = dpt_arena_printf(graph->arena, "transformer.h.%lld", (long long)i);
        int y = attention(net, block, norm(net, dpt_model__join(net, block, "ln_1"), x));
        x = dpt_build_combine(graph, block, "add", 2, (const int[]){x, y});
        y = mlp(net, block, norm(net, dpt_model__join(net, block, "ln_2"), x));
        x = dpt_build_combine(graph, block, "add", 2, (const int[]){x, y});
    }
    return norm(net, "transformer.ln_f", x);
}

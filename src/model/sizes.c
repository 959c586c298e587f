/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Shapes of language models: what [model] says, and for what it leaves at auto the known shape that it names.
 *
 * GPT-2: the table in section 2.3 of Radford and others, 2019, with the counts of its released weights. GPT-3: table
 * 2.1 of Brown and others, 2020, where two rows do not fit together: 24 heads of 128 are not the width 2048 of XL (16
 * are), and the width 5140 of 13B has no 40 heads of 128 (5120 has). Llama: table 2 of Touvron and others, 2023; Llama
 * 2 and 3 and TinyLlama: the config.json beside their weights.
 */

#include <string.h>

#include "model/internal.h"

struct known {
    const char *name;
    int64_t depth, width, heads, kv_heads, ffn, context;
    double theta, eps;
    bool tied;
};

static const struct known known[] = {
    {"gpt2", 12, 768, 12, 12, 3072, 1024, 0, 1e-5, true},
    {"gpt2-medium", 24, 1024, 16, 16, 4096, 1024, 0, 1e-5, true},
    {"gpt2-large", 36, 1280, 20, 20, 5120, 1024, 0, 1e-5, true},
    {"gpt2-xl", 48, 1600, 25, 25, 6400, 1024, 0, 1e-5, true},
    {"gpt3-small", 12, 768, 12, 12, 3072, 2048, 0, 1e-5, true},
    {"gpt3-medium", 24, 1024, 16, 16, 4096, 2048, 0, 1e-5, true},
    {"gpt3-large", 24, 1536, 16, 16, 6144, 2048, 0, 1e-5, true},
    {"gpt3-xl", 24, 2048, 16, 16, 8192, 2048, 0, 1e-5, true},
    {"gpt3-2.7b", 32, 2560, 32, 32, 10240, 2048, 0, 1e-5, true},
    {"gpt3-6.7b", 32, 4096, 32, 32, 16384, 2048, 0, 1e-5, true},
    {"gpt3-13b", 40, 5120, 40, 40, 20480, 2048, 0, 1e-5, true},
    {"gpt3-175b", 96, 12288, 96, 96, 49152, 2048, 0, 1e-5, true},
    {"llama-tiny", 6, 288, 6, 2, 768, 256, 1e4, 1e-5, true},
    {"tinyllama-1.1b", 22, 2048, 32, 4, 5632, 2048, 1e4, 1e-5, false},
    {"llama-7b", 32, 4096, 32, 32, 11008, 2048, 1e4, 1e-6, false},
    {"llama-13b", 40, 5120, 40, 40, 13824, 2048, 1e4, 1e-6, false},
    {"llama-30b", 60, 6656, 52, 52, 17920, 2048, 1e4, 1e-6, false},
    {"llama-65b", 80, 8192, 64, 64, 22016, 2048, 1e4, 1e-6, false},
    {"llama2-7b", 32, 4096, 32, 32, 11008, 4096, 1e4, 1e-5, false},
    {"llama2-13b", 40, 5120, 40, 40, 13824, 4096, 1e4, 1e-5, false},
    {"llama2-70b", 80, 8192, 64, 8, 28672, 4096, 1e4, 1e-5, false},
    {"llama3-8b", 32, 4096, 32, 8, 14336, 8192, 5e5, 1e-5, false},
    {"llama3-70b", 80, 8192, 64, 8, 28672, 8192, 5e5, 1e-5, false},
};

static const struct known *find(const struct dpt_job *job)
{
    const bool gpt = job->model.type == DPT_MODEL_TYPE_GPT;
    const char *name = strcmp(job->model.size, "auto") != 0 ? job->model.size : gpt ? "gpt2" : "llama-tiny";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) == 0) {
            return &known[i];
        }
    }
    return NULL;
}

/* The width within a block that goes with a width which no table has. */
static int64_t usual_ffn(bool gpt, int64_t width)
{
    return gpt ? 4 * width : (8 * width / 3 + 63) / 64 * 64;
}

static int64_t or_else(int64_t given, int64_t otherwise)
{
    return given ? given : otherwise;
}

enum dpt_status dpt_model_shape(const struct dpt_job *job, const struct dpt_model_io *io, struct dpt_model_shape *shape)
{
    const bool gpt = job->model.type == DPT_MODEL_TYPE_GPT;
    const struct known *size = find(job);
    DPT_CHECK(size, DPT_STATUS_USAGE, "[model] size = %s is not known; dpt-train --explain=model.size lists the sizes",
              job->model.size);
    const int64_t width = or_else(job->model.width, size->width), heads = or_else(job->model.heads, size->heads);
    *shape = (struct dpt_model_shape){
        .depth = or_else(job->model.depth, size->depth),
        .width = width,
        .heads = heads,
        .kv_heads = or_else(job->model.kv_heads, job->model.heads ? heads : size->kv_heads),
        .ffn = or_else(job->model.ffn, job->model.width ? usual_ffn(gpt, width) : size->ffn),
        .context = or_else(job->model.context, io->dim[0]),
        .vocab = io->classes,
        .bias = gpt && job->model.bias,
        .tied = job->model.tied == DPT_AUTO_AUTO ? size->tied : job->model.tied == DPT_AUTO_ON,
        .theta = job->model.rope_theta > 0.0 ? job->model.rope_theta : size->theta,
        .eps = job->model.norm_eps > 0.0 ? job->model.norm_eps : size->eps,
        .dropout = gpt ? job->model.dropout : 0.0,
    };
    DPT_CHECK(width % heads == 0, DPT_STATUS_USAGE, "[model] width = %lld cannot be divided into heads = %lld",
              (long long)width, (long long)heads);
    DPT_CHECK(gpt || width / heads % 2 == 0, DPT_STATUS_USAGE,
              "[model] width = %lld with heads = %lld gives heads of %lld numbers; rotary positions need an even number",
              (long long)width, (long long)heads, (long long)(width / heads));
    DPT_CHECK(heads % shape->kv_heads == 0, DPT_STATUS_USAGE,
              "[model] heads = %lld cannot be divided into groups for kv_heads = %lld", (long long)heads,
              (long long)shape->kv_heads);
    DPT_CHECK(shape->context >= io->dim[0], DPT_STATUS_USAGE,
              "[model] context = %lld is less than the %lld tokens of a sample of the data", (long long)shape->context,
              (long long)io->dim[0]);
    return DPT_STATUS_OK;
}

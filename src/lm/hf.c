/* SPDX-License-Identifier: Apache-2.0 */
#include "lm/hf.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { CONFIG_MAX = 1 << 24 };

/* A config.json and its name for messages. */
struct config {
    const char *path;
    const json_t *root;
};

static bool is_null(const json_t *value)
{
    return !value || json_is_null(value);
}

/* ------------------------------------------------------------------------------------------------------- reading */

static enum dpt_status get_int(const struct config *config, const char *name, int64_t fallback, int64_t *value)
{
    const json_t *at = json_object_get(config->root, name);
    if (is_null(at) && fallback > 0) {
        *value = fallback;
        return DPT_STATUS_OK;
    }
    DPT_CHECK(json_is_integer(at) && json_integer_value(at) > 0 && json_integer_value(at) <= 1 << 28, DPT_STATUS_DATA,
              "%s: %s must be a whole number above 0", config->path, name);
    *value = json_integer_value(at);
    return DPT_STATUS_OK;
}

static enum dpt_status get_real(const struct config *config, const json_t *where, const char *name, double fallback,
                                double *value)
{
    const json_t *at = json_object_get(where, name);
    *value = is_null(at) ? fallback : json_number_value(at);
    DPT_CHECK((is_null(at) || json_is_number(at)) && *value > 0.0 && isfinite(*value), DPT_STATUS_DATA,
              "%s: %s must be a number above 0", config->path, name);
    return DPT_STATUS_OK;
}

static bool get_bool(const struct config *config, const char *name, bool fallback)
{
    const json_t *at = json_object_get(config->root, name);
    return json_is_boolean(at) ? json_is_true(at) : fallback;
}

/* Refuses a switch that is not as dpt's models have it. */
static enum dpt_status demand(const struct config *config, const char *name, bool fallback, bool wanted)
{
    DPT_CHECK(get_bool(config, name, fallback) == wanted, DPT_STATUS_DATA,
              "%s: %s = %s: dpt has no such model", config->path, name, wanted ? "false" : "true");
    return DPT_STATUS_OK;
}

static enum dpt_status demand_word(const struct config *config, const char *name, const char *fallback,
                                   const char *const *words)
{
    const json_t *at = json_object_get(config->root, name);
    const char *word = is_null(at) ? fallback : json_string_value(at);
    for (int i = 0; word && words[i]; i++) {
        if (strcmp(word, words[i]) == 0) {
            return DPT_STATUS_OK;
        }
    }
    return dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: %s is %.60s, expected %s", config->path, name,
                         word ? word : "no word", words[0]);
}

static enum dpt_status read_gpt(const struct config *config, struct dpt_hf *hf)
{
    static const char *const gelu[] = {"gelu_new", "gelu_pytorch_tanh", NULL}; /* two names of the tanh form */
    struct dpt_model_shape *shape = &hf->shape;
    const json_t *own = json_object_get(config->root, "dpt");
    DPT_TRY(get_int(config, "n_embd", 768, &shape->width));
    DPT_TRY(get_int(config, "n_layer", 12, &shape->depth));
    DPT_TRY(get_int(config, "n_head", 12, &shape->heads));
    DPT_TRY(get_int(config, "n_positions", 1024, &shape->context));
    DPT_TRY(get_int(config, "n_inner", 4 * shape->width, &shape->ffn));
    DPT_TRY(get_int(config, "vocab_size", 50257, &shape->vocab));
    DPT_TRY(get_real(config, config->root, "layer_norm_epsilon", 1e-5, &shape->eps));
    DPT_TRY(demand_word(config, "activation_function", "gelu_new", gelu));
    DPT_TRY(demand(config, "scale_attn_weights", true, true));
    DPT_TRY(demand(config, "scale_attn_by_inverse_layer_idx", false, false));
    DPT_TRY(demand(config, "add_cross_attention", false, false));
    shape->kv_heads = shape->heads;
    shape->tied = get_bool(config, "tie_word_embeddings", true);
    shape->bias = !json_is_false(json_object_get(own, "bias"));
    return DPT_STATUS_OK;
}

/* The base of rotary positions, where transformers 5 and where earlier ones have it; stretched ones are refused. */
static enum dpt_status read_rotary(const struct config *config, struct dpt_hf *hf)
{
    const json_t *rope = json_object_get(config->root, "rope_parameters");
    const json_t *old = json_object_get(config->root, "rope_scaling");
    const json_t *kind = json_object_get(rope, "rope_type");
    DPT_CHECK(is_null(old), DPT_STATUS_DATA, "%s: rope_scaling is set: dpt has plain rotary positions only", config->path);
    DPT_CHECK(is_null(kind) || (json_is_string(kind) && strcmp(json_string_value(kind), "default") == 0), DPT_STATUS_DATA,
              "%s: rope_type is not default: dpt has plain rotary positions only", config->path);
    return get_real(config, json_object_get(rope, "rope_theta") ? rope : config->root, "rope_theta", 1e4,
                    &hf->shape.theta);
}

static enum dpt_status read_llama(const struct config *config, struct dpt_hf *hf)
{
    static const char *const silu[] = {"silu", "swish", NULL};
    struct dpt_model_shape *shape = &hf->shape;
    int64_t head;
    DPT_TRY(get_int(config, "hidden_size", 4096, &shape->width));
    DPT_TRY(get_int(config, "num_hidden_layers", 32, &shape->depth));
    DPT_TRY(get_int(config, "num_attention_heads", 32, &shape->heads));
    DPT_TRY(get_int(config, "num_key_value_heads", shape->heads, &shape->kv_heads));
    DPT_TRY(get_int(config, "intermediate_size", 11008, &shape->ffn));
    DPT_TRY(get_int(config, "max_position_embeddings", 2048, &shape->context));
    DPT_TRY(get_int(config, "vocab_size", 32000, &shape->vocab));
    DPT_TRY(get_int(config, "head_dim", shape->width / shape->heads ? shape->width / shape->heads : 1, &head));
    DPT_CHECK(head * shape->heads == shape->width, DPT_STATUS_DATA,
              "%s: head_dim %lld times num_attention_heads %lld is not hidden_size %lld: dpt has no such model",
              config->path, (long long)head, (long long)shape->heads, (long long)shape->width);
    DPT_TRY(get_real(config, config->root, "rms_norm_eps", 1e-6, &shape->eps));
    DPT_TRY(demand_word(config, "hidden_act", "silu", silu));
    DPT_TRY(demand(config, "attention_bias", false, false));
    DPT_TRY(demand(config, "mlp_bias", false, false));
    shape->tied = get_bool(config, "tie_word_embeddings", false);
    return read_rotary(config, hf);
}

static enum dpt_status read(const struct config *config, struct dpt_hf *hf)
{
    static const char *const types[] = {"gpt2", "llama", NULL};
    DPT_TRY(demand_word(config, "model_type", NULL, types));
    hf->gpt = strcmp(json_string_value(json_object_get(config->root, "model_type")), "gpt2") == 0;
    DPT_TRY(hf->gpt ? read_gpt(config, hf) : read_llama(config, hf));
    const json_t *end = json_object_get(config->root, "eos_token_id");
    hf->end = json_is_integer(end) && json_integer_value(end) >= 0 && json_integer_value(end) < hf->shape.vocab
                  ? json_integer_value(end)
                  : -1;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_hf_read(const char *folder, struct dpt_hf *hf)
{
    struct dpt_text path = {0};
    char *text = NULL;
    size_t nbytes = 0;
    json_error_t error = {.line = 1, .text = "it is no object"};
    *hf = (struct dpt_hf){.end = -1};
    dpt_text_add(&path, "%s/config.json", folder);
    enum dpt_status status = dpt_file_read(path.data, CONFIG_MAX, &text, &nbytes);
    if (status == DPT_STATUS_OK) {
        json_t *root = json_loadb(text, nbytes, JSON_REJECT_DUPLICATES, &error);
        const struct config config = {path.data, root};
        status = json_is_object(root) ? read(&config, hf)
                                      : dpt_error_set(DPT_STATUS_DATA, __FILE__, __LINE__, "%s: line %d: %s", path.data,
                                                      error.line, error.text);
        json_decref(root);
    }
    free(text);
    dpt_text_free(&path);
    return status;
}

/* ------------------------------------------------------------------------------------------------------- writing */

static void add_end(const struct dpt_hf *hf, struct dpt_text *json)
{
    if (hf->end >= 0) {
        dpt_text_add(json, "  \"bos_token_id\": %" PRId64 ",\n  \"eos_token_id\": %" PRId64 ",\n", hf->end, hf->end);
    } else {
        dpt_text_add(json, "  \"bos_token_id\": null,\n  \"eos_token_id\": null,\n");
    }
}

/* Appends a member whose number has as few digits as give the same number again. */
static void add_real(struct dpt_text *json, const char *name, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) {
        snprintf(text, sizeof text, "%.17g", value);
    }
    dpt_text_add(json, "  \"%s\": %s,\n", name, text);
}

void dpt_hf_config(const struct dpt_hf *hf, struct dpt_text *json)
{
    const struct dpt_model_shape *shape = &hf->shape;
    dpt_text_add(json, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n",
                 hf->gpt ? "GPT2LMHeadModel" : "LlamaForCausalLM", hf->gpt ? "gpt2" : "llama");
    add_end(hf, json);
    if (hf->gpt) {
        dpt_text_add(json, "  \"activation_function\": \"gelu_new\",\n");
        add_real(json, "layer_norm_epsilon", shape->eps);
        dpt_text_add(json,
                     "  \"n_embd\": %" PRId64 ",\n  \"n_head\": %" PRId64 ",\n  \"n_inner\": %" PRId64
                     ",\n  \"n_layer\": %" PRId64 ",\n  \"n_positions\": %" PRId64 ",\n",
                     shape->width, shape->heads, shape->ffn, shape->depth, shape->context);
        add_real(json, "attn_pdrop", shape->dropout);
        add_real(json, "embd_pdrop", shape->dropout);
        add_real(json, "resid_pdrop", shape->dropout);
        dpt_text_add(json, "  \"dpt\": {\"bias\": %s},\n", shape->bias ? "true" : "false");
    } else {
        dpt_text_add(json, "  \"attention_bias\": false,\n  \"mlp_bias\": false,\n  \"hidden_act\": \"silu\",\n");
        dpt_text_add(json,
                     "  \"hidden_size\": %" PRId64 ",\n  \"num_attention_heads\": %" PRId64
                     ",\n  \"num_key_value_heads\": %" PRId64 ",\n  \"intermediate_size\": %" PRId64
                     ",\n  \"num_hidden_layers\": %" PRId64 ",\n  \"max_position_embeddings\": %" PRId64 ",\n",
                     shape->width, shape->heads, shape->kv_heads, shape->ffn, shape->depth, shape->context);
        add_real(json, "rms_norm_eps", shape->eps);
        add_real(json, "rope_theta", shape->theta);
    }
    dpt_text_add(json,
                 "  \"initializer_range\": 0.02,\n  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n"
                 "  \"vocab_size\": %" PRId64 "\n}\n",
                 shape->tied ? "true" : "false", shape->vocab);
}

void dpt_hf_generation(const struct dpt_hf *hf, struct dpt_text *json)
{
    dpt_text_add(json, "{\n");
    if (hf->end >= 0) {
        add_end(hf, json);
    }
    dpt_text_add(json, "  \"do_sample\": true\n}\n");
}

void dpt_hf_job(const struct dpt_hf *hf, struct dpt_text *ini)
{
    const struct dpt_model_shape *shape = &hf->shape;
    dpt_text_add(ini,
                 "[model]\ntype = %s\ndepth = %" PRId64 "\nwidth = %" PRId64 "\nheads = %" PRId64 "\nffn = %" PRId64
                 "\ncontext = %" PRId64 "\ntied = %s\nnorm_eps = %.17g\n",
                 hf->gpt ? "gpt" : "llama", shape->depth, shape->width, shape->heads, shape->ffn, shape->context,
                 shape->tied ? "on" : "off", shape->eps);
    if (hf->gpt) {
        dpt_text_add(ini, "bias = %s\n", shape->bias ? "yes" : "no");
    } else {
        dpt_text_add(ini, "kv_heads = %" PRId64 "\nrope_theta = %.17g\n", shape->kv_heads, shape->theta);
    }
    /* What it was trained on is not known; a path must be there, and names what has to be given. */
    dpt_text_add(ini, "[data]\nformat = tokens\ntrain = not-known\ncontext = %" PRId64 "\nvocab = %" PRId64 "\n",
                 shape->context, shape->vocab);
}

/* ------------------------------------------------------------------------------------------------------- tensors */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool dpt_hf_transposed(const struct dpt_hf *hf, const char *name)
{
    return hf->gpt &&
           (ends_with(name, ".c_attn.weight") || ends_with(name, ".c_proj.weight") || ends_with(name, ".c_fc.weight"));
}

bool dpt_hf_ignored(const struct dpt_hf *hf, const char *name)
{
    return (hf->shape.tied && strcmp(name, "lm_head.weight") == 0) ||
           (hf->gpt ? ends_with(name, ".attn.bias") || ends_with(name, ".attn.masked_bias")
                    : ends_with(name, ".rotary_emb.inv_freq"));
}

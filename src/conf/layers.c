/* SPDX-License-Identifier: Apache-2.0 */

/* The [layer.NAME] sections: which ops there are, which keys each takes, and the values of those keys. */

#include "conf/conf.h"

#include <stdio.h>
#include <string.h>

enum op {
    LINEAR, CONV, MAX_POOL, AVG_POOL, GLOBAL_POOL, BATCH_NORM, LAYER_NORM, RELU, GELU, SILU, SIGMOID, TANH,
    ADD, MUL, CONCAT, RESHAPE, FLATTEN, DROPOUT, OPS
};

static const struct dpt_conf_word ops[] = {
    [LINEAR] = {"linear", "every output from every input"},
    [CONV] = {"conv", "convolution of images"},
    [MAX_POOL] = {"max_pool", "the largest of each window of an image"},
    [AVG_POOL] = {"avg_pool", "the mean of each window of an image"},
    [GLOBAL_POOL] = {"global_pool", "the mean of each channel"},
    [BATCH_NORM] = {"batch_norm", "normalise each channel over the batch"},
    [LAYER_NORM] = {"layer_norm", "normalise each sample"},
    [RELU] = {"relu", "max(x, 0)"},
    [GELU] = {"gelu", "x times the normal distribution function at x"},
    [SILU] = {"silu", "x times sigmoid(x)"},
    [SIGMOID] = {"sigmoid", "1 / (1 + exp(-x))"},
    [TANH] = {"tanh", "hyperbolic tangent"},
    [ADD] = {"add", "the sum of several sections"},
    [MUL] = {"mul", "the product of several sections, element by element"},
    [CONCAT] = {"concat", "several sections side by side, along channels or features"},
    [RESHAPE] = {"reshape", "the same numbers in another shape"},
    [FLATTEN] = {"flatten", "all numbers of a sample in one row"},
    [DROPOUT] = {"dropout", "set some to 0 at random in training"},
    [OPS] = {0},
};

enum { MAX_INPUTS = 8 };

#define BIT(op) (1u << (op))
#define ALL (BIT(OPS) - 1)
#define JOINS (BIT(ADD) | BIT(MUL) | BIT(CONCAT))
#define WEIGHTS (BIT(LINEAR) | BIT(CONV))
#define POOLS (BIT(MAX_POOL) | BIT(AVG_POOL))
#define NORMS (BIT(BATCH_NORM) | BIT(LAYER_NORM))
#define KEY(name_, type_) .section = "layer.NAME", .name = name_, .type = DPT_CONF_TYPE_##type_

/* `ops` take the key, `must` cannot do without it. The offset is unused: values stay text until model/ asks. */
static const struct layer_key {
    unsigned ops, must;
    struct dpt_conf_key key;
} keys[] = {
    {ALL, ALL, {KEY("op", ENUM), .words = ops, .aka = "type kind layer", .text = "What the section does."}},
    {ALL, JOINS,
     {KEY("in", NAMES), .fallback = "the section before", .aka = "input inputs from",
      .text = "What the section reads: the name of an earlier section, or input for the sample itself. add, mul and "
              "concat take two names or more."}},
    {WEIGHTS, WEIGHTS,
     {KEY("out", INT), .min = 1, .max = 1 << 24, .aka = "width outputs units features channels filters size",
      .text = "Numbers that come out: features of linear, channels of conv."}},
    {BIT(CONV) | POOLS, BIT(CONV) | POOLS,
     {KEY("kernel", PAIR), .min = 1, .max = 1 << 12, .aka = "size kernel_size window",
      .text = "Height and width of the filter or window."}},
    {BIT(CONV) | POOLS, 0,
     {KEY("stride", PAIR), .fallback = "1 for conv, that of kernel for pools", .min = 1, .max = 1 << 12,
      .aka = "strides step", .text = "Pixels from one place of the filter or window to the next."}},
    {BIT(CONV) | POOLS, 0,
     {KEY("pad", PAIR), .fallback = "0", .max = 1 << 12, .aka = "padding", .text = "Pixels added on each side."}},
    {BIT(CONV), 0,
     {KEY("dilation", PAIR), .fallback = "1", .min = 1, .max = 1 << 12, .aka = "dilate",
      .text = "Pixels between the points of the filter; 1 is dense."}},
    {BIT(CONV), 0,
     {KEY("groups", INT), .fallback = "1", .min = 1, .max = 1 << 24, .aka = "group",
      .text = "Split the channels into so many groups that do not see each other."}},
    {WEIGHTS, 0,
     {KEY("bias", BOOL), .fallback = "yes", .aka = "use_bias", .text = "Add a learned number to each output."}},
    {BIT(DROPOUT), 0,
     {KEY("rate", REAL), .fallback = "0.5", .max = 1, .ends = DPT_CONF_BELOW_MAX, .aka = "p dropout probability",
      .text = "Share of numbers set to 0."}},
    {BIT(RESHAPE), BIT(RESHAPE),
     {KEY("shape", INTS), .min = 1, .max = 1 << 24, .aka = "dims size",
      .text = "The new shape of a sample: height, width, channels, or features."}},
    {NORMS, 0,
     {KEY("eps", REAL), .fallback = "1e-5", .max = 1, .ends = DPT_CONF_ABOVE_MIN, .aka = "epsilon",
      .text = "Added to the variance."}},
    {BIT(BATCH_NORM), 0,
     {KEY("momentum", REAL), .fallback = "0.1", .max = 1, .ends = DPT_CONF_ABOVE_MIN, .aka = "decay",
      .text = "Share of the new value in the running statistics."}},
};
enum { KEYS = sizeof keys / sizeof keys[0] };

static const struct layer_key *find(const char *name)
{
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].key.name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

const struct dpt_layer_key *dpt_layer_find(const struct dpt_layer_section *section, const char *key)
{
    for (int i = 0; i < section->nkeys; i++) {
        if (strcmp(section->key[i].key, key) == 0) {
            return &section->key[i];
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- checking */

struct check {
    const struct dpt_job *job;
    struct dpt_conf_problems *problems;
    const struct dpt_layer_section *section;
};

/* The key of `op` that was meant by a name it does not have, or NULL. */
static const char *meant(const char *name, enum op op)
{
    const char *names[KEYS] = {0};
    size_t count = 0;
    for (int i = 0; i < KEYS; i++) {
        if (keys[i].ops & BIT(op)) {
            if (keys[i].key.aka && dpt_conf__in_list(name, keys[i].key.aka)) {
                return keys[i].key.name;
            }
            names[count++] = keys[i].key.name;
        }
    }
    return dpt_text_nearest(name, names, count);
}

static void unknown_key(const struct check *check, const struct dpt_layer_key *at, enum op op)
{
    const struct layer_key *other = find(at->key);
    const char *name = meant(at->key, op);
    struct dpt_text hint = {0};
    if (name) {
        dpt_text_add(&hint, " Did you mean '%s'?", name);
    } else if (other) {
        dpt_text_add(&hint, " It is for");
        const char *comma = "";
        for (int i = 0; i < OPS; i++) {
            if (other->ops & BIT(i)) {
                dpt_text_add(&hint, "%s %s", comma, ops[i].name);
                comma = ",";
            }
        }
        dpt_text_add(&hint, ".");
    }
    dpt_conf__problem(check->problems, at->file, at->line,
                      "[layer.%s] op = %s has no key '%.60s'.%s (dpt-train --list=layers)", check->section->name,
                      ops[op].name, at->key, hint.data ? hint.data : "");
    dpt_text_free(&hint);
}

static void wrong_value(const struct check *check, const struct dpt_conf_key *key, const struct dpt_layer_key *at,
                        const char *why)
{
    struct dpt_text expected = {0};
    dpt_conf__expect(key, &expected);
    dpt_conf__problem(check->problems, at->file, at->line,
                      "[layer.%s] %s %s%.60s: expected %s%s%s (dpt-train --explain=layer.%s)", check->section->name,
                      at->key, *at->value ? "= " : "is empty", at->value, expected.data, *why ? "; " : "", why,
                      key->name);
    dpt_text_free(&expected);
}

/* Reads the value only to see whether it can be read. */
static bool check_value(const struct check *check, const struct dpt_conf_key *key, const struct dpt_layer_key *at,
                        void *value)
{
    struct dpt_text why = {0};
    const bool fine = dpt_conf__parse(key, at->value, check->problems->arena, value, &why);
    if (!fine) {
        wrong_value(check, key, at, why.data ? why.data : "");
    }
    dpt_text_free(&why);
    return fine;
}

/* The names in `in` must be earlier sections. `before`: how many of those there are. */
static void check_inputs(const struct check *check, const struct dpt_layer_key *at, enum op op, int before)
{
    struct dpt_names names;
    if (!check_value(check, &find("in")->key, at, &names)) {
        return;
    }
    const bool join = JOINS & BIT(op);
    if (names.count < (join ? 2 : 1) || names.count > (join ? MAX_INPUTS : 1)) {
        dpt_conf__problem(check->problems, at->file, at->line,
                          "[layer.%s] in = %.60s: %s takes %s", check->section->name, at->value, ops[op].name,
                          join ? "2 to 8 names" : "one name");
    }
    const char **known = dpt_arena_array(check->problems->arena, (size_t)before + 1, sizeof *known);
    known[before] = "input";
    for (int i = 0; i < before; i++) {
        known[i] = check->job->layer[i].name;
    }
    for (int i = 0; i < names.count; i++) {
        bool found = false;
        for (int k = 0; k <= before; k++) {
            found = found || strcmp(names.value[i], known[k]) == 0;
        }
        if (!found) {
            const char *nearest = dpt_text_nearest(names.value[i], known, (size_t)before + 1);
            dpt_conf__problem(check->problems, at->file, at->line,
                              "[layer.%s] in: there is no section [layer.%.60s] before this one.%s%s%s",
                              check->section->name, names.value[i], nearest ? " Did you mean '" : "",
                              nearest ? nearest : "", nearest ? "'?" : "");
        }
    }
}

static void check_section(const struct check *check, int before)
{
    const struct dpt_layer_section *section = check->section;
    const struct dpt_layer_key *at = dpt_layer_find(section, "op");
    if (!at) {
        dpt_conf__problem(check->problems, section->file, section->line,
                          "[layer.%s] needs a key op, such as op = linear (dpt-train --list=layers)", section->name);
        return;
    }
    unsigned op;
    if (!check_value(check, &find("op")->key, at, &op)) {
        return;
    }
    for (int i = 0; i < section->nkeys; i++) {
        const struct layer_key *key = find(section->key[i].key);
        if (!key || !(key->ops & BIT(op))) {
            unknown_key(check, &section->key[i], op);
        } else if (strcmp(key->key.name, "in") == 0) {
            check_inputs(check, &section->key[i], op, before);
        } else {
            union {
                int64_t pair[2];
                double real;
                struct dpt_ints ints;
            } value;
            check_value(check, &key->key, &section->key[i], &value);
        }
    }
    for (int i = 0; i < KEYS; i++) {
        if ((keys[i].must & BIT(op)) && !dpt_layer_find(section, keys[i].key.name)) {
            dpt_conf__problem(check->problems, section->file, section->line,
                              "[layer.%s] op = %s needs the key '%s' (dpt-train --explain=layer.%s)", section->name,
                              ops[op].name, keys[i].key.name, keys[i].key.name);
        }
    }
}

void dpt_conf__check_layers(const struct dpt_job *job, struct dpt_conf_problems *problems)
{
    for (int i = 0; i < job->nlayers; i++) {
        const struct check check = {job, problems, &job->layer[i]};
        check_section(&check, i);
    }
}

/* --------------------------------------------------------------------------------------------- values for model/ */

/* Reads a value as `key`'s type with the caller's limits; DPT_STATUS_OK with *found false where it is absent. */
static enum dpt_status read_value(const struct dpt_layer_section *section, const char *name,
                                  const struct dpt_conf_key *key, struct dpt_arena *arena, void *value, bool *found)
{
    const struct dpt_layer_key *at = dpt_layer_find(section, name);
    *found = at != NULL;
    if (!at) {
        return DPT_STATUS_OK;
    }
    struct dpt_text why = {0}, expected = {0};
    enum dpt_status status = DPT_STATUS_OK;
    char place[DPT_CONF_PLACE];
    if (!dpt_conf__parse(key, at->value, arena, value, &why)) {
        dpt_conf__expect(key, &expected);
        status = dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "%s: [layer.%s] %s = %.60s: expected %s",
                               dpt_conf__place(place, at->file, at->line), section->name, name, at->value,
                               expected.data);
    }
    dpt_text_free(&why);
    dpt_text_free(&expected);
    return status;
}

enum dpt_status dpt_layer_int(const struct dpt_layer_section *section, const char *key, int64_t fallback, int64_t min,
                              int64_t max, int64_t *value)
{
    const struct dpt_conf_key type = {.type = DPT_CONF_TYPE_INT, .min = (double)min, .max = (double)max};
    bool found;
    DPT_TRY(read_value(section, key, &type, NULL, value, &found));
    *value = found ? *value : fallback;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_layer_pair(const struct dpt_layer_section *section, const char *key, int64_t fallback, int64_t min,
                               int64_t max, int64_t value[2])
{
    const struct dpt_conf_key type = {.type = DPT_CONF_TYPE_PAIR, .min = (double)min, .max = (double)max};
    bool found;
    DPT_TRY(read_value(section, key, &type, NULL, value, &found));
    if (!found) {
        value[0] = value[1] = fallback;
    }
    return DPT_STATUS_OK;
}

enum dpt_status dpt_layer_ints(const struct dpt_layer_section *section, const char *key, int64_t min, int64_t max,
                               int limit, int64_t *value, int *count)
{
    const struct dpt_conf_key type = {.type = DPT_CONF_TYPE_INTS, .min = (double)min, .max = (double)max};
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_ints ints = {0};
    bool found;
    enum dpt_status status = read_value(section, key, &type, arena, &ints, &found);
    if (status == DPT_STATUS_OK && found && (ints.count < 1 || ints.count > limit)) {
        const struct dpt_layer_key *at = dpt_layer_find(section, key);
        char place[DPT_CONF_PLACE];
        status = dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                               "%s: [layer.%s] %s = %.60s: expected 1 to %d numbers",
                               dpt_conf__place(place, at->file, at->line), section->name, key, at->value, limit);
    }
    *count = 0;
    if (status == DPT_STATUS_OK) {
        *count = ints.count;
        for (int i = 0; i < ints.count; i++) {
            value[i] = ints.value[i];
        }
    }
    dpt_arena_free(arena);
    return status;
}

enum dpt_status dpt_layer_real(const struct dpt_layer_section *section, const char *key, double fallback, double min,
                               double max, double *value)
{
    const struct dpt_conf_key type = {.type = DPT_CONF_TYPE_REAL, .min = min, .max = max};
    bool found;
    DPT_TRY(read_value(section, key, &type, NULL, value, &found));
    *value = found ? *value : fallback;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_layer_bool(const struct dpt_layer_section *section, const char *key, bool fallback, bool *value)
{
    const struct dpt_conf_key type = {.type = DPT_CONF_TYPE_BOOL};
    bool found;
    DPT_TRY(read_value(section, key, &type, NULL, value, &found));
    *value = found ? *value : fallback;
    return DPT_STATUS_OK;
}

/* ------------------------------------------------------------------------------------------------- for people */

void dpt_conf__list_layers(struct dpt_text *text)
{
    for (int i = 0; i < OPS; i++) {
        dpt_text_add(text, "%-12s %s", ops[i].name, ops[i].text);
        const char *before = ": ";
        for (int k = 0; k < KEYS; k++) {
            if ((keys[k].ops & BIT(i)) && (keys[k].ops != ALL || (keys[k].must != ALL && (keys[k].must & BIT(i))))) {
                dpt_text_add(text, "%s%s", before, keys[k].key.name);
                before = ", ";
            }
        }
        dpt_text_add(text, "\n");
    }
}

/* One key of an op, as "kernel: a whole number ... (needed)". */
static void explain_key(const struct layer_key *key, unsigned op, struct dpt_text *text)
{
    dpt_text_add(text, "  %-9s ", key->key.name);
    if (key->key.words) {
        dpt_text_add(text, "%s", ops[op].name);
    } else {
        dpt_conf__expect(&key->key, text);
    }
    if (key->must & BIT(op)) {
        dpt_text_add(text, "; needed\n");
    } else {
        dpt_text_add(text, "; default: %s\n", key->key.fallback);
    }
    dpt_conf__wrap(key->key.text, 12, text);
}

bool dpt_conf__explain_layer(const char *name, struct dpt_text *text)
{
    const struct layer_key *key = find(name);
    if (key) {
        dpt_text_add(text, "%s in a [layer.NAME] section: ", name);
        dpt_conf__expect(&key->key, text);
        dpt_text_add(text, "\n");
        dpt_conf__wrap(key->key.text, 2, text);
        if (key->key.fallback) {
            dpt_text_add(text, "  Default: %s.\n", key->key.fallback);
        }
        if (key->ops != ALL) {
            dpt_text_add(text, "  For op =");
            const char *comma = "";
            for (int i = 0; i < OPS; i++) {
                if (key->ops & BIT(i)) {
                    dpt_text_add(text, "%s %s", comma, ops[i].name);
                    comma = ",";
                }
            }
            dpt_text_add(text, ".\n");
        }
        return true;
    }
    for (unsigned op = 0; op < OPS; op++) {
        if (strcmp(ops[op].name, name) == 0) {
            dpt_text_add(text, "op = %s in a [layer.NAME] section: %s.\n", name, ops[op].text);
            for (int i = 0; i < KEYS; i++) {
                if (keys[i].ops & BIT(op)) {
                    explain_key(&keys[i], op, text);
                }
            }
            return true;
        }
    }
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */

/* What people read of a job and of the table: the job as INI, explanations, lists, what differs, completion. */

#include "conf/conf.h"

#include <stdio.h>
#include <string.h>

enum {
    LINE = 170,  /* bytes of a line of INI; reading takes a little more */
    COLUMNS = 78 /* of explanations                                     */
};

void dpt_conf__wrap(const char *sentences, int indent, struct dpt_text *text)
{
    int column = 0;
    for (const char *at = sentences; *at;) {
        const int n = (int)strcspn(at, " ");
        if (column && column + 1 + n > COLUMNS) {
            dpt_text_add(text, "\n");
            column = 0;
        }
        dpt_text_add(text, "%*s%.*s", column ? 1 : indent, "", n, at);
        column += (column ? 1 : indent) + n;
        at += n;
        at += strspn(at, " ");
    }
    dpt_text_add(text, "\n");
}

/* ------------------------------------------------------------------------------------------------------ as INI */

/* Where a line can be broken: not before what would be taken for a comment or a blank, not inside a character. */
static bool can_break(const char *at)
{
    return !strchr(" \t;#[", *at) && ((unsigned char)*at & 0xC0) != 0x80;
}

/* The bytes of `value` that go into a line with room for `room`: all, or up to a blank where there is one. */
static size_t piece(const char *value, size_t room)
{
    const size_t n = strlen(value);
    if (n <= room) {
        return n;
    }
    size_t blank = room;
    while (blank > room / 2 && !(value[blank - 1] == ' ' && can_break(value + blank))) {
        blank--;
    }
    if (blank > room / 2) {
        return blank;
    }
    size_t any = room;
    while (any > 1 && !can_break(value + any)) {
        any--;
    }
    return any;
}

/* "name = value" in as many lines as it takes; returns the bytes of the last. */
static size_t add_pair(const char *name, const char *value, struct dpt_text *text)
{
    struct dpt_text escaped = {0};
    for (const char *at = value; *at; at++) {
        dpt_text_add(&escaped, at[0] == '$' && at[1] == '{' ? "$%c" : "%c", *at);
    }
    const char *at = escaped.data ? escaped.data : "";
    size_t start = text->length;
    dpt_text_add(text, "%s =%s", name, *at ? " " : "");
    for (;;) {
        const size_t used = text->length - start;
        const size_t n = piece(at, LINE - used);
        dpt_text_add(text, "%.*s", (int)n, at);
        at += n;
        if (*at == '\0') {
            break;
        }
        dpt_text_add(text, "\\\n");
        start = text->length;
        dpt_text_add(text, "    ");
    }
    dpt_text_free(&escaped);
    return text->length - start;
}

/* The default as it is written out, or NULL where ${...} stands in it. */
static bool is_default(const struct dpt_conf_key *key, const char *value)
{
    union {
        int64_t whole[2];
        double real;
        struct dpt_spans spans;
        struct dpt_names names;
    } field = {0};
    if (strstr(key->fallback, "${")) {
        return false;
    }
    struct dpt_arena *arena = dpt_arena_new();
    struct dpt_text text = {0}, why = {0};
    DPT_ASSERT(dpt_conf__parse(key, key->fallback, arena, &field, &why));
    dpt_conf__format(key, &field, &text);
    const bool same = strcmp(text.data ? text.data : "", value) == 0;
    dpt_text_free(&text);
    dpt_text_free(&why);
    dpt_arena_free(arena);
    return same;
}

static void add_origin(const struct dpt_conf_origin *origin, size_t column, struct dpt_text *text)
{
    char place[DPT_CONF_PLACE];
    const char *from = origin->file ? dpt_conf__place(place, origin->file, origin->line) : "default";
    if (column + strlen(from) + 8 > LINE) {
        return; /* no room behind a long value */
    }
    dpt_text_add(text, "%*s; %s", column < 32 ? (int)(32 - column) : 1, "", from);
}

static void print_key(const struct dpt_job *job, const struct dpt_conf_key *key, const char *value,
                      enum dpt_job_print how, struct dpt_text *text)
{
    if (how != DPT_JOB_PRINT_EXPLAIN) {
        add_pair(key->name, value, text);
        dpt_text_add(text, "\n");
        return;
    }
    struct dpt_text lines = {0};
    dpt_conf__wrap(key->text, 0, &lines);
    for (const char *at = lines.data; *at; at += strcspn(at, "\n") + 1) {
        dpt_text_add(text, "; %.*s\n", (int)strcspn(at, "\n"), at);
    }
    dpt_text_free(&lines);
    const size_t column = add_pair(key->name, value, text);
    add_origin(&job->origin->key[key - dpt_conf__keys], column, text);
    dpt_text_add(text, "\n");
}

static void print_layers(const struct dpt_job *job, struct dpt_text *text)
{
    for (int i = 0; i < job->nlayers; i++) {
        const struct dpt_layer_section *layer = &job->layer[i];
        dpt_text_add(text, "%s[layer.%s]\n", text->length ? "\n" : "", layer->name);
        for (int k = 0; k < layer->nkeys; k++) {
            add_pair(layer->key[k].key, layer->key[k].value, text);
            dpt_text_add(text, "\n");
        }
    }
}

void dpt_job_print(const struct dpt_job *job, enum dpt_job_print how, struct dpt_text *text)
{
    const char *section = "";
    struct dpt_text value = {0};
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (!dpt_conf__applies(key, job)) {
            continue;
        }
        value.length = 0;
        dpt_text_add(&value, "%s", "");
        dpt_conf__format(key, dpt_conf__field_const(key, job), &value);
        if (how == DPT_JOB_PRINT_MINIMAL && (!job->origin->key[i].file || is_default(key, value.data))) {
            continue;
        }
        if (strcmp(section, key->section) != 0) {
            section = key->section;
            dpt_text_add(text, "%s[%s]\n", text->length ? "\n" : "", section);
        }
        print_key(job, key, value.data, how, text);
    }
    dpt_text_free(&value);
    print_layers(job, text);
}

/* ------------------------------------------------------------------------------------------------- explanations */

static void explain_key(const struct dpt_conf_key *key, struct dpt_text *text)
{
    dpt_text_add(text, "%s.%s = ", key->section, key->name);
    dpt_conf__expect(key, text);
    dpt_text_add(text, "\n");
    dpt_conf__wrap(key->text, 2, text);
    for (const struct dpt_conf_word *word = key->words; word && word->name; word++) {
        dpt_text_add(text, "    %-14s %s\n", word->name, word->text);
    }
    dpt_text_add(text, "  Default: %s.\n", *key->fallback ? key->fallback : "empty");
    if (key->when) {
        dpt_text_add(text, "  Counts only with ");
        dpt_conf__add_when(key, text);
        dpt_text_add(text, ".\n");
    }
    if (key->fixed) {
        dpt_text_add(text, "  Fixed for a run: it cannot change when the run is resumed.\n");
    }
}

static void explain_section(const struct dpt_conf_section *section, struct dpt_text *text)
{
    dpt_text_add(text, "[%s]\n", section->name);
    dpt_conf__wrap(section->text, 2, text);
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (strcmp(key->section, section->name) == 0) {
            dpt_text_add(text, "\n");
            explain_key(key, text);
        }
    }
}

/* The key that "lr", "optimizer.learning_rate" or "optimiser.lr" stand for, or NULL. */
static const struct dpt_conf_key *nearest_key(const char *name)
{
    char full[128][64];
    const char *names[128] = {0};
    const char *dot = strrchr(name, '.');
    const char *last = dot ? dot + 1 : name;
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        const bool here = !dot || (strlen(key->section) == (size_t)(dot - name) &&
                                   strncmp(key->section, name, (size_t)(dot - name)) == 0);
        if (here && (strcmp(key->name, last) == 0 || (key->aka && dpt_conf__in_list(last, key->aka)))) {
            return key;
        }
        DPT_ASSERT(i < 128);
        snprintf(full[i], sizeof full[i], "%s.%s", key->section, key->name);
        names[i] = full[i];
    }
    const char *nearest = dpt_text_nearest(name, names, (size_t)dpt_conf__nkeys);
    for (int i = 0; nearest && i < dpt_conf__nkeys; i++) {
        if (names[i] == nearest) {
            return &dpt_conf__keys[i];
        }
    }
    return NULL;
}

enum dpt_status dpt_job_explain(const char *name, struct dpt_text *text)
{
    if (strncmp(name, "layer.", 6) == 0) {
        const char *last = strrchr(name, '.') + 1;
        DPT_CHECK(dpt_conf__explain_layer(last, text), DPT_STATUS_USAGE,
                  "there is no op and no key '%.60s' of [layer.NAME] sections (dpt-train --list=layers)", last);
        return DPT_STATUS_OK;
    }
    for (int i = 0; i < dpt_conf__nsections; i++) {
        if (strcmp(dpt_conf__sections[i].name, name) == 0) {
            explain_section(&dpt_conf__sections[i], text);
            return DPT_STATUS_OK;
        }
    }
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        const size_t n = strlen(key->section);
        if (strncmp(name, key->section, n) == 0 && name[n] == '.' && strcmp(name + n + 1, key->name) == 0) {
            explain_key(key, text);
            return DPT_STATUS_OK;
        }
    }
    /* A name without section: all keys of that name. */
    const size_t before = text->length;
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        if (strcmp(name, dpt_conf__keys[i].name) == 0) {
            dpt_text_add(text, text->length > before ? "\n" : "");
            explain_key(&dpt_conf__keys[i], text);
        }
    }
    if (text->length > before) {
        return DPT_STATUS_OK;
    }
    const char *sections[64] = {0};
    DPT_ASSERT(dpt_conf__nsections <= 64);
    for (int i = 0; i < dpt_conf__nsections; i++) {
        sections[i] = dpt_conf__sections[i].name;
    }
    const char *section = dpt_text_nearest(name, sections, (size_t)dpt_conf__nsections);
    const struct dpt_conf_key *nearest = nearest_key(name);
    DPT_CHECK(nearest || !section, DPT_STATUS_USAGE, "there is no section '%.60s'. Did you mean '%s'?", name, section);
    DPT_CHECK(!nearest, DPT_STATUS_USAGE, "there is no key '%.60s'. Did you mean '%s.%s'?", name, nearest->section,
              nearest->name);
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "there is no key '%.60s' (dpt-train --list=keys)", name);
}

/* -------------------------------------------------------------------------------------------------------- lists */

static void list_words(const char *section, const char *name, struct dpt_text *text)
{
    for (const struct dpt_conf_word *word = dpt_conf__find(section, name)->words; word->name; word++) {
        dpt_text_add(text, "%-14s %s\n", word->name, word->text);
    }
}

/* The first sentence of a text. */
static int first_sentence(const char *text)
{
    const char *end = strstr(text, ". ");
    return end ? (int)(end - text) + 1 : (int)strlen(text);
}

/* All keys, or those of one section. */
static void list_keys(const char *section, struct dpt_text *text)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        if (!section || strcmp(section, key->section) == 0) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", key->section, key->name);
            dpt_text_add(text, "%-24s %.*s\n", name, first_sentence(key->text), key->text);
        }
    }
}

static void list_sections(struct dpt_text *text)
{
    for (int i = 0; i < dpt_conf__nsections; i++) {
        dpt_text_add(text, "%-14s %s\n", dpt_conf__sections[i].name, dpt_conf__sections[i].text);
    }
    dpt_text_add(text, "%-14s %s\n", "layer.NAME", "One layer of a network of type = layers; see --list=layers.");
}

/* What --list offers: words of a key, or what no key has. */
static const struct kind {
    const char *name, *text, *section, *key;
} kinds[] = {
    {"sections", "sections of a job file", NULL, NULL},
    {"keys", "all keys", NULL, NULL},
    {"models", "networks: [model] type", "model", "type"},
    {"layers", "ops of [layer.NAME] sections, with their keys", NULL, NULL},
    {"activations", "[model] activation", "model", "activation"},
    {"data", "formats of data: [data] format", "data", "format"},
    {"augmentations", "keys of [augment]", "augment", NULL},
    {"losses", "[loss] type", "loss", "type"},
    {"optimizers", "[optimizer] type", "optimizer", "type"},
    {"schedules", "[schedule] type", "schedule", "type"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

enum dpt_status dpt_job_list(const char *kind, struct dpt_text *text)
{
    const char *names[KINDS];
    for (int i = 0; i < KINDS; i++) {
        names[i] = kinds[i].name;
        if (!kind) {
            dpt_text_add(text, "%-14s %s\n", kinds[i].name, kinds[i].text);
        } else if (strcmp(kinds[i].name, kind) == 0) {
            if (kinds[i].key) {
                list_words(kinds[i].section, kinds[i].key, text);
            } else if (kinds[i].section) {
                list_keys(kinds[i].section, text);
            } else if (strcmp(kind, "sections") == 0) {
                list_sections(text);
            } else if (strcmp(kind, "keys") == 0) {
                list_keys(NULL, text);
            } else {
                dpt_conf__list_layers(text);
            }
            return DPT_STATUS_OK;
        }
    }
    if (!kind) {
        return DPT_STATUS_OK;
    }
    const char *nearest = dpt_text_nearest(kind, names, KINDS);
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                         nearest ? "there is no list '%.60s'. Did you mean '%s'?"
                                 : "there is no list '%.60s' (dpt-train --list shows them%s)",
                         kind, nearest ? nearest : "");
}

void dpt_job_complete(struct dpt_text *text)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        dpt_text_add(text, "%s.%s=\n", key->section, key->name);
        for (const struct dpt_conf_word *word = key->words; word && word->name; word++) {
            dpt_text_add(text, "%s.%s=%s\n", key->section, key->name, word->name);
        }
        if (key->type == DPT_CONF_TYPE_BOOL || key->type == DPT_CONF_TYPE_AUTO) {
            dpt_text_add(text, "%s.%s=yes\n%s.%s=no\n", key->section, key->name, key->section, key->name);
        }
    }
}

/* --------------------------------------------------------------------------------------------------- what differs */

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool same_layer(const struct dpt_layer_section *a, const struct dpt_layer_section *b)
{
    if (strcmp(a->name, b->name) != 0 || a->nkeys != b->nkeys) {
        return false;
    }
    for (int i = 0; i < a->nkeys; i++) {
        const struct dpt_layer_key *other = dpt_layer_find(b, a->key[i].key);
        if (!other || strcmp(other->value, a->key[i].value) != 0) {
            return false;
        }
    }
    return true;
}

bool dpt_job_same(const struct dpt_job *a, const struct dpt_job *b, struct dpt_text *changed)
{
    bool same = true;
    struct dpt_text was = {0}, is = {0};
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        const struct dpt_conf_key *key = &dpt_conf__keys[i];
        /* A key that counts in one job only goes with another that differs, which is told. */
        if (!key->fixed || !dpt_conf__applies(key, a) || !dpt_conf__applies(key, b)) {
            continue;
        }
        was.length = is.length = 0;
        dpt_text_add(&was, "%s", "");
        dpt_text_add(&is, "%s", "");
        dpt_conf__format(key, dpt_conf__field_const(key, a), &was);
        dpt_conf__format(key, dpt_conf__field_const(key, b), &is);
        /* Files may move to another folder. */
        const bool path = key->type == DPT_CONF_TYPE_PATH;
        if (strcmp(path ? file_name(was.data) : was.data, path ? file_name(is.data) : is.data) != 0) {
            dpt_text_add(changed, "[%s] %s: %s in the run, %s now\n", key->section, key->name,
                         was.length ? was.data : "empty", is.length ? is.data : "empty");
            same = false;
        }
    }
    dpt_text_free(&was);
    dpt_text_free(&is);
    if (a->nlayers != b->nlayers) {
        dpt_text_add(changed, "[layer.NAME]: %d sections in the run, %d now\n", a->nlayers, b->nlayers);
        return false;
    }
    for (int i = 0; i < a->nlayers; i++) {
        if (!same_layer(&a->layer[i], &b->layer[i])) {
            dpt_text_add(changed, "[layer.%s] differs from that of the run\n", b->layer[i].name);
            same = false;
        }
    }
    return same;
}

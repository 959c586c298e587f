/* SPDX-License-Identifier: Apache-2.0 */

/* How a value of each type is read, written and described. What is written reads back as the same value. */

#include "conf/conf.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(enum dpt_auto) == sizeof(unsigned) && sizeof(enum dpt_model_type) == sizeof(unsigned),
               "fields of enums are written through the table as unsigned");

static const double integer_limit = 0x1p53; /* above it a double skips whole numbers */

/* ------------------------------------------------------------------------------------------------- pieces of text */

static const char *skip_space(const char *s)
{
    while (*s == ' ' || *s == '\t') {
        s++;
    }
    return s;
}

/* Reads a decimal number; returns what follows it, or NULL. No hexadecimals, no inf or nan, as strtod would take. */
static const char *scan_number(const char *s, double *value)
{
    const char *at = s + (*s == '-' || *s == '+');
    size_t digits = strspn(at, "0123456789");
    at += digits;
    if (*at == '.') {
        const size_t more = strspn(at + 1, "0123456789");
        digits += more;
        at += 1 + more;
    }
    if (digits == 0) {
        return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        const char *power = at + 1 + (at[1] == '-' || at[1] == '+');
        const size_t more = strspn(power, "0123456789");
        if (more > 0) {
            at = power + more;
        }
    }
    char copy[64];
    if ((size_t)(at - s) >= sizeof copy) {
        return NULL;
    }
    memcpy(copy, s, (size_t)(at - s));
    copy[at - s] = '\0';
    *value = strtod(copy, NULL);
    return isfinite(*value) ? at : NULL;
}

/* Reads a word of letters into `word`; returns what follows it, or NULL where there is none. */
static const char *scan_word(const char *s, char *word, size_t size)
{
    size_t n = 0;
    while (isalpha((unsigned char)s[n])) {
        n++;
    }
    if (n == 0 || n >= size) {
        return NULL;
    }
    memcpy(word, s, n);
    word[n] = '\0';
    return s + n;
}

struct unit {
    const char *name;
    double factor;
};

static const struct unit times[] = {
    {"s", 1},        {"sec", 1},     {"second", 1},   {"seconds", 1},  {"min", 60},
    {"m", 60},       {"minute", 60}, {"minutes", 60}, {"h", 3600},     {"hour", 3600},
    {"hours", 3600}, {"d", 86400},   {"day", 86400},  {"days", 86400}, {0},
};
static const struct unit sizes[] = {
    {"B", 1},        {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},     {"TB", 1e12},
    {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}, {0},
};
static const struct unit counts[] = {{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {0}};

static const struct unit *find_unit(const struct unit *units, const char *name)
{
    for (; units->name; units++) {
        if (strcmp(units->name, name) == 0) {
            return units;
        }
    }
    return NULL;
}

/* Reads a whole number with or without k, M, G behind it. */
static const char *scan_count(const char *s, double *value)
{
    const char *at = scan_number(s, value);
    char word[8];
    const char *after = at ? scan_word(at, word, sizeof word) : NULL;
    if (after) {
        const struct unit *unit = find_unit(counts, word);
        if (!unit) {
            return NULL;
        }
        /* 1.1k is 1100, though 1.1 * 1000 is a little more in binary. */
        *value *= unit->factor;
        if (fabs(*value - round(*value)) < 1e-6 && fabs(*value) < 1e9) {
            *value = round(*value);
        }
        at = after;
    }
    return at && *value == floor(*value) && fabs(*value) <= integer_limit ? at : NULL;
}

/* Reads "3:30:00", "1-00:00:00", "10:00" as batch systems write times. */
static bool parse_clock(const char *text, double *seconds)
{
    double days = 0.0, part[3];
    int parts = 0;
    const char *at = text;
    const char *dash = strchr(text, '-');
    if (dash) {
        at = scan_number(text, &days);
        if (at != dash || days != floor(days) || days < 0) {
            return false;
        }
        at++;
    }
    for (;;) {
        if (parts == 3 || !isdigit((unsigned char)*at)) {
            return false;
        }
        at = scan_number(at, &part[parts]);
        if (!at || part[parts] != floor(part[parts]) || (parts > 0 && part[parts] >= 60.0)) {
            return false;
        }
        parts++;
        if (*at != ':') {
            break;
        }
        at++;
    }
    if (*at != '\0' || parts < (dash ? 3 : 2)) {
        return false;
    }
    *seconds = 0.0;
    for (int i = 0; i < parts; i++) {
        *seconds = *seconds * 60.0 + part[i];
    }
    *seconds += days * 86400.0;
    return true;
}

/* Reads "15 min", "1 h 30 min", "3:30:00". */
static bool parse_time(const char *text, double *seconds, struct dpt_text *why)
{
    if (strchr(text, ':')) {
        return parse_clock(text, seconds);
    }
    *seconds = 0.0;
    const char *at = text;
    do {
        double number;
        char word[16];
        at = scan_number(at, &number);
        if (!at || number < 0) {
            return false;
        }
        at = skip_space(at);
        if (*at == '\0') {
            dpt_text_add(why, "the unit is missing");
            return false;
        }
        at = scan_word(at, word, sizeof word);
        const struct unit *unit = at ? find_unit(times, word) : NULL;
        if (!unit) {
            return false;
        }
        *seconds += number * unit->factor;
        at = skip_space(at);
    } while (*at);
    return isfinite(*seconds);
}

static bool parse_bytes(const char *text, double *value, struct dpt_text *why)
{
    char word[8];
    const char *at = scan_number(text, value);
    if (!at) {
        return false;
    }
    at = skip_space(at);
    if (*at == '\0') {
        if (*value != 0.0) {
            dpt_text_add(why, "the unit is missing");
        }
        return *value == 0.0;
    }
    at = scan_word(at, word, sizeof word);
    const struct unit *unit = at && *at == '\0' ? find_unit(sizes, word) : NULL;
    if (!unit) {
        return false;
    }
    *value *= unit->factor;
    return *value == floor(*value);
}

static enum dpt_span_unit span_unit(const char *word)
{
    if (strcmp(word, "step") == 0 || strcmp(word, "steps") == 0) {
        return DPT_SPAN_UNIT_STEPS;
    }
    if (strcmp(word, "epoch") == 0 || strcmp(word, "epochs") == 0) {
        return DPT_SPAN_UNIT_EPOCHS;
    }
    return DPT_SPAN_UNIT_NONE;
}

static bool unit_allowed(const struct dpt_conf_key *key, enum dpt_span_unit unit)
{
    return key->units >> unit & 1;
}

static bool parse_span(const struct dpt_conf_key *key, const char *text, struct dpt_span *span, struct dpt_text *why)
{
    double number;
    char word[16];
    const char *at = scan_number(text, &number);
    if (at && *skip_space(at) == '\0') {
        dpt_text_add(why, "the unit is missing");
        return false;
    }
    /* Steps are counted, so 5k steps is fine; an epoch may be taken in part. */
    const char *last = strrchr(text, ' ');
    const enum dpt_span_unit counted = last ? span_unit(last + 1) : DPT_SPAN_UNIT_NONE;
    if (counted == DPT_SPAN_UNIT_STEPS) {
        at = scan_count(text, &number);
    }
    at = at ? scan_word(skip_space(at), word, sizeof word) : NULL;
    const enum dpt_span_unit unit = at && *at == '\0' ? span_unit(word) : DPT_SPAN_UNIT_NONE;
    if (unit != DPT_SPAN_UNIT_NONE) {
        if (number <= 0) {
            dpt_text_add(why, "it must be above 0");
            return false;
        }
        if (!unit_allowed(key, unit) || number > integer_limit ||
            (unit == DPT_SPAN_UNIT_STEPS && number != floor(number))) {
            return false;
        }
        *span = (struct dpt_span){unit, number};
        return true;
    }
    double seconds;
    if (!parse_time(text, &seconds, why)) {
        return false;
    }
    if (!unit_allowed(key, DPT_SPAN_UNIT_SECONDS)) {
        dpt_text_add(why, "a time cannot stand here");
        return false;
    }
    *span = (struct dpt_span){DPT_SPAN_UNIT_SECONDS, seconds};
    return seconds > 0.0;
}

/* ---------------------------------------------------------------------------------------------------------- ranges */

static bool in_range(const struct dpt_conf_key *key, double value)
{
    const bool low = key->ends & DPT_CONF_ABOVE_MIN ? value > key->min : value >= key->min;
    const bool high = key->max == 0 || (key->ends & DPT_CONF_BELOW_MAX ? value < key->max : value <= key->max);
    return low && high;
}

static bool parse_int(const struct dpt_conf_key *key, const char *text, int64_t *field)
{
    double value;
    const char *at = scan_count(text, &value);
    if (!at || *at || !in_range(key, value)) {
        return false;
    }
    *field = (int64_t)value;
    return true;
}

static bool parse_real(const struct dpt_conf_key *key, const char *text, double *field)
{
    double value;
    const char *at = scan_number(text, &value);
    if (!at || *at || !in_range(key, value)) {
        return false;
    }
    *field = value;
    return true;
}

static bool parse_bool(const char *text, bool *field)
{
    static const char *const yes[] = {"yes", "true", "on"}, *const no[] = {"no", "false", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0) {
            *field = true;
            return true;
        }
        if (strcmp(text, no[i]) == 0) {
            *field = false;
            return true;
        }
    }
    return false;
}

/* What others call a word that dpt has. */
static const char *meant_by(const char *text)
{
    static const char *const said[][2] = {{"gpu", "cuda"},     {"nvidia", "cuda"},  {"cores", "cpu"},
                                          {"float", "fp32"},   {"float32", "fp32"}, {"double", "fp64"},
                                          {"float64", "fp64"}, {"bfloat16", "bf16"}};
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        if (strcmp(text, said[i][0]) == 0) {
            return said[i][1];
        }
    }
    return text;
}

/* The place of `text` among the words, or -1 with the nearest word in `why`. */
static int parse_word(const struct dpt_conf_word *words, const char *text, struct dpt_text *why)
{
    const char *names[32];
    int count = 0;
    for (; words[count].name; count++) {
        DPT_ASSERT(count < 32);
        if (strcmp(words[count].name, text) == 0) {
            return count;
        }
        names[count] = words[count].name;
    }
    const char *nearest = dpt_text_nearest(meant_by(text), names, (size_t)count);
    if (nearest) {
        dpt_text_add(why, "did you mean '%s'?", nearest);
    }
    return -1;
}

/* ----------------------------------------------------------------------------------------------------------- lists */

/*
 * The next piece of a list into `piece` (a copy in the arena); false at the end. With a comma anywhere in the list
 * only commas separate, so that names may hold spaces; a comma at the very end is fine.
 */
static bool next_piece(const char **at, bool commas, struct dpt_arena *arena, char **piece)
{
    const char *s = skip_space(*at);
    if (*s == '\0') {
        return false;
    }
    size_t n = strcspn(s, commas ? "," : " \t");
    *at = s + n + (commas && s[n] == ',');
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t')) {
        n--;
    }
    char *copy = dpt_arena_alloc(arena, n + 1);
    memcpy(copy, s, n);
    *piece = copy;
    return true;
}

/* All pieces; -1 where one is empty or there are too many. */
static int split(const char *text, struct dpt_arena *arena, char *piece[DPT_CONF_MAX_ITEMS], struct dpt_text *why)
{
    const bool commas = strchr(text, ',') != NULL;
    int count = 0;
    for (char *one; next_piece(&text, commas, arena, &one); count++) {
        if (count == DPT_CONF_MAX_ITEMS) {
            dpt_text_add(why, "more than %d items", DPT_CONF_MAX_ITEMS);
            return -1;
        }
        if (*one == '\0') {
            dpt_text_add(why, "an item is empty");
            return -1;
        }
        piece[count] = one;
    }
    return count;
}

static bool parse_list(const struct dpt_conf_key *key, const char *text, struct dpt_arena *arena, void *field,
                       struct dpt_text *why)
{
    char *piece[DPT_CONF_MAX_ITEMS];
    const bool zero = key->zero && strcmp(text, key->zero) == 0;
    const int count = zero ? 0 : split(text, arena, piece, why);
    if (count < 0) {
        return false;
    }
    const size_t items = (size_t)count;
    if (key->type == DPT_CONF_TYPE_NAMES) {
        *(struct dpt_names *)field = (struct dpt_names){count, dpt_arena_memdup(arena, piece, items * sizeof *piece)};
        return true;
    }
    int64_t *whole = dpt_arena_array(arena, items, sizeof *whole);
    double *real = dpt_arena_array(arena, items, sizeof *real);
    for (int i = 0; i < count; i++) {
        const bool fine =
            key->type == DPT_CONF_TYPE_INTS ? parse_int(key, piece[i], &whole[i]) : parse_real(key, piece[i], &real[i]);
        if (!fine) {
            dpt_text_add(why, "'%.40s' is not right", piece[i]);
            return false;
        }
    }
    if (key->type == DPT_CONF_TYPE_INTS) {
        *(struct dpt_ints *)field = (struct dpt_ints){count, whole};
    } else {
        *(struct dpt_reals *)field = (struct dpt_reals){count, real};
    }
    return true;
}

/* "30 60 80 epochs": increasing numbers, then their unit. */
static bool parse_spans(const struct dpt_conf_key *key, const char *text, struct dpt_arena *arena,
                        struct dpt_spans *field, struct dpt_text *why)
{
    struct dpt_spans spans = {0};
    if (*text == '\0') {
        *field = spans;
        return true;
    }
    size_t end = strlen(text);
    while (end > 0 && isalpha((unsigned char)text[end - 1])) {
        end--;
    }
    spans.unit = span_unit(text + end);
    if (spans.unit == DPT_SPAN_UNIT_NONE || !unit_allowed(key, spans.unit)) {
        dpt_text_add(why, text[end] ? "the unit is unknown" : "the unit is missing");
        return false;
    }
    char *numbers = dpt_arena_printf(arena, "%.*s", (int)end, text);
    char *piece[DPT_CONF_MAX_ITEMS];
    spans.count = split(numbers, arena, piece, why);
    if (spans.count <= 0) {
        return false;
    }
    spans.value = dpt_arena_array(arena, (size_t)spans.count, sizeof *spans.value);
    for (int i = 0; i < spans.count; i++) {
        const char *at = spans.unit == DPT_SPAN_UNIT_STEPS ? scan_count(piece[i], &spans.value[i])
                                                           : scan_number(piece[i], &spans.value[i]);
        if (!at || *at || spans.value[i] <= (i ? spans.value[i - 1] : 0.0)) {
            dpt_text_add(why, "'%.40s' is not right", piece[i]);
            return false;
        }
    }
    *field = spans;
    return true;
}

/* "3", "3 5", "3 x 5", "3x5". */
static bool parse_pair(const struct dpt_conf_key *key, const char *text, int64_t *field)
{
    double y, x;
    const char *at = scan_number(text, &y);
    if (!at) {
        return false;
    }
    const char *next = skip_space(at);
    if (*next == '\0') {
        x = y;
    } else {
        if (*next == 'x') {
            next = skip_space(next + 1);
        } else if (next == at) {
            return false;
        }
        at = scan_number(next, &x);
        if (!at || *at) {
            return false;
        }
    }
    if (y != floor(y) || x != floor(x) || !in_range(key, y) || !in_range(key, x)) {
        return false;
    }
    field[0] = (int64_t)y;
    field[1] = (int64_t)x;
    return true;
}

/* ------------------------------------------------------------------------------------------------ the three faces */

bool dpt_conf__parse(const struct dpt_conf_key *key, const char *text, struct dpt_arena *arena, void *field,
                     struct dpt_text *why)
{
    const bool zero = key->zero && strcmp(text, key->zero) == 0;
    double number = 0.0;
    int place;
    bool on;
    switch (key->type) {
    case DPT_CONF_TYPE_BOOL:
        return parse_bool(text, field);
    case DPT_CONF_TYPE_INT:
        if (zero) {
            *(int64_t *)field = 0;
            return true;
        }
        return parse_int(key, text, field);
    case DPT_CONF_TYPE_REAL:
        if (zero) {
            *(double *)field = 0.0;
            return true;
        }
        return parse_real(key, text, field);
    case DPT_CONF_TYPE_BYTES:
        if (!zero && (!parse_bytes(text, &number, why) || !in_range(key, number))) {
            return false;
        }
        *(int64_t *)field = (int64_t)number;
        return true;
    case DPT_CONF_TYPE_TIME:
        if (!zero && (!parse_time(text, &number, why) || !in_range(key, number))) {
            return false;
        }
        *(double *)field = number;
        return true;
    case DPT_CONF_TYPE_SPAN:
        if (zero) {
            *(struct dpt_span *)field = (struct dpt_span){0};
            return true;
        }
        return parse_span(key, text, field, why);
    case DPT_CONF_TYPE_SPANS:
        return parse_spans(key, text, arena, field, why);
    case DPT_CONF_TYPE_AUTO:
        if (strcmp(text, "auto") == 0) {
            *(enum dpt_auto *)field = DPT_AUTO_AUTO;
            return true;
        }
        if (!parse_bool(text, &on)) {
            return false;
        }
        *(enum dpt_auto *)field = on ? DPT_AUTO_ON : DPT_AUTO_OFF;
        return true;
    case DPT_CONF_TYPE_ENUM:
    case DPT_CONF_TYPE_WORD:
        place = parse_word(key->words, text, why);
        if (place < 0) {
            return false;
        }
        if (key->type == DPT_CONF_TYPE_ENUM) {
            *(unsigned *)field = (unsigned)place;
        } else {
            *(char **)field = dpt_arena_strdup(arena, text);
        }
        return true;
    case DPT_CONF_TYPE_TEXT:
    case DPT_CONF_TYPE_PATH:
        *(char **)field = dpt_arena_strdup(arena, text);
        return true;
    case DPT_CONF_TYPE_INTS:
    case DPT_CONF_TYPE_REALS:
    case DPT_CONF_TYPE_NAMES:
        return parse_list(key, text, arena, field, why);
    case DPT_CONF_TYPE_PAIR:
        return parse_pair(key, text, field);
    }
    return false;
}

/* The shortest decimal that reads back as the same number. */
static void add_real(struct dpt_text *text, double value)
{
    char copy[40];
    if (value == floor(value) && fabs(value) < 1e15) {
        snprintf(copy, sizeof copy, "%.0f", value);
    } else {
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(copy, sizeof copy, "%.*g", digits, value);
            if (strtod(copy, NULL) == value) {
                break;
            }
        }
    }
    /* 1e-08 is 1e-8. */
    char *power = strchr(copy, 'e');
    if (power && power[2] == '0') {
        memmove(power + 2, power + 3, strlen(power + 3) + 1);
    }
    dpt_text_add(text, "%s", copy);
}

/* The largest unit in which the number is whole. */
static void add_with_unit(struct dpt_text *text, double value, const struct unit *units, const char *const *names)
{
    const char *name = names[0];
    double factor = 1.0;
    for (int i = 0; names[i]; i++) {
        const double f = find_unit(units, names[i])->factor;
        if (value >= f && value / f == floor(value / f)) {
            name = names[i];
            factor = f;
        }
    }
    add_real(text, value / factor);
    dpt_text_add(text, " %s", name);
}

static void add_time(struct dpt_text *text, double seconds)
{
    static const char *const names[] = {"s", "min", "h", NULL};
    add_with_unit(text, seconds, times, names);
}

static void add_span_unit(struct dpt_text *text, enum dpt_span_unit unit, double value)
{
    dpt_text_add(text, unit == DPT_SPAN_UNIT_EPOCHS ? " epoch%s" : " step%s", value == 1.0 ? "" : "s");
}

static void add_number(const struct dpt_conf_key *key, double value, struct dpt_text *text)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", NULL};
    if (key->zero && value == 0.0) {
        dpt_text_add(text, "%s", key->zero);
    } else if (key->type == DPT_CONF_TYPE_BYTES) {
        add_with_unit(text, value, sizes, names);
    } else if (key->type == DPT_CONF_TYPE_TIME) {
        add_time(text, value);
    } else {
        add_real(text, value);
    }
}

void dpt_conf__format(const struct dpt_conf_key *key, const void *field, struct dpt_text *text)
{
    const struct dpt_span *span = field;
    const struct dpt_spans *spans = field;
    const struct dpt_ints *ints = field;
    const struct dpt_reals *reals = field;
    const struct dpt_names *names = field;
    static const char *const autos[] = {"auto", "yes", "no"};
    switch (key->type) {
    case DPT_CONF_TYPE_BOOL:
        dpt_text_add(text, *(const bool *)field ? "yes" : "no");
        break;
    case DPT_CONF_TYPE_INT:
    case DPT_CONF_TYPE_BYTES:
        add_number(key, (double)*(const int64_t *)field, text);
        break;
    case DPT_CONF_TYPE_REAL:
    case DPT_CONF_TYPE_TIME:
        add_number(key, *(const double *)field, text);
        break;
    case DPT_CONF_TYPE_SPAN:
        if (span->unit == DPT_SPAN_UNIT_NONE) {
            dpt_text_add(text, "%s", key->zero);
        } else if (span->unit == DPT_SPAN_UNIT_SECONDS) {
            add_time(text, span->value);
        } else {
            add_real(text, span->value);
            add_span_unit(text, span->unit, span->value);
        }
        break;
    case DPT_CONF_TYPE_SPANS:
        for (int i = 0; i < spans->count; i++) {
            add_real(text, spans->value[i]);
            dpt_text_add(text, i + 1 < spans->count ? " " : "");
        }
        if (spans->count) {
            add_span_unit(text, spans->unit, 2.0);
        }
        break;
    case DPT_CONF_TYPE_AUTO:
        dpt_text_add(text, "%s", autos[*(const enum dpt_auto *)field]);
        break;
    case DPT_CONF_TYPE_ENUM:
        dpt_text_add(text, "%s", key->words[*(const unsigned *)field].name);
        break;
    case DPT_CONF_TYPE_WORD:
    case DPT_CONF_TYPE_TEXT:
    case DPT_CONF_TYPE_PATH:
        dpt_text_add(text, "%s", *(char *const *)field);
        break;
    case DPT_CONF_TYPE_INTS:
        dpt_text_add(text, "%s", ints->count == 0 && key->zero ? key->zero : "");
        for (int i = 0; i < ints->count; i++) {
            dpt_text_add(text, "%s%lld", i ? " " : "", (long long)ints->value[i]);
        }
        break;
    case DPT_CONF_TYPE_REALS:
        for (int i = 0; i < reals->count; i++) {
            dpt_text_add(text, i ? " " : "");
            add_real(text, reals->value[i]);
        }
        break;
    case DPT_CONF_TYPE_NAMES:
        dpt_text_add(text, "%s", names->count == 0 && key->zero ? key->zero : "");
        for (int i = 0; i < names->count; i++) {
            dpt_text_add(text, "%s%s", i ? ", " : "", names->value[i]);
        }
        /* One name with a space in it needs a comma to stay one. */
        if (names->count == 1 && strpbrk(names->value[0], " \t")) {
            dpt_text_add(text, ",");
        }
        break;
    case DPT_CONF_TYPE_PAIR: {
        const int64_t *pair = field;
        dpt_text_add(text, pair[0] == pair[1] ? "%lld" : "%lld x %lld", (long long)pair[0], (long long)pair[1]);
        break;
    }
    }
}

static void add_range(const struct dpt_conf_key *key, struct dpt_text *text)
{
    struct dpt_conf_key plain = *key;
    plain.zero = NULL;
    const bool low = key->type != DPT_CONF_TYPE_BYTES; /* "of at least 0 B" goes without saying */
    if (low && key->max != 0 && key->ends == 0) {
        dpt_text_add(text, " from ");
        add_number(&plain, key->min, text);
        dpt_text_add(text, " to ");
        add_number(&plain, key->max, text);
        return;
    }
    if (low) {
        dpt_text_add(text, key->ends & DPT_CONF_ABOVE_MIN ? " above " : " of at least ");
        add_number(&plain, key->min, text);
    }
    if (key->max != 0) {
        dpt_text_add(text, "%s%s ", low ? " and" : "", key->ends & DPT_CONF_BELOW_MAX ? " below" : " at most");
        add_number(&plain, key->max, text);
    }
}

void dpt_conf__expect(const struct dpt_conf_key *key, struct dpt_text *text)
{
    const bool steps = unit_allowed(key, DPT_SPAN_UNIT_STEPS), time = unit_allowed(key, DPT_SPAN_UNIT_SECONDS);
    switch (key->type) {
    case DPT_CONF_TYPE_BOOL:
        dpt_text_add(text, "yes or no");
        break;
    case DPT_CONF_TYPE_INT:
        dpt_text_add(text, "a whole number");
        add_range(key, text);
        break;
    case DPT_CONF_TYPE_REAL:
        dpt_text_add(text, "a number");
        add_range(key, text);
        break;
    case DPT_CONF_TYPE_BYTES:
        dpt_text_add(text, "a size such as 64 KiB or 4 MiB,");
        add_range(key, text);
        break;
    case DPT_CONF_TYPE_TIME:
        dpt_text_add(text, "a time such as 90 s, 15 min, 4 h or 3:30:00");
        break;
    case DPT_CONF_TYPE_SPAN:
        dpt_text_add(text, "a length such as 10 epochs%s%s", steps ? (time ? ", 500 steps" : " or 500 steps") : "",
                     time ? " or 15 min" : "");
        break;
    case DPT_CONF_TYPE_SPANS:
        dpt_text_add(text, "rising numbers and their unit, such as 30 60 80 epochs or 10k 20k steps");
        break;
    case DPT_CONF_TYPE_AUTO:
        dpt_text_add(text, "auto, yes or no");
        break;
    case DPT_CONF_TYPE_ENUM:
    case DPT_CONF_TYPE_WORD:
        dpt_text_add(text, "one of");
        for (const struct dpt_conf_word *word = key->words; word->name; word++) {
            dpt_text_add(text, "%s %s", word == key->words ? "" : ",", word->name);
        }
        break;
    case DPT_CONF_TYPE_TEXT:
        dpt_text_add(text, "a text");
        break;
    case DPT_CONF_TYPE_PATH:
        dpt_text_add(text, "a path");
        break;
    case DPT_CONF_TYPE_INTS:
        dpt_text_add(text, "whole numbers with blanks between them, each");
        add_range(key, text);
        break;
    case DPT_CONF_TYPE_REALS:
        dpt_text_add(text, "numbers with blanks between them, each");
        add_range(key, text);
        break;
    case DPT_CONF_TYPE_NAMES:
        dpt_text_add(text, "names with commas between them");
        break;
    case DPT_CONF_TYPE_PAIR:
        dpt_text_add(text, "a whole number");
        add_range(key, text);
        dpt_text_add(text, ", or two (height x width, such as 3 x 5)");
        break;
    }
    if (key->zero) {
        dpt_text_add(text, ", or %s", key->zero);
    }
}

void dpt_conf__add_when(const struct dpt_conf_key *key, struct dpt_text *text)
{
    const struct dpt_conf_key *on = dpt_conf__find(key->when->section, key->when->name);
    dpt_text_add(text, "[%s] %s =", on->section, on->name);
    const char *before = " ";
    for (unsigned i = 0, left = key->when->mask; left; i++, left >>= 1) {
        if (left & 1) {
            dpt_text_add(text, "%s%s", before, on->type != DPT_CONF_TYPE_BOOL ? on->words[i].name : i ? "yes" : "no");
            const unsigned rest = left >> 1;
            before = (rest & (rest - 1)) == 0 ? " or " : ", ";
        }
    }
}

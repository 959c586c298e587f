/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/layout.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define REFUSE(...) dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, __VA_ARGS__)

static const char *const axes[] = {"data", "tensor", "rows", "columns", "pipeline"};

/* A number of 1 to 6 digits, not 0, that ends at a blank or the end; 0: there is none. */
static int read_size(const char *text)
{
    const size_t digits = strspn(text, "0123456789");
    const bool ends = text[digits] == '\0' || text[digits] == ' ' || text[digits] == ',';
    return digits > 0 && digits <= 6 && ends ? atoi(text) : 0;
}

static enum dpt_status read_axis(const char *word, size_t length, struct dpt_layout *layout)
{
    const char *colon = memchr(word, ':', length);
    const size_t name = colon ? (size_t)(colon - word) : length;
    for (size_t i = 0; colon && i < sizeof axes / sizeof axes[0]; i++) {
        if (strlen(axes[i]) == name && strncmp(axes[i], word, name) == 0) {
            const int size = read_size(colon + 1);
            for (int a = 0; a < layout->naxes; a++) {
                if (strcmp(layout->axis[a].name, axes[i]) == 0) {
                    return REFUSE("names %s twice", axes[i]);
                }
            }
            if (size == 0) {
                return REFUSE("%.*s: expected a number of ranks behind the colon", (int)length, word);
            }
            strcpy(layout->axis[layout->naxes].name, axes[i]);
            layout->axis[layout->naxes++].size = size;
            return DPT_STATUS_OK;
        }
    }
    return REFUSE("%.*s: expected data:N, tensor:N, rows:N, columns:N or pipeline:N", length > 40 ? 40 : (int)length, word);
}

enum dpt_status dpt_layout_read(const char *text, struct dpt_layout *layout)
{
    *layout = (struct dpt_layout){.naxes = 0};
    if (strcmp(text, "auto") == 0) {
        return DPT_STATUS_OK;
    }
    for (const char *at = text + strspn(text, " ,"); *at; at += strspn(at, " ,")) {
        const size_t length = strcspn(at, " ,");
        DPT_TRY(read_axis(at, length, layout));
        at += length;
    }
    return layout->naxes > 0 ? DPT_STATUS_OK : REFUSE("is empty: expected auto, or such as data:2 tensor:2");
}

int dpt_layout_size(const struct dpt_layout *layout, const char *name)
{
    for (int a = 0; a < layout->naxes; a++) {
        if (strcmp(layout->axis[a].name, name) == 0) {
            return layout->axis[a].size;
        }
    }
    return 1;
}

enum dpt_status dpt_layout_read_schedule(const char *text, enum dpt_layout_schedule *schedule, int *chunks)
{
    static const char *const words[] = {"none", "gpipe", "1f1b", "interleaved", "zb-h1"};
    const size_t length = strcspn(text, ":");
    *chunks = 1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) == length && strncmp(words[i], text, length) == 0) {
            const bool chunked = i == DPT_LAYOUT_SCHEDULE_INTERLEAVED;
            *schedule = (enum dpt_layout_schedule)i;
            *chunks = chunked && text[length] == ':' ? read_size(text + length + 1) : 1;
            if (chunked ? *chunks < 2 || *chunks > 64 : text[length] != '\0') {
                break;
            }
            return DPT_STATUS_OK;
        }
    }
    return REFUSE("expected none, gpipe, 1f1b, zb-h1, or interleaved:V with 2 to 64 stages a rank");
}

enum dpt_status dpt_layout_read_wire(const char *text, enum dpt_layout_wire *wire, double *share, int *rank)
{
    static const char *const words[] = {"fp32", "bf16", "int8", "topk", "powersgd"};
    const size_t length = strcspn(text, ":");
    const char *behind = text + length + (text[length] == ':');
    char *end = NULL;
    *share = 0.0;
    *rank = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) != length || strncmp(words[i], text, length) != 0) {
            continue;
        }
        *wire = (enum dpt_layout_wire)i;
        if (*wire == DPT_LAYOUT_WIRE_TOPK) {
            *share = strtod(behind, &end) / 100.0;
            const bool number = end != behind && strcmp(end, "%") == 0 && *share > 0.0 && *share <= 1.0;
            return number ? DPT_STATUS_OK : REFUSE("expected a percentage above 0, such as topk:1%%");
        }
        if (*wire == DPT_LAYOUT_WIRE_POWERSGD) {
            *rank = read_size(behind);
            return *rank >= 1 && *rank <= 256 ? DPT_STATUS_OK : REFUSE("expected a rank from 1 to 256, such as powersgd:4");
        }
        if (text[length] != '\0') {
            break;
        }
        return DPT_STATUS_OK;
    }
    return REFUSE("expected fp32, bf16, int8, topk:P%% such as topk:1%%, or powersgd:R such as powersgd:4");
}

enum dpt_status dpt_layout_read_shares(const char *text, int *count, double share[DPT_LAYOUT_MAX_SHARES])
{
    *count = strcmp(text, "auto") == 0 ? -1 : 0;
    if (*count < 0 || strcmp(text, "equal") == 0) {
        return DPT_STATUS_OK;
    }
    double sum = 0.0;
    for (const char *at = text + strspn(text, " ,"); *at; at += strspn(at, " ,")) {
        char *end;
        if (*count == DPT_LAYOUT_MAX_SHARES) {
            return REFUSE("has more than %d numbers", DPT_LAYOUT_MAX_SHARES);
        }
        share[*count] = strtod(at, &end);
        const bool ends = *end == '\0' || *end == ' ' || *end == ',';
        if (end == at || !ends || !isfinite(share[*count]) || share[*count] < 0.0 || share[*count] > 1e6) {
            return REFUSE("expected equal, auto, or a number from 0 to 1000000 for each rank along data, such as 3, 1");
        }
        sum += share[(*count)++];
        at = end;
    }
    return sum > 0.0 ? DPT_STATUS_OK : REFUSE("expected equal, auto, or numbers that are not all 0");
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * GPT-2's words (Radford and others: "Language models are unsupervised multitask learners", 2019): English endings, and
 * runs of letters, of digits, of other signs, each with a space before it if there is one; runs of white space but
 * for the last sign, which goes to the word behind. White space is what Unicode calls so, written out, since \s
 * of PCRE2 also takes U+180E.
 */

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "text/internal.h"

#define SPACES "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+"
                              "|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+";

enum { STACK_FIRST = 32 * 1024, STACK_MOST = 4 * 1024 * 1024 };

struct dpt_text__split {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    bool jit;
    int problem;
};

enum dpt_status dpt_text__split_new(struct dpt_text__split **split)
{
    int error;
    PCRE2_SIZE where;
    char text[128];
    struct dpt_text__split *made = calloc(1, sizeof *made);
    DPT_CHECK(made, DPT_STATUS_SPACE, "no memory to split text into words");
    /* Every character begins a word, so a match begins where it is looked for. */
    made->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &where, NULL);
    if (!made->code) {
        free(made);
        pcre2_get_error_message(error, (PCRE2_UCHAR *)text, sizeof text);
        return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__,
                             "PCRE2 refuses the pattern of words at place %zu: %s; it must know UTF and Unicode", where,
                             text);
    }
    made->jit = pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE) == 0;
    made->match = pcre2_match_data_create(1, NULL);
    made->context = pcre2_match_context_create(NULL);
    made->stack = made->jit ? pcre2_jit_stack_create(STACK_FIRST, STACK_MOST, NULL) : NULL;
    if (!made->match || !made->context || (made->jit && !made->stack)) {
        dpt_text__split_free(made);
        return dpt_error_set(DPT_STATUS_SPACE, __FILE__, __LINE__, "no memory to split text into words");
    }
    if (made->jit) {
        pcre2_jit_stack_assign(made->context, NULL, made->stack);
    }
    *split = made;
    return DPT_STATUS_OK;
}

void dpt_text__split_free(struct dpt_text__split *split)
{
    if (!split) {
        return;
    }
    pcre2_jit_stack_free(split->stack);
    pcre2_match_context_free(split->context);
    pcre2_match_data_free(split->match);
    pcre2_code_free(split->code);
    free(split);
}

size_t dpt_text__split_next(struct dpt_text__split *split, const char *text, size_t nbytes, size_t at)
{
    const int found = split->jit ? pcre2_jit_match(split->code, (PCRE2_SPTR)text, nbytes, at, PCRE2_NO_UTF_CHECK,
                                                   split->match, split->context)
                                 : pcre2_match(split->code, (PCRE2_SPTR)text, nbytes, at, PCRE2_NO_UTF_CHECK,
                                               split->match, split->context);
    if (found <= 0) {
        split->problem = found;
        return 0;
    }
    return pcre2_get_ovector_pointer(split->match)[1];
}

enum dpt_status dpt_text__split_failed(const struct dpt_text__split *split, const char *source, int64_t place)
{
    char why[128] = "";
    pcre2_get_error_message(split->problem, (PCRE2_UCHAR *)why, sizeof why);
    return dpt_error_set(DPT_STATUS_FAILED, __FILE__, __LINE__,
                         "%s: byte %lld: PCRE2 cannot split the text into words: error %d, %s", source, (long long)place,
                         split->problem, why);
}

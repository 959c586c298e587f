/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The words of a manual page. roff(7) is a language; this knows what most pages use of it: requests and macros at the
 * beginning of lines, escapes within them, lines that are filled and lines that are not.
 */

#include <ctype.h>
#include <string.h>

#include "text/system.h"

struct page {
    const char *at, *end;
    struct dpt_text *out;
    bool mdoc;   /* names of macros stand among the words */
    bool filled; /* the end of a line is only a space     */
    char skip[8]; /* a line that ends what is left out: ".." of a macro's definition; "": nothing is */
};

/* ---------------------------------------------------------------------------------------------------- output */

static char last_of(const struct page *page)
{
    return page->out->length ? page->out->data[page->out->length - 1] : '\n';
}

static void add_space(struct page *page)
{
    if (!isspace((unsigned char)last_of(page))) {
        dpt_text_append(page->out, " ", 1);
    }
}

/* Ends the line; a space at its end goes. */
static void end_line(struct page *page)
{
    if (last_of(page) == ' ') {
        page->out->data[--page->out->length] = '\0';
    }
    if (last_of(page) != '\n') {
        dpt_text_append(page->out, "\n", 1);
    }
}

/* Ends a paragraph: an empty line behind it. */
static void end_paragraph(struct page *page)
{
    end_line(page);
    if (page->out->length > 1 && page->out->data[page->out->length - 2] != '\n') {
        dpt_text_append(page->out, "\n", 1);
    }
}

/* --------------------------------------------------------------------------------------------------- escapes */

static const struct {
    const char *name, *text;
} signs[] = {
    {"em", " - "}, {"en", "-"},  {"hy", "-"}, {"bu", "*"},  {"aq", "'"}, {"cq", "'"},  {"oq", "`"}, {"lq", "\""},
    {"rq", "\""},  {"dq", "\""}, {"co", "(C)"}, {"rs", "\\"}, {"ti", "~"}, {"ha", "^"}, {"ga", "`"}, {"at", "@"},
    {"sh", "#"},   {"->", "->"}, {"<-", "<-"}, {"<=", "<="}, {">=", ">="}, {"mu", "x"}, {"pl", "+"}, {"mi", "-"},
};

/* Appends the sign of that name, if it is known. */
static void add_sign(struct page *page, const char *name, size_t nbytes)
{
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (strlen(signs[i].name) == nbytes && memcmp(signs[i].name, name, nbytes) == 0) {
            dpt_text_append(page->out, signs[i].text, strlen(signs[i].text));
        }
    }
}

/* A name behind an escape: X, (XX or [...]; returns its end, and the name itself. */
static const char *name_of(const char *at, const char *end, const char **name, size_t *nbytes)
{
    const char *close = at < end && *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
    *name = at < end && (*at == '(' || close) ? at + 1 : at;
    const char *behind = close ? close : *name + (at < end && *at == '(' ? 2 : 1);
    behind = behind < end ? behind : end;
    *nbytes = behind > *name ? (size_t)(behind - *name) : 0;
    return close ? close + 1 : behind;
}

/* What stands behind a backslash; returns where the text goes on. */
static const char *add_escape(struct page *page, const char *at, const char *end)
{
    const char *name;
    size_t nbytes;
    if (at >= end) {
        return end;
    }
    const char sign = *at++;
    switch (sign) {
    case '-':
        dpt_text_append(page->out, "-", 1);
        return at;
    case ' ':
    case '~':
    case '0':
        dpt_text_append(page->out, " ", 1);
        return at;
    case 'e':
    case '\\':
        dpt_text_append(page->out, "\\", 1);
        return at;
    case '\'':
    case '`':
    case '.':
        dpt_text_append(page->out, &sign, 1);
        return at;
    case '"':
    case '#':
        return end;
    case '(':
    case '[':
        at = name_of(at - 1, end, &name, &nbytes);
        add_sign(page, name, nbytes);
        return at;
    case 'f':
    case '*':
    case 'n':
    case 'm':
    case 'F':
        return name_of(at, end, &name, &nbytes);
    case 's':
        at += at < end && (*at == '+' || *at == '-');
        if (at < end && (*at == '(' || *at == '[')) {
            return name_of(at, end, &name, &nbytes);
        }
        while (at < end && isdigit((unsigned char)*at)) {
            at++;
        }
        return at;
    case 'h':
    case 'v':
    case 'w':
    case 'l':
    case 'L':
    case 'o':
    case 'z': {
        const char *close = at < end ? memchr(at + 1, *at, (size_t)(end - at - 1)) : NULL;
        return close ? close + 1 : end;
    }
    default:
        return at;
    }
}

/* Appends text with its escapes carried out. */
static void add_text(struct page *page, const char *at, const char *end)
{
    while (at < end) {
        const char *back = memchr(at, '\\', (size_t)(end - at));
        const char *plain = back ? back : end;
        dpt_text_append(page->out, at, (size_t)(plain - at));
        at = back ? add_escape(page, back + 1, end) : end;
    }
}

/* -------------------------------------------------------------------------------------------- requests, macros */

static bool is_one_of(const char *word, size_t nbytes, const char *list)
{
    for (const char *at = list; *at;) {
        const size_t n = strcspn(at, " ");
        if (n == nbytes && memcmp(at, word, n) == 0) {
            return true;
        }
        at += n + (at[n] == ' ');
    }
    return false;
}

static const char headings[] = "SH SS Sh Ss";
static const char paragraphs[] = "PP P LP Pp sp HP Bl El D1 Dl Lp";
static const char fonts[] = "B I BR RB BI IB IR RI SM SB R";
static const char words_of_mdoc[] = "Ad An Ap Ar Bq Brq Cd Cm Dq Dv Em Er Ev Fa Fl Fn Ft Ic In Lb Li Lk Ms Mt Nd Nm No Ns "
                                    "Op Oo Oc Pa Pf Po Pc Pq Ql Qq Sq Sx Sy Tn Va Vt Xr Xo Xc Ao Ac Bo Bc Do Dc So Sc";

/* The next word of a macro's line, quoted or not; false at the end. */
static bool next_word(const char **at, const char *end, const char **word, size_t *nbytes)
{
    while (*at < end && (**at == ' ' || **at == '\t')) {
        ++*at;
    }
    if (*at >= end) {
        return false;
    }
    const bool quoted = **at == '"';
    *at += quoted;
    *word = *at;
    while (*at < end && (quoted ? **at != '"' : **at != ' ' && **at != '\t')) {
        *at += **at == '\\' && *at + 1 < end ? 2 : 1;
    }
    *at = *at < end ? *at : end;
    *nbytes = (size_t)(*at - *word);
    *at += quoted && *at < end;
    return true;
}

/* Appends the words of a macro; `joined` sets no spaces between them, as BR does. */
static void add_words(struct page *page, const char *at, const char *end, bool joined)
{
    const char *word;
    size_t nbytes;
    bool dash = false;
    while (next_word(&at, end, &word, &nbytes)) {
        if (page->mdoc && is_one_of(word, nbytes, words_of_mdoc)) {
            dash = dash || (nbytes == 2 && memcmp(word, "Fl", 2) == 0);
            continue;
        }
        if (!joined && !(page->mdoc && nbytes == 1 && strchr(".,;:)", *word))) {
            add_space(page);
        }
        if (dash) {
            dpt_text_append(page->out, "-", 1);
            dash = false;
        }
        add_text(page, word, word + nbytes);
    }
}

static void macro(struct page *page, const char *at, const char *end)
{
    const char *name;
    size_t nbytes;
    if (!next_word(&at, end, &name, &nbytes) || *name == '\\') {
        return;
    }
    if (is_one_of(name, nbytes, "de ig am de1")) {
        strcpy(page->skip, "..");
    } else if (is_one_of(name, nbytes, "Dd")) {
        page->mdoc = true;
    } else if (is_one_of(name, nbytes, headings)) {
        end_paragraph(page);
        add_words(page, at, end, false);
        end_paragraph(page);
        page->filled = true;
    } else if (is_one_of(name, nbytes, "nf EX Bd")) {
        end_line(page);
        page->filled = false;
    } else if (is_one_of(name, nbytes, "fi EE Ed")) {
        end_line(page);
        page->filled = true;
    } else if (is_one_of(name, nbytes, "It IP")) {
        end_line(page);
        add_words(page, at, end, false);
        add_space(page);
    } else if (is_one_of(name, nbytes, "TP TQ br RS RE SY YS")) {
        end_line(page);
    } else if (is_one_of(name, nbytes, paragraphs)) {
        end_paragraph(page);
    } else if (is_one_of(name, nbytes, fonts) || (page->mdoc && is_one_of(name, nbytes, words_of_mdoc))) {
        add_space(page);
        const bool joined = nbytes == 2 && !page->mdoc && !is_one_of(name, nbytes, "SM SB");
        add_words(page, page->mdoc ? name : at, end, joined);
        dpt_text_append(page->out, page->filled ? " " : "\n", 1);
    }
}

void dpt_system_plain_page(const char *source, size_t nbytes, struct dpt_text *text)
{
    struct page page = {.at = source, .end = source + nbytes, .out = text, .filled = true};
    while (page.at < page.end) {
        const char *end = memchr(page.at, '\n', (size_t)(page.end - page.at));
        end = end ? end : page.end;
        const char *line = page.at;
        page.at = end < page.end ? end + 1 : end;
        if (*page.skip) {
            if ((size_t)(end - line) >= strlen(page.skip) && memcmp(line, page.skip, strlen(page.skip)) == 0) {
                *page.skip = '\0';
            }
        } else if (line < end && (*line == '.' || *line == '\'')) {
            macro(&page, line + 1, end);
        } else if (line == end) {
            end_paragraph(&page);
        } else {
            add_text(&page, line, end);
            if (page.filled) {
                add_space(&page);
            } else {
                dpt_text_append(page.out, "\n", 1);
            }
        }
    }
    end_line(&page);
}

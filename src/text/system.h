/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text that a machine has without any data: the licences under /usr/share/common-licenses, the copyright files of
 * packages and the English manual pages, as plain text. Each different text is a document, in the order of the paths. What is
 * no UTF-8, damaged or larger than a few MiB is left out. Other machines have other texts: results are not comparable.
 */

#include "base/text.h"
#include "text/input.h"

struct dpt_system;

/* Lists the files below `root`, "" for this system. DPT_STATUS_DATA when there are none. Local. */
enum dpt_status dpt_system_open(const char *root, struct dpt_system **system);

/* The next text, which lives until the next call; text NULL at the end. Local. */
enum dpt_status dpt_system_next(struct dpt_system *system, struct dpt_input_piece *piece);

/* Files behind us, and all. Local. */
void dpt_system_progress(const struct dpt_system *system, int64_t *done, int64_t *all);

/* NULL is fine. Local. */
void dpt_system_close(struct dpt_system *system);

/*
 * The readable text of a manual page's source, man(7) or mdoc(7), appended to `text`: macros and escapes go, words, lines
 * and paragraphs stay. Made for having text to learn from, not for reading. Local.
 */
void dpt_system_plain_page(const char *source, size_t nbytes, struct dpt_text *text);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Room-private: where a text may be cut. */

#include <stddef.h>

#include "text/input.h"

/*
 * How many of these bytes may go on as a piece, when more of the document follows: the last place to cut, 0 where there is
 * none. Local.
 */
size_t dpt_text__cut(enum dpt_input_cut cut, const char *text, size_t nbytes);

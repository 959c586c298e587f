/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Jobs from texts, for the tests of conf/. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conf/job.h"

/* Reads a job that must be good. */
static inline struct dpt_job *job_of(const char *text)
{
    struct dpt_job *job = NULL;
    struct dpt_text problems = {0};
    if (dpt_job_read_text("t.ini", text, &job, &problems) != DPT_STATUS_OK) {
        fail_msg("refused:\n%s", problems.data);
    }
    assert_null(problems.data);
    return job;
}

/* Reads a job that must be refused with exactly these lines. */
static inline void refused(const char *text, const char *lines)
{
    struct dpt_job *job = NULL;
    struct dpt_text problems = {0};
    assert_int_equal(dpt_job_read_text("t.ini", text, &job, &problems), DPT_STATUS_USAGE);
    assert_null(job);
    assert_string_equal(problems.data, lines);
    /* The error record holds the first of them. */
    const size_t first = strcspn(problems.data, "\n");
    assert_int_equal(strncmp(dpt_error_text(), problems.data, first), 0);
    assert_int_equal(dpt_error_text()[first], '\0');
    dpt_text_free(&problems);
}

/* SPDX-License-Identifier: Apache-2.0 */

/* The emulated card (tests/cuda/races.h) finds races in kernels, and none in those that have none. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dev/dev.h"
#include "race_kernels.h"

/* Runs a case on a card of its own; launches before it say whether its threads run backwards. */
static void run_case(const struct race_case *test, int before)
{
    static float numbers[RACE_NUMBERS];
    struct dpt_dev *card;
    void *x;
    if (dpt_dev_cuda(0, &card) != DPT_STATUS_OK ||
        dpt_dev_alloc(card, sizeof numbers, "numbers", &x) != DPT_STATUS_OK ||
        dpt_dev_copy_in(card, x, numbers, sizeof numbers) != DPT_STATUS_OK) {
        fprintf(stderr, "%s\n", dpt_error_text());
        exit(1);
    }
    for (int i = 0; i < before; i++) {
        race_cases[0].launch(card, x);
    }
    test->launch(card, x);
    if (dpt_dev_copy_out(card, numbers, x, sizeof numbers) != DPT_STATUS_OK) {
        exit(1);
    }
    exit(0);
}

static void expect_case(const struct race_case *test, int before)
{
    char said[1024];
    size_t n = 0;
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        run_case(test, before);
    }
    close(ends[1]);
    for (ssize_t some; n + 1 < sizeof said && (some = read(ends[0], said + n, sizeof said - 1 - n)) > 0;) {
        n += (size_t)some;
    }
    said[n] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    const bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (test->says ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(said, test->says) : !fine) {
        fail_msg("%s, %d launches before: %s; status %#x, and it said: %s", test->name, before,
                 test->says ? test->says : "no race was expected", (unsigned)status, said);
    }
}

static void races(void **state)
{
    (void)state;
    for (const struct race_case *test = race_cases; test->name; test++) {
        for (int before = 0; before < 2; before++) {
            expect_case(test, before);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(races)};
    setenv("DPT_EMULATED_CARDS", "1", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

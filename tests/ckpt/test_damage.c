/* SPDX-License-Identifier: Apache-2.0 */

/* Damage of every kind to the newest checkpoint: it is refused with DPT_STATUS_DATA, and the one before is used. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/text.h"
#include "toy.h"

static struct dpt_comm *alone;
static char run[256], newest[320];

static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "config.ini", "MANIFEST.json"};
enum { NFILES = sizeof files / sizeof files[0] };

static int new_run(void **state)
{
    (void)state;
    snprintf(run, sizeof run, "%s", toy_folder());
    snprintf(newest, sizeof newest, "%s/checkpoints/step-00000040", run);
    return toy_save(run, alone, 20, 20, 2, false) != DPT_STATUS_OK || toy_save(run, alone, 40, 40, 2, false) != 0;
}

static int remove_run(void **state)
{
    (void)state;
    toy_remove(run);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", newest, name);
    return path;
}

/* The newest is refused, named in the notes, and the older one is opened and whole. */
static void expect_fallback(const char *what)
{
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt = NULL;
    if (dpt_ckpt_open(newest, false, &ckpt, &notes) != DPT_STATUS_DATA) {
        fail_msg("accepted: %s", what);
    }
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_OK);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 20);
    assert_non_null(strstr(notes.data, "step-00000040"));
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
}

static void write_bytes(const char *path, const char *data, size_t nbytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

/* Every byte near both ends of a file and of its tensors, and a sample of the padding between. */
static size_t next_place(size_t at, size_t nbytes)
{
    const bool padding = at >= 900 && at < 4000 && nbytes > 4096;
    return at + (padding ? 97 : 1);
}

static void any_flipped_byte_is_found(void **state)
{
    (void)state;
    for (int f = 0; f < NFILES; f++) {
        char *data;
        size_t nbytes;
        assert_int_equal(dpt_file_read(path_of(files[f]), 1 << 20, &data, &nbytes), DPT_STATUS_OK);
        for (size_t at = 0; at < nbytes; at = next_place(at, nbytes)) {
            const int fd = open(path_of(files[f]), O_WRONLY);
            const char flipped = (char)(data[at] ^ (1 << at % 8));
            assert_int_equal(pwrite(fd, &flipped, 1, (off_t)at), 1);
            struct dpt_text notes = {0};
            struct dpt_ckpt *ckpt;
            if (dpt_ckpt_open(newest, false, &ckpt, &notes) != DPT_STATUS_DATA) {
                fail_msg("%s: flipped byte %zu was accepted", files[f], at);
            }
            assert_int_equal(pwrite(fd, &data[at], 1, (off_t)at), 1);
            close(fd);
        }
        data[nbytes / 2] = (char)(data[nbytes / 2] + 1);
        write_bytes(path_of(files[f]), data, nbytes);
        expect_fallback(files[f]);
        data[nbytes / 2] = (char)(data[nbytes / 2] - 1);
        write_bytes(path_of(files[f]), data, nbytes);
        free(data);
    }
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_OK);
    assert_true(toy_loads(ckpt, 40));
    dpt_ckpt_close(ckpt);
}

static void any_cut_or_longer_file_is_found(void **state)
{
    (void)state;
    for (int f = 0; f < NFILES; f++) {
        char *data;
        size_t nbytes;
        assert_int_equal(dpt_file_read(path_of(files[f]), 1 << 20, &data, &nbytes), DPT_STATUS_OK);
        for (size_t at = 0; at < nbytes; at = next_place(at, nbytes)) {
            write_bytes(path_of(files[f]), data, at);
            struct dpt_text notes = {0};
            struct dpt_ckpt *ckpt;
            if (dpt_ckpt_open(newest, false, &ckpt, &notes) != DPT_STATUS_DATA) {
                fail_msg("%s: cut to %zu bytes it was accepted", files[f], at);
            }
        }
        expect_fallback(files[f]);
        write_bytes(path_of(files[f]), data, nbytes + 1); /* with the NUL that dpt_file_read adds */
        expect_fallback(files[f]);
        write_bytes(path_of(files[f]), data, nbytes);
        free(data);
    }
}

static void a_missing_file_is_found(void **state)
{
    (void)state;
    for (int f = 0; f < NFILES; f++) {
        char away[512];
        snprintf(away, sizeof away, "%s/away", run);
        assert_int_equal(rename(path_of(files[f]), away), 0);
        expect_fallback(files[f]);
        /* In its place a folder, a link to the very file, a pipe that would make us wait. */
        assert_int_equal(mkdir(path_of(files[f]), 0777), 0);
        expect_fallback(files[f]);
        assert_int_equal(rmdir(path_of(files[f])), 0);
        assert_int_equal(symlink(away, path_of(files[f])), 0);
        expect_fallback(files[f]);
        assert_int_equal(unlink(path_of(files[f])), 0);
        assert_int_equal(mkfifo(path_of(files[f]), 0666), 0);
        expect_fallback(files[f]);
        assert_int_equal(unlink(path_of(files[f])), 0);
        assert_int_equal(rename(away, path_of(files[f])), 0);
    }
}

/* Files of another step have fitting sizes and are whole in themselves. */
static void a_file_of_another_step_is_found(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++) {
        char old[512], *data, *own;
        size_t nbytes, nown;
        snprintf(old, sizeof old, "%s/checkpoints/step-00000020/%s", run, files[f]);
        assert_int_equal(dpt_file_read(old, 1 << 20, &data, &nbytes), DPT_STATUS_OK);
        assert_int_equal(dpt_file_read(path_of(files[f]), 1 << 20, &own, &nown), DPT_STATUS_OK);
        assert_int_equal(nbytes, nown);
        write_bytes(path_of(files[f]), data, nbytes);
        expect_fallback(files[f]);
        write_bytes(path_of(files[f]), own, nown);
        free(data);
        free(own);
    }
}

static void a_wrong_step_in_the_name_is_found(void **state)
{
    (void)state;
    char from[320];
    memcpy(from, newest, sizeof from);
    snprintf(newest, sizeof newest, "%s/checkpoints/step-00000041", run);
    assert_int_equal(rename(from, newest), 0);
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(newest, false, &ckpt, &notes), DPT_STATUS_DATA);
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_OK);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 20);
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
}

static void only_damaged_ones_are_an_error(void **state)
{
    (void)state;
    char path[512];
    assert_int_equal(unlink(path_of("config.ini")), 0);
    snprintf(path, sizeof path, "%s/checkpoints/step-00000020/MANIFEST.json", run);
    assert_int_equal(truncate(path, 100), 0);
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    assert_int_equal(dpt_ckpt_open(run, false, &ckpt, &notes), DPT_STATUS_DATA);
    assert_non_null(strstr(notes.data, "step-00000040"));
    assert_non_null(strstr(notes.data, "step-00000020"));
    dpt_text_free(&notes);
}

/* `best` is what was asked for: another one is no substitute. A pointer must not lead out of the folder. */
static void a_bad_best_pointer_is_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "step-00000099\n", "../step-00000020\n", "step-20\n", "tmp-00000020\n"};
    char pointer[512];
    snprintf(pointer, sizeof pointer, "%s/checkpoints/best", run);
    struct dpt_text notes = {0};
    struct dpt_ckpt *ckpt;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_bytes(pointer, bad[i], strlen(bad[i]));
        assert_int_equal(dpt_ckpt_open(run, true, &ckpt, &notes), DPT_STATUS_DATA);
    }
    write_bytes(pointer, "step-00000020\n", 14);
    assert_int_equal(dpt_ckpt_open(run, true, &ckpt, &notes), DPT_STATUS_OK);
    assert_int_equal(dpt_ckpt_meta(ckpt)->step, 20);
    dpt_ckpt_close(ckpt);
    dpt_text_free(&notes);
}

int main(void)
{
    if (dpt_comm_start_alone(&alone) != DPT_STATUS_OK) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_flipped_byte_is_found, new_run, remove_run),
        cmocka_unit_test_setup_teardown(any_cut_or_longer_file_is_found, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_missing_file_is_found, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_file_of_another_step_is_found, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_wrong_step_in_the_name_is_found, new_run, remove_run),
        cmocka_unit_test_setup_teardown(only_damaged_ones_are_an_error, new_run, remove_run),
        cmocka_unit_test_setup_teardown(a_bad_best_pointer_is_an_error, new_run, remove_run),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    dpt_comm_end(alone);
    return failed;
}

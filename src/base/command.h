/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of a program: one table of options, from which come getopt's arrays, --help, and what is said of a
 * word that is none. Every program has --help and --version beside those of its table.
 *
 *     int main(int argc, char **argv)
 *     {
 *         struct options options = {.threads = 1};
 *         return dpt_command_main(&command, argc, argv, &options);
 *     }
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

enum { DPT_COMMAND_WORD = 1, DPT_COMMAND_LONG = 256 };

struct dpt_command_option {
    const char *name;  /* "threads"                                                                          */
    int letter;        /* 't'; DPT_COMMAND_LONG and up where it has no letter                                */
    const char *value; /* what its value is called: "N"; "[N]" may be left out; NULL: it takes none          */
    const char *text;  /* what it does, for --help                                                           */
};

struct dpt_command {
    const char *name;       /* "dpt-predict"                                                                 */
    const char *begin;      /* of --help: all before the options                                             */
    const char *end;        /* all behind them                                                               */
    const char *version;    /* NULL: name and version                                                        */
    const char *hint;       /* behind what is said of an option that has no near name; NULL: nothing         */
    const struct dpt_command_option *option;
    int noptions;
    /* Takes an option, or a word that is none as DPT_COMMAND_WORD, in their order; value NULL: none was given. */
    enum dpt_status (*take)(void *user, int letter, const char *value);
    /* Looks at what was taken; NULL: nothing to look at. Not called when something is asked. */
    enum dpt_status (*check)(void *user);
    /* What the program does, for dpt_command_main. */
    enum dpt_status (*work)(void *user);
};

enum dpt_command_ask { DPT_COMMAND_ASK_NOTHING, DPT_COMMAND_ASK_HELP, DPT_COMMAND_ASK_VERSION };

/*
 * Reads a command line; *ask is what it asks for instead of work, help before all. The strings that `take` gets are those
 * of argv. DPT_STATUS_USAGE; its sentence ends with where help is to be had. Not from several threads. Local.
 */
enum dpt_status dpt_command_parse(const struct dpt_command *command, int argc, char *const *argv, void *user,
                                  enum dpt_command_ask *ask);

/* Appends what --help or --version answers. Local. */
void dpt_command_add_answer(const struct dpt_command *command, enum dpt_command_ask ask, struct dpt_text *out);

/* Writes a text to standard output, to the end: DPT_STATUS_SPACE or DPT_STATUS_FAILED when it is lost. Local. */
enum dpt_status dpt_command_print(const struct dpt_text *text);

/* Frees a text; where it is to be `said`, each of its lines goes to standard error, behind the program's name. Local. */
void dpt_command_tell(const struct dpt_command *command, struct dpt_text *text, bool said);

/*
 * A program: reads the command line, answers or works, and says the failure, if there is one, on standard error. Output
 * that was lost is a failure too. Returns the exit status. Local.
 */
int dpt_command_main(const struct dpt_command *command, int argc, char *const *argv, void *user);

/* A whole number from min to max, as the value of an option. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_command_number(const char *option, const char *text, int64_t min, int64_t max, int64_t *value);

/* The same, as an int. Local. */
enum dpt_status dpt_command_int(const char *option, const char *text, int min, int max, int *value);

/* A number from 0 to max; 0 itself only where `zero`. DPT_STATUS_USAGE. Local. */
enum dpt_status dpt_command_real(const char *option, const char *text, double max, bool zero, double *value);

/* One of `count` words: *value is its place. DPT_STATUS_USAGE, naming all. Local. */
enum dpt_status dpt_command_word(const char *option, const char *text, const char *const *words, int count, int *value);

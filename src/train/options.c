/* SPDX-License-Identifier: Apache-2.0 */

/* One table of options: getopt's arrays, the help and the completion are made from it. */

#include "train/options.h"

#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { PLAN = 256, PRINT_CONFIG, EXPLAIN, LIST, STOP_STATUS, COMPLETION }; /* options without a letter */

static const struct {
    const char *name;
    int letter;
    int argument; /* no_argument, required_argument, optional_argument */
    const char *value, *text;
} table[] = {
    {"config", 'c', required_argument, "FILE", "job file; later ones win; @NAME: an installed one"},
    {"set", 's', required_argument, "SECTION.KEY=VALUE", "change one key of the job"},
    {"output", 'o', required_argument, "DIR", "run directory, as run.output"},
    {"resume", 'r', required_argument, "WHEN", "auto (default), never, must, or a PATH"},
    {"max-time", 't', required_argument, "TIME", "save and stop before TIME is over: 4h, 3:30:00"},
    {"stop-status", STOP_STATUS, required_argument, "N", "exit status when stopped before the end (0)"},
    {"eval-only", 'e', no_argument, NULL, "try the checkpoint on data it was not trained on"},
    {"dry-run", 'n', no_argument, NULL, "check everything, show the plan, train nothing"},
    {"plan", PLAN, required_argument, "N", "the same for N ranks, and what each would do"},
    {"print-config", PRINT_CONFIG, optional_argument, "HOW", "show the job: full, minimal or explain"},
    {"explain", EXPLAIN, required_argument, "KEY", "what a key means, such as optimizer.lr"},
    {"list", LIST, optional_argument, "KIND", "keys, models, layers, optimizers, ..."},
    {"completion", COMPLETION, required_argument, "bash", "completion for the shell"},
    {"quiet", 'q', no_argument, NULL, "print nothing but errors"},
    {"help", 'h', no_argument, NULL, "this page"},
    {"version", 'V', no_argument, NULL, "the version"},
};
enum { OPTIONS = sizeof table / sizeof table[0] };

static const char presets[] = "presets"; /* the one list that the table of keys does not have */

/* ------------------------------------------------------------------------------------------------------ presets */

/* Folders that may hold presets: those of DPT_PATH, then the installed one. Returns how many; `folder` may be NULL. */
static int preset_folders(struct dpt_arena *arena, const char *folder[], int limit)
{
    int count = 0;
    const char *path = getenv("DPT_PATH");
    for (const char *at = path ? path : ""; *at && count < limit - 1;) {
        const size_t n = strcspn(at, ":");
        if (n) {
            folder[count++] = dpt_arena_printf(arena, "%.*s", (int)n, at);
        }
        at += n + (at[n] == ':');
    }
    folder[count++] = DPT_DATADIR "/configs";
    return count;
}

enum { MAX_FOLDERS = 32, MAX_PRESETS = 256 };

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of all presets, sorted; at most MAX_PRESETS. */
static int find_presets(struct dpt_arena *arena, const char *name[MAX_PRESETS])
{
    const char *folder[MAX_FOLDERS];
    const int folders = preset_folders(arena, folder, MAX_FOLDERS);
    int count = 0;
    for (int i = 0; i < folders; i++) {
        DIR *dir = opendir(folder[i]);
        for (const struct dirent *entry; dir && count < MAX_PRESETS && (entry = readdir(dir));) {
            const size_t n = strlen(entry->d_name);
            if (n > 4 && strcmp(entry->d_name + n - 4, ".ini") == 0) {
                name[count++] = dpt_arena_printf(arena, "%.*s", (int)n - 4, entry->d_name);
            }
        }
        if (dir) {
            closedir(dir);
        }
    }
    qsort(name, (size_t)count, sizeof *name, by_name);
    return count;
}

static enum dpt_status preset_path(struct dpt_arena *arena, const char *name, const char **path)
{
    const char *folder[MAX_FOLDERS], *names[MAX_PRESETS];
    const int folders = preset_folders(arena, folder, MAX_FOLDERS);
    struct dpt_text tried = {0};
    for (int i = 0; i < folders && *name && !strchr(name, '/'); i++) {
        *path = dpt_arena_printf(arena, "%s/%s.ini", folder[i], name);
        if (dpt_file_exists(*path)) {
            dpt_text_free(&tried);
            return DPT_STATUS_OK;
        }
        dpt_text_add(&tried, "%s%s", i ? ", " : "", folder[i]);
    }
    const int count = find_presets(arena, names);
    const char *nearest = dpt_text_nearest(name, names, (size_t)count);
    const char *hint = nearest ? dpt_arena_printf(arena, " Did you mean '@%s'?", nearest) : "";
    const enum dpt_status status =
        dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                      "there is no job file '@%.60s' in %.300s.%s (dpt-train --list=presets)", name,
                      tried.data ? tried.data : "the folders of presets", hint);
    dpt_text_free(&tried);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ parsing */

static void add_override(struct dpt_options *options, const char *override)
{
    options->override[options->noverrides++] = override;
}

/* What was meant by a word that is no file: refused where there is a good guess; else reading the job tells of it. */
static enum dpt_status guess(struct dpt_arena *arena, const char *word)
{
    const char *names[MAX_PRESETS];
    const size_t n = strlen(word);
    DPT_CHECK(!strchr(word, '=') || strchr(word, '/'), DPT_STATUS_USAGE,
              "there is no file '%.200s'; a key of the job is set with -s %.200s", word, word);
    for (int i = 0, count = find_presets(arena, names); i < count; i++) {
        const bool same = strncmp(word, names[i], strlen(names[i])) == 0 &&
                          (n == strlen(names[i]) || strcmp(word + strlen(names[i]), ".ini") == 0);
        DPT_CHECK(!same, DPT_STATUS_USAGE, "there is no file '%s' here. Did you mean '@%s', which came with dpt?", word,
                  names[i]);
    }
    return DPT_STATUS_OK;
}

static enum dpt_status add_file(struct dpt_options *options, const char *name)
{
    const char *path = name;
    if (*name == '@') {
        DPT_TRY(preset_path(options->arena, name + 1, &path));
    } else if (!dpt_file_exists(name)) {
        DPT_TRY(guess(options->arena, name));
    }
    options->file[options->nfiles++] = path;
    return DPT_STATUS_OK;
}

/* The first question asked is answered, but help goes before all. */
static void ask(struct dpt_options *options, enum dpt_ask what)
{
    if (options->ask == DPT_ASK_TRAIN || what == DPT_ASK_HELP) {
        options->ask = what;
    }
}

static enum dpt_status number(const char *option, const char *text, int min, int max, int *value)
{
    char *end;
    const long number = strtol(text, &end, 10);
    DPT_CHECK(end != text && *end == '\0' && number >= min && number <= max, DPT_STATUS_USAGE,
              "--%s=%.60s: expected a whole number from %d to %d", option, text, min, max);
    *value = (int)number;
    return DPT_STATUS_OK;
}

static enum dpt_status resume(const char *text, struct dpt_options *options)
{
    static const char *const words[] = {"auto", "never", "must"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, words[i]) == 0) {
            options->resume = (enum dpt_resume)i;
            return DPT_STATUS_OK;
        }
    }
    DPT_CHECK(dpt_file_exists(text), DPT_STATUS_USAGE,
              "--resume=%.200s: expected auto, never, must or the path of a checkpoint; there is no such file", text);
    options->resume = DPT_RESUME_PATH;
    options->resume_path = text;
    return DPT_STATUS_OK;
}

static enum dpt_status print_config(const char *text, struct dpt_options *options)
{
    static const char *const words[] = {"full", "minimal", "explain"};
    ask(options, DPT_ASK_PRINT_CONFIG);
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, words[i]) == 0) {
            options->print = (enum dpt_job_print)i;
            return DPT_STATUS_OK;
        }
    }
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__,
                         "--print-config=%.60s: expected full, minimal or explain", text);
}

/* An option that getopt does not take: `argument` is the word of argv in which it stands. */
static enum dpt_status unknown(const char *argument, int letter)
{
    DPT_CHECK(letter != '=', DPT_STATUS_USAGE, "%.2s takes no value", argument);
    if (strncmp(argument, "--", 2) != 0) {
        return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "there is no option -%c", letter);
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(argument + 2, "="), argument + 2);
    const char *names[OPTIONS];
    for (int i = 0; i < OPTIONS; i++) {
        names[i] = table[i].name;
        DPT_CHECK(strcmp(names[i], name) != 0, DPT_STATUS_USAGE, "--%s takes no value", name);
    }
    const char *nearest = dpt_text_nearest(name, names, OPTIONS);
    /* A key of the job in place of an option is a good guess at what was wanted. */
    DPT_CHECK(nearest, DPT_STATUS_USAGE, "there is no option --%s; keys of the job are set with -s section.key=value",
              name);
    return dpt_error_set(DPT_STATUS_USAGE, __FILE__, __LINE__, "there is no option --%s. Did you mean --%s?", name,
                         nearest);
}

static enum dpt_status take(int letter, const char *value, struct dpt_options *options)
{
    switch (letter) {
    case 1: /* a word that is no option */
    case 'c':
        return add_file(options, value);
    case 's':
        add_override(options, value);
        break;
    case 'o':
        add_override(options, dpt_arena_printf(options->arena, "run.output=%s", value));
        break;
    case 't':
        add_override(options, dpt_arena_printf(options->arena, "run.max_time=%s", value));
        break;
    case 'r':
        return resume(value, options);
    case STOP_STATUS:
        return number("stop-status", value, 0, 125, &options->stop_status);
    case 'e':
        options->eval_only = true;
        break;
    case PLAN:
        options->dry_run = true;
        return number("plan", value, 1, 1 << 24, &options->plan_ranks);
    case 'n':
        options->dry_run = true;
        break;
    case PRINT_CONFIG:
        return print_config(value ? value : "full", options);
    case EXPLAIN:
    case LIST:
        ask(options, letter == LIST ? DPT_ASK_LIST : DPT_ASK_EXPLAIN);
        options->word = value;
        break;
    case COMPLETION:
        DPT_CHECK(strcmp(value, "bash") == 0, DPT_STATUS_USAGE, "--completion=%.60s: expected bash", value);
        ask(options, DPT_ASK_COMPLETION);
        break;
    case 'q':
        options->quiet = true;
        break;
    case 'h':
        ask(options, DPT_ASK_HELP);
        break;
    case 'V':
        ask(options, DPT_ASK_VERSION);
        break;
    default:
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status parse(int argc, char *const *argv, struct dpt_options *options)
{
    struct option longs[OPTIONS + 1] = {{0}};
    char letters[2 * OPTIONS + 3] = "-:"; /* in the order of the command line; ':' for a missing value */
    for (int i = 0; i < OPTIONS; i++) {
        longs[i] = (struct option){table[i].name, table[i].argument, NULL, table[i].letter};
        if (table[i].letter < PLAN) {
            const size_t n = strlen(letters);
            snprintf(letters + n, sizeof letters - n, "%c%s", table[i].letter,
                     table[i].argument == required_argument ? ":" : "");
        }
    }
    opterr = 0;
    optind = 0;
    for (;;) {
        const int at = optind ? optind : 1;
        const int letter = getopt_long(argc, argv, letters, longs, NULL);
        if (letter == -1) {
            break;
        }
        DPT_CHECK(letter != ':', DPT_STATUS_USAGE, "%.60s needs a value", argv[at]);
        if (letter == '?') {
            return unknown(argv[at], optopt);
        }
        DPT_TRY(take(letter, optarg, options));
    }
    while (optind < argc) { /* after "--" */
        DPT_TRY(add_file(options, argv[optind++]));
    }
    const bool job = options->ask == DPT_ASK_TRAIN || options->ask == DPT_ASK_PRINT_CONFIG;
    DPT_CHECK(!job || options->nfiles + options->noverrides > 0, DPT_STATUS_USAGE,
              "a job file is needed: dpt-train FILE, or @NAME for one that came with dpt (dpt-train --list=presets)");
    return DPT_STATUS_OK;
}

enum dpt_status dpt_options_parse(int argc, char *const *argv, struct dpt_options *options)
{
    *options = (struct dpt_options){.arena = dpt_arena_new()};
    /* No list gets more than one item from a word of the command line. */
    options->file = dpt_arena_array(options->arena, (size_t)argc, sizeof *options->file);
    options->override = dpt_arena_array(options->arena, (size_t)argc, sizeof *options->override);
    const enum dpt_status status = parse(argc, argv, options);
    if (status != DPT_STATUS_OK) {
        return dpt_error_set(status, __FILE__, __LINE__, "%s\nTry 'dpt-train --help'.", dpt_error_text());
    }
    return DPT_STATUS_OK;
}

void dpt_options_free(struct dpt_options *options)
{
    dpt_arena_free(options->arena);
    *options = (struct dpt_options){0};
}

/* ------------------------------------------------------------------------------------------------------ answers */

static void help(struct dpt_text *out)
{
    dpt_text_add(out, "Usage: dpt-train [OPTION]... [-c] FILE...\n"
                      "Train a neural network as the job file says, on all ranks of the MPI job.\n\n");
    for (int i = 0; i < OPTIONS; i++) {
        char option[40];
        const bool optional = table[i].argument == optional_argument;
        int n = table[i].letter < PLAN ? snprintf(option, sizeof option, "-%c, ", table[i].letter)
                                       : snprintf(option, sizeof option, "    ");
        n += snprintf(option + n, sizeof option - (size_t)n, "--%s", table[i].name);
        if (table[i].value) {
            snprintf(option + n, sizeof option - (size_t)n, "%s=%s%s", optional ? "[" : "", table[i].value,
                     optional ? "]" : "");
        }
        dpt_text_add(out, "  %-27s %s\n", option, table[i].text);
    }
    dpt_text_add(out, "\nExamples:\n"
                      "  mpirun -n 2 dpt-train @fashion-mnist\n"
                      "  mpirun -n 4 dpt-train -c job.ini -s optimizer.lr=0.05 -o runs/second\n"
                      "Manuals: dpt-train(1), dpt-job(5), dpt(7)\n");
}

static void version(struct dpt_text *out)
{
    dpt_text_add(out,
                 "dpt-train (dpt) %s\n"
                 "Licence: Apache-2.0 <https://www.apache.org/licenses/LICENSE-2.0>\n"
                 "This is free software: you may change it and pass it on.\n"
                 "There is no warranty, as far as the law permits.\n",
                 PACKAGE_VERSION);
}

static enum dpt_status list(const struct dpt_options *options, struct dpt_text *out)
{
    if (options->word && strcmp(options->word, presets) == 0) {
        const char *name[MAX_PRESETS];
        const int count = find_presets(options->arena, name);
        for (int i = 0; i < count; i++) {
            dpt_text_add(out, "@%s\n", name[i]);
        }
        return DPT_STATUS_OK;
    }
    DPT_TRY(dpt_job_list(options->word, out));
    if (!options->word) {
        dpt_text_add(out, "%-14s %s\n", presets, "installed job files, for -c @NAME");
    }
    return DPT_STATUS_OK;
}

/* The words of a list of the job's table, with one blank behind each. */
static void add_list_words(struct dpt_text *out, const char *kind)
{
    struct dpt_text list = {0};
    if (dpt_job_list(kind, &list) == DPT_STATUS_OK) {
        for (const char *at = list.data; *at; at += strcspn(at, "\n") + 1) {
            dpt_text_add(out, "%.*s ", (int)strcspn(at, " \n"), at);
        }
    }
    dpt_text_free(&list);
}

/* "section.key=" of all keys, or "section.key=word" of those that take words. */
static void add_keys(struct dpt_text *out, bool with_words)
{
    struct dpt_text keys = {0};
    dpt_job_complete(&keys);
    for (const char *at = keys.data; *at; at += strcspn(at, "\n") + 1) {
        const int n = (int)strcspn(at, "\n");
        if ((at[n - 1] != '=') == with_words) {
            dpt_text_add(out, "%.*s ", n, at);
        }
    }
    dpt_text_free(&keys);
}

/* How the script begins: the word before the cursor and the one before that. bash itself splits words at "=" and "@".
 */
static const char completion_begin[] = "# Completion of dpt-train for bash, made by dpt-train --completion=bash.\n"
                                       "_dpt_train()\n"
                                       "{\n"
                                       "    local words= line=${COMP_LINE:0:COMP_POINT}\n"
                                       "    local cur=${line##*[[:space:]]}\n"
                                       "    line=${line%\"$cur\"}\n"
                                       "    line=${line%\"${line##*[![:space:]]}\"}\n"
                                       "    case ${line##*[[:space:]]} in\n"
                                       "    -s | --set) cur=--set=$cur ;;\n"
                                       "    -r | --resume) cur=--resume=$cur ;;\n"
                                       "    --explain) cur=--explain=$cur ;;\n"
                                       "    esac\n"
                                       "    case $cur in\n";

/* How it ends: bash wants only what comes behind the last "=" or "@". */
static const char completion_end[] = "    esac\n"
                                     "    case $cur in --*=*) cur=${cur#*=} ;; esac\n"
                                     "    if [[ -n $words ]]; then\n"
                                     "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                                     "    else\n"
                                     "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                                     "    fi\n"
                                     "    case ${COMPREPLY[0]} in *=) compopt -o nospace ;; esac\n"
                                     "    case $cur in *=* | @*) COMPREPLY=(\"${COMPREPLY[@]##*[=@]}\") ;; esac\n"
                                     "}\n"
                                     "complete -o filenames -F _dpt_train dpt-train\n";

static void completion(struct dpt_text *out)
{
    dpt_text_add(out, "%s    --set=*=*) words='", completion_begin);
    add_keys(out, true);
    dpt_text_add(out, "' ;;\n    --set=*) words='");
    add_keys(out, false);
    dpt_text_add(out, "' ;;\n    --explain=*) words='");
    add_list_words(out, "sections");
    add_list_words(out, "keys");
    dpt_text_add(out, "' ;;\n    --list=*) words='");
    add_list_words(out, NULL);
    dpt_text_add(out,
                 "%s' ;;\n    --print-config=*) words='full minimal explain' ;;\n"
                 "    --resume=*) words='auto never must' ;;\n    --completion=*) words=bash ;;\n"
                 "    @*) words=$(dpt-train --list=%s 2>/dev/null) ;;\n    -*) words='",
                 presets, presets);
    for (int i = 0; i < OPTIONS; i++) {
        dpt_text_add(out, "--%s%s ", table[i].name, table[i].argument == required_argument ? "=" : "");
    }
    dpt_text_add(out, "' ;;\n%s", completion_end);
}

enum dpt_status dpt_options_answer(const struct dpt_options *options, struct dpt_text *out, struct dpt_text *problems)
{
    struct dpt_job *job;
    switch (options->ask) {
    case DPT_ASK_TRAIN:
        break;
    case DPT_ASK_HELP:
        help(out);
        break;
    case DPT_ASK_VERSION:
        version(out);
        break;
    case DPT_ASK_PRINT_CONFIG:
        DPT_TRY(dpt_job_read(options->nfiles, options->file, options->noverrides, options->override, &job, problems));
        dpt_job_print(job, options->print, out);
        dpt_job_free(job);
        break;
    case DPT_ASK_EXPLAIN:
        return dpt_job_explain(options->word, out);
    case DPT_ASK_LIST:
        return list(options, out);
    case DPT_ASK_COMPLETION:
        completion(out);
        break;
    }
    return DPT_STATUS_OK;
}

bool dpt_options_speak(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MPI_RANKID", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *rank = getenv(names[i]);
        if (rank) {
            return strcmp(rank, "0") == 0;
        }
    }
    return true;
}

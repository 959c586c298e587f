/* SPDX-License-Identifier: Apache-2.0 */

/* One table of options: the parser, the help (base/command.h) and the completion are made from it. */

#include "train/options.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/command.h"
#include "base/file.h"

enum { PLAN = DPT_COMMAND_LONG, PRINT_CONFIG, EXPLAIN, LIST, STOP_STATUS, COMPLETION }; /* options without a letter */

static const struct dpt_command_option table[] = {
    {"config", 'c', "FILE", "job file; later ones win; @NAME: an installed one"},
    {"set", 's', "SECTION.KEY=VALUE", "change one key of the job"},
    {"output", 'o', "DIR", "run directory, as run.output"},
    {"resume", 'r', "WHEN", "auto (default), never, must, or a PATH"},
    {"max-time", 't', "TIME", "save and stop before TIME is over: 4h, 3:30:00"},
    {"stop-status", STOP_STATUS, "N", "exit status when stopped before the end (0)"},
    {"eval-only", 'e', NULL, "try the checkpoint on data it was not trained on"},
    {"dry-run", 'n', NULL, "check everything, show the plan, train nothing"},
    {"plan", PLAN, "N", "the same for N ranks, and what each would do"},
    {"print-config", PRINT_CONFIG, "[HOW]", "show the job: full, minimal or explain"},
    {"explain", EXPLAIN, "KEY", "what a key means, such as optimizer.lr"},
    {"list", LIST, "[KIND]", "keys, models, layers, optimizers, ..."},
    {"completion", COMPLETION, "bash", "completion for the shell"},
    {"quiet", 'q', NULL, "print nothing but errors"},
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

/* The first question asked is answered. */
static void ask(struct dpt_options *options, enum dpt_ask what)
{
    options->ask = options->ask == DPT_ASK_TRAIN ? what : options->ask;
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
    int print = 0;
    ask(options, DPT_ASK_PRINT_CONFIG);
    DPT_TRY(dpt_command_word("print-config", text, words, 3, &print));
    options->print = (enum dpt_job_print)print;
    return DPT_STATUS_OK;
}

static enum dpt_status completion_for(const char *text, struct dpt_options *options)
{
    static const char *const words[] = {"bash"};
    int shell = 0;
    ask(options, DPT_ASK_COMPLETION);
    return dpt_command_word("completion", text, words, 1, &shell);
}

static enum dpt_status take(void *user, int letter, const char *value)
{
    struct dpt_options *options = user;
    switch (letter) {
    case DPT_COMMAND_WORD:
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
        return dpt_command_int("stop-status", value, 0, 125, &options->stop_status);
    case 'e':
        options->eval_only = true;
        break;
    case PLAN:
        options->dry_run = true;
        return dpt_command_int("plan", value, 1, 1 << 24, &options->plan_ranks);
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
        return completion_for(value, options);
    default: /* 'q' */
        options->quiet = true;
        break;
    }
    return DPT_STATUS_OK;
}

static enum dpt_status check(void *user)
{
    const struct dpt_options *options = user;
    const bool job = options->ask == DPT_ASK_TRAIN || options->ask == DPT_ASK_PRINT_CONFIG;
    DPT_CHECK(!job || options->nfiles + options->noverrides > 0, DPT_STATUS_USAGE,
              "a job file is needed: dpt-train FILE, or @NAME for one that came with dpt (dpt-train --list=presets)");
    return DPT_STATUS_OK;
}

static const struct dpt_command command = {
    .name = "dpt-train",
    .begin = "Usage: dpt-train [OPTION]... [-c] FILE...\n"
             "Train a neural network as the job file says, on all ranks of the MPI job.\n\n",
    .end = "\nExamples:\n"
           "  mpirun -n 2 dpt-train @fashion-mnist\n"
           "  mpirun -n 4 dpt-train -c job.ini -s optimizer.lr=0.05 -o runs/second\n"
           "Manuals: dpt-train(1), dpt-job(5), dpt(7)\n",
    .version = "dpt-train (dpt) " PACKAGE_VERSION "\n"
               "Licence: Apache-2.0 <https://www.apache.org/licenses/LICENSE-2.0>\n"
               "This is free software: you may change it and pass it on.\n"
               "There is no warranty, as far as the law permits.\n",
    .hint = "; keys of the job are set with -s section.key=value",
    .option = table,
    .noptions = OPTIONS,
    .take = take,
    .check = check,
};

enum dpt_status dpt_options_parse(int argc, char *const *argv, struct dpt_options *options)
{
    *options = (struct dpt_options){.arena = dpt_arena_new()};
    /* No list gets more than one item from a word of the command line. */
    options->file = dpt_arena_array(options->arena, (size_t)argc, sizeof *options->file);
    options->override = dpt_arena_array(options->arena, (size_t)argc, sizeof *options->override);
    enum dpt_command_ask asked;
    DPT_TRY(dpt_command_parse(&command, argc, argv, options, &asked));
    if (asked == DPT_COMMAND_ASK_HELP) {
        options->ask = DPT_ASK_HELP;
    } else if (asked == DPT_COMMAND_ASK_VERSION) {
        ask(options, DPT_ASK_VERSION);
    }
    return DPT_STATUS_OK;
}

void dpt_options_free(struct dpt_options *options)
{
    dpt_arena_free(options->arena);
    *options = (struct dpt_options){0};
}

/* ------------------------------------------------------------------------------------------------------ answers */
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
        dpt_text_add(out, "--%s%s ", table[i].name, table[i].value && table[i].value[0] != '[' ? "=" : "");
    }
    dpt_text_add(out, "--help --version ' ;;\n%s", completion_end);
}

enum dpt_status dpt_options_answer(const struct dpt_options *options, struct dpt_text *out, struct dpt_text *problems)
{
    struct dpt_job *job;
    switch (options->ask) {
    case DPT_ASK_TRAIN:
        break;
    case DPT_ASK_HELP:
        dpt_command_add_answer(&command, DPT_COMMAND_ASK_HELP, out);
        break;
    case DPT_ASK_VERSION:
        dpt_command_add_answer(&command, DPT_COMMAND_ASK_VERSION, out);
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

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "job_text.h"

#define SYNTHETIC "[data]\nformat = synthetic\n"

/* ------------------------------------------------------------------------------------------------ what is taken */

static void defaults_suit_a_beginner(void **state)
{
    (void)state;
    struct dpt_job *job = job_of("[data]\ntrain = /x/train\n");
    assert_string_equal(job->run.name, "t");
    assert_string_equal(job->run.output, "runs/t");
    assert_true(job->run.length.unit == DPT_SPAN_UNIT_EPOCHS && job->run.length.value == 10);
    assert_true(job->run.seed == 1 && job->batch.global == 128 && job->parallel.shards == 8);
    assert_true(job->optimizer.type == DPT_OPTIMIZER_TYPE_SGD && job->optimizer.lr == 0.1);
    assert_true(job->optimizer.momentum == 0.9 && job->run.deadline_s == 60 && job->checkpoint.keep == 3);
    assert_true(job->log.every.unit == DPT_SPAN_UNIT_SECONDS && job->log.every.value == 10);
    assert_true(job->data.prefetch == 4 && job->data.valid_share == 0);
    assert_true(job->model.batch_norm == DPT_NORM_MODE_SYNC && job->run.max_time_s == 0);
    assert_string_equal(job->data.valid, "");
    dpt_job_free(job);
}

static void the_rate_goes_with_the_rule(void **state)
{
    (void)state;
    struct dpt_job *job = job_of(SYNTHETIC "[optimizer]\ntype = adamw\n");
    assert_true(job->optimizer.lr == 0.001);
    dpt_job_free(job);
    job = job_of(SYNTHETIC "[optimizer]\ntype = adamw\nlr = 0.1\n");
    assert_true(job->optimizer.lr == 0.1);
    dpt_job_free(job);
}

static void comments_blanks_and_indents(void **state)
{
    (void)state;
    struct dpt_job *job =
        job_of("\xEF\xBB\xBF; a comment\r\n# another\r\n  [data]   ; behind a section\r\n"
               "\tformat=synthetic ; behind a value\r\n  samples   =   7\r\n"
               "    shape: 5\r\n\r\n[run]\r\n\r\n  name = a;b#c = d\r\n ; indented comment\r\n  seed = 3");
    assert_true(job->data.samples == 7 && job->run.seed == 3 && job->data.shape.count == 1);
    /* Without a blank before it, neither ; nor # begins a comment. */
    assert_string_equal(job->run.name, "a;b#c = d");
    dpt_job_free(job);
}

static void values_over_several_lines(void **state)
{
    (void)state;
    struct dpt_job *job = job_of(SYNTHETIC "[model]\nwidths = 1 \\\n  2 \\  ; comment\n3\n[run]\noutput = /a/\\\n"
                                           "    b=c/\\\n[d]\nseed = 9\n");
    assert_int_equal(job->model.widths.count, 3);
    assert_true(job->model.widths.value[2] == 3);
    assert_string_equal(job->run.output, "/a/b=c/[d]");
    assert_true(job->run.seed == 9);
    dpt_job_free(job);
}

static void what_stands_for_something(void **state)
{
    (void)state;
    setenv("DPT_TEST_VALUE", "from here", 1);
    struct dpt_job *job =
        job_of(SYNTHETIC "[run]\nname = x-${seed}-${optimizer.lr}\nseed = 3\n"
                         "output = ${DPT_TEST_VALUE}/${JOB}/$${x}/$/${name}\n[optimizer]\nlr = 0.5\n");
    assert_string_equal(job->run.name, "x-3-0.5");
    assert_string_equal(job->run.output, "from here/t/${x}/$/x-3-0.5");
    dpt_job_free(job);
    refused(SYNTHETIC "[run]\nname = ${DPT_TEST_UNSET}\n",
            "t.ini:4: [run] name = ${DPT_TEST_UNSET}: ${DPT_TEST_UNSET} is neither a key of [run] nor set in the "
            "environment (dpt-train --explain=run.name)\n");
    refused(SYNTHETIC "[run]\nname = ${optimizer.rl}\n",
            "t.ini:4: [run] name = ${optimizer.rl}: there is no key optimizer.rl (dpt-train --explain=run.name)\n");
    refused(SYNTHETIC "[run]\nname = ${output}\noutput = ${name}\n",
            "t.ini:4: [run] name = ${output}: ${...} stands for itself, or goes deeper than 8 levels (dpt-train "
            "--explain=run.name)\n"
            "t.ini:5: [run] output = ${name}: ${...} stands for itself, or goes deeper than 8 levels (dpt-train "
            "--explain=run.output)\n");
    refused(SYNTHETIC "[run]\nname = ${seed\n", "t.ini:4: [run] name = ${seed: ${ has no }; for the text itself write "
                                                "$${ (dpt-train --explain=run.name)\n");
    setenv("DPT_TEST_VALUE", "two\nlines", 1);
    refused(SYNTHETIC "[run]\nname = ${DPT_TEST_VALUE}\n",
            "t.ini:4: [run] name = ${DPT_TEST_VALUE}: the value holds a control character (dpt-train "
            "--explain=run.name)\n");
}

/* ---------------------------------------------------------------------------------------------- what is refused */

static void lines_that_are_wrong(void **state)
{
    (void)state;
    /* A lost line is told alone, not that what stood in it is missing. */
    refused("[data]\ntrain /t\n", "t.ini:2: 'train /t' is neither [section] nor key = value\n");
    refused("[data]\ntrian = /t\n[optimizer]\nbeta1 = 0\n",
            "t.ini:2: [data] has no key 'trian'. Did you mean 'train'? (dpt-train --explain=data.train)\n");
    refused("[data]\rformat = idx\r",
            "t.ini:1: there is a carriage return inside the line: lines end in a newline, or in both\n");
    refused(SYNTHETIC "[run]\nname = 'x'\n", "t.ini:4: [run] name: the value is in quotes: write it without them\n");
    refused(SYNTHETIC "lr\n", "t.ini:3: 'lr' is neither [section] nor key = value\n");
    refused(SYNTHETIC "  a b = 3\n", "t.ini:3: 'a b = 3' is neither [section] nor key = value\n");
    refused(SYNTHETIC "= 3\n", "t.ini:3: '= 3' is neither [section] nor key = value\n");
    refused("lr = 3\nx = 3\n" SYNTHETIC, "t.ini:1: 'lr' stands before the first [section]\n");
    refused(SYNTHETIC "[run\nseed = 3\n", "t.ini:3: '[run' has no ]\n");
    refused(SYNTHETIC "[run] seed = 3\n", "t.ini:3: after ] nothing may follow in the line\n");
    refused(SYNTHETIC "[ru n]\n", "t.ini:3: [ru n] is no name: letters, digits, _ . - are expected\n");
    refused(SYNTHETIC "[]\n", "t.ini:3: [] is no name: letters, digits, _ . - are expected\n");
    refused(SYNTHETIC "[layer.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee]\n",
            "t.ini:3: the name of the section has 56 bytes: at most 40 are expected\n");
    refused(SYNTHETIC "[run]\nname = \xff\n", "t.ini:4: the line is not UTF-8 text\n");
    refused(SYNTHETIC "[run]\nname = a\x01z\n", "t.ini:4: [run] name: the value holds a control character\n");
    refused(SYNTHETIC "[run]\nseed = 3 # c\n",
            "t.ini:4: [run] seed: the value holds a #, which begins a comment only at the start of a line: use ; for a "
            "comment behind a value\n");
    refused(SYNTHETIC "[run]\nname = a \\\n\nseed = 3\n",
            "t.ini:5: the line before ends in a backslash, so that its value should go on here\n");
    refused(SYNTHETIC "[run]\nname = a \\", "t.ini:4: the last line ends in a backslash, but nothing follows\n");

    /* A NUL byte cannot come through a text, so it comes through a file in another test. Long lines: */
    char text[512];
    memset(text, 'x', sizeof text);
    memcpy(text, SYNTHETIC "[run]\nname = ", strlen(SYNTHETIC "[run]\nname = "));
    text[strlen(SYNTHETIC "[run]\n") + 190] = '\0';
    struct dpt_job *job = job_of(text);
    assert_int_equal(strlen(job->run.name), 190 - strlen("name = "));
    dpt_job_free(job);
    text[strlen(text)] = 'x';
    text[strlen(SYNTHETIC "[run]\n") + 191] = '\0';
    refused(text, "t.ini:4: the line has 191 bytes: at most 190 are expected; end it with a backslash and go on in the "
                  "next\n");
}

static void names_that_are_wrong(void **state)
{
    (void)state;
    refused(SYNTHETIC "[optimizer]\nlaerning_rate = 3\n",
            "t.ini:4: [optimizer] has no key 'laerning_rate'. Did you mean 'lr'? (dpt-train --explain=optimizer.lr)\n");
    refused(SYNTHETIC "[optimizr]\nlr = 3\nx = y\n",
            "t.ini:3: there is no section [optimizr]. Did you mean [optimizer]? (dpt-train --list=sections)\n");
    refused(SYNTHETIC "[layers.x]\nop = relu\n",
            "t.ini:3: there is no section [layers.x]. Did you mean [layer.NAME]? (dpt-train --list=sections)\n");
    refused(SYNTHETIC "[optimizer]\nlearning_rate = 3\n",
            "t.ini:4: [optimizer] has no key 'learning_rate'. Did you mean 'lr'? (dpt-train --explain=optimizer.lr)\n");
    refused(SYNTHETIC "[optimizer]\nmomentun = 3\n", "t.ini:4: [optimizer] has no key 'momentun'. Did you mean "
                                                     "'momentum'? (dpt-train --explain=optimizer.momentum)\n");
    refused(SYNTHETIC "[optimizer]\nwarmup = 3 steps\n",
            "t.ini:4: [optimizer] has no key 'warmup'. Did you mean 'warmup' of [schedule]? (dpt-train "
            "--explain=schedule.warmup)\n");
    refused(SYNTHETIC "[model]\nbatch_size = 3\n", "t.ini:4: [model] has no key 'batch_size'. Did you mean 'global' of "
                                                   "[batch]? (dpt-train --explain=batch.global)\n");
    refused(SYNTHETIC "[log]\nzzzzzz = 3\n", "t.ini:4: [log] has no key 'zzzzzz'. (dpt-train --explain=log)\n");
    refused(SYNTHETIC "[run]\nseed = 1\n[log]\n[run]\nseed = 1\n", "t.ini:7: [run] seed is there twice, first in line "
                                                                   "4\n");
}

static void values_that_are_wrong(void **state)
{
    (void)state;
    const struct {
        const char *section, *line, *sentence;
    } bad[] = {
        {"run", "length = 10",
         "[run] length = 10: expected a length such as 10 epochs or 500 steps; the unit is missing (dpt-train "
         "--explain=run.length)"},
        {"run", "length = 3 h",
         "[run] length = 3 h: expected a length such as 10 epochs or 500 steps; a time cannot stand here (dpt-train "
         "--explain=run.length)"},
        {"run", "seed = -1",
         "[run] seed = -1: expected a whole number from 0 to 9007199254740992 (dpt-train --explain=run.seed)"},
        {"run", "reproducible = maybe",
         "[run] reproducible = maybe: expected yes or no (dpt-train --explain=run.reproducible)"},
        {"run", "max_time = 90",
         "[run] max_time = 90: expected a time such as 90 s, 15 min, 4 h or 3:30:00, or none; the unit is missing "
         "(dpt-train --explain=run.max_time)"},
        {"device", "kind = gpu",
         "[device] kind = gpu: expected one of auto, cpu, cuda; did you mean 'cuda'? (dpt-train --explain=device.kind)"},
        {"optimizer", "type = adem",
         "[optimizer] type = adem: expected one of sgd, adam, adamw; did you mean 'adam'? (dpt-train "
         "--explain=optimizer.type)"},
        {"optimizer", "lr = 0",
         "[optimizer] lr = 0: expected a number above 0 and at most 1000000, or auto (dpt-train "
         "--explain=optimizer.lr)"},
        {"optimizer", "momentum = 1",
         "[optimizer] momentum = 1: expected a number of at least 0 and below 1 (dpt-train "
         "--explain=optimizer.momentum)"},
        {"model", "widths = 256 0",
         "[model] widths = 256 0: expected whole numbers with blanks between them, each from 1 to 16777216; "
         "'0' is not right (dpt-train --explain=model.widths)"},
        {"model", "widths = 256,,3",
         "[model] widths = 256,,3: expected whole numbers with blanks between them, each from 1 to 16777216; "
         "an item is empty (dpt-train --explain=model.widths)"},
        {"batch", "global =",
         "[batch] global is empty: expected a whole number from 1 to 1073741824 (dpt-train --explain=batch.global)"},
        {"parallel", "bucket = 4",
         "[parallel] bucket = 4: expected a size such as 64 KiB or 4 MiB, at most 1 TiB, or auto; the unit is missing "
         "(dpt-train --explain=parallel.bucket)"},
        {"parallel", "comm_thread = 2",
         "[parallel] comm_thread = 2: expected auto, yes or no (dpt-train --explain=parallel.comm_thread)"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256], line[512];
        snprintf(text, sizeof text, SYNTHETIC "[%s]\n%s\n", bad[i].section, bad[i].line);
        snprintf(line, sizeof line, "t.ini:4: %s\n", bad[i].sentence);
        refused(text, line);
    }
}

static void all_problems_at_once(void **state)
{
    (void)state;
    refused("[optimizer]\nlearning_rate = 1\n[run]\nseed = x\n[data]\nformat = synthetic\nmean = 3\n[runn]\n",
            "t.ini:2: [optimizer] has no key 'learning_rate'. Did you mean 'lr'? (dpt-train --explain=optimizer.lr)\n"
            "t.ini:4: [run] seed = x: expected a whole number from 0 to 9007199254740992 (dpt-train "
            "--explain=run.seed)\n"
            "t.ini:7: [data] mean counts only with [data] format = idx, but it is synthetic (t.ini:6): remove one or "
            "change the other (dpt-train --explain=data.mean)\n"
            "t.ini:8: there is no section [runn]. Did you mean [run]? (dpt-train --list=sections)\n");
    /* Not thousands of lines where a file is no job file at all. */
    struct dpt_text text = {0}, problems = {0};
    for (int i = 0; i < 5000; i++) {
        dpt_text_add(&text, "line %d\n", i);
    }
    struct dpt_job *job;
    assert_int_equal(dpt_job_read_text("t.ini", text.data, &job, &problems), DPT_STATUS_USAGE);
    assert_non_null(strstr(problems.data, "\nand 4950 more\n") ? problems.data
                                                               : strstr(problems.data, "\nand 4951 more\n"));
    dpt_text_free(&text);
    dpt_text_free(&problems);
}

/* ------------------------------------------------------------------------------------- what values demand of each
 * other */

static void relations(void **state)
{
    (void)state;
    const struct {
        const char *text, *sentence; /* the sentence without its pointer to --explain */
    } bad[] = {
        {"[run]\nseed = 1\n", "t.ini: [data] train is missing: expected the path of the training data"},
        {"[data]\nformat = csv\ntrain = /t\n",
         "t.ini: [data] target is missing: expected the column to predict, by name or by number from 1"},
        {"[data]\ntrain = /t\nvalid = /v\nvalid_share = 0.1\n",
         "t.ini:4: [data] valid_share holds back training data, but valid is set too: keep one of them"},
        {"[data]\ntrain = /t\nvalid_labels = /v\n", "t.ini:3: [data] valid_labels is set without valid"},
        {"[data]\ntrain = /t\ntest_labels = /v\n", "t.ini:3: [data] test_labels is set without test"},
        {"[data]\ntrain = ~/t\n", "t.ini:2: [data] train = ~/t: ~ stands for nothing here: write ${HOME}/t"},
        {SYNTHETIC "[run]\noutput = ~/t\n", "t.ini:4: [run] output = ~/t: ~ stands for nothing here: write ${HOME}/t"},
        {SYNTHETIC "[run]\nlength = 0 epochs\n",
         "t.ini:4: [run] length = 0 epochs: expected a length such as 10 epochs or 500 steps; it must be above 0"},
        {"[data]\ntrain = /t\ntask = regression\n",
         "t.ini:3: [data] task = regression, but idx files hold classes: numbers come from format = csv"},
        {"[data]\ntrain = /t\nmean = 0.5 0.4 0.3\nstd = 0.2 0.2\n",
         "t.ini:4: [data] std has 2 numbers, but mean has 3: expected one for each channel, or one"},
        {SYNTHETIC "shape = 2 3\n",
         "t.ini:3: [data] shape has 2 numbers: expected 1 (features) or 3 (height, width, channels)"},
        {SYNTHETIC "classes = 1\n", "t.ini:3: [data] classes = 1: expected 2 or more, or none"},
        {SYNTHETIC "task = regression\n",
         "t.ini:3: [data] task = regression, but there are classes: set classes = none"},
        {SYNTHETIC "task = classification\nclasses = none\n",
         "t.ini:3: [data] task = classification, but classes = none"},
        {SYNTHETIC "[run]\nname = a/b\n", "t.ini:4: [run] name = a/b: expected a name without /"},
        {SYNTHETIC "[run]\noutput =\n",
         "t.ini:4: [run] output is empty: expected the path of a folder, such as runs/${name}"},
        {SYNTHETIC "[model]\ntype = cnn\nkernel = 4\n", "t.ini:5: [model] kernel = 4: expected an odd number"},
        {SYNTHETIC "[model]\ntype = cnn\nchannels =\n",
         "t.ini:5: [model] channels is empty: expected one number for each convolution"},
        {SYNTHETIC "[model]\ntype = resnet\ndepth = 21\n",
         "t.ini:5: [model] depth = 21: expected one of 18, 34, 50, 101, 152 (torchvision's) or 20, 32, 44, 56 (for "
         "small images)"},
        {SYNTHETIC "[model]\ntype = layers\n",
         "t.ini:4: [model] type = layers needs at least one [layer.NAME] section"},
        {SYNTHETIC "[batch]\nglobal = 4\nmicro_batches = 5\n",
         "t.ini:5: [batch] micro_batches = 5 is more than the 4 samples of a step"},
        {SYNTHETIC "[optimizer]\nmomentum = 0\nnesterov = yes\n",
         "t.ini:5: [optimizer] nesterov = yes needs momentum above 0"},
        {SYNTHETIC "[schedule]\ntype = step\n",
         "t.ini: [schedule] milestones is missing: type = step needs it, such as 30 60 80 epochs"},
        {SYNTHETIC "[schedule]\nwarmup = 10 epochs\n",
         "t.ini:4: [schedule] warmup is as long as the whole run ([run] length) or longer: expected less, or none"},
        {SYNTHETIC "classes = none\n[loss]\ntype = cross_entropy\n[data]\ntask = regression\n",
         "t.ini:5: [loss] type = cross_entropy is for classes, but [data] task = regression"},
        {SYNTHETIC "task = classification\n[loss]\ntype = mse\n",
         "t.ini:5: [loss] type = mse is for numbers, but [data] task = classification"},
        {SYNTHETIC "[parallel]\nlayout = data:0\n",
         "t.ini:4: [parallel] layout = data:0: data:0: expected a number of ranks behind the colon"},
        {SYNTHETIC "[run]\nreproducible = yes\n[parallel]\nshards = 6\n",
         "t.ini:6: [parallel] shards = 6: expected a power of two; reduce = fixed takes any number"},
        {SYNTHETIC "[parallel]\nreduce = fixed\nshards = 129\n[batch]\nglobal = 200\n",
         "t.ini:5: [parallel] shards = 129: reduce = fixed adds up at most 128"},
        {SYNTHETIC "[run]\nreproducible = yes\n[parallel]\nreduce = fast\n",
         "t.ini:6: [parallel] reduce = fast gives other bits on other numbers of ranks, but [run] reproducible = yes: take "
         "tree or fixed"},
        {SYNTHETIC "[parallel]\nupdate = local-sgd\nshard = parameters\n",
         "t.ini:5: [parallel] shard shares out what ranks that go their own ways ([parallel] update) must have whole: set it "
         "to none"},
        {SYNTHETIC "[run]\nreproducible = yes\n[parallel]\nshard = optimizer\n",
         "t.ini:6: [parallel] shard leaves no rank the whole gradient, as a reproducible run needs it: set it to none"},
        {SYNTHETIC "[run]\nreproducible = no\n[parallel]\nreduce = tree\n",
         "t.ini:6: [parallel] reduce makes a run reproducible, but [run] reproducible = no: remove one of them"},
        {SYNTHETIC "[run]\nreproducible = yes\n[batch]\nglobal = 7\n",
         "t.ini:6: [batch] global = 7 is less than [parallel] shards = 8: give every shard a sample"},
        {SYNTHETIC "[run]\nreproducible = yes\nthreads = 2\n",
         "t.ini:5: [run] threads = 2: a reproducible run computes with one thread a rank; start more ranks"},
        {SYNTHETIC "[run]\nreproducible = yes\n[batch]\nmicro_batches = 2\n",
         "t.ini:6: [batch] micro_batches has no meaning in a reproducible run: [parallel] shards are its pieces"},
        {SYNTHETIC "[parallel]\nshards = 8\n", "t.ini:4: [parallel] shards counts only with [run] reproducible = yes, "
                                               "but it is no (the default): remove one or "
                                               "change the other"},
        {SYNTHETIC "[optimizer]\nbeta1 = 0.9\n",
         "t.ini:4: [optimizer] beta1 counts only with [optimizer] type = adam or adamw, but it is sgd (the default): "
         "remove one or change the other"},
        {SYNTHETIC "[schedule]\nfinal = 0.1\n",
         "t.ini:4: [schedule] final counts only with [schedule] type = cosine, linear or one_cycle, but it is constant "
         "(the default): remove one or change the other"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct dpt_job *job = NULL;
        struct dpt_text problems = {0};
        assert_int_equal(dpt_job_read_text("t.ini", bad[i].text, &job, &problems), DPT_STATUS_USAGE);
        char *pointer = strstr(problems.data, " (dpt-train --explain=");
        assert_non_null(pointer);
        *pointer = '\0';
        assert_string_equal(problems.data, bad[i].sentence);
        dpt_text_free(&problems);
    }
}

/* --------------------------------------------------------------------------------------------------------- layers */

#define LAYERS SYNTHETIC "[model]\ntype = layers\n"

static void a_net_of_layers(void **state)
{
    (void)state;
    struct dpt_job *job =
        job_of(LAYERS "[layer.conv1]\nop = conv\nout = 8\nkernel = 3 x 5\npad = 1\nbias = no\n"
                      "[layer.relu1]\nop = relu\n[layer.drop]\nop = dropout\nrate = 0.25\n"
                      "[layer.sum]\nop = add\nin = relu1, drop\n[layer.v]\nop = reshape\nshape = 4 2 1\n");
    assert_int_equal(job->nlayers, 5);
    const struct dpt_layer_section *conv = &job->layer[0];
    assert_string_equal(conv->name, "conv1");
    assert_int_equal(conv->line, 5);
    assert_string_equal(dpt_layer_find(conv, "op")->value, "conv");
    assert_null(dpt_layer_find(conv, "stride"));
    int64_t whole, pair[2], shape[3];
    double real;
    bool on;
    int count;
    assert_int_equal(dpt_layer_int(conv, "out", 1, 1, 100, &whole), DPT_STATUS_OK);
    assert_true(whole == 8);
    assert_int_equal(dpt_layer_int(conv, "out", 1, 1, 4, &whole), DPT_STATUS_USAGE);
    assert_string_equal(dpt_error_text(), "t.ini:7: [layer.conv1] out = 8: expected a whole number from 1 to 4");
    assert_int_equal(dpt_layer_pair(conv, "kernel", 1, 1, 9, pair), DPT_STATUS_OK);
    assert_true(pair[0] == 3 && pair[1] == 5);
    assert_int_equal(dpt_layer_pair(conv, "stride", 2, 1, 9, pair), DPT_STATUS_OK);
    assert_true(pair[0] == 2 && pair[1] == 2);
    assert_int_equal(dpt_layer_bool(conv, "bias", true, &on), DPT_STATUS_OK);
    assert_false(on);
    assert_int_equal(dpt_layer_real(&job->layer[2], "rate", 0.5, 0, 1, &real), DPT_STATUS_OK);
    assert_true(real == 0.25);
    assert_int_equal(dpt_layer_real(&job->layer[1], "rate", 0.5, 0, 1, &real), DPT_STATUS_OK);
    assert_true(real == 0.5);
    assert_int_equal(dpt_layer_ints(&job->layer[4], "shape", 1, 9, 3, shape, &count), DPT_STATUS_OK);
    assert_true(count == 3 && shape[0] == 4 && shape[2] == 1);
    assert_int_equal(dpt_layer_ints(&job->layer[4], "shape", 1, 9, 2, shape, &count), DPT_STATUS_USAGE);
    assert_int_equal(dpt_layer_ints(&job->layer[0], "shape", 1, 9, 3, shape, &count), DPT_STATUS_OK);
    assert_int_equal(count, 0);
    dpt_job_free(job);
}

static void layers_that_are_wrong(void **state)
{
    (void)state;
    refused(LAYERS "[layer.a]\n", "t.ini:5: [layer.a] needs a key op, such as op = linear (dpt-train --list=layers)\n");
    refused(LAYERS "[layer.a]\nop = liner\n",
            "t.ini:6: [layer.a] op = liner: expected one of linear, conv, max_pool, avg_pool, global_pool, batch_norm, "
            "layer_norm, relu, gelu, silu, sigmoid, tanh, add, mul, concat, reshape, flatten, dropout; did you mean "
            "'linear'? (dpt-train --explain=layer.op)\n");
    refused(LAYERS "[layer.a]\nop = linear\nwidth = 3\n",
            "t.ini:5: [layer.a] op = linear needs the key 'out' (dpt-train --explain=layer.out)\n"
            "t.ini:7: [layer.a] op = linear has no key 'width'. Did you mean 'out'? (dpt-train --list=layers)\n");
    refused(LAYERS "[layer.a]\nop = linear\nout = 3\nkernel = 3\n",
            "t.ini:8: [layer.a] op = linear has no key 'kernel'. It is for conv, max_pool, avg_pool. (dpt-train "
            "--list=layers)\n");
    refused(
        LAYERS "[layer.a]\nop = linear\nout = many\n",
        "t.ini:7: [layer.a] out = many: expected a whole number from 1 to 16777216 (dpt-train --explain=layer.out)\n");
    refused(LAYERS "[layer.relu1]\nop = relu\n[layer.s]\nop = add\nin = relu1, relu2\n",
            "t.ini:9: [layer.s] in: there is no section [layer.relu2] before this one. Did you mean 'relu1'?\n");
    refused(LAYERS "[layer.s]\nop = add\nin = input\n", "t.ini:7: [layer.s] in = input: add takes 2 to 8 names\n");
    refused(LAYERS "[layer.s]\nop = relu\nin = input, input\n", "t.ini:7: [layer.s] in = input, input: relu takes one "
                                                                "name\n");
    refused(LAYERS "[layer.s]\nop = mul\n", "t.ini:5: [layer.s] op = mul needs the key 'in' (dpt-train "
                                            "--explain=layer.in)\n");
    refused(LAYERS "[layer.s]\nop = relu\n[layer.s]\n", "t.ini:7: [layer.s] is there twice, first in line 5\n");
    refused(LAYERS "[layer.s]\nop = relu\nop = relu\n", "t.ini:7: [layer.s] op is there twice, first in line 6\n");
    refused(LAYERS "[layer.input]\nop = relu\n[layer.a]\nop = relu\n",
            "t.ini:5: [layer.input]: 'input' stands for the sample; take another name\n");
    refused(SYNTHETIC "[layer.s]\nop = relu\n",
            "t.ini:3: [layer.s] counts only with [model] type = layers (dpt-train --explain=model.type)\n");
}

/* ------------------------------------------------------------------------------------------ files and the command line
 */

static char folder[] = "/tmp/dpt-test-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[4][128];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, 128, "%s/%s", folder, name);
    return out;
}

static void put(const char *name, const char *text, size_t length)
{
    assert_int_equal(dpt_file_replace(in_folder(name), text, length), DPT_STATUS_OK);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return dpt_file_remove_dir(folder) == DPT_STATUS_OK ? 0 : -1;
}

static void later_files_and_overrides_win(void **state)
{
    (void)state;
    static const char a[] = "[run]\nseed = 1\nlength = 3 epochs\n[data]\ntrain = sub/train\n[layer.a]\nop = relu\n",
                      b[] = "[run]\nseed = 2\n[model]\ntype = layers\n[layer.b]\nop = relu\n[layer.a]\nop = gelu\n";
    put("a.ini", a, sizeof a - 1);
    put("b.ini", b, sizeof b - 1);
    const char *const files[] = {in_folder("a.ini"), in_folder("b.ini")};
    const char *const overrides[] = {"run.length=4 steps", "layer.b.op = tanh", "optimizer.lr=0.5", "optimizer.lr=0.25",
                                     "data.test=there"};
    struct dpt_job *job;
    assert_int_equal(dpt_job_read(2, files, 5, overrides, &job, NULL), DPT_STATUS_OK);
    assert_string_equal(job->run.name, "a");
    assert_true(job->run.seed == 2 && job->run.length.value == 4 && job->optimizer.lr == 0.25);
    assert_int_equal(job->nlayers, 2);
    assert_string_equal(dpt_layer_find(&job->layer[0], "op")->value, "gelu");
    assert_string_equal(dpt_layer_find(&job->layer[1], "op")->value, "tanh");
    /* A path counts from the file that holds it, or from the working directory. */
    char here[4096], path[4200];
    assert_non_null(getcwd(here, sizeof here));
    assert_string_equal(job->data.train, in_folder("sub/train"));
    snprintf(path, sizeof path, "%s/there", here);
    assert_string_equal(job->data.test, path);
    assert_string_equal(job->run.output, "runs/a");
    dpt_job_free(job);
}

/* reduce makes a run reproducible, and of two sources that contradict each other the later one is right. */
static void the_sums_and_what_they_are_for_agree(void **state)
{
    (void)state;
    static const struct {
        const char *file, *later;
        bool reproducible;
        enum dpt_reduce reduce;
    } cases[] = {
        {"", "run.seed=2", false, DPT_REDUCE_AUTO},
        {"", "parallel.reduce=fixed", true, DPT_REDUCE_FIXED},
        {"[parallel]\nreduce = tree\n", "parallel.shards=4", true, DPT_REDUCE_TREE},
        {"[run]\nreproducible = yes\n", "parallel.reduce=fixed", true, DPT_REDUCE_FIXED},
        {"[run]\nreproducible = no\n", "parallel.reduce=fixed", true, DPT_REDUCE_FIXED},
        {"[run]\nreproducible = yes\n", "parallel.reduce=fast", false, DPT_REDUCE_FAST},
        {"[parallel]\nreduce = fixed\n", "run.reproducible=no", false, DPT_REDUCE_AUTO},
        {"[parallel]\nreduce = fast\n", "run.reproducible=yes", true, DPT_REDUCE_AUTO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        const int n = snprintf(text, sizeof text, "[data]\nformat = synthetic\n%s", cases[i].file);
        put("sums.ini", text, (size_t)n);
        const char *const file = in_folder("sums.ini");
        struct dpt_job *job;
        assert_int_equal(dpt_job_read(1, &file, 1, &cases[i].later, &job, NULL), DPT_STATUS_OK);
        assert_true(job->run.reproducible == cases[i].reproducible && job->parallel.reduce == cases[i].reduce);
        dpt_job_free(job);
    }
}

static void a_later_type_takes_its_keys_along(void **state)
{
    (void)state;
    static const char a[] = "[data]\ntrain = /t\nmean = 0.5\n[model]\ntype = layers\n[layer.a]\nop = relu\n"
                            "[optimizer]\nmomentum = 0.5\n[run]\nreproducible = yes\n[parallel]\nshards = 4\n";
    put("a.ini", a, sizeof a - 1);
    const char *const file = in_folder("a.ini");
    const char *const later[] = {"data.format=synthetic", "model.type=cnn", "model.hidden=9", "optimizer.type=adam",
                                 "run.reproducible=no"};
    struct dpt_job *job;
    struct dpt_text text = {0};
    assert_int_equal(dpt_job_read(1, &file, 5, later, &job, NULL), DPT_STATUS_OK);
    /* All that went with the types before is as if it had never been said. */
    assert_string_equal(job->data.train, "");
    assert_true(job->data.mean.count == 0 && job->optimizer.momentum == 0.9 && job->parallel.shards == 8);
    assert_true(job->model.hidden == 9 && job->nlayers == 0);
    dpt_job_print(job, DPT_JOB_PRINT_MINIMAL, &text);
    assert_null(strstr(text.data, "momentum"));
    assert_null(strstr(text.data, "layer"));
    dpt_text_free(&text);
    dpt_job_free(job);
    /* One source that contradicts itself is refused, and so is a key for a type that was there before. */
    const char *const both[] = {"optimizer.type=adam", "optimizer.momentum=0.5"};
    assert_int_equal(dpt_job_read(1, &file, 2, both, &job, NULL), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "momentum counts only with [optimizer] type = sgd, but it is adam"));
    const char *const useless = "model.widths=3";
    assert_int_equal(dpt_job_read(1, &file, 1, &useless, &job, NULL), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "widths counts only with [model] type = mlp, but it is layers"));
}

static void problems_of_files_and_overrides(void **state)
{
    (void)state;
    static const char a[] = "[data]\nformat = synthetic\n[run]\nna\0me = 1\n", b[] = "[run]\nsed = 2\n";
    put("a.ini", a, sizeof a - 1);
    put("b.ini", b, sizeof b - 1);
    const char *const files[] = {in_folder("b.ini"), in_folder("a.ini")};
    const char *const overrides[] = {"lr=3",           "optimizer.lr",    "optimizer.lrr=3",
                                     "optimiser.lr=3", "layer.z.op=relu", "run.seed=x"};
    struct dpt_job *job;
    struct dpt_text problems = {0};
    char expected[2048];
    snprintf(expected, sizeof expected,
             "%s:2: [run] has no key 'sed'. Did you mean 'seed'? (dpt-train --explain=run.seed)\n"
             "%s:4: there is a NUL byte in the line: is this a text file, in UTF-8?\n"
             "-s lr=3: expected section.key=value, such as optimizer.lr=3\n"
             "-s optimizer.lr: expected section.key=value, such as optimizer.lr=auto\n"
             "-s optimizer.lrr=3: [optimizer] has no key 'lrr'. Did you mean 'lr'? (dpt-train --explain=optimizer.lr)\n"
             "-s optimiser.lr=3: there is no section [optimiser]. Did you mean [optimizer]? "
             "(dpt-train --list=sections)\n"
             "-s layer.z.op=relu: there is no section [layer.z] in the job file (dpt-train --explain=model.type)\n"
             "-s run.seed=x: [run] seed = x: expected a whole number from 0 to 9007199254740992 (dpt-train "
             "--explain=run.seed)\n",
             files[0], files[1]);
    assert_int_equal(dpt_job_read(2, files, 6, overrides, &job, &problems), DPT_STATUS_USAGE);
    assert_string_equal(problems.data, expected);
    dpt_text_free(&problems);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    struct dpt_job *job;
    struct dpt_text problems = {0};
    const char *file = in_folder("none.ini");
    char expected[512];
    assert_int_equal(dpt_job_read(1, &file, 0, NULL, &job, &problems), DPT_STATUS_USAGE);
    snprintf(expected, sizeof expected, "%s: cannot be opened: No such file or directory\n", file);
    assert_string_equal(problems.data, expected);
    dpt_text_free(&problems);
    const char *const dir = folder;
    assert_int_equal(dpt_job_read(1, &dir, 0, NULL, &job, NULL), DPT_STATUS_USAGE);
    char *big = calloc(1, (1 << 20) + 1);
    memset(big, '\n', (1 << 20) + 1);
    put("big.ini", big, (1 << 20) + 1);
    free(big);
    file = in_folder("big.ini");
    assert_int_equal(dpt_job_read(1, &file, 0, NULL, &job, NULL), DPT_STATUS_USAGE);
    assert_non_null(strstr(dpt_error_text(), "at most 1048576 are expected of a job file: this is none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_suit_a_beginner),
        cmocka_unit_test(the_rate_goes_with_the_rule),
        cmocka_unit_test(comments_blanks_and_indents),
        cmocka_unit_test(values_over_several_lines),
        cmocka_unit_test(what_stands_for_something),
        cmocka_unit_test(lines_that_are_wrong),
        cmocka_unit_test(names_that_are_wrong),
        cmocka_unit_test(values_that_are_wrong),
        cmocka_unit_test(all_problems_at_once),
        cmocka_unit_test(relations),
        cmocka_unit_test(a_net_of_layers),
        cmocka_unit_test(layers_that_are_wrong),
        cmocka_unit_test(later_files_and_overrides_win),
        cmocka_unit_test(the_sums_and_what_they_are_for_agree),
        cmocka_unit_test(a_later_type_takes_its_keys_along),
        cmocka_unit_test(problems_of_files_and_overrides),
        cmocka_unit_test(files_that_cannot_be_read),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.precision = bf16 in whole jobs: near PyTorch's curves in float and in its own bfloat16, the same training in every
# layout, the same bits on any number of ranks where that is asked for, exact resume; checkpoints are float, and every
# program reads them.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"
. "$abs_srcdir/tests/jobs/reference.sh"

for model in gpt llama; do
    reference=$abs_srcdir/tests/reference/$model
    reference_job $model 'precision = bf16' >job.ini
    "$abs_builddir/dpt-convert" -q "$reference" $model-weights 2>$model.log || fail "dpt-convert: exit status $?"
    weights="-s model.weights=$PWD/$model-weights"

    # 8 bits of precision are 4e-3; a loss is a mean over many numbers, each of which is off by as much at most.
    must 1 $model-1 $weights
    curve $model-1 loss >one
    for kind in losses losses-bf16; do
        sed '/^#/d' "$reference/$kind.txt" >torch
        near torch one 1e-2 || fail "$model: the loss is not that of $kind.txt"
    done
    near one torch 1e-9 >far && fail "$model: the same digits as PyTorch: then what was rounded?"

    # Layouts differ by roundings: sums of float in another order turn one over now and then, which AdamW carries on; along
    # tensor the parts of a product are rounded before they are summed. Each is as far as bf16 is from float, or less.
    for layout in data:2 pipeline:2 tensor:2; do
        to=$model-$(echo $layout | tr : -)
        must 2 $to $weights -s parallel.layout=$layout
        curve $to loss >other
        near one other 4e-3 || fail "$model: the loss along $layout is not that on one rank"
    done
    must 2 $model-vocabulary $weights -s parallel.layout=tensor:2 -s parallel.vocabulary=split
    curve $model-vocabulary loss >other
    near one other 4e-3 || fail "$model: the loss with a part of the vocabulary on each rank is not that on one rank"

    # Where it is asked for, the same bits.
    same="-s run.reproducible=yes -s parallel.shards=4 -s schedule.type=constant" # a length that changes no rate
    [ $model = llama ] || same="$same -s model.dropout=0.2"
    must 1 $model-same $same
    must 4 $model-split $same
    [ "$(sum $model-same 20)" = "$(sum $model-split 20)" ] || fail "$model: other bits on 4 ranks"

    # A stop in the middle changes no bit; the checkpoint has float weights, so nothing but the precision key says bf16.
    must 2 $model-again $same -s run.length='7 steps'
    must 1 $model-again $same
    [ "$(sum $model-same 20)" = "$(sum $model-again 20)" ] || fail "$model: other bits after a stop"
    "$info" $model-same >info.txt 2>&1 || fail "dpt-info: exit status $?"
    run 1 $model-again $same -s run.precision=fp32 && fail "$model: went on in another precision"
    grep -q 'precision: bf16 in the run, fp32 now' $model-again.log || fail "$model: the precision is not named"

    # An evaluation is in bf16 as well: near that of the same weights in float, but not it.
    for kind in bf16 fp32; do
        must 2 $model-$kind --eval-only $weights -s data.valid="$reference/tokens.bin" -s run.precision=$kind
        grep -o 'loss [0-9.]*' $model-$kind.log | tail -n 1 | sed 's/loss/1/' >$kind.eval
    done
    near fp32.eval bf16.eval 4e-3 || fail "$model: --eval-only is far from that in float"
done

# Text is made in bf16 then; in float it is the same as from a folder that knows no precision.
printf 'one two three four five six seven eight nine ten\n%.0s' 1 2 3 4 5 6 7 8 9 >text
"$abs_builddir/dpt-data" tokenize --tokenizer=chars -o tokens text >data.log 2>&1 || fail "dpt-data: exit status $?"
{ printf '[run]\nlength = 20 steps\nprecision = bf16\n[data]\nformat = tokens\ntrain = tokens/train\ncontext = 12\n'
  printf '[optimizer]\ntype = adamw\n[batch]\nglobal = 4\n[model]\n'
  reference_model gpt | sed 's/^context.*/context = 48/'; } >job.ini
must 1 writer
"$abs_builddir/dpt-convert" -q writer writer-hf 2>>data.log || fail "dpt-convert: exit status $?"
"$abs_builddir/dpt-convert" -q writer-hf writer-back 2>>data.log || fail "dpt-convert: back: exit status $?"
generate() {
    "$abs_builddir/dpt-generate" -q -t 1 -p one -n 40 "$@" 2>>data.log || fail "dpt-generate $*: exit status $?"
}
generate -k writer-back >back.text
generate -k writer --precision=fp32 | cmp - back.text || fail "dpt-generate: another text from the same weights"
generate -k writer >writer.text
generate -k writer-back --precision=bf16 | cmp - writer.text || fail "dpt-generate: another text in bf16"

# Images: convolutions, batch norm and pooling, learning.
cat >job.ini <<'EOF'
[run]
length = 30 steps
precision = bf16
[data]
format = synthetic
samples = 300
shape = 12 12 2
classes = 4
[model]
type = resnet
depth = 20
[batch]
global = 20
[optimizer]
type = sgd
lr = 0.05
momentum = 0.9
[checkpoint]
every = never
[log]
every = 1 step
EOF
must 2 images
curve images loss | awk 'NR == 1 { first = $2 } END { exit !(NR == 30 && $2 < 0.7 * first) }' || fail "images: it does not learn"

# Predictions from a table in bf16, and in float.
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 200; i++) { a = i % 17; b = i % 23; print a "," b "," 2 * a - b } }' >table.csv
cat >job.ini <<'EOF'
[run]
length = 10 epochs
precision = bf16
[data]
format = csv
train = table.csv
target = y
[model]
type = mlp
widths = 16
[optimizer]
type = adamw
lr = 0.01
EOF
must 1 table
"$abs_builddir/dpt-predict" table table.csv >predicted 2>predict.log || fail "dpt-predict: exit status $?"
[ "$(wc -l <predicted)" -ge 200 ] || fail "dpt-predict: lines are missing"
"$abs_builddir/dpt-predict" --precision=fp32 table table.csv >exact 2>predict.log || fail "dpt-predict: exit status $?"
cmp -s predicted exact && fail "dpt-predict: the same digits in bf16 and in float: then what was rounded?"
paste -d , predicted exact | awk -F , '
    NR == 1 { half = NF / 2; next }
    { d = $2 - $(half + 2); if (d * d > 1e-2 * 1e-2 * 35 * 35) { print "far: " $0; exit 1 } }' ||
    fail "dpt-predict: bf16 is far from float"
exit 0

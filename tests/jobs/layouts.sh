#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Language models give the same curve in every layout, in double: heads that do not divide, dropout, an output layer that
# is tied to the embedding over two stages. A checkpoint of one layout goes on in another. Shares of the batch follow the
# speed of the ranks, and the curve does not.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

awk 'BEGIN { for (i = 0; i < 3000; i++) printf "%d times %d is %d.\n", i % 17, i % 23, (i % 17) * (i % 23) }' >text
"$abs_builddir/dpt-data" tokenize --tokenizer=chars --valid-share=0.1 -o tokens text >data.log 2>&1 || fail "dpt-data"

# job MODEL: four steps of it.
job() {
    cat >job.ini <<EOF
[run]
length = 4 steps
precision = fp64
[data]
format = tokens
train = tokens/train
valid = tokens/valid
context = 12
[model]
depth = 3
width = 24
$1
[batch]
global = 6
micro_batches = 3
[optimizer]
type = adamw
lr = 0.01
clip = 0.5
[eval]
every = never
batch = 500
[checkpoint]
every = never
[log]
every = 1 step
EOF
}

# same NAME RANKS LAYOUT OPTION...: as NAME-1, which one rank made.
same() {
    name=$1 ranks=$2 layout=$3
    shift 3
    to=$name-$(printf '%s' "$layout $*" | tr -c 'a-z0-9' -)
    must "$ranks" "$to" -s "parallel.layout=$layout" "$@"
    for key in loss grad_norm; do
        curve "$name-1" $key >one.curve
        curve "$to" $key >other.curve
        near one.curve other.curve 1e-9 || fail "$name: $key in $layout $* is not that on one rank"
    done
    [ "$(figure "$name-1" valid loss | cut -c 1-9)" = "$(figure "$to" valid loss | cut -c 1-9)" ] ||
        fail "$name: the evaluation in $layout $* is not that on one rank"
}

job 'type = gpt
heads = 4
dropout = 0.1'
must 1 gpt-1
# Sums and their norms are one op in every layout but a pipeline, whose stages may begin behind any sum.
for want in data:1=6 tensor:2=12 pipeline:2=0; do
    layout=${want%=*}
    "$abs_builddir/dpt-train" -c job.ini --plan="${layout#*:}" -s "parallel.layout=$layout" >plan.log 2>&1 ||
        fail "no plan of $layout"
    sums=$(grep -c '^action run *micro 0 add_layer_norm ' plan.log) || true
    [ "$sums" = "${want#*=}" ] || fail "$sums sums in norms in layout $layout, expected ${want#*=}"
done
same gpt 3 'tensor:3'
same gpt 3 'tensor:3' -s parallel.vocabulary=split
same gpt 2 'pipeline:2' -s parallel.schedule=zb-h1
same gpt 8 'data:2 tensor:2 pipeline:2' -s parallel.vocabulary=split
same gpt 1 'data:1' -s parallel.recompute=blocks
same gpt 2 'tensor:2' -s parallel.recompute=full
same gpt 4 'data:2 pipeline:2' -s parallel.shard=optimizer
same gpt 3 'data:3' -s parallel.shard=gradients -s parallel.bucket=2KiB
same gpt 2 'data:2' -s parallel.shard=parameters -s parallel.bucket=2KiB -s parallel.comm_thread=on
same gpt 4 'pipeline:2 data:2' -s parallel.shard=parameters -s parallel.recompute=blocks

job 'type = llama
heads = 4
kv_heads = 2'
must 1 llama-1
same llama 2 'tensor:2'
same llama 2 'tensor:2' -s parallel.vocabulary=split -s parallel.recompute=blocks
same llama 4 'pipeline:2 tensor:2' -s parallel.schedule=gpipe

# Copies that are averaged are another training, but still one: it learns.
job 'type = gpt
heads = 4'
must 2 average -s parallel.layout=pipeline:2 -s parallel.tie=average
must 4 shards -s 'parallel.layout=data:2 pipeline:2' -s parallel.tie=average -s parallel.shard=parameters
curve average loss >one.curve
curve shards loss >other.curve
near one.curve other.curve 1e-9 || fail "averaged copies of parameters in shards are another training"
curve average loss | awk 'NR == 1 { first = $2 } END { exit !(NR == 4 && $2 < first) }' || fail "averaged copies do not learn"

# From layout to layout, a step at a time.
must 1 straight
step=1
for layout in 'data:2' 'tensor:2 pipeline:2' 'data:1' 'data:3'; do
    ranks=$(echo "$layout" | awk -F '[: ]' '{ n = 1; for (i = 2; i <= NF; i += 2) n *= $i; print n }')
    case $step in 1 | 4) shard=parameters ;; 2) shard=gradients ;; *) shard=none ;; esac
    must "$ranks" hops -s run.length="$step steps" -s "parallel.layout=$layout" -s parallel.shard=$shard
    step=$((step + 1))
done
curve straight loss >one.curve
curve hops loss >other.curve
near one.curve other.curve 1e-9 || fail "going on in other layouts is not the same training"

# A slow rank gets fewer samples; the training is the same.
cat >job.ini <<EOF
[run]
length = 12 steps
precision = fp64
[data]
format = synthetic
samples = 600
shape = 12 12 2
classes = 5
[model]
type = cnn
channels = 8 8
[batch]
global = 40
[checkpoint]
every = never
[log]
every = 1 step
EOF
must 1 equal-1

# Rows of images, in threes; what is recomputed and what another layout goes on with is the same.
curve equal-1 loss >one.curve
must 3 rows -s 'parallel.layout=rows:3' -s parallel.recompute=blocks
must 2 rows-first -s 'parallel.layout=rows:2' -s 'run.length=6 steps'
must 1 rows-first
must 4 rows-data -s 'parallel.layout=data:2 rows:2'
for run in rows rows-first rows-data; do
    curve $run loss >other.curve
    near one.curve other.curve 1e-9 || fail "$run: rows of images on several ranks are another training"
done

DPT_SLOW_RANK=1:6
export DPT_SLOW_RANK
must 2 auto -s parallel.shares=auto
grep -q "shares of the batch by measured speed" auto.log || fail "nothing was shared out anew"
must 2 given -s 'parallel.shares=5, 1'
for run in auto given; do
    curve $run loss >other.curve
    near one.curve other.curve 1e-9 || fail "$run: other shares are another training"
done

# What cannot be is refused, with a sentence.
run 2 wrong -s 'parallel.layout=tensor:3' && fail "3 ranks of 2"
grep -q "is for 3 ranks, but the job has 2" wrong.log || fail "wrong number of ranks"
run 2 wrong -s 'parallel.layout=rows:2' -s model.type=mlp && fail "rows of what is read whole"
grep -q "the model's first layer reads images whole" wrong.log || fail "rows of what is read whole: no reason"
run 2 wrong -s 'parallel.layout=data:2' -s 'parallel.shares=1, 2, 3' && fail "3 shares for 2 ranks"
grep -q "shares has 3 numbers, but 2 ranks" wrong.log || fail "wrong number of shares"
run 2 wrong -s 'parallel.layout=pipeline:2' -s 'parallel.stages=nowhere' && fail "a stage nowhere"
grep -q "there is no layer nowhere" wrong.log || fail "a layer that is not there"
for wrong in parallel.update=async-owner parallel.wire=int8 parallel.exchange=shared; do # the plan of such a run, too
    "$train" -c job.ini --plan=2 -s run.precision=fp32 -s parallel.layout=tensor:2 -s $wrong >wrong.log 2>&1 && fail "a plan with $wrong along tensor"
    grep -q "data is .*the only axis" wrong.log || fail "$wrong along tensor: no reason"
done
exit 0

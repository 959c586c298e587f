#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.precision = fp16 in whole jobs: near the curve in float, the same in every layout, exact resume with the scale of the
# loss; steps whose gradients are too large are skipped by all ranks, counted and reported; the scale grows again.
# run.precision = tf32 on cores is fp32.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"
. "$abs_srcdir/tests/jobs/reference.sh"

# 11 bits of precision are 5e-4; a loss is a mean over many numbers, each of which is off by as much at most.
reference_job gpt 'precision = fp16' >job.ini
"$abs_builddir/dpt-convert" -q "$abs_srcdir/tests/reference/gpt" weights 2>convert.log || fail "dpt-convert: exit status $?"
weights="-s model.weights=$PWD/weights"
must 1 one $weights
curve one loss >one.loss
sed '/^#/d' "$abs_srcdir/tests/reference/gpt/losses.txt" >torch
near torch one.loss 2e-3 || fail "gpt: the loss is not that of PyTorch in float"
near one.loss torch 1e-9 >far && fail "gpt: the same digits as PyTorch: then what was rounded?"
for layout in data:2 pipeline:2 tensor:2; do
    to=$(echo $layout | tr : -)
    must 2 $to $weights -s parallel.layout=$layout
    curve $to loss >other.loss
    near one.loss other.loss 1e-3 || fail "gpt: the loss along $layout is not that on one rank"
done
run 2 wire -s parallel.wire=topk:1%
[ $? = 2 ] || fail "wire = topk goes with fp16"
run 2 async -s parallel.update=async-average
[ $? = 2 ] || fail "async-average goes with fp16"

# Errors of some units, the loss of few samples: 65536 times their gradient is more than IEEE half has.
awk 'BEGIN { print "a,b,y"; for (i = 0; i < 400; i++) { a = i % 17; b = i % 23; print a "," b "," 2 * a - b + a * b } }' >table.csv
cat >job.ini <<'END'
[run]
length = 60 steps
precision = fp16
[data]
format = csv
train = table.csv
target = y
valid_share = 0.1
[model]
type = mlp
widths = 16
[batch]
global = 2
[optimizer]
type = adamw
lr = 0.01
[schedule]
type = constant
[log]
every = 1 step
[checkpoint]
every = 40 steps
END
must 1 table
skipped=$(sed -n 's/.*"skipped": \([0-9]*\)}*.*/\1/p' table/metrics.jsonl | tail -n 1)
scale=$(sed -n 's/.*"loss_scale": \([0-9]*\),.*/\1/p' table/metrics.jsonl | tail -n 1)
[ "$skipped" -gt 0 ] || fail "table: no step was skipped"
[ "$scale" = $((65536 >> skipped)) ] || fail "table: $skipped skipped steps, but the loss counts $scale times"
grep -q "NOTE    $skipped step.*too large for fp16" table.log || fail "table: no word about $skipped skipped steps"
"$info" table >info.txt 2>&1 || fail "dpt-info: exit status $?"
grep -q " $((60 - skipped)) updates" info.txt || fail "table: skipped steps count as updates"

# All ranks skip the same steps; a stop before and after them changes no bit, nor the scale.
same="-s run.reproducible=yes -s parallel.shards=2"
must 1 same $same
must 2 split $same
[ "$(sum same 60)" = "$(sum split 60)" ] || fail "other bits on 2 ranks"
for stop in 1 30; do
    must 2 again-$stop $same -s run.length="$stop steps"
    must 1 again-$stop $same
    [ "$(sum same 60)" = "$(sum again-$stop 60)" ] || fail "other bits after a stop at step $stop"
done

# 2000 good steps double it.
must 1 long -s run.length='2200 steps' -s batch.global=40 -s log.every='200 steps' -s checkpoint.every=never
sed -n 's/.*"kind": "train".*"loss_scale": \([0-9]*\), "skipped": \([0-9]*\).*/\1 \2/p' long/metrics.jsonl >scales
awk 'NR == 1 || $1 < least { least = $1 } { last = $1 } END { exit !(NR > 0 && last == 2 * least) }' scales || fail "long: the scale did not double"

# A training that diverges is not a matter of the scale.
run 1 wild -s optimizer.type=sgd -s optimizer.lr=1e6
[ $? = 4 ] || fail "wild: exit status $?, expected 4"
grep -q 'run.precision = bf16' wild.log || fail "wild: no advice"

# Without cards the factors of products are floats.
must 1 float -s run.precision=fp32
must 1 tf32 -s run.precision=tf32
[ "$(sum float 60)" = "$(sum tf32 60)" ] || fail "tf32 on cores is not fp32"
grep -q 'NOTE    run.precision = tf32' tf32.log || fail "tf32: no note"

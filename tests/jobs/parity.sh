#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The same job gives the same curve on any number of ranks: batches that do not divide, micro-batches, a short last batch,
# dropout, statistics of batch norm over the ranks. And the same bits when it is repeated.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

# job MODEL SHAPE: 20 steps are two epochs of 9 batches of 22 or less, and two more.
job() {
    cat >job.ini <<EOF
[run]
length = 20 steps
[data]
format = synthetic
samples = 190
shape = $2
classes = 7
[model]
$1
[batch]
global = 22
[optimizer]
type = sgd
lr = 0.005
momentum = 0.9
clip = 1.5
[checkpoint]
every = never
[log]
every = 1 step
EOF
}

# compare NAME TOLERANCE OPTION...: on 1, 2, 3, 4 and 8 ranks, and on 3 once more.
compare() {
    name=$1 tolerance=$2
    shift 2
    for n in 1 2 3 4 8; do
        must $n "$name-$n" "$@"
        for key in loss grad_norm; do
            curve "$name-$n" $key >"$name-$n.$key"
            near "$name-1.$key" "$name-$n.$key" "$tolerance" || fail "$name: $key on $n ranks is not that on one"
        done
    done
    [ "$(wc -l <"$name-1.loss")" = 20 ] || fail "$name: not a record a step"
    must 3 "$name-again" "$@"
    [ "$(sum "$name-3" 20)" = "$(sum "$name-again" 20)" ] || fail "$name: another run on 3 ranks has other bits"
}

job 'type = mlp
widths = 24 16
dropout = 0.3' 12
compare mlp 1e-5
compare mlp-micro 1e-5 -s batch.micro_batches=3

job 'type = cnn
channels = 4 8
kernel = 3
hidden = 16' '12 12 2'
compare cnn 1e-5
compare cnn-double 1e-9 -s run.precision=fp64 -s optimizer.lr=0.05 -s batch.micro_batches=2

# Relu makes rounding grow in a deep net of few samples, or at high rates: double tells that nothing else differs.
job 'type = resnet
depth = 20
batch_norm = sync' '8 8 3'
compare resnet 1e-9 -s run.precision=fp64

# How sums travel is no matter either, but for the last bits of the norm, which is a sum over slices.
job 'type = resnet
depth = 20
batch_norm = sync' '8 8 3'
sed -i.bak '/^clip/d' job.ini
must 2 inline -s parallel.comm_thread=off -s parallel.bucket='4 KiB'
must 2 thread -s parallel.comm_thread=on -s parallel.bucket='4 KiB'
must 2 whole -s parallel.bucket='1 GiB'
must 2 flat -s parallel.exchange=flat
must 2 shared -s parallel.exchange=shared
for other in thread whole flat shared; do
    [ "$(sum inline 20)" = "$(sum $other 20)" ] || fail "$other: other bits than inline"
done

# Gradients of 16 bits in messages: nearly the same curve, half the bytes; through memory they make no difference.
must 2 half -s parallel.exchange=flat -s parallel.wire=bf16
must 2 none -s parallel.exchange=shared -s parallel.wire=bf16
[ "$(sum none 20)" = "$(sum shared 20)" ] || fail "none: other bits although nothing travels"
grep -q 'is of no use here' none.log || fail "none: does not say that the key counts for nothing"
[ "$(sum half 20)" != "$(sum flat 20)" ] || fail "half: the same bits as whole numbers"
for run in half flat; do
    curve $run loss | head -n 8 >$run.loss
done
near flat.loss half.loss 0.05 || fail "half: another curve"
[ "$(awk -v a="$(ends half sent_bytes)" -v b="$(ends flat sent_bytes)" 'BEGIN { print (a > 0.45 * b && a < 0.6 * b) }')" = 1 ] ||
    fail "half: $(ends half sent_bytes) bytes, flat: $(ends flat sent_bytes)"

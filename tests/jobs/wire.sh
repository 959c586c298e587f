#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Gradients that travel in fewer bytes: the curves that must not change, going on from a checkpoint, on other ranks and with
# another format, the bytes that are sent, and what is refused.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<EOF
[run]
length = 24 steps
[data]
format = synthetic
samples = 190
shape = 12
classes = 7
[model]
type = mlp
widths = 64 32
[batch]
global = 22
[parallel]
exchange = flat
[optimizer]
type = sgd
lr = 0.01
[checkpoint]
every = never
[log]
every = 1 step
EOF

# less A B SHARE: whether A is less than that share of B, and not nothing.
less() {
    [ "$(awk -v a="$1" -v b="$2" -v s="$3" 'BEGIN { print (a > 0 && a < s * b) }')" = 1 ]
}

# Everything of the largest is everything.
must 2 fp32
must 2 all -s parallel.wire=topk:100%
curve fp32 loss >fp32.loss
curve all loss >all.loss
near fp32.loss all.loss 1e-5 || fail "topk:100% is another training"
for wire in bf16:0.55 int8:0.35 topk:1%:0.25 powersgd:1:0.4; do
    must 2 "$wire" -s parallel.wire="${wire%:*}"
    less "$(ends "$wire" sent_bytes)" "$(ends fp32 sent_bytes)" "${wire##*:}" ||
        fail "${wire%:*}: sent $(ends "$wire" sent_bytes) bytes, fp32 $(ends fp32 sent_bytes)"
    grep -q "messages.*, ${wire%:*}" "$wire.log" || fail "$wire: is not in the banner"
    curve "$wire" loss >lossy.loss
    ! near fp32.loss lossy.loss 1e-7 >near.out || fail "$wire: changes nothing"
done

# Going on from a checkpoint is the same as going on, if both save at the same steps.
for wire in topk:5% powersgd:2 int8; do
    for n in 2 3; do
        set -- -s parallel.wire="$wire" -s checkpoint.every='10 steps' -s checkpoint.keep=9
        must $n "whole-$wire-$n" "$@"
        must $n "parts-$wire-$n" "$@" -s run.length='10 steps'
        must $n "parts-$wire-$n" "$@"
        [ "$(sum "whole-$wire-$n" 10)" = "$(sum "parts-$wire-$n" 10)" ] || fail "$wire: other bits at step 10 on $n ranks"
        [ "$(sum "whole-$wire-$n" 24)" = "$(sum "parts-$wire-$n" 24)" ] || fail "$wire: going on on $n ranks has other bits"
    done
done
grep -a -q '\.kept' whole-topk:5%-2/checkpoints/step-00000024/optimizer.safetensors || fail "what is kept is not in the checkpoint"

# On other ranks, and with another format.
must 2 moves -s parallel.wire=topk:5% -s run.length='8 steps'
must 3 moves -s parallel.wire=topk:5% -s run.length='12 steps'
must 3 moves -s run.length='16 steps'
must 2 moves -s parallel.wire=powersgd:1 -s run.length='20 steps'
must 1 moves -s parallel.wire=topk:5%

# What cannot be had.
refused() {
    run 2 bad "$@"
    [ $? = 2 ] || fail "$*: not refused"
}
refused -s parallel.wire=topk:5% -s parallel.shard=optimizer
grep -q 'set shard = none, or wire = int8' bad.log || fail "topk with shard: the way out is not named"
refused -s parallel.wire=powersgd:2 -s run.reproducible=yes
refused -s parallel.wire=int8 -s run.precision=fp64
refused -s parallel.wire=topk:5% -s parallel.update=local-sgd
refused -s parallel.wire=topk
refused -s parallel.wire=topk:0%
refused -s parallel.wire=powersgd:0
refused -s parallel.wire=zip
must 2 zero -s parallel.wire=int8 -s parallel.shard=optimizer

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ranks that go their own ways between meetings: the identities that hold, going on from a checkpoint, what is refused,
# and how much less is summed.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<EOF
[run]
length = 24 steps
precision = fp64
[data]
format = synthetic
samples = 190
shape = 12
classes = 7
[model]
type = mlp
[batch]
global = 22
[optimizer]
type = sgd
lr = 0.01
momentum = 0
[checkpoint]
every = never
[log]
every = 1 step
EOF

same_curves() {
    curve "$1" loss >"$1.loss"
    curve "$2" loss >"$2.loss"
    near "$1.loss" "$2.loss" "$3" || fail "the loss of $2 is not that of $1"
}

# Plain SGD that meets after every step is the synchronous one, whatever the batch divides into. (The norm is not: it is
# that of each rank's own gradient.)
for n in 2 3; do
    must $n sync-$n
    must $n one-$n -s parallel.update=local-sgd -s parallel.every='1 steps'
    same_curves sync-$n one-$n 1e-9
done
# So is a run that would go its own ways only after its end, with any optimizer.
must 2 adam -s optimizer.type=adamw
must 2 post -s optimizer.type=adamw -s parallel.update=post-local-sgd -s parallel.sync_until='24 steps'
same_curves adam post 1e-9

# Longer between meetings it is another training, of which the outer optimizer with rate 1 and no momentum is no other.
must 2 four -s parallel.update=local-sgd -s parallel.every='4 steps' -s optimizer.momentum=0.9
must 2 outer -s parallel.update=diloco -s parallel.every='4 steps' -s optimizer.momentum=0.9 -s parallel.outer_lr=1 \
    -s parallel.outer_momentum=0
same_curves four outer 1e-9
must 2 sync -s optimizer.momentum=0.9
curve sync loss | awk 'NR % 4 == 0' >sync.loss
curve four loss >four.loss
[ "$(wc -l <four.loss)" = 6 ] || fail "four: not a record a meeting"
! near sync.loss four.loss 1e-9 >near.out || fail "four: meets in every step"
must 2 nesterov -s parallel.update=diloco -s parallel.every='4 steps' -s optimizer.momentum=0.9
curve nesterov loss >nesterov.loss
! near four.loss nesterov.loss 1e-9 >near.out || fail "nesterov: the outer momentum does nothing"

# One rank has nobody to meet.
must 1 alone -s parallel.update=diloco -s parallel.every='4 steps' -s optimizer.momentum=0.9
must 1 single -s optimizer.momentum=0.9
[ "$(sum alone 24)" = "$(sum single 24)" ] || fail "alone: one rank does not train as always"

# Six meetings sum what six of the 24 steps sum, give or take.
[ "$(awk -v a="$(ends four summed_bytes)" -v b="$(ends sync summed_bytes)" 'BEGIN { print (a > 0 && a < 0.3 * b) }')" = 1 ] ||
    fail "four: summed $(ends four summed_bytes) bytes, sync $(ends sync summed_bytes)"
grep -q 'the ranks met 6 times' four.log || fail "four: does not tell how often the ranks met"

# A checkpoint is at a meeting, and going on from it is the same as going on. Both runs save at the same steps.
for update in local-sgd diloco; do
    for n in 2 3; do
        set -- -s parallel.update=$update -s parallel.every='5 steps' -s optimizer.type=adamw -s optimizer.lr=0.003 \
            -s checkpoint.every='8 steps' -s checkpoint.keep=9
        must $n whole-$update-$n "$@"
        must $n parts-$update-$n "$@" -s run.length='10 steps'
        must $n parts-$update-$n "$@"
        [ "$(sum whole-$update-$n 10)" = "$(sum parts-$update-$n 10)" ] || fail "$update: other bits at step 10"
        [ "$(sum whole-$update-$n 24)" = "$(sum parts-$update-$n 24)" ] || fail "$update: going on has other bits"
    done
done
[ -d whole-diloco-2/checkpoints/step-00000010 ] || fail "whole-diloco-2: no checkpoint at the meeting after step 8"
grep -a -q '\.outer' whole-diloco-2/checkpoints/step-00000024/optimizer.safetensors ||
    fail "whole-diloco-2: the outer momentum is not in the checkpoint"

# A host has one copy of the parameters where only the optimizer's state is cut, too: the same bits as by messages.
must 2 cut -s optimizer.momentum=0.9 -s parallel.shard=optimizer
must 2 cutflat -s optimizer.momentum=0.9 -s parallel.shard=optimizer -s parallel.exchange=flat
grep -q '^memory .*| [^|]* a host: parameters' cut.log || fail "cut: the parameters are not one copy a host"
! grep -q '^memory .* a host:' cutflat.log || fail "cutflat: shares memory"
[ "$(sum cut 24)" = "$(sum cutflat 24)" ] || fail "cut: through memory and by messages, the bits differ"

# Fragments: as much is sent, a part at a time; near the training without, but another one; exact going on; one rank alone.
set -- -s parallel.every='4 steps' -s optimizer.momentum=0.9 -s parallel.fragments=2
must 2 stream -s parallel.update=local-sgd "$@"
[ "$(awk -v a="$(ends stream summed_bytes)" -v b="$(ends four summed_bytes)" 'BEGIN { print (a > 0.9 * b && a < 1.5 * b) }')" = 1 ] ||
    fail "stream: summed $(ends stream summed_bytes) bytes, without fragments $(ends four summed_bytes)"
curve stream loss | awk 'NR % 2 { before = $2; next } { print $1, (before + $2) / 2 }' >stream.loss
near four.loss stream.loss 0.2 >near.out || fail "stream: far from the training without fragments: $(cat near.out)"
! near four.loss stream.loss 1e-9 >near.out || fail "stream: no other training"
must 1 streamalone -s parallel.update=diloco "$@"
[ "$(sum streamalone 24)" = "$(sum single 24)" ] || fail "streamalone: one rank does not train as always"
for update in local-sgd diloco; do
    set -- -s parallel.update=$update -s parallel.every='4 steps' -s parallel.fragments=4 -s optimizer.type=adamw \
        -s optimizer.lr=0.003 -s checkpoint.every='10 steps' -s checkpoint.keep=9
    must 3 whole-stream-$update "$@"
    must 3 parts-stream-$update "$@" -s run.length='10 steps'
    must 3 parts-stream-$update "$@"
    [ "$(sum whole-stream-$update 24)" = "$(sum parts-stream-$update 24)" ] || fail "$update: fragments go on with other bits"
done
run 2 odd -s parallel.update=diloco -s parallel.every='5 steps' -s parallel.fragments=2
[ $? = 2 ] && grep -q 'fragments = 2, but every = 5 steps' odd.log || fail "odd: fragments without a turn each"
run 2 anew -s parallel.update=local-sgd -s parallel.every='4 steps' -s parallel.fragments=2 -s parallel.shares=auto
[ $? = 2 ] && grep -q 'shares = auto shares out anew where nothing is under way' anew.log || fail "anew: shares while fragments travel"

# Gradients that are not finite on one rank end the run of all, when they meet.
run 2 wild -s parallel.update=local-sgd -s parallel.every='3 steps' -s optimizer.lr=1e6 -s run.precision=fp32
status=$?
[ $status = 4 ] || fail "wild: ends with $status, not as diverged"

# What cannot be had.
run 2 bits -s parallel.update=local-sgd -s run.reproducible=yes -s run.precision=fp32
[ $? = 2 ] && grep -q 'needs sync' bits.log || fail "bits: a reproducible run with local updates"
run 2 norm -s parallel.update=local-sgd -s model.type=resnet -s data.shape='8 8 1' -s model.depth=20
[ $? = 2 ] && grep -q 'batch_norm = local' norm.log || fail "norm: shared statistics with local updates"
must 2 ownnorm -s parallel.update=local-sgd -s model.type=resnet -s data.shape='8 8 1' -s model.depth=20 \
    -s model.batch_norm=local -s run.precision=fp32

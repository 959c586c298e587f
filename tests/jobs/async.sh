#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ranks that do not wait for each other: what they come to when they have to, that every share of the work is done once and
# counts once, going on from a checkpoint, stops, a rank that hangs, and what is refused.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<EOF
[run]
length = 24 steps
precision = fp64
deadline = 30 s
[data]
format = synthetic
samples = 190
valid_share = 0.2
shape = 12
classes = 7
[model]
type = mlp
[batch]
global = 22
[optimizer]
type = sgd
lr = 0.01
momentum = 0.9
[eval]
every = 6 steps
[checkpoint]
every = never
[log]
every = 1 step
EOF

# conserved DIR SHARES: so many shares were done, and nothing was lost.
conserved() {
    [ "$(ends "$1" shares)" = "$2" ] || fail "$1: $(ends "$1" shares) shares, expected $2"
    [ "$(ends "$1" lost)" = 0 ] || fail "$1: lost $(ends "$1" lost)"
}

# scores DIR: step and loss of the evaluations, at which all ranks have the same parameters.
scores() {
    sed -n 's/.*"kind": "eval", "step": \([0-9]*\),.*"loss": \([-+.e0-9]*\)[,}].*/\1 \2/p' "$1/metrics.jsonl"
}

same_scores() {
    scores "$1" >a.scores
    scores "$2" >b.scores
    [ "$(wc -l <a.scores)" = 4 ] || fail "$1: $(wc -l <a.scores) evaluations"
    near a.scores b.scores 1e-9 || fail "the loss of $2 is not that of $1"
}

# learns DIR: the loss has fallen.
learns() {
    scores "$1" | awk 'NR == 1 { first = $2 } { last = $2 } END { exit !(NR > 1 && last < first) }' ||
        fail "$1: does not learn: $(scores "$1" | tr '\n' ' ')"
}

# Where all wait for all, owners give what the synchronous training gives: with any optimizer, by any way, where shares
# are uneven and some ranks have no sample at all.
lockstep='-s parallel.update=async-owner -s parallel.max_staleness=0'
for n in 2 3; do
    must $n sync-$n
    # shellcheck disable=SC2086 # the words of $lockstep
    must $n owner-$n $lockstep
    same_scores sync-$n owner-$n
    conserved owner-$n $((24 * n))
done
must 3 adam -s optimizer.type=adamw -s batch.global=2
for way in shm rma p2p; do
    # shellcheck disable=SC2086
    must 3 adam-$way $lockstep -s optimizer.type=adamw -s batch.global=2 -s parallel.mailbox=$way
    same_scores adam adam-$way
    conserved adam-$way 72
done
# With nothing late there is nothing to compensate.
# shellcheck disable=SC2086
must 2 compensated $lockstep -s parallel.delay_compensation=1
same_scores sync-2 compensated

# One rank has nobody to be late for.
must 1 single
for update in owner average pushsum; do
    must 1 single-$update -s parallel.update=async-$update
    [ "$(sum single 24)" = "$(sum single-$update 24)" ] || fail "single-$update: one rank does not train as always"
done

# No bound, a rank that is slow, and every way: all shares are done, all messages count.
for update in owner average pushsum; do
    for way in shm rma p2p; do
        DPT_SLOW_RANK=1:4 must 3 free-$update-$way -s parallel.update=async-$update -s parallel.max_staleness=-1 \
            -s parallel.mailbox=$way -s run.length='60 steps' -s eval.every='20 steps'
        conserved free-$update-$way 180
        learns free-$update-$way
    done
done
grep -q 'mailboxes: shared memory' free-owner-shm.log || fail "free-owner-shm: does not say how its mailboxes work"
grep -q 'delay   of gradients' free-owner-shm.log || fail "free-owner-shm: does not tell of delays"

# A checkpoint is what all ranks have when they meet, and going on from it is going on: with two ranks in lockstep to the
# bit (there is one order to add two numbers in), else with the same number of shares. On other numbers of ranks too.
for update in owner average pushsum; do
    set -- -s parallel.update=async-$update -s parallel.max_staleness=0 -s optimizer.type=adamw -s optimizer.lr=0.003 \
        -s checkpoint.every='8 steps' -s checkpoint.keep=9 -s eval.every=never
    must 2 whole-$update "$@"
    must 2 parts-$update "$@" -s run.length='16 steps'
    must 2 parts-$update "$@"
    [ "$(saved parts-$update)" = 3 ] || fail "parts-$update: $(saved parts-$update) checkpoints, expected those of 8, 16, 24"
    conserved parts-$update 16
    must 3 parts-$update "$@" -s run.length='30 steps'
    conserved parts-$update 18
    "$info" --verify parts-$update >verify.log 2>&1 || fail "parts-$update: its checkpoints are damaged"
done
for step in 8 16 24; do
    [ "$(sum whole-owner $step)" = "$(sum parts-owner $step)" ] || fail "parts-owner: other bits at step $step"
done

# A stop is agreed by all, whichever rank hears of it, and every share that was done is in the checkpoint.
for update in owner average pushsum; do
    $MPIEXEC -n 3 "$train" -c job.ini -o stop-$update -s parallel.update=async-$update -s run.length='1000000 steps' \
        -s eval.every=never -s log.every='1 s' >stop-$update.log 2>&1 &
    job=$!
    begun() {
        grep -q '^ *[1-9][0-9]* ' stop-$update.log
    }
    until_true begun || fail "stop-$update: does not begin"
    kill -TERM "$(ranks stop-$update | tail -n 1)"
    wait $job || fail "stop-$update: exit status $?"
    grep -q 'paused by a signal at step' stop-$update.log || fail "stop-$update: not paused"
    [ "$(ends stop-$update lost)" = 0 ] || fail "stop-$update: lost $(ends stop-$update lost)"
    at=$(sed -n 's/.*paused by a signal at step \([0-9]*\) .*/\1/p' stop-$update.log)
    must 3 stop-$update -s parallel.update=async-$update -s run.length="$((at + 5)) steps" -s eval.every=never
    conserved stop-$update 15
done

# A rank that hangs is named by those that wait for it.
for bound in 4 -1; do
    $MPIEXEC -n 3 "$train" -c job.ini -o hung$bound -s parallel.update=async-owner -s parallel.max_staleness=$bound \
        -s run.length='1000000 steps' -s checkpoint.every='2000 steps' -s eval.every=never -s log.every='1 s' \
        -s run.deadline='3 s' >hung$bound.log 2>&1 &
    job=$!
    has_one() {
        [ "$(saved hung$bound)" -ge 1 ]
    }
    until_true has_one || fail "hung$bound: does not begin"
    victim=$(ranks hung$bound | tail -n 1)
    kill -STOP "$victim"
    (sleep 8; kill -CONT "$victim"; kill -KILL "$victim") 2>/dev/null &
    ! wait $job || fail "hung$bound: exit status 0"
    grep -q 'no progress for 3 s in .*rank [012] is stopped or dead' hung$bound.log ||
        fail "hung$bound: the rank that hangs is not named"
done

# Gradients that are not finite on one rank end the run of all.
run 3 wild -s parallel.update=async-owner -s optimizer.lr=1e6 -s run.precision=fp32
[ $? = 4 ] || fail "wild: does not end as diverged"

# What cannot be had, and what is said.
refuse() {
    words=$1
    shift
    run 2 refused -s parallel.update=async-owner "$@"
    [ $? = 2 ] && grep -q "$words" refused.log || fail "refused $*: no word of $words"
}
refuse 'needs sync' -s run.reproducible=yes -s run.precision=fp32
refuse 'only axis' -s parallel.layout=tensor:2
refuse 'set it to none' -s parallel.shard=optimizer
refuse 'as many as they can' -s parallel.shares=auto
refuse 'batch_norm = local' -s model.type=resnet -s data.shape='8 8 1' -s model.depth=20
must 2 ownnorm -s parallel.update=async-owner -s model.type=resnet -s data.shape='8 8 1' -s model.depth=20 \
    -s model.batch_norm=local -s run.precision=fp32 -s run.length='6 steps'

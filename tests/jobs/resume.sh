#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run that was interrupted ends as one that was not; what cannot be gone on from is named.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 40 steps
[data]
format = synthetic
samples = 190
shape = 12 12 2
classes = 7
valid_share = 0.2
[model]
type = resnet
depth = 20
[batch]
global = 22
[optimizer]
type = adamw
lr = 0.002
[schedule]
type = cosine
warmup = 5 steps
[checkpoint]
every = 10 steps
keep = 10
best = no
[log]
every = 1 step
EOF

# 190 samples less a fifth are 152, 7 steps an epoch: a warm-up in epochs that ends behind the run would be all there is.
code=0
run 1 late --dry-run -s schedule.warmup='6 epochs' || code=$?
[ $code = 2 ] || fail "a warm-up of 42 steps of 40: exit status $code instead of 2"
grep -q 'warmup takes 42 steps, and the whole run (.*) 40' late.log || fail "a warm-up of 42 steps of 40: not said"

# Bit for bit where the sums are fixed, whatever number of ranks goes on.
same='-s run.reproducible=yes -s augment.flip=yes'
must 2 whole $same
must 2 parts $same --max-time=0.001s
[ -d parts/checkpoints/step-00000001 ] || fail "no checkpoint when the time was over at once"
must 4 parts $same
grep -q 'goes on from step 1 of 40' parts.log || fail "did not say from where it goes on"
[ "$(sum whole 40)" = "$(sum parts 40)" ] || fail "reproducible: other bits after 1 + 39 steps"
rm -r whole/checkpoints/step-00000040 whole/checkpoints/step-00000030
rm -f whole/checkpoints/latest
must 1 whole $same
grep -q 'goes on from step 20 of 40' whole.log || fail "did not go back to step 20"
[ "$(sum whole 40)" = "$(sum parts 40)" ] || fail "reproducible: other bits after 20 + 20 steps"
[ "$(curve whole loss | wc -l)" = 40 ] || fail "metrics.jsonl: not each step once"
curve whole loss | awk '$1 != NR { exit 1 }' || fail "metrics.jsonl: steps are out of order"

# Within rounding elsewhere; the same bits on the same ranks.
must 2 fast -s run.precision=fp64
must 2 again -s run.precision=fp64
[ "$(sum fast 40)" = "$(sum again 40)" ] || fail "the same run has other bits"
rm -r again/checkpoints/step-000000[34]0
must 2 again -s run.precision=fp64
[ "$(sum fast 40)" = "$(sum again 40)" ] || fail "other bits after 20 + 20 steps"
rm -r again/checkpoints/step-000000[34]0
must 3 again -s run.precision=fp64
curve fast loss >fast.loss
curve again loss >again.loss
near fast.loss again.loss 1e-9 || fail "2, then 3 ranks: another curve"

# A damaged checkpoint is named, and the one before it used.
printf X | dd of=again/checkpoints/step-00000040/model.safetensors bs=1 seek=5000 conv=notrunc 2>/dev/null
must 2 again -s run.precision=fp64
grep -q 'WARNING.*step-00000040.*model.safetensors' again.log || fail "the damaged checkpoint is not named"
grep -q 'goes on from step 30 of 40' again.log || fail "did not use the checkpoint before the damaged one"

# Nothing left to do; more to do.
must 2 again -s run.precision=fp64
grep -q 'the run is finished: step 40 of 40' again.log || fail "a finished run does not say so"
must 2 again -s run.precision=fp64 -s run.length='44 steps'
[ -d again/checkpoints/step-00000044 ] || fail "a longer run.length did not go on"

# refused STATUS WORDS OPTION...
refused() {
    status=$1 words=$2
    shift 2
    run 2 "$@"
    [ $? -eq "$status" ] || fail "$*: not refused with status $status"
    grep -q "$words" "$1.log" || fail "$*: does not say: $words"
}

# A run whose checkpoints cannot be used does not begin anew by itself.
mkdir -p broken/checkpoints
cp -r again/checkpoints/step-00000044 broken/checkpoints
: >broken/checkpoints/step-00000044/MANIFEST.json
refused 3 'broken/checkpoints/step-00000044/MANIFEST.json: .*To begin anew' broken -s run.precision=fp64
refused 2 'lr.*\|\[model\] depth: 20 in the run, 32 now' again -s run.precision=fp64 -s model.depth=32
refused 2 '\[run\] precision: fp64 in the run, fp32 now' again
refused 2 'has checkpoints, and --resume=never' again -s run.precision=fp64 --resume=never
refused 2 'no checkpoint' nothing --resume=must
refused 2 'is a later checkpoint than' again -s run.precision=fp64 --resume=again/checkpoints/step-00000010
must 2 branch -s run.precision=fp64 --resume=again/checkpoints/step-00000010
grep -q 'goes on from step 10 of 40' branch.log || fail "a branch does not go on from the checkpoint named"
mkdir strange
: >strange/file
refused 2 'is not a run directory' strange

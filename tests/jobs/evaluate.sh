#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# --eval-only says of a checkpoint what the run said of it and touches nothing; [model] weights begins with another
# run's weights.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 30 steps
precision = fp64
[data]
format = synthetic
samples = 300
shape = 12
classes = 7
valid_share = 0.2
[batch]
global = 40
[checkpoint]
every = 10 steps
best = no
[eval]
every = 10 steps
[log]
every = 1 step
EOF

# said DIR: the line about the validation data, without the step before it.
said() {
    sed -n 's/^ *[0-9]* valid: //p' "$1.log" | tail -n 1
}

must 2 run
newest=$(said run)
at10=$(sed -n 's/^ *10 valid: //p' run.log)
[ -n "$at10" ] && [ "$at10" != "$newest" ] || fail "the run says nothing of its validation data"
find run -type f -exec cksum {} + | sort >before
for ranks in 1 3; do
    run "$ranks" run --eval-only || fail "--eval-only on $ranks ranks: exit status $?"
    [ "$(said run)" = "$newest" ] || fail "--eval-only on $ranks ranks: '$(said run)', the run said '$newest'"
    run "$ranks" run --eval-only --resume=run/checkpoints/step-00000010 || fail "of an earlier step: exit status $?"
    [ "$(said run)" = "$at10" ] || fail "an earlier step: '$(said run)', the run said '$at10'"
    grep -q '^step    10 of 30' run.log || fail "does not say which step it evaluates"
done
find run -type f -exec cksum {} + | sort >after
cmp -s before after || fail "--eval-only changed the run directory"

run 2 nothing --eval-only
[ $? = 2 ] || fail "--eval-only without a checkpoint: another exit status than 2"
grep -q 'nothing: has no checkpoint to evaluate' nothing.log || fail "no checkpoint: not said"
[ ! -e nothing ] || fail "--eval-only made a run directory"
run 1 run --eval-only -s data.valid_share=0
[ $? = 2 ] || fail "--eval-only without data to evaluate: another exit status than 2"

# Weights of another run, under another seed, rate and number of ranks.
run 2 tuned --eval-only -s model.weights="$PWD/run" || fail "weights: exit status $?"
[ "$(said tuned)" = "$newest" ] || fail "weights: '$(said tuned)', their run said '$newest'"
must 3 tuned -s model.weights="$PWD/run/checkpoints/step-00000030" -s optimizer.lr=1e-300 -s run.length='10 steps'
[ "$(said tuned)" = "$newest (best)" ] || [ "$(said tuned)" = "$newest" ] || fail "weights were not what the training began with: '$(said tuned)'"
must 1 tuned -s model.weights="$PWD/run/checkpoints/step-00000030" -s optimizer.lr=0.1 -s run.length='20 steps'
grep -q 'goes on from step 10 of 20' tuned.log || fail "did not go on with its own checkpoint"
[ "$(said tuned)" != "$newest" ] || fail "nothing was learned"

run 2 wrong -s model.weights="$PWD/run" -s model.widths=17
[ $? = 3 ] || fail "weights of another model: another exit status than 3"
grep -q '\[model\] weights: .*fc[12]' wrong.log || fail "weights of another model: the tensor is not named"
run 1 wrong -s model.weights="$PWD/none" && fail "weights that do not exist were taken"
grep -q "weights: $PWD/none: No such file" wrong.log || fail "weights that do not exist: not said"
exit 0

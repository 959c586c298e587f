#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.reproducible = yes: the same bits on 1, 2, 4 and 8 ranks, with parallel.reduce = fixed on any number, in checkpoints and
# in every figure.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 20 steps
reproducible = yes
[data]
format = synthetic
samples = 190
shape = 12 12 2
classes = 7
valid_share = 0.2
[batch]
global = 22
[optimizer]
type = adamw
lr = 0.01
clip = 0.5
[checkpoint]
every = never
[log]
every = 1 step
EOF

# figures DIR: all that metrics.jsonl says about the learning, without times.
figures() {
    sed -n 's/.*"kind": "\(train\|eval\)", "step": \([0-9]*\).*"loss": \([^,]*\), "accuracy": \([^,}]*\).*/\1 \2 \3 \4/p' \
        "$1/metrics.jsonl"
    curve "$1" grad_norm
}

for model in mlp cnn resnet; do
    more=type=$model
    [ $model = resnet ] || more=dropout=0.2
    for n in 1 2 4 8; do
        must $n "$model-$n" -s model.type=$model -s model.$more
        figures "$model-$n" >"$model-$n.txt"
        cmp "$model-1.txt" "$model-$n.txt" || fail "$model: other figures on $n ranks than on one"
        [ "$(sum "$model-1" 20)" = "$(sum "$model-$n" 20)" ] || fail "$model: other bits on $n ranks than on one"
    done
    [ "$(wc -l <"$model-1.txt")" -ge 41 ] || fail "$model: figures are missing"
done

for n in 1 3 5 8; do
    must $n "fixed-$n" -s model.type=cnn -s model.dropout=0.2 -s parallel.reduce=fixed
    figures "fixed-$n" >"fixed-$n.txt"
    cmp fixed-1.txt "fixed-$n.txt" || fail "reduce = fixed: other figures on $n ranks than on one"
    [ "$(sum fixed-1 20)" = "$(sum "fixed-$n" 20)" ] || fail "reduce = fixed: other bits on $n ranks than on one"
done
must 2 flat -s model.type=cnn -s model.dropout=0.2 -s parallel.reduce=fixed -s parallel.exchange=flat
[ "$(sum flat 20)" = "$(sum fixed-1 20)" ] || fail "reduce = fixed: other bits through messages than through memory"
[ "$(sum fixed-1 20)" != "$(sum cnn-1 20)" ] || fail "reduce = fixed is a tree"

# Another number of shards is another sum: the comparison above is able to fail.
must 1 other -s model.type=cnn -s model.dropout=0.2 -s parallel.shards=2
[ "$(sum other 20)" != "$(sum cnn-1 20)" ] || fail "shards do not matter: then what is compared?"

# The processors of a launcher's binding do not matter.
if command -v taskset >/dev/null 2>&1; then
    taskset -c 0 "$train" -c job.ini -o bound -s model.type=cnn -s model.dropout=0.2 >bound.log 2>&1 || fail "bound: exit status $?"
    [ "$(sum bound 20)" = "$(sum cnn-1 20)" ] || fail "bound to one core: other bits"
fi

run 3 three && fail "3 ranks cannot share 8 shards, but were accepted"
[ $? -eq 2 ] || fail "3 ranks: not refused with status 2"
grep -q 'parallel.shards = 8 parts, which 3 ranks cannot share evenly' three.log || fail "3 ranks: the reason is not named"

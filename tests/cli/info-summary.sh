#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-info tells what is in a run directory or a checkpoint: text, one word, the job file, JSON, the tensors.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
info=$abs_builddir/dpt-info
toy=$abs_builddir/tests/ckpt/toy-run
[ -x "$toy" ] || exit 77
run=$dir/run

# expect TEXT COMMAND...: the command succeeds and a line of its output has the text.
expect() {
    text=$1
    shift
    "$@" >"$dir/out" || fail "exit status $? of: $*"
    grep -qF -e "$text" "$dir/out" || {
        cat "$dir/out" >&2
        fail "'$text' is not in the output of: $*"
    }
}

# A run directory that has no checkpoint yet.
mkdir "$run"
expect none "$info" --state "$run"
expect none "$info" "$run"
expect '"state": "none"' "$info" --json "$run"

"$toy" "$run" 20 40
cat >"$run/metrics.jsonl" <<'EOF'
{"kind": "train", "step": 30, "loss": 2.5, "lr": 0.1}
{"kind": "eval", "split": "valid", "step": 30, "loss": 0.7, "accuracy": 0.5}
{"kind": "train", "step": 39, "loss": 0.25, "lr": 0.1}
{"kind": "eval", "split": "valid", "step": 40, "loss": 0.5, "accuracy": 0.875}
{"kind": "train", "step": 41, "lo
EOF
expect paused "$info" --state "$run"
expect 'step        40, epoch 4, 1280 samples, 39 updates, 4.0 s of training' "$info" "$run"
expect 'best        valid accuracy 0.915 at step 20' "$info" "$run"
expect 'train       loss 0.25  lr 0.1  at step 39' "$info" "$run"
expect 'valid       loss 0.5  accuracy 0.875  at step 40' "$info" "$run"
expect 'layout data:2' "$info" "$run"
expect 'step        20,' "$info" --best "$run"
expect 'step        20,' "$info" "$run/checkpoints/step-00000020"
expect 'name = toy "quoted"' "$info" --config "$run"
[ "$("$info" --config "$run" | head -n 1)" = '[run]' ] || fail "--config prints more than the job file"
expect 'conv.weight.momentum' "$info" --tensors "$run"
expect 'F32[3,2,5]' "$info" -t "$run"
"$toy" "$run" 60
expect finished "$info" --state "$run"

# The JSON is JSON, where something can tell.
if command -v python3 >/dev/null 2>&1; then
    "$info" --json --tensors "$run" | python3 -c '
import json, sys
info = json.load(sys.stdin)
assert info["state"] == "finished" and info["step"] == 60 and len(info["tensors"]) == 8, info
assert info["metrics"]["valid"]["accuracy"] == 0.875 and info["best"]["metric"] == "valid accuracy", info'
fi

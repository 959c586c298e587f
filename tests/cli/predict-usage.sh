#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The exit status of dpt-predict says what went wrong.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
predict=$abs_builddir/dpt-predict
made=$abs_builddir/tests/train/made-run

status 2 'checkpoint is missing' "$predict"
status 2 'too many' "$predict" "$dir" "$dir" "$dir"
status 2 "there is no option --tpo. Did you mean --top?" "$predict" --tpo=3 "$dir"
status 2 '-n needs a value' "$predict" "$dir" -n
status 2 '--device=gpu: expected auto, cpu or cuda' "$predict" --device=gpu "$dir"
status 2 '--precision=int8: expected fp32, tf32, bf16 or fp16' "$predict" --precision=int8 "$dir"
status 2 '--top=0: expected a whole number from 1 to 100' "$predict" --top=0 "$dir"
status 2 '--batch=1x: expected' "$predict" -b 1x "$dir"
status 2 '--threads=99999999999999999999: expected' "$predict" -t 99999999999999999999 "$dir"
status 2 '--format=xml: expected csv or jsonl' "$predict" -f xml "$dir"
status 3 'missing: No such file' "$predict" "$dir/missing"
status 3 'has no checkpoint' "$predict" "$dir"

# The rest needs a checkpoint.
[ -x "$made" ] || exit 77
cat >"$dir/job.ini" <<'EOF'
[data]
format = csv
train = train.csv
target = price
[model]
type = mlp
widths = 4
[batch]
global = 2
EOF
printf 'size,price\n1,2\n2,4\n3,6\n' >"$dir/train.csv"
awk 'BEGIN { print "size"; for (i = 0; i < 20000; i++) print i % 10 }' >"$dir/new.csv"
"$made" "$dir/job.ini" "$dir/run" 5
"$made" "$dir/job.ini" "$dir/nan" 5 nan
status 2 'a file to predict from is missing' "$predict" "$dir/run"
status 3 'none.csv' "$predict" "$dir/run" "$dir/none.csv"
status 3 'is a file; give the run directory' "$predict" "$dir/job.ini" "$dir/new.csv"
status 4 'sample 1: output 1 of the model is nan' "$predict" "$dir/nan" "$dir/new.csv"
status 0 'new.csv: 20000 samples' "$predict" "$dir/run" "$dir/new.csv"
mv "$dir/out" "$dir/stdout"
status 0 '' "$predict" -q -o "$dir/file" "$dir/run" "$dir/new.csv"
[ ! -s "$dir/err" ] || fail "--quiet is not quiet"
cmp "$dir/file" "$dir/stdout"
[ "$(wc -l <"$dir/file")" = 20001 ] || fail "not a line for each sample"
status 0 '' "$predict" -o - "$dir/run" "$dir/new.csv"
cmp "$dir/out" "$dir/stdout"

# Output that is lost is a failure; a reader that has enough is none to speak of.
if [ -w /dev/full ]; then
    got=0
    "$predict" "$dir/run" "$dir/new.csv" >/dev/full 2>"$dir/err" || got=$?
    [ "$got" = 5 ] || fail "exit status $got with a full disk, not 5"
    grep -q 'standard output: cannot be written: No space left' "$dir/err" || fail "the full disk is not named"
fi
"$predict" "$dir/run" "$dir/new.csv" 2>"$dir/err" | head -n 1 >"$dir/out"
[ "$(cat "$dir/out")" = row,predicted_price ] || fail "another head"
[ ! -s "$dir/err" ] || fail "a pipe that was closed is complained about"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-predict knows --help and --version, which agree with its page, and its exit status says what went wrong.
set -eu
predict=${abs_builddir:=$PWD}/dpt-predict
made=$abs_builddir/tests/train/made-run
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    cat "$dir/out" "$dir/err" >&2
    echo "$*" >&2
    exit 1
}
# status WANT TEXT COMMAND...: the exit status, and a text on the standard error.
status() {
    want=$1 text=$2
    shift 2
    got=0
    "$@" >"$dir/out" 2>"$dir/err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, not $want, of: $*"
    grep -qF -e "$text" "$dir/err" || [ -z "$text" ] || fail "'$text' is not in the messages of: $*"
}

status 0 '' "$predict" --help
grep -q '^Usage: dpt-predict ' "$dir/out" || fail "no usage line"
# ".It Fl o , Fl Fl output Ns = Ns Ar FILE" is "-o, --output=FILE".
page=${abs_srcdir:-.}/man/dpt-predict.1
sed -n 's/^ *\(\(-[a-zA-Z], \)*--[^ ]*\) .*/\1/p' "$dir/out" | sort >"$dir/help"
sed -n -e '/^\.It Fl/!d' -e 's/^\.It //' -e 's/ Ns = Ns Ar /=/' -e 's/Fl Fl /--/' -e 's/Fl /-/' -e 's/ , /, /' -e p \
    "$page" | sort >"$dir/page"
[ "$(wc -l <"$dir/help")" -ge 8 ] || fail "--help was not understood"
diff -u "$dir/help" "$dir/page" >"$dir/out" || fail "--help and dpt-predict(1) name other options"
status 0 '' "$predict" -V
grep -q '^dpt-predict [0-9]' "$dir/out" || fail "no version"

status 2 'checkpoint is missing' "$predict"
status 2 'too many' "$predict" "$dir" "$dir" "$dir"
status 2 "Try 'dpt-predict --help'" "$predict" --nonsense "$dir"
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

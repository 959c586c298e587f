#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-data answers wrong usage with exit status 2 and missing or damaged input with 3; --help and dpt-data(1) name the
# same commands; what exists is never touched.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
data=$abs_builddir/dpt-data
page=$abs_srcdir/man/dpt-data.1

"$data" --help | sed -n 's/^[Usage: ]*dpt-data \([a-z-]*\).*/\1/p' | sort >"$dir/help"
sed -n '/^The commands are/,/^The options are/s/^\.It Cm //p' "$page" | sort >"$dir/page"
diff "$dir/help" "$dir/page" >"$dir/out" || fail "--help and dpt-data(1) name other commands"
printf 'some words of text\n' >"$dir/a.txt"
status 2 '' "$data"
status 2 '' "$data" nonsense
status 2 '' "$data" tokenize "$dir/a.txt"
grep -q 'output is missing' "$dir/err" || fail "the missing option is not named"
status 2 '' "$data" tokenize -o "$dir/new"
status 2 '' "$data" tokenize --nonsense -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize --valid-share=1 -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize --valid-share=nan -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize --separate=maybe -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize --shard-tokens=0 -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize --system -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" tokenize -t bpe:ten -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" train-bpe -n 256 -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" collect -o "$dir/new" "$dir/a.txt"
status 2 '' "$data" show
status 3 '' "$data" show "$dir/missing.bin"
status 3 '' "$data" tokenize -o "$dir/new" "$dir/missing.txt"
grep -q "^dpt-data: $dir/missing.txt: cannot be opened" "$dir/err" || fail "the missing file is not named"
status 3 '' "$data" tokenize --system="$dir/nowhere" -o "$dir/new"
status 3 '' "$data" train-bpe -n 9999 -o "$dir/new" "$dir/a.txt"
[ ! -e "$dir/new" ] || fail "a failed run has made its output"

# What exists is refused before any work, and stays as it was.
mkdir "$dir/old"
echo mine >"$dir/old/train-00000.bin"
status 2 '' "$data" tokenize -o "$dir/old" "$dir/a.txt"
grep -q "$dir/old: exists already" "$dir/err" || fail "the folder that exists is not named"
status 2 '' "$data" tokenize -o "$dir/old/" "$dir/a.txt"
status 2 '' "$data" train-bpe -o "$dir/old" "$dir/a.txt"
status 2 '' "$data" collect -o "$dir/a.txt"
[ "$(cat "$dir/old/train-00000.bin")" = mine ] || fail "what existed was changed"

# What a killed run has left is replaced; what another run is making is not.
mkdir "$dir/new.partial"
echo left >"$dir/new.partial/train-00000.bin"
status 0 '' "$data" tokenize -o "$dir/new" "$dir/a.txt"
[ ! -e "$dir/new.partial" ] || fail "the partial folder is still there"
[ "$(wc -c <"$dir/new/train-00000.bin")" -eq $((256 + 2 * 19)) ] || fail "the tokens are not all there"
if command -v flock >/dev/null 2>&1; then
    mkdir "$dir/busy.partial"
    status 2 '' flock "$dir/busy.partial" "$data" tokenize -o "$dir/busy" "$dir/a.txt"
    grep -q 'another dpt-data is making it' "$dir/err" || fail "a folder that another run makes was taken"
fi
# Output that cannot be written is a failure.
if [ -c /dev/full ]; then
    got=0
    "$data" show "$dir/new/train-00000.bin" >/dev/full 2>"$dir/err" || got=$?
    [ "$got" = 5 ] || fail "exit status $got, not 5, of a full device"
fi

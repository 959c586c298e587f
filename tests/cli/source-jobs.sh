#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every job file that is shipped, and the one in README.md, is one that dpt-train reads; the lines "; key = value" of
# fashion-mnist.ini show defaults, as it says; the commands in their comments are right; and a job that dpt-train prints
# is the same job again.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
train=${abs_builddir:-$PWD}/dpt-train
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

full() { "$train" -c "$1" --print-config=full; }

# That a job with a wrong key fails, so that passing means something.
printf '[run]\nlenght = 5 epochs\n' >"$scratch/wrong.ini"
if full "$scratch/wrong.ini" >/dev/null 2>&1; then
    echo "a job with the key 'lenght' was accepted"
    exit 1
fi

count=0
for job in "$top"/configs/*.ini "$top"/bench/*.ini; do
    full "$job" >"$scratch/full.ini"
    full "$scratch/full.ini" | diff "$scratch/full.ini" - ||
        { echo "$job: its full form is another job"; exit 1; }
    count=$((count + 1))
done
[ "$count" -ge 10 ] || { echo "only $count job files were found"; exit 1; }

# One key at a time, so that a message names the line. A key belongs to the section above it.
job=$top/configs/fashion-mnist.ini
full "$job" >"$scratch/full.ini"
grep -n '^; [a-z_0-9]* = ' "$job" | cut -d: -f1 >"$scratch/lines"
[ -s "$scratch/lines" ]
while read -r line; do
    sed "${line}s/^; //" "$job" >"$scratch/fashion-mnist.ini"
    full "$scratch/fashion-mnist.ini" | diff "$scratch/full.ini" - ||
        { echo "configs/fashion-mnist.ini:$line: that is not the default"; exit 1; }
done <"$scratch/lines"

# The commands that the comments of the jobs show, with their files in the folder where they stand.
sed -n 's/^; *\(mpirun -n [0-9]* \)\{0,1\}dpt-train  *\(.*\)$/\2/p' "$top"/configs/*.ini | sed 's/   .*//' >"$scratch/commands"
[ "$(wc -l <"$scratch/commands")" -ge 10 ] || { echo "no commands were found in configs/"; exit 1; }
cd "$top/configs"
plans=0
while read -r command; do
    how=--print-config=minimal
    case $command in *--plan=*) how='' plans=$((plans + 1)) ;; esac # made for as many ranks as the layout wants
    eval "\"$train\" $how $command" >/dev/null || { echo "configs/: dpt-train $command"; exit 1; }
done <"$scratch/commands"
[ "$plans" -ge "$(find . -name 'layout-*.ini' | wc -l)" ] || { echo "configs/layout-*: a job without its plan"; exit 1; }
cd "$top"

sed -n '/^## A job/,/^A key/s/^    //p' "$top/README.md" >"$scratch/readme.ini"
grep -q '^\[data\]' "$scratch/readme.ini"
full "$scratch/readme.ini" >/dev/null

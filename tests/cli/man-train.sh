#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-train(1) names the files and measurements that a run leaves behind; all pages know the exit statuses that base/status.h has; dpt(7) names the variables that dpt
# reads.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
train=${abs_builddir:-$PWD}/dpt-train
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The numbers of enum dpt_status; a page may leave out those that its program has no use for, but dpt(7) has all.
sed -n 's/^ *DPT_STATUS_[A-Z]* = \([0-9]*\),.*/\1/p' "$top/src/base/status.h" >"$scratch/status"
[ "$(wc -l <"$scratch/status")" -ge 5 ]
statuses() { sed -n '/^\.Sh EXIT STATUS/,/^\.El/s/^\.It \([0-9]*\)$/\1/p' "$1"; }
for page in dpt.7 dpt-train.1; do
    echo "--- base/status.h, +++ $page"
    statuses "$top/man/$page" | diff -u "$scratch/status" -
done
for page in "$top"/man/*.1; do
    for status in $(statuses "$page"); do
        grep -qx "$status" "$scratch/status" || { echo "$page: there is no exit status $status"; exit 1; }
    done
done

# What dpt promises to read, it reads.
grep -rhoE 'getenv\("[A-Z_]+"' "$top/src" | sed 's/.*"\([A-Z_]*\)"/\1/' | sort -u >"$scratch/read"
sed -n '/^\.Sh ENVIRONMENT/,/^\.Sh/s/^\.It Ev //p' "$top/man/dpt.7" >"$scratch/said"
[ -s "$scratch/said" ]
while read -r name; do
    grep -qx "$name" "$scratch/read" || { echo "dpt.7: nothing reads $name"; exit 1; }
done <"$scratch/said"

# Three small runs, of classes, of numbers and of text: each file that they leave and each member of their records is in the page.
small="-q -s data.format=synthetic -s data.samples=64 -s data.shape=4 -s data.valid_share=0.5 -s log.tensorboard=yes"
cd "$scratch"
for classes in 10 none; do
    # shellcheck disable=SC2086 # words
    "$train" $small -s data.classes=$classes -s run.length='1 epoch' -o run-$classes
    for file in run-$classes/*; do
        file=${file#*/}
        case $file in events.out.tfevents.*) file=events.out.tfevents ;; esac
        sed -n '/^\.Sh FILES/,/^\.Sh EXIT/p' "$top/man/dpt-train.1" | grep -q "^\.It Pa $file" ||
            { echo "dpt-train.1: FILES does not name $file"; exit 1; }
    done
done
"${abs_builddir:-$PWD}/dpt-data" tokenize -q -o text "$top/COPYING"
"$train" -q -s data.format=tokens -s data.train=text/train -s data.context=8 -s data.valid_share=0.5 -s model.type=gpt \
    -s model.depth=1 -s model.width=8 -s model.heads=2 -s batch.global=4 -s run.length='3 steps' -o run-text
cat run-*/metrics.jsonl | grep -o '"[a-z_0-9]*":' | tr -d '":' | sort -u >members
[ "$(wc -l <members)" -ge 20 ] || { echo "metrics.jsonl was not understood"; exit 1; }
sed -n '/^\.It Pa metrics\.jsonl/,/^\.It Pa checkpoints/s/^\.Va//p' "$top/man/dpt-train.1" | tr -d ',;:' | tr ' ' '\n' |
    sort -u | grep . >named
echo "--- metrics.jsonl, +++ dpt-train(1)"
diff -u members named

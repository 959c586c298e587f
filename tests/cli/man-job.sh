#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-job(5) and the program say the same of each key: that it exists, its default, its words, with what it counts and
# whether it is fixed; the same of the ops of [layer.NAME] sections. The jobs in the pages are jobs.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
train=${abs_builddir:-$PWD}/dpt-train
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What the page $1 says, a line for each fact.
page_facts() {
    awk '
        function words(text) { gsub(/ , /, " ", text); sub(/ :$/, "", text); return text }
        { gsub(/\\&/, "") }
        /^\.Ss \[/ { section = substr($2, 2, length($2) - 2); key = "" }
        /^\.S[hs] / && !/^\.Ss \[/ { section = "" }
        section == "" { next }
        /^\.It Va / {
            key = section "." $3
            fixed = sub(/ Pq fixed$/, "")
            value = index($0, " No = Cm ") ? substr($0, index($0, " No = Cm ") + 9) : "empty"
            if (section == "layer.NAME") print key
            else print key " = " value (fixed ? " fixed" : "")
            first = 1
            next
        }
        /^\.It Cm / {
            op = words(substr($0, 8))
            n = split(op, word, " ")
            for (i = 1; i <= n; i++) print key " takes " word[i]
            next
        }
        key == "layer.NAME.op" && /^\.Va / {
            n = split(words(substr($0, 5)), word, " ")
            for (i = 1; i <= n; i++) print "op " op " has " word[i]
        }
        section == "layer.NAME" && /^Default: [a-z0-9.e-]+\.$/ { print key " has the default " substr($2, 1, length($2) - 1) }
        section == "layer.NAME" && /^Needed\.$/ { print key " is needed" }
        first && /^\.Cm .* :$/ { print key " only with " words(substr($0, 5)) }
        first && /^\.Va .* No = Cm yes :$/ { print key " only with yes" }
        { first = 0 }
    ' "$1" | sort
}

# What the program says.
program_facts() {
    "$train" --list=keys | while read -r key _; do
        "$train" --explain="$key" | awk -v key="$key" '
            /^  Default: / { value = substr($0, 12); sub(/\.$/, "", value) }
            /^  Fixed / { fixed = " fixed" }
            /^    [^ ]/ { print key " takes " $1 }
            /^  Counts only with / {
                sub(/.* = /, ""); sub(/\.$/, ""); gsub(/,/, ""); sub(/ or /, " ")
                print key " only with " $0
            }
            END { print key " = " value fixed }'
    done
    "$train" --list=layers | while read -r op _; do
        echo "layer.NAME.op takes $op"
        "$train" --explain="layer.$op" | awk -v op="$op" '
            /^  [a-z]/ && $1 != "op" {
                print "layer.NAME." $1
                # Every op takes `in`; the page names it with those that need it.
                if ($1 != "in" || / needed$/) print "op " op " has " $1
                if (/ needed$/ && $1 != "in") print "layer.NAME." $1 " is needed"
                if (/; default: [a-z0-9.e-]+$/) print "layer.NAME." $1 " has the default " $NF
            }'
    done | sort -u
    echo "layer.NAME.op"
}

# A key that is missing, one too many and a wrong default must show.
sed -e '/^\.It Va seed /d' -e 's/^\.It Va lr No = Cm auto/.It Va lr No = Cm 0.1/' \
    -e 's/^\.It Va eps$/&ilon/' "$top/man/dpt-job.5" >"$scratch/wrong.5"
program_facts | sort >"$scratch/program"
page_facts "$scratch/wrong.5" >"$scratch/wrong"
[ "$(diff "$scratch/program" "$scratch/wrong" | grep -c '^[<>]')" -ge 5 ] || { echo "a wrong page passes"; exit 1; }

page_facts "$top/man/dpt-job.5" >"$scratch/page"
[ "$(wc -l <"$scratch/page")" -gt 150 ] || { echo "the page was not understood"; exit 1; }
echo "--- the program, +++ dpt-job(5)"
diff -u "$scratch/program" "$scratch/page"

# The sections too, and every key of a complete job.
"$train" --list=sections | awk '{ print $1 }' >"$scratch/program"
sed -n 's/^\.Ss \[\(.*\)\].*/\1/p' "$top/man/dpt-job.5" >"$scratch/sections"
diff -u "$scratch/program" "$scratch/sections"

cd "$scratch"
awk '
    /^\.\\" test: job/ { wanted = 1; next }
    wanted && /^\.Bd/ { file = "job" ++n ".ini"; wanted = 0; next }
    /^\.Ed/ { file = "" }
    file { gsub(/\\e/, "\\"); print > file }
' "$top/man/dpt-job.5" "$top/man/dpt.7"
[ -e job5.ini ] || { echo "no jobs were found in the pages"; exit 1; }
for job in job*.ini; do
    "$train" --print-config=full "$job" >"$scratch/full" || { cat "$job"; exit 1; }
    awk '/^\[/ { section = substr($1, 2, length($1) - 2) } / =/ && section !~ /^layer/ { print section "." $1 " " }' \
        "$scratch/full" | while read -r key; do
        grep -q "^$key = " "$scratch/page" || { echo "$key is not in the page"; exit 1; }
    done
done

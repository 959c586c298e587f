#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mandoc has nothing to say about the manual pages; every page that one refers to is there, dpt(7) leads to each, and
# each is installed.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
command -v mandoc >/dev/null 2>&1 || { echo "mandoc is not installed"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# mandoc looks for other pages where the system has its own; theirs are checked below.
lint() { mandoc -Tlint "$@" | grep -v 'referenced manual not found: Xr dpt' || true; }

# First that it sees a wrong page.
sed 's/^\.Sh NAME/.Sh NAMES/' "$top/man/dpt.7" >"$scratch/wrong.7"
[ -n "$(lint "$scratch/wrong.7")" ] || { echo "mandoc finds no fault in a page without NAME"; exit 1; }

cd "$top/man"
lint ./*.[1-9] >"$scratch/bad"
count=0
for page in *.[1-9]; do
    count=$((count + 1))
    sed -n 's/^\.\(It \)\{0,1\}Xr \(dpt[a-z-]*\) \([1-9]\).*/\2.\3/p' "$page" | sort -u | while read -r other; do
        [ -e "$other" ] || echo "$page refers to $other, which does not exist"
    done >>"$scratch/bad"
    grep -q "/$page\\b" local.mk || echo "$page is not in man/local.mk" >>"$scratch/bad"
    [ "$page" = dpt.7 ] || grep -q "^\\.Xr ${page%.*} ${page##*.}" dpt.7 ||
        echo "dpt.7: SEE ALSO does not name $page" >>"$scratch/bad"
done
[ "$count" -ge 5 ] || echo "only $count pages were found" >>"$scratch/bad"
if [ -s "$scratch/bad" ]; then
    cat "$scratch/bad"
    exit 1
fi

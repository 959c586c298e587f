#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-info answers wrong usage with exit status 2 and missing things with 3, and knows --help and --version.
set -eu
info=${abs_builddir:=$PWD}/dpt-info
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    cat "$dir/out" "$dir/err" >&2
    echo "$*" >&2
    exit 1
}
status() {
    want=$1
    shift
    got=0
    "$@" >"$dir/out" 2>"$dir/err" || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, not $want, of: $*"
}

status 0 "$info" --help
grep -q '^Usage: dpt-info ' "$dir/out" || fail "no usage line"
# Every option that --help names is in the manual, and the other way round.
page=${abs_srcdir:-.}/man/dpt-info.1
grep -o -e '--[a-z]*' "$dir/out" | sort -u >"$dir/help"
sed -n 's/^\.It .*Fl Fl \([a-z]*\).*/--\1/p' "$page" | sort -u >"$dir/page"
diff "$dir/help" "$dir/page" >"$dir/out" || fail "--help and dpt-info(1) name other options"
status 0 "$info" --version
grep -q '^dpt-info [0-9]' "$dir/out" || fail "no version"
status 2 "$info"
status 2 "$info" --nonsense "$dir"
status 2 "$info" "$dir" "$dir"
status 3 "$info" "$dir/missing"
grep -q 'missing: No such file' "$dir/err" || fail "the missing path is not named"
: >"$dir/file"
status 3 "$info" "$dir/file"
status 3 "$info" --config "$dir"
status 0 "$info" --verify "$dir"
# Output that cannot be written is a failure.
if [ -w /dev/full ]; then
    got=0
    "$info" --help >/dev/full 2>"$dir/err" || got=$?
    [ "$got" = 1 ] || fail "exit status $got with a full disk, not 1"
fi

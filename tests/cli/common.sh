# SPDX-License-Identifier: Apache-2.0
# What the tests of command lines share: sourced by them. $dir is a folder of their own.
set -eu
: "${abs_builddir:=$PWD}" "${abs_srcdir:=$PWD}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
: >"$dir/out" >"$dir/err"

fail() {
    cat "$dir/out" "$dir/err" >&2
    echo "$*" >&2
    exit 1
}

# status WANT TEXT COMMAND...: the exit status, and a text ('': any) on the standard error.
status() {
    want=$1 text=$2
    shift 2
    got=0
    "$@" >"$dir/out" 2>"$dir/err" </dev/null || got=$?
    [ "$got" = "$want" ] || fail "exit status $got, not $want, of: $*"
    grep -qF -e "$text" "$dir/err" || [ -z "$text" ] || fail "'$text' is not in the messages of: $*"
}

# SPDX-License-Identifier: Apache-2.0
# What the tests of launches share: sourced by them. Ends with: exit $((failures > 0)).
trouble=${abs_builddir:?}/tests/comm/trouble
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
failures=0
host=$(hostname)

# expect STATUS COMMAND...: runs it, its output goes to $out. A launcher that crashed while it cleaned up, as that of
# Open MPI 4.1 does once in a while when two ranks abort at the same time, says nothing about us: once more.
expect() {
    want=$1
    shift
    for _ in 1 2 3; do
        "$@" >"$out" 2>&1
        got=$?
        { [ $got -eq 139 ] && grep -q '_server_finalize' "$out"; } || break
    done
    [ "$got" -eq "$want" ] || fail "$*: exit status $got instead of $want"
}
fail() {
    echo "FAILED: $1"
    sed 's/^/    /' "$out"
    failures=$((failures + 1))
}
says() {
    grep -q -- "$1" "$out" || fail "nothing says: $1"
}

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A rank that makes no progress ends the job with exit status 6 and a message that names it.
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

# The rank that hangs names itself or is named by the one that waits, whoever is first.
expect 6 $MPIEXEC -n 2 "$trouble" hang 1
grep -q "^dpt: rank 1 ($host): made no progress for 1 s in forward conv1" "$out" ||
    says "^dpt: rank 0 ($host): made no progress for 1 s in all-reduce bucket 3; on this host rank 1 is behind, in forward conv1"

# A process that is stopped cannot speak.
expect 6 $MPIEXEC -n 3 "$trouble" stopped 1
says "^dpt: rank [02] ($host): made no progress for 1 s in all-reduce bucket 3; on this host rank 1 is stopped or dead (it was in forward conv1)"

# A message that does not come names the rank that should have sent it.
expect 6 $MPIEXEC -n 2 "$trouble" message 1
says "^dpt: rank 0 ($host): made no progress for 1 s in receive conv1.y, waiting for rank 1"

# Without a launcher there is one rank, and no prefix.
expect 6 "$trouble" hang
says "^dpt: made no progress for 1 s in forward conv1"

# Progress and pauses keep the watchdog quiet.
expect 0 $MPIEXEC -n 2 "$trouble" slow
says "reached the end"

# Time in which the whole job is stopped does not count.
"$trouble" resumed >"$out" 2>&1 &
pid=$!
n=0
while ! grep -q ready "$out" && [ $n -lt 100 ]; do
    sleep 0.05
    n=$((n + 1))
done
kill -STOP $pid
sleep 2
kill -CONT $pid
wait $pid
got=$?
[ $got -eq 0 ] || fail "stopped for 2 s with a deadline of 1 s: exit status $got instead of 0"

exit $((failures > 0))

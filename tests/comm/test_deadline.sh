#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A rank that makes no progress ends the job with exit status 6 and a message that names it.
. "${abs_srcdir:=$PWD}/tests/comm/common.sh"

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

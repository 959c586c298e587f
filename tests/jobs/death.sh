#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A rank that dies or hangs takes the job down in a moment, by name; what is on disk stays good, and the run goes on.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 100000 steps
deadline = 3 s
[data]
format = synthetic
samples = 190
shape = 12
classes = 7
[batch]
global = 22
[checkpoint]
every = 100 steps
[log]
every = 1 s
EOF

begin() {
    $MPIEXEC -n 3 "$train" -c job.ini -o "$1" >"$1.log" 2>&1 &
    job=$!
    until_true has_two "$1" || fail "$1: no checkpoints"
}
has_two() {
    [ "$(saved "$1")" -ge 2 ]
}

# ended DIR SECONDS: the launcher has ended by then, not with 0, and no rank is left.
ended() {
    tries=0
    while kill -0 $job 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt $((10 * $2)) ] || fail "$1: has not ended after $2 s"
        sleep 0.1
    done
    wait $job
    status=$?
    [ $status -ne 0 ] || fail "$1: exit status 0"
    sleep 0.5
    [ -z "$(ranks "$1")" ] || fail "$1: a rank is left"
    "$info" --verify "$1" >verify.log 2>&1 || { cat verify.log; fail "$1: the newest checkpoint is damaged"; }
}

begin killed
kill -KILL "$(ranks killed | tail -n 1)"
ended killed 15
grep -qi 'rank\|signal 9\|killed' killed.log || fail "killed: nobody says what happened"
run 2 killed -s run.length='600 steps' || fail "killed: does not go on"
grep -q 'goes on from step\|the run is finished' killed.log || fail "killed: began anew"

begin hung
victim=$(ranks hung | tail -n 1)
kill -STOP "$victim"
(sleep 9; kill -CONT "$victim"; kill -KILL "$victim") 2>/dev/null &
ended hung 20
grep -q 'no progress' hung.log || fail "hung: the deadline does not speak"
grep -q 'rank [012]' hung.log || fail "hung: no rank is named"

# A second signal does not wait for anything.
begin second
for rank in $(ranks second); do
    kill -STOP "$rank"
done
for rank in $(ranks second); do
    kill -TERM "$rank"
done
for rank in $(ranks second); do
    kill -CONT "$rank"
done
for rank in $(ranks second); do
    kill -TERM "$rank" 2>/dev/null
done
gone() {
    ! kill -0 $job 2>/dev/null
}
until_true gone || fail "second: has not ended"
"$info" --verify second >verify.log 2>&1 || fail "second: the newest checkpoint is damaged"

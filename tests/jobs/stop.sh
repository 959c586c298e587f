#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Signals, the file STOP and a limit of time stop a run after a step that all ranks agree on, with a checkpoint from which
# the same command goes on.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 100000000 steps
[data]
format = synthetic
samples = 190
shape = 12
classes = 7
[batch]
global = 22
[checkpoint]
every = never
[log]
every = 1 s
EOF

# begin DIR OPTION...: starts two ranks in the background and waits until they train; $job is the launcher.
begin() {
    to=$1
    shift
    $MPIEXEC -n 2 "$train" -c job.ini -o "$to" "$@" >"$to.log" 2>&1 &
    job=$!
    until_true grep -qs '"kind": "train"' "$to/metrics.jsonl" || fail "$to: did not begin"
}

# paused DIR STATUS REASON: waits for the end.
paused() {
    wait $job
    status=$?
    [ $status -eq "$2" ] || fail "$1: exit status $status, not $2"
    grep -q "paused $3 at step" "$1.log" || fail "$1: does not say that it paused $3"
    step=$(sed -n 's/^paused .* at step \([0-9]*\) of.*/\1/p' "$1.log")
    "$info" --verify "$1" >verify.log 2>&1 || fail "$1: the checkpoint is not good"
    [ -d "$1/checkpoints/step-$(printf %08d "$step")" ] || fail "$1: no checkpoint of step $step"
    [ "$("$info" --state "$1")" = paused ] || fail "$1: dpt-info does not call it paused"
    [ -z "$(ranks "$1")" ] || fail "$1: a rank is left"
}

# resumed DIR: the same command goes on from there; a limit stops it again.
resumed() {
    must 2 "$1" --max-time=1s
    grep -q "goes on from step $step of 100000000" "$1.log" || fail "$1: does not go on from step $step"
}

for signal in USR1 TERM INT; do
    begin sig$signal
    kill -$signal "$(ranks sig$signal | tail -n 1)"
    paused sig$signal 0 'by a signal'
    resumed sig$signal
done

# Launchers hand some signals on to every rank.
begin launcher
kill -USR1 $job
paused launcher 0 'by a signal'

begin file --stop-status=75
: >file/STOP
paused file 75 'by the file STOP'
[ ! -e file/STOP ] || fail "file: STOP is still there: the next start would stop at once"
resumed file

begin time --max-time=3s
paused time 0 'before its time is over'

# Batch systems say when the job ends.
SLURM_JOB_END_TIME=$(($(date +%s) + 4))
export SLURM_JOB_END_TIME
begin batch
paused batch 0 'before its time is over'
unset SLURM_JOB_END_TIME

# USR2 saves and goes on.
begin save
kill -USR2 "$(ranks save | head -n 1)"
has_one() {
    [ "$(saved save)" -ge 1 ]
}
until_true has_one || fail "USR2: nothing was saved"
[ -n "$(ranks save)" ] || fail "USR2: ended the run"
kill -TERM "$(ranks save | head -n 1)"
paused save 0 'by a signal'

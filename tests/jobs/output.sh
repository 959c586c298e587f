#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What a run leaves behind and what it says: metrics, effective job, failures and their exit statuses.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"

cat >job.ini <<'EOF'
[run]
length = 3 epochs
[data]
format = synthetic
samples = 600
shape = 12
classes = 7
valid_share = 0.2
[batch]
global = 40
[log]
every = 5 steps
EOF

# fields KIND NAME...: every record of the kind has these members, and there is one.
fields() {
    kind=$1
    shift
    grep "\"kind\": \"$kind\"" first/metrics.jsonl >records || fail "no record of kind $kind"
    for name in v t kind step epoch samples "$@"; do
        [ "$(grep -c "\"$name\": " records)" = "$(wc -l <records)" ] || fail "$kind: no $name"
    done
}
must 2 first -s log.tensorboard=yes
fields start version model ranks threads steps
fields train loss accuracy top5 lr grad_norm step_ms samples_per_s
fields eval split loss accuracy
fields checkpoint nbytes seconds
fields end state wall_s samples_per_s peak_bytes flops_per_s share
if command -v jq >/dev/null 2>&1; then
    jq -e . first/metrics.jsonl >/dev/null || fail "metrics.jsonl: not JSON"
    jq -se 'map(select(.kind == "end")) | .[0].share | add | . > 0.2 and . <= 1.02' first/metrics.jsonl >/dev/null ||
        fail "the shares of time do not add up"
fi
ls first/events.out.tfevents.* >/dev/null 2>&1 || fail "no TensorBoard file"
grep -q 'checkpoint  first/checkpoints/step-00000036' first/dpt.log || fail "dpt.log lacks the last page"

# The effective job is a job: it gives the same run.
$MPIEXEC -n 2 "$train" -c first/config.ini -o second >second.log 2>&1 || fail "config.ini: exit status $?"
[ "$(sum first 36)" = "$(sum second 36)" ] || fail "config.ini: other bits"

must 2 quiet -q
[ ! -s quiet.log ] || fail "-q is not quiet"
grep -q 'phase' quiet/dpt.log || fail "-q: dpt.log is empty too"

# A batch that does not fit the data, or the ranks, is worth a word.
grep -q 'NOTE .*batch' first.log && fail "a note about a batch that fits"
must 2 large -s batch.global=5000 -s run.length='1 step'
grep -q 'NOTE    batch.global = 5000 is more than there are samples' large.log || fail "large: no note about the batch"
must 2 small -s batch.global=1 -s run.length='1 step'
grep -q 'NOTE    2 ranks share a batch of 1: some of them compute nothing' small.log || fail "small: no note about the batch"

must 1 bar -s log.progress=bar
grep -q '100%' bar.log || fail "no bar"

# refused STATUS WORDS RANKS DIR OPTION...
refused() {
    status=$1 words=$2
    shift 2
    run "$@"
    got=$?
    [ $got -eq "$status" ] || fail "$*: exit status $got, not $status"
    grep -q "$words" "$2.log" || fail "$*: does not say: $words"
}
refused 4 'has diverged.*optimizer.lr' 2 diverged -s optimizer.lr=1e6 -s optimizer.momentum=0 -s run.length='200 steps'
refused 2 'data:5 is for 5 ranks, but the job has 2' 2 layout -s parallel.layout=data:5
refused 3 'nowhere' 2 nodata -s data.format=csv -s data.train=nowhere.csv -s data.target=y

# Two jobs do not share a run directory.
"$train" -c job.ini -o busy -s run.length='100000 steps' >busy1.log 2>&1 &
job=$!
until_true test -s busy/lock || fail "busy: did not begin"
refused 2 'another job is at work in this run directory (host .*, process [0-9]*)' 1 busy
kill -TERM $job
wait $job || fail "busy: exit status $? after a signal"

# Nothing but the plan: no MPI, no run directory.
"$train" --dry-run -c job.ini -o dry >dry.log 2>&1 || fail "--dry-run: exit status $?"
grep -q 'parameters' dry.log && [ ! -e dry ] || fail "--dry-run: no plan, or a run directory"
"$train" --plan=4 -c job.ini >plan.log 2>&1 && grep -q '^ranks   4' plan.log || fail "--plan=4: not for 4 ranks"
# Plans that differ in nothing but how many samples there are of a batch are told once: 10 to 3 ranks are 3, 3 and 4.
"$train" --plan=3 -c job.ini -s batch.global=10 >plan.log 2>&1 && grep -q '^the other rank does the same on other samples' plan.log &&
    [ "$(grep -c '^rank [0-9]' plan.log)" -eq 2 ] || fail "--plan=3: other than two kinds of ranks"

# A full disk: a warning on the way, an error at the end; the checkpoints before stay good, and with room it goes on.
if [ "$(id -u)" -eq 0 ] && mkdir full && mount -t tmpfs -o size=2m tmpfs full 2>/dev/null; then
    must 2 full/run
    dd if=/dev/zero of=full/filler bs=4k 2>/dev/null
    truncate -s -32k full/filler # room for the job and the start of its log, not for a checkpoint
    $MPIEXEC -n 2 "$train" -c job.ini -o full/run -s run.length='20 epochs' -s 'log.every=1 step' >disk.log 2>&1
    got=$?
    "$info" --verify full/run >verify.log 2>&1
    verified=$?
    rm full/filler
    run 2 full/run -s run.length='20 epochs'
    again=$?
    umount full
    [ $got -eq 5 ] || fail "full disk: exit status $got, not 5"
    grep -q 'WARNING this checkpoint was not saved' disk.log || fail "full disk: no warning on the way"
    [ "$(grep -c 'WARNING metrics.jsonl: cannot be written' disk.log)" -eq 1 ] || fail "full disk: not one warning of metrics.jsonl"
    [ $verified -eq 0 ] || { cat verify.log; fail "full disk: a checkpoint is damaged"; }
    [ $again -eq 0 ] || fail "full disk: does not go on when there is room again"
fi

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One rank that no launcher started does what `mpirun -n 1` does, to the last bit. In a build --without-mpi the other side is
# a build with MPI, whose folder is in DPT_MPI_BUILD (scripts/test); and such a build refuses what needs a second rank.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"
: "${DPT_MPI_BUILD=}"

cat >job.ini <<EOF
[run]
length = 12 steps
threads = 2
[data]
format = synthetic
samples = 70
shape = 12
classes = 7
valid_share = 0.2
[model]
type = mlp
widths = 24 16
dropout = 0.3
[batch]
global = 22
micro_batches = 2
[optimizer]
type = adamw
lr = 0.01
clip = 1.5
[schedule]
type = constant
[checkpoint]
every = 6 steps
[log]
every = 1 step
EOF

# alone DIR OPTION...: trains without a launcher.
alone() {
    to=$1
    shift
    "$train" -c job.ini -o "$to" "$@" >"$to.log" 2>&1 || fail "alone: $to $*: exit status $?"
}

# launched DIR OPTION...: the same by the launcher of a build with MPI.
launched() {
    to=$1
    shift
    ${MPIEXEC:-mpirun} -n 1 "${DPT_MPI_BUILD:-$abs_builddir}/dpt-train" -c job.ini -o "$to" "$@" >"$to.log" 2>&1 ||
        fail "launched: $to $*: exit status $?"
}

# both NAME OPTION...: the whole by the launcher; alone in two halves, the second of which goes on from a checkpoint.
both() {
    name=$1
    shift
    alone "$name" "$@" -s run.length='6 steps'
    alone "$name" "$@"
    grep -q 'goes on from step 6' "$name.log" || fail "$name: did not go on from its checkpoint"
    [ -n "$MPIEXEC$DPT_MPI_BUILD" ] || return 0
    launched "$name-launched" "$@"
    [ "$(sum "$name" 12)" = "$(sum "$name-launched" 12)" ] || fail "$name: other bits than those of mpirun -n 1"
}

both plain
both bits -s run.reproducible=yes -s parallel.shards=4 -s batch.micro_batches=1 -s run.threads=1
for update in local-sgd async-owner async-pushsum async-average; do
    both $update -s parallel.update=$update -s batch.micro_batches=1
done

# What a build without MPI says of itself, and what it refuses.
"$info" --devices >devices.log 2>&1 || fail "dpt-info --devices"
if [ -n "$MPIEXEC" ]; then
    grep -q '^build: dpt [0-9.]*, .*[0-9]' devices.log || fail "dpt-info does not say what dpt was built with"
    exit 0
fi
grep -q '^build: dpt [0-9.]*, no MPI$' devices.log || fail "dpt-info does not say that there is no MPI"
grep -q '^ranks   1 on 1 host .* no MPI$' plain.log || fail "the banner does not say that there is no MPI"

# refused STATUS WORDS COMMAND...
refused() {
    want=$1 words=$2
    shift 2
    "$@" >refused.log 2>&1
    status=$?
    [ $status = "$want" ] || fail "exit status $status, expected $want: $*"
    grep -q -e "$words" refused.log || fail "nothing about '$words'"
}
refused 2 'data:2 is for 2 ranks, but dpt was built --without-mpi' "$train" -c job.ini -o wrong -s parallel.layout=data:2
refused 6 'launcher started 4 processes .*without-mpi' env OMPI_COMM_WORLD_SIZE=4 "$train" -c job.ini -o wrong
[ ! -e wrong/checkpoints ] || fail "what was refused has trained"
"$train" -c job.ini --plan=2 -s parallel.layout=data:2 >plan.log 2>&1 || fail "a plan for two ranks needs no MPI"

if [ -z "$DPT_MPI_BUILD" ]; then
    echo "SKIP: DPT_MPI_BUILD names no build with MPI to compare with"
    exit 77
fi

# SPDX-License-Identifier: Apache-2.0
# What the tests of whole jobs share: sourced by them in a scratch folder of their own.
set -u
train=${abs_builddir:=$PWD}/dpt-train
info=$abs_builddir/dpt-info
MPIEXEC=${MPIEXEC-mpirun} # empty: a build --without-mpi
export CUDA_VISIBLE_DEVICES="" # jobs are on the cores: device.sh is about cards
dir=$(mktemp -d) || exit 1
trap 'cd /; rm -rf "$dir"' EXIT
cd "$dir" || exit 1

fail() {
    for log in *.log; do
        [ ! -s "$log" ] || { echo "-- $log"; tail -n 40 "$log"; }
    done
    echo "FAILED: $*"
    exit 1
}

# run RANKS DIR OPTION...: trains job.ini there; what it says goes to DIR.log. Returns its exit status.
run() {
    ranks=$1 to=$2
    shift 2
    ${MPIEXEC:+$MPIEXEC -n "$ranks"} "$train" -c job.ini -o "$to" "$@" >"$to.log" 2>&1
}

# must RANKS DIR OPTION...: the same, and it must succeed.
must() {
    run "$@" || fail "run $*: exit status $?"
}

# curve DIR KEY: step and value of the train records.
curve() {
    sed -n "s/.*\"kind\": \"train\", \"step\": \([0-9]*\),.*\"$2\": \([-+.e0-9]*\)[,}].*/\1 \2/p" "$1/metrics.jsonl"
}

# figure DIR SPLIT KEY: of the last evaluation of a split.
figure() {
    sed -n "s/.*\"kind\": \"eval\".*\"split\": \"$2\".*\"$3\": \([-+.e0-9]*\)[,}].*/\1/p" "$1/metrics.jsonl" | tail -n 1
}

# ends DIR KEY: a number of the last record.
ends() {
    sed -n "s/.*\"kind\": \"end\".*\"$2\": \([-+.e0-9]*\)[,}].*/\1/p" "$1/metrics.jsonl" | tail -n 1
}

# near A B TOLERANCE: two curves of the same steps whose values differ by no more than that, relatively.
near() {
    paste -d ' ' "$1" "$2" | awk -v tolerance="$3" '
        NF != 4 || $1 != $3 { print "steps differ: " $0; exit 1 }
        { d = $2 - $4; d = d < 0 ? -d : d; s = $2 < 0 ? -$2 : $2; if (d > tolerance * s) { print "far: " $0; exit 1 } }
        END { if (NR == 0) { print "no steps"; exit 1 } }'
}

# sum DIR STEP: checksum of all tensors of a checkpoint.
sum() {
    at=$1/checkpoints/step-$(printf %08d "$2")
    cat "$at/model.safetensors" "$at/optimizer.safetensors" | cksum
}

# ranks DIR: processes of that run.
ranks() {
    pgrep -f "^$train -c job.ini -o $1( |\$)"
}

# saved DIR: how many checkpoints it has.
saved() {
    count=0
    for at in "$1"/checkpoints/step-*; do
        [ ! -d "$at" ] || count=$((count + 1))
    done
    echo $count
}

# until_true COMMAND...: waits until it succeeds, 20 seconds at most.
until_true() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || return 1
        sleep 0.1
    done
}

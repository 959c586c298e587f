#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Wrong launches are refused, and a job that is ended by one rank ends with that rank's status and words.
. "${abs_srcdir:=$PWD}/tests/comm/common.sh"

# Alone is fine without a launcher, and with one that started one process.
expect 0 "$trouble"
expect 0 $MPIEXEC -n 1 "$trouble"
expect 0 $MPIEXEC -n 2 "$trouble"

# Each launcher's word for "I started four" makes a process that is alone stop.
for variable in OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_STEP_NUM_TASKS; do
    expect 6 env $variable=4 "$trouble"
    says "alone (rank 0 of 1), but its launcher started 4 processes: $variable=4"
    says "mpirun"
done

# The other MPI's launcher, where both are installed.
case $MPIEXEC in
*mpich*) other=mpirun.openmpi ;;
*) other=mpirun.mpich ;;
esac
if command -v $other >/dev/null; then
    $other -n 2 "$trouble" >"$out" 2>&1
    says "alone (rank 0 of 1), but its launcher started 2 processes"
    grep -q "reached the end" "$out" && fail "two processes ran alone under $other"
fi

# One rank's end is the job's end, with its status.
expect 4 $MPIEXEC -n 2 "$trouble" fatal 1
says "^dpt: rank 1 ($host): the loss is not a number"
expect 5 $MPIEXEC -n 3 "$trouble" abort 2
says "last words"
expect 4 "$trouble" fatal
says "^dpt: the loss is not a number"

# A call that would race with a communication thread is a bug that stops the job at once, thread or not.
expect 1 $MPIEXEC -n 2 "$trouble" turn
says "internal error at .*group.c"

exit $((failures > 0))

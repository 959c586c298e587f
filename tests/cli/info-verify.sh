#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-info --verify reads every byte of every checkpoint; exit status 0 when all are good, 3 when one is damaged.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
info=$abs_builddir/dpt-info
toy=$abs_builddir/tests/ckpt/toy-run
[ -x "$toy" ] || exit 77
run=$dir/run

has() { grep -qF -e "$1" "$dir/out" || fail "'$1' is not in the output"; }

"$toy" "$run" 20 40
status 0 '' "$info" --verify "$run"
[ "$(grep -c '^good ' "$dir/out")" = 2 ] || fail "two good checkpoints are not listed"

# One flipped bit in the newest. A look at the index does not see it, --verify does.
file=$run/checkpoints/step-00000040/model.safetensors
printf '\001' | dd of="$file" bs=1 seek=4100 conv=notrunc 2>/dev/null
status 0 '' "$info" "$run"
status 3 '' "$info" --verify "$run"
has "damaged  $run/checkpoints/step-00000040"
has "model.safetensors: the checksum"
has "good     $run/checkpoints/step-00000020"
status 3 '' "$info" --verify --json "$run"
has '"good": false'
status 3 '' "$info" --verify "$run/checkpoints/step-00000040"
status 0 '' "$info" --verify "$run/checkpoints/step-00000020"

# A file cut short is seen at once: the older checkpoint is shown, and a line says why.
dd if=/dev/null of="$file" bs=1 seek=4096 2>/dev/null
status 0 '' "$info" "$run"
has 'step        20,'
grep -q 'step-00000040: damaged: ' "$dir/err" || fail "the damaged checkpoint is not named"

# Nothing but damage.
: >"$run/checkpoints/step-00000020/MANIFEST.json"
status 3 '' "$info" "$run"
status 3 '' "$info" --state "$run"
has damaged
status 3 '' "$info" --verify "$run"

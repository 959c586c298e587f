#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-info answers wrong usage with exit status 2 and missing things with 3.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
info=$abs_builddir/dpt-info

status 2 '' "$info"
status 2 '' "$info" "$dir" "$dir"
status 3 '' "$info" "$dir/missing"
grep -q 'missing: No such file' "$dir/err" || fail "the missing path is not named"
: >"$dir/file"
status 3 '' "$info" "$dir/file"
status 3 '' "$info" --config "$dir"
status 0 '' "$info" --verify "$dir"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every source names its licence in its first lines, none but the reference of all keys is longer than 1200 lines, and where shellcheck is installed
# it has nothing to say about the scripts.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$top"
bad=$(mktemp)
trap 'rm -f "$bad"' EXIT

# Nothing that was generated: builds may lie in the source tree.
sources() {
    find src tests bench scripts configs man -type f \
        ! -name '*.o' ! -name '*.a' ! -name '*.log' ! -name '*.trs' ! -name '*.pyc' ! -name .dirstamp \
        ! -path '*/.deps/*' ! -path tests/run "$@"
}

# A test that finds no sources would pass for nothing.
[ "$(sources -name '*.c' | wc -l)" -ge 10 ] || echo "fewer than 10 C files were found under $top" >>"$bad"

sources | while IFS= read -r file; do
    # Data that tests read has no comments.
    case $file in
    *.csv | *.tsv | *.json | *.jsonl | *.gz | *.bin | *.safetensors | *ubyte) continue ;;
    esac
    # Programs that the build put beside their sources.
    if LC_ALL=C grep -q "$(printf '^\177ELF')" "$file"; then
        continue
    fi
    if ! sed 2q "$file" | grep -q 'SPDX-License-Identifier: Apache-2\.0'; then
        echo "$file: no SPDX-License-Identifier: Apache-2.0 in its first two lines" >>"$bad"
    fi
    lines=$(wc -l <"$file")
    [ "$lines" -le 1200 ] || [ "${file##*/}" = dpt-job.5 ] || echo "$file: $lines lines; more than 1200 want to be two files" >>"$bad"
    case $file in
    *.[ch] | *.cu | *.inc | *.sh)
        awk -v name="$file" '/[ \t]$/ { print name ":" FNR ": space at the end of the line" }' "$file" >>"$bad"
        ;;
    esac
done

if command -v shellcheck >/dev/null 2>&1; then
    sources ! -name '*.in' | while IFS= read -r file; do
        if sed 1q "$file" | grep -q '^#!/bin/sh'; then
            shellcheck -S warning -x -P "$top" "$file" >>"$bad" || true
        fi
    done
fi

if [ -s "$bad" ]; then
    cat "$bad"
    exit 1
fi

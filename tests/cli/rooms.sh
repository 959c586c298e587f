#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The rooms of src/ keep the order that ARCHITECTURE.md's table gives them: a room includes headers of lower-numbered
# rooms and its own; MPI is named in comm/ alone, CUDA headers in *cuda* files alone.
set -eu
top=${abs_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}

# Lists what breaks the order in the tree $1, whose table is in the file $2.
violations() {
    find "$1" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' -o -name '*.def' | sort | while IFS= read -r file; do
        awk -v name="${file#"$1"/}" '
            FNR == NR {
                if (match($0, /^\| `src\/[a-z]+\/` *\| *[0-9]+ *\|/)) {
                    split($0, cell, /[|`\/ ]+/)
                    order[cell[3]] = cell[4]
                    rooms++
                }
                next
            }
            FNR == 1 {
                if (rooms < 10) { print "the table of rooms was not found"; exit }
                room = name ~ /\// ? substr(name, 1, index(name, "/") - 1) : ""
                if (room != "" && !(room in order)) { print name ": no line for this room in the table"; exit }
            }
            {
                # Comments are no code: /* ... */ over any number of lines, and // to the end.
                line = $0
                text = ""
                while (line != "") {
                    if (comment) {
                        end = index(line, "*/")
                        if (!end) { line = ""; break }
                        line = substr(line, end + 2)
                        comment = 0
                    } else {
                        start = index(line, "/*")
                        if (!start) { text = text line; line = ""; break }
                        text = text substr(line, 1, start - 1)
                        line = substr(line, start + 2)
                        comment = 1
                    }
                }
                sub(/\/\/.*/, "", text)
            }
            text ~ /^[ \t]*#[ \t]*include[ \t]*"/ {
                split(text, part, "\"")
                other = part[2]
                if (other !~ /\//) { print name ":" FNR ": " other " is not named by its room"; next }
                sub(/\/.*/, "", other)
                if (!(other in order)) print name ":" FNR ": " other "/ is not a room"
                else if (room != "" && other != room && order[other] + 0 >= order[room] + 0)
                    print name ":" FNR ": " room "/ (" order[room] ") includes " other "/ (" order[other] ")"
                next
            }
            name !~ /cuda/ && text ~ /^[ \t]*#[ \t]*include[ \t]*<(cuda|cublas|cudnn|curand|nccl)/ {
                print name ":" FNR ": a CUDA header outside *cuda*"
            }
            {
                gsub(/"([^"\\]|\\.)*"/, "", text)
                if (room != "comm" && (text ~ /(^|[^A-Za-z0-9_])P?MPI_[A-Za-z]/ || text ~ /include[ \t]*<mpi\.h>/))
                    print name ":" FNR ": MPI outside comm/"
            }
        ' "$2" "$file"
    done
}

# First that the test itself sees each kind of break.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/src/op" "$scratch/src/comm" "$scratch/src/attic"
cat >"$scratch/src/op/bad.c" <<'END'
#include "op/op.h"
#include "base/text.h"
/* a comment may name MPI_Init
 * and MPI_COMM_WORLD */
static const char *text = "MPI_Init";
#include "train/train.h"
#include "op.h"
#include <mpi.h>
#include <cuda_runtime.h>
int x = MPI_SUCCESS;
END
echo '#include "dev/dev.h"' >"$scratch/src/comm/bad.h"
echo 'int x;' >"$scratch/src/attic/old.c"
cat >"$scratch/expected" <<'END'
attic/old.c: no line for this room in the table
comm/bad.h:1: comm/ (1) includes dev/ (1)
op/bad.c:6: op/ (3) includes train/ (7)
op/bad.c:7: op.h is not named by its room
op/bad.c:8: MPI outside comm/
op/bad.c:9: a CUDA header outside *cuda*
op/bad.c:10: MPI outside comm/
END
violations "$scratch/src" "$top/ARCHITECTURE.md" >"$scratch/seen"
diff "$scratch/expected" "$scratch/seen"

# Then the tree.
violations "$top/src" "$top/ARCHITECTURE.md" >"$scratch/tree"
if [ -s "$scratch/tree" ]; then
    cat "$scratch/tree"
    exit 1
fi

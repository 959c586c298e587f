#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What dpt-train trained, dpt-predict uses: on the test data both come to the same figures, to every digit printed.
set -eu
train=${abs_builddir:=$PWD}/dpt-train
predict=$abs_builddir/dpt-predict
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    cat "$dir"/*.log >&2
    echo "$*" >&2
    exit 1
}
# Points in a plane; one column is a number that follows from them, the other a name for where they are.
points() {
    awk -v n="$1" -v seed="$2" 'BEGIN {
        srand(seed)
        print "x,y,height,place"
        for (i = 0; i < n; i++) {
            x = 2 * rand() - 1; y = 2 * rand() - 1
            where = x * y > 0 ? "level" : (x > 0 ? "right" : "left")
            printf "%.4f,%.4f,%.4f,%s\n", x, y, 3 * x - y + x * y, where
        }
    }'
}
points 600 1 >train.csv
points 150 2 >test.csv

# job NAME TARGET OTHER
job() {
    cat >"$1.ini" <<EOF
[run]
length = 8 epochs
threads = 1
[data]
format = csv
train = train.csv
test = test.csv
valid_share = 0.1
target = $2
ignore = $3
[model]
type = mlp
widths = 16
[batch]
global = 30
[optimizer]
type = adam
lr = 0.02
EOF
    "$train" -c "$1.ini" >"$1.log" 2>&1 || fail "exit status $? of dpt-train"
}
job place place height
job height height place
rm train.csv

# The figure of the last "test" record of the metrics.
figure() {
    sed -n "s/.*\"kind\": *\"eval\".*\"split\": *\"test\".*\"$2\": *\([-0-9.e]*\).*/\1/p" "runs/$1/metrics.jsonl" | tail -n 1
}
# The test data were looked at after the last step, so the newest checkpoint is compared.
accuracy=$(figure place accuracy)
rmse=$(figure height rmse)
[ -n "$accuracy" ] && [ -n "$rmse" ] || fail "no figures in metrics.jsonl"
"$predict" --latest runs/place >place.csv 2>place.err
want=$(awk -v a="$accuracy" 'BEGIN { printf "accuracy %.2f %%", 100 * a }')
grep -qF "150 samples, $want" place.err || { cat place.err; fail "dpt-train says $want"; }
[ "$(grep -c ',yes$' place.csv)" = "$(awk -v a="$accuracy" 'BEGIN { printf "%.0f", 150 * a }')" ] || fail "right ones"
grep -q '^1,\(level\|left\|right\),0\.[0-9]*,' place.csv || fail "no name of a class"
"$predict" --latest runs/height >height.csv 2>height.err
want=$(awk -v r="$rmse" 'BEGIN { printf "RMSE %.4g", r }')
got=$(sed 's/.*RMSE \([^,]*\),.*/\1/' height.err | awk '{ printf "RMSE %.4g", $1 }')
[ "$got" = "$want" ] || { cat height.err; fail "dpt-train says $want"; }

# It has learned something, the best checkpoint is the default, and a table without targets gives the same answers.
awk -v a="$accuracy" 'BEGIN { exit !(a > 0.8) }' || fail "accuracy $accuracy after training"
"$predict" runs/place >best.csv 2>best.err
"$predict" --best -q runs/place | cmp - best.csv
cut -d , -f 1-3 test.csv >unknown.csv
"$predict" runs/place unknown.csv 2>/dev/null | cut -d , -f 1-3 >unknown.out
cut -d , -f 1-3 best.csv | cmp - unknown.out

# Moved elsewhere, a checkpoint alone is enough.
mkdir elsewhere
cp -r "runs/place/checkpoints/$(cat runs/place/checkpoints/best)" elsewhere/model
"$predict" -q -f jsonl elsewhere/model unknown.csv >moved.jsonl
[ "$(wc -l <moved.jsonl)" = 150 ] || fail "not a line for each sample"
if command -v python3 >/dev/null 2>&1; then
    python3 -c '
import csv, json
rows = list(csv.DictReader(open("best.csv")))
for row, line in zip(rows, open("moved.jsonl")):
    record = json.loads(line)
    assert record["class"] == row["class"] and record["row"] == int(row["row"]), (row, record)
    assert record["probability"] == float(row["probability"]), (row, record)'
fi

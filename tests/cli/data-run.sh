#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# dpt-data from text to tokens: packed or plain the same bytes; what show says; a system's texts; and, where
# ../shared/data is, the numbers of characters and of GPT-2's tokens that others have counted.
set -eu
data=${abs_builddir:=$PWD}/dpt-data
train=$abs_builddir/dpt-train
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    [ ! -e err ] || cat err >&2
    echo "$*" >&2
    exit 1
}

# Plain, gzip and Zstandard give the same shards; small shards hold the same tokens one after the other.
i=0
while [ $i -lt 3000 ]; do
    echo "line $i: it's the text of a test, $((i * 7919 % 1000)) times"
    i=$((i + 1))
done >text.txt
gzip -c text.txt >packed.gz
"$data" tokenize -q -t bpe:400 --valid-share=0.1 -o plain text.txt
"$data" tokenize -q -t bpe:400 --valid-share=0.1 -o gz packed.gz
diff -r plain gz || fail "gzip gives other tokens"
if command -v zstd >/dev/null 2>&1; then
    zstd -q -c text.txt >packed.zst
    "$data" tokenize -q -t bpe:400 --valid-share=0.1 -o zst packed.zst
    diff -r plain zst || fail "zstd gives other tokens"
fi
"$data" train-bpe -q -n 400 -o learned text.txt
cmp learned/tokenizer.json plain/tokenizer.json || fail "train-bpe and bpe:N learn other tokenizers"
"$data" tokenize -q -t learned --shard-tokens=5000 --valid-share=0.1 -o small text.txt
for part in train valid; do
    for shard in small/$part-*.bin; do tail -c +257 "$shard"; done >joined
    tail -c +257 plain/$part-00000.bin | cmp - joined || fail "small shards hold other tokens"
done
"$data" show small/*.bin >out
[ "$(wc -l <out)" -ge 4 ] || fail "fewer shards than expected"
awk '{ for (i = 2; i <= NF; i++) { if ($i == "tokens") tokens += $(i - 1); if ($i == "bytes,") bytes += $(i - 1) } }
     END { print tokens, bytes }' out >sums
echo "$(($(wc -c <joined) / 2 + ($(wc -c <plain/train-00000.bin) - 256) / 2)) $(wc -c <text.txt)" | cmp - sums ||
    fail "the shards together do not say all tokens and bytes: $(cat sums)"

# The texts of a system: a licence, a page that is there twice, something that is no text.
mkdir -p root/usr/share/common-licenses root/usr/share/man/man1 root/usr/share/doc/pack
echo 'Do as you like.' >root/usr/share/common-licenses/Free
printf '.TH A 1\n.SH NAME\na \\- \\fBfirst\\fR page\n' | gzip >root/usr/share/man/man1/a.1.gz
cp root/usr/share/man/man1/a.1.gz root/usr/share/man/man1/b.1.gz
printf '\377\376' >root/usr/share/doc/pack/copyright
"$data" collect -q --system=root -o system.jsonl
cat >expected <<'END'
{"source":"root/usr/share/common-licenses/Free","text":"Do as you like.\u000a"}
{"source":"root/usr/share/man/man1/a.1.gz","text":"NAME\u000a\u000aa - first page\u000a"}
END
cmp expected system.jsonl || fail "other texts than expected: $(cat system.jsonl)"
"$data" tokenize -q --system=root -o system
"$data" tokenize -q -o lines system.jsonl
diff -r system lines || fail "the texts of a system and what collect writes give other tokens"
"$data" show lines/train-00000.bin | grep -q 'vocabulary 257, 256 ends a text | 2 documents' || fail "documents are not kept apart"

# A model of numbers does not take tokens, and says so.
cat >job.ini <<'END'
[data]
format = tokens
train = lines/train
context = 8
END
got=0
"$train" --dry-run -c job.ini >out 2>err || got=$?
{ [ $got = 2 ] && grep -q 'format = tokens' err; } || fail "a model of numbers takes tokens: $got"

shared=${abs_srcdir:-.}/../shared/data
if [ ! -d "$shared/tinyshakespeare" ] || ! command -v xz >/dev/null 2>&1; then
    echo "skipped in part: no $shared/tinyshakespeare"
    exit 0
fi
"$data" tokenize -t chars --valid-share=0.1 -o chars "$shared/tinyshakespeare/input.txt" 2>err
grep -q 'train: 1003854 tokens' err || fail "not 1003854 characters to train on"
grep -q 'valid: 111540 tokens' err || fail "not 111540 characters for validation"
"$data" show chars/train-00000.bin | grep -q 'vocabulary 65 ' || fail "not 65 characters"
mkdir gpt2
xz -dc "$shared/gpt2-bpe/encoder.json.xz" >gpt2/encoder.json
xz -dc "$shared/gpt2-bpe/vocab.bpe.xz" >gpt2/vocab.bpe
"$data" tokenize -t gpt2 --valid-share=0.1 -o bpe "$shared/tinyshakespeare/input.txt" 2>err
grep -q 'train: 301966 tokens' err || fail "not 301966 tokens to train on"
grep -q 'valid: 36059 tokens' err || fail "not 36059 tokens for validation"

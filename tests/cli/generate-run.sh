#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From text to text: dpt-data, dpt-train, dpt-generate and dpt-convert, as a user would call them.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
cd "$dir"
data=$abs_builddir/dpt-data
train=$abs_builddir/dpt-train
generate=$abs_builddir/dpt-generate
convert=$abs_builddir/dpt-convert
info=$abs_builddir/dpt-info

# A language that is easy: one sentence, again and again, each in a document of its own.
i=0
while [ $i -lt 120 ]; do
    echo '{"text": "pack my box — with five dozen über jugs."}'
    i=$((i + 1))
done >text.jsonl
"$data" tokenize -q -t chars --separate=yes -o data text.jsonl
cat >gpt.ini <<'EOF'
[run]
length = 200 steps
threads = 1
[data]
format = tokens
train = data/train
context = 48
[model]
type = gpt
depth = 2
width = 32
heads = 4
[batch]
global = 8
[optimizer]
type = adamw
lr = 0.01
[log]
every = 40 steps
EOF
sed -e 's/type = gpt/type = llama/' -e 's/heads = 4/&\nkv_heads = 2/' gpt.ini >llama.ini

for model in gpt llama; do
    "$train" -c $model.ini >out 2>err || fail "$model: the training failed"
    grep -q 'perplexity .*tokens/s' out || fail "$model: the lines have no perplexity, no tokens a second"
    grep -q '^speed .* tokens/s' out || fail "$model: the last page has no tokens a second"

    # The likeliest text is the sentence, which ends where a text ends.
    status 0 'tokens/s' "$generate" -t 1 -k runs/$model -p 'pack my' -T 0
    [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: nothing was learned"
    for precision in bf16 fp16 tf32; do
        status 0 '' "$generate" -t 1 -q -k runs/$model -p 'pack my' -T 0 --precision=$precision
        [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: another text in $precision"
    done
    status 0 '' "$generate" -t 1 -q -k runs/$model -p 'pack my' -T 0 -n 12
    [ "$(cat out)" = 'pack my box — with ' ] || fail "$model: not twelve tokens"
    [ ! -s err ] || fail "--quiet says something"

    # All ways to give the same prompt; many texts at once are what each would be alone.
    status 0 '' "$generate" -t 1 -q -k runs/$model -p 'pack my' -T 3 -c 3 -s 7
    cp out three
    [ "$(grep -c '^---------------$' three)" = 2 ] || fail "$model: not three texts"
    printf 'pack my' | "$generate" -t 1 -q -k runs/$model -p - -T 3 -c 3 -s 7 | cmp -s - three || fail "$model: another prompt"
    status 0 '' "$generate" -t 1 -q -k runs/$model/checkpoints/step-00000200 -p 'pack my' -T 3 -s 7
    sed '/^---------------$/,$d' three | cmp -s - out || fail "$model: the first of three texts is not the text alone"
    status 0 '' "$generate" -t 1 -q -k runs/$model -p 'pack my' -T 3 -s 8
    sed '/^---------------$/,$d' three | cmp -s - out && fail "$model: another seed makes the same text"
    status 0 '' "$generate" -t 1 -q -k runs/$model -p 'pack my' -T 3 --top-k=1
    [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: --top-k=1 is not the likeliest"
    status 0 '' "$generate" -q -k runs/$model -p 'pack my' -T 3 --top-p=0.0001 -t 2
    [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: --top-p is not the likeliest"

    # A new text; a prompt that is longer than the model can look at; characters that are not in its alphabet.
    status 0 '' "$generate" -t 1 -q -k runs/$model -T 0
    [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: no new text"
    long='jugs.pack my box — with five dozen über jugs.pack my box — with'
    status 0 'looks at the last 48' "$generate" -t 1 -k runs/$model -T 0 -p "$long"
    [ "$(cat out)" = "$long five dozen über jugs." ] || fail "$model: lost the thread of a long prompt"
    status 0 '' "$generate" -t 1 -q -k runs/$model -T 5 -n 200 -p 'pack' -c 2
    status 3 'prompt' "$generate" -t 1 -k runs/$model -p 'PACK'

    # The same text behind a folder of transformers, with its tokenizer.
    status 0 '' "$convert" -q runs/$model $model-hf
    for file in config.json generation_config.json model.safetensors tokenizer.json; do
        [ -s $model-hf/$file ] || fail "$model: dpt-convert made no $file"
    done
    status 0 '' "$convert" -q $model-hf $model-back
    [ "$("$info" --state runs/$model) $("$info" --state $model-back)" = 'finished imported' ] ||
        fail "$model: dpt-info does not tell what was trained from what was imported"
    status 0 '' "$generate" -t 1 -q -k $model-back -p 'pack my' -T 3 -c 3 -s 7
    cmp -s three out || fail "$model: another text behind dpt-convert"
    status 0 '' "$generate" -t 1 -q -k runs/$model --tokenizer=$model-hf -p 'pack my' -T 3 -c 3 -s 7
    cmp -s three out || fail "$model: another text with the tokenizer of a folder"

    # Begin with these weights elsewhere.
    status 0 '' "$train" -c $model.ini -q -o tuned-$model -s model.weights="$PWD/$model-back" -s run.length='1 steps' \
        -s optimizer.lr=1e-9
    status 0 '' "$generate" -t 1 -q -k tuned-$model -p 'pack my' -T 0
    [ "$(cat out)" = 'pack my box — with five dozen über jugs.' ] || fail "$model: the weights were not taken"
done

status 3 'is a language model' "$abs_builddir/dpt-predict" runs/gpt data/train-00000.bin
"$train" -q -s data.format=synthetic -s data.samples=64 -s data.shape=4 -s run.length='1 epoch' -o runs/mlp
status 3 'no language model' "$generate" -t 1 -k runs/mlp -p x
status 3 'no language model' "$convert" runs/mlp mlp-hf

# A damaged checkpoint, and one whose weights are not finite.
cp -r runs/gpt broken
printf x | dd of=broken/checkpoints/step-00000200/model.safetensors bs=1 seek=9000 conv=notrunc 2>/dev/null
for at in broken/checkpoints/step-*; do
    [ "$at" = broken/checkpoints/step-00000200 ] || rm -r "$at"
done
status 3 'model.safetensors' "$generate" -t 1 -k broken -p x
exit 0

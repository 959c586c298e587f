#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The exit status of dpt-generate and dpt-convert says what went wrong.
. "${abs_srcdir:=$PWD}/tests/cli/common.sh"
generate=$abs_builddir/dpt-generate
convert=$abs_builddir/dpt-convert

status 2 'a checkpoint is missing' "$generate" -p x
status 2 'given with -p' "$generate" -k "$dir" 'ROMEO:'
status 2 '--tokens=0: expected a whole number from 1' "$generate" -k "$dir" -n 0
status 2 '--count=x: expected' "$generate" -k "$dir" -c x
status 2 '--temperature=-1: expected a number from 0' "$generate" -k "$dir" -T -1
status 2 '--temperature=nan: expected' "$generate" -k "$dir" -T nan
status 2 '--top-p=0: expected a number above 0, up to 1' "$generate" -k "$dir" --top-p=0
status 2 '--top-p=1.5: expected' "$generate" -k "$dir" --top-p=1.5
status 2 '--top-k=0: expected' "$generate" -k "$dir" --top-k=0
status 2 '--seed=-1: expected' "$generate" -k "$dir" -s -1
status 2 '--device=: expected auto, cpu or cuda' "$generate" -k "$dir" --device=
status 2 '--precision=fp64: expected fp32, tf32, bf16 or fp16' "$generate" -k "$dir" --precision=fp64
status 3 "$dir/none: No such file" "$generate" -k "$dir/none"
status 3 "$dir/out: is a file" "$generate" -k "$dir/out"
mkdir "$dir/empty" "$dir/full"
touch "$dir/full/file"
status 3 "$dir/empty: has no checkpoint" "$generate" -k "$dir/empty"

status 2 'two folders are needed' "$convert" "$dir"
status 2 'too many folders' "$convert" "$dir" "$dir" "$dir"
status 2 'is not empty' "$convert" "$dir/empty" "$dir/full"
status 3 "$dir/empty: has no checkpoint" "$convert" "$dir/empty" "$dir/new"
mkdir "$dir/bare" "$dir/other"
touch "$dir/bare/model.safetensors" "$dir/other/config.json"
status 3 "$dir/bare: has model.safetensors, but neither" "$convert" "$dir/bare" "$dir/new"
status 3 "$dir/other: has no checkpoint, but a config.json: dpt-convert" "$generate" -k "$dir/other"
[ ! -e "$dir/new" ] || fail "a failure left a folder behind"

# A config.json that would make another model of the same weights is refused by name.
refuse() {
    mkdir -p "$dir/hf"
    sed "$1" "$abs_srcdir/tests/reference/$2/config.json" >"$dir/hf/config.json"
    cp "$abs_srcdir/tests/reference/$2/model.safetensors" "$dir/hf"
    status 3 "$3" "$convert" "$dir/hf" "$dir/new"
    [ ! -e "$dir/new" ] || fail "a failure left a folder behind"
}
refuse 's/"gpt2"/"bert"/' gpt 'model_type is bert, expected gpt2'
refuse 's/"gelu_new"/"relu"/' gpt 'activation_function is relu'
refuse 's/"n_embd": 16/"n_embd": 18/' gpt 'cannot be divided into heads'
refuse 's/"n_embd": 16/"n_embd": -16/' gpt 'n_embd must be a whole number above 0'
refuse 's/"n_embd": 16/"n_embd": 32/' gpt 'tensor transformer.wte.weight is F32[24,16], expected F32[24,32]'
refuse 's/"n_layer": 2/"n_layer": 3/' gpt 'has no tensor transformer.h.2.ln_1.weight'
refuse 's/"n_layer": 2/"n_layer": 1/' gpt 'has a tensor transformer.h.1.'
refuse 's/"scale_attn_weights": true/"scale_attn_weights": false/' gpt 'scale_attn_weights = false'
refuse 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' gpt 'has no tensor lm_head.weight'
refuse 's/"rope_type": "default"/"rope_type": "yarn"/' llama 'plain rotary positions only'
refuse 's/"attention_bias": false/"attention_bias": true/' llama 'attention_bias = true'
refuse 's/"head_dim": 4/"head_dim": 8/' llama 'head_dim 8 times num_attention_heads 4 is not hidden_size 16'
refuse 's/"vocab_size": 24/"vocab_size": "many"/' llama 'vocab_size must be a whole number'
refuse '1s/{/[/' llama 'config.json: line 2'

# A model goes through a checkpoint and back with the same tensors.
for model in gpt llama; do
    status 0 '' "$convert" -q "$abs_srcdir/tests/reference/$model" "$dir/$model"
    status 0 '' "$convert" -q "$dir/$model" "$dir/$model-hf"
    status 0 '' "$convert" -q "$dir/$model-hf" "$dir/$model-again"
    cmp "$dir/$model/checkpoints/step-00000000/model.safetensors" \
        "$dir/$model-again/checkpoints/step-00000000/model.safetensors" || fail "$model: other bits on the way back"
    status 0 '' "$abs_builddir/dpt-info" --verify "$dir/$model"
    status 2 'has no tokenizer' "$generate" -k "$dir/$model" -p x
done

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Language models train as in PyTorch on any number of ranks: tests/reference/language.py made the weights, the tokens
# and the losses of 20 steps of AdamW with clipping and a schedule. Their weights come from a folder of transformers.
. "${abs_srcdir:=$PWD}/tests/jobs/common.sh"
. "$abs_srcdir/tests/jobs/reference.sh"

for model in gpt llama; do
    reference=$abs_srcdir/tests/reference/$model
    sed '/^#/d' "$reference/losses.txt" >losses
    "$abs_builddir/dpt-convert" -q "$reference" $model-weights 2>$model.log || fail "dpt-convert: exit status $?"
    reference_job $model >job.ini
    for ranks in 1 2 3 4; do
        must $ranks $model-$ranks -s model.weights="$PWD/$model-weights"
        curve $model-$ranks loss >curve
        near losses curve 1e-5 || fail "$model on $ranks ranks: the loss is not PyTorch's"
    done
    must 2 $model-pieces -s model.weights="$PWD/$model-weights" \
        -s batch.micro_batches=3
    curve $model-pieces loss >curve
    near losses curve 1e-5 || fail "$model in micro-batches: the loss is not PyTorch's"

    # The same bits on any number of ranks, where that is asked for.
    same="-s run.reproducible=yes -s parallel.shards=4"
    [ $model = llama ] || same="$same -s model.dropout=0.2"
    must 1 $model-same $same
    must 4 $model-split $same
    [ "$(sum $model-same 20)" = "$(sum $model-split 20)" ] || fail "$model: other bits on 4 ranks"

    # What was trained goes to a folder of transformers and back, bit by bit.
    "$abs_builddir/dpt-convert" -q $model-same $model-hf 2>>$model.log || fail "$model: to a folder: exit status $?"
    "$abs_builddir/dpt-convert" -q $model-hf $model-back 2>>$model.log || fail "$model: back: exit status $?"
    "$abs_builddir/dpt-convert" -q $model-back $model-hf2 2>>$model.log || fail "$model: again: exit status $?"
    cmp $model-hf/model.safetensors $model-hf2/model.safetensors || fail "$model: other bits on the way back"
    run 2 $model-new --eval-only -s data.valid="$reference/tokens.bin" \
        -s model.weights="$PWD/$model-back" || fail "$model: --eval-only: exit status $?"
done
exit 0

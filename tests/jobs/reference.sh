# SPDX-License-Identifier: Apache-2.0
# The jobs that tests/reference/language.py trained in PyTorch: sourced after common.sh by the tests that repeat them.

# reference_model MODEL: the keys of its section.
reference_model() {
    printf 'type = %s\ndepth = 2\nwidth = 16\nheads = 4\n' "$1"
    case $1 in
    gpt) echo 'context = 16' ;;
    llama) printf 'kv_heads = 2\nffn = 24\ntied = no\n' ;;
    esac
}

# reference_job MODEL [LINE]: its 20 steps, with one more line of [run].
reference_job() {
    cat <<EOF
[run]
length = 20 steps
${2-}
[data]
format = tokens
train = $abs_srcdir/tests/reference/$1/tokens.bin
context = 12
vocab = 24
shuffle = no
[batch]
global = 6
[optimizer]
type = adamw
lr = 0.01
beta1 = 0.9
beta2 = 0.95
weight_decay = 0.1
clip = 0.9
[schedule]
type = cosine
warmup = 4 steps
final = 0.1
[checkpoint]
every = never
[log]
every = 1 step
[model]
EOF
    reference_model "$1"
}

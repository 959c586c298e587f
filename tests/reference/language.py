#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/reference/gpt and tests/reference/llama: tiny language models, and how PyTorch trains them.

Each folder has a Hugging Face model as `transformers` writes it (config.json, model.safetensors), tokens.bin (uint16, in
the order in which they are trained on), losses.txt (the loss of each of 20 steps of AdamW with clipping and a schedule),
losses-bf16.txt (the same with products in bfloat16, by autocast) and gradients/model.safetensors (of step 1). Also prints tests/model/transformers.txt: names, shapes and sizes of known models.

Needs torch, transformers and safetensors:

    tests/reference/language.py > tests/model/transformers.txt
"""
import copy
import math
import os

import torch
import transformers
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

STEPS, BATCH, CONTEXT, VOCAB = 20, 6, 12, 24
LR, FINAL, WARMUP, DECAY, CLIP, BETAS, EPS = 0.01, 0.1, 4, 0.1, 0.9, (0.9, 0.95), 1e-8
FOLDER = os.path.dirname(os.path.abspath(__file__))


def rate(step):
    """The learning rate of dpt's schedule.type = cosine: a straight line up, then half a cosine to the last step."""
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (STEPS - 1 - WARMUP)
    return LR * (FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * share)))


def train(name, model):
    folder = os.path.join(FOLDER, name)
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(7)
    with torch.no_grad():  # weights as large as after some training, biases and norms that do something
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    # Text with some order in it: the next token is one or two after the last, now and then any.
    tokens = [1]
    noise = torch.randint(0, 16 * VOCAB, (STEPS * BATCH * CONTEXT + 1,)).tolist()
    while len(tokens) < STEPS * BATCH * CONTEXT + 1:
        draw = noise[len(tokens)]
        tokens.append((tokens[-1] + 1 + draw // VOCAB % 4 // 3 if draw >= VOCAB else draw) % VOCAB)
    with open(os.path.join(folder, "tokens.bin"), "wb") as file:
        for token in tokens:
            file.write(token.to_bytes(2, "little"))

    steps(folder, copy.deepcopy(model), tokens, True)
    steps(folder, model, tokens, False)


def steps(folder, model, tokens, bf16):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    model.train()
    losses = []
    for step in range(STEPS):
        first = step * BATCH * CONTEXT
        window = torch.tensor(tokens[first : first + BATCH * CONTEXT + 1])
        x, y = window[:-1].view(BATCH, CONTEXT), window[1:].view(BATCH, CONTEXT)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(x).logits
            loss = torch.nn.functional.cross_entropy(logits.float().view(-1, VOCAB), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        if step == 0 and not bf16:
            os.makedirs(os.path.join(folder, "gradients"), exist_ok=True)
            save_file({n: p.grad.clone() for n, p in model.named_parameters()},
                      os.path.join(folder, "gradients", "model.safetensors"))
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
    with open(os.path.join(folder, "losses-bf16.txt" if bf16 else "losses.txt"), "w") as file:
        file.write("# SPDX-License-Identifier: Apache-2.0\n")
        file.writelines(f"{i + 1} {loss:.9f}\n" for i, loss in enumerate(losses))


def shapes(label, model):
    print(label, "parameters", sum(p.numel() for p in model.parameters()))
    if label in ("gpt2", "llama"):
        for name, parameter in model.named_parameters():
            print(label, name, *parameter.shape)


def main():
    torch.manual_seed(5)
    train("gpt", GPT2LMHeadModel(GPT2Config(
        n_embd=16, n_layer=2, n_head=4, n_positions=CONTEXT + 4, vocab_size=VOCAB, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)))
    train("llama", LlamaForCausalLM(LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24,
        vocab_size=VOCAB, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=0)))
    print("# SPDX-License-Identifier: Apache-2.0")
    print(f"# From transformers {transformers.__version__} by tests/reference/language.py.")
    with torch.device("meta"):
        for size, (layers, width, heads) in {"gpt2": (12, 768, 12), "gpt2-medium": (24, 1024, 16),
                                             "gpt2-large": (36, 1280, 20), "gpt2-xl": (48, 1600, 25)}.items():
            shapes(size, GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads)))
        llama = {"vocab_size": 32000, "tie_word_embeddings": False}
        shapes("llama", LlamaForCausalLM(LlamaConfig(
            hidden_size=2048, num_hidden_layers=22, num_attention_heads=32, num_key_value_heads=4,
            intermediate_size=5632, **llama)))
        shapes("llama-7b", LlamaForCausalLM(LlamaConfig(
            hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=11008, **llama)))
        shapes("llama2-70b", LlamaForCausalLM(LlamaConfig(
            hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8,
            intermediate_size=28672, **llama)))


main()

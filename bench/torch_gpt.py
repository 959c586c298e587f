#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One language model of bench/compare in PyTorch, eager or compiled: the same shapes, batch, precision, optimizer,
processes and threads as dpt's. As torch_step.py it is started by mpirun and writes lines of metrics; what PyTorch offers
for speed without changing the task is used: fused attention, fused AdamW, gradients as views of the buckets.
"""
import argparse
import datetime
import json
import os
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F

from torch_step import rank_and_size

# blocks, width, heads, context, vocabulary
SHAPES = {"gpt": (6, 384, 6, 256, 256), "gpt2": (12, 768, 12, 1024, 50257)}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.out(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, depth, width, heads, context, vocab):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, x, y):
        h = self.wte(x) + self.wpe.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        logits = F.linear(self.ln_f(h), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=sorted(SHAPES))
    parser.add_argument("--batch", type=int, default=16, help="samples a rank")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--every", type=int, default=2, help="steps a line")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()

    rank, size = rank_and_size()
    torch.set_num_threads(1)
    if args.device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    torch.manual_seed(1)
    depth, width, heads, context, vocab = SHAPES[args.case]
    model = GPT(depth, width, heads, context, vocab)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    model = model.to(args.device)
    if size > 1:
        torch.distributed.init_process_group(
            "nccl" if args.device == "cuda" else "gloo", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=300),
            init_method="file://" + os.environ["DPT_BENCH_RENDEZVOUS"])
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    step_model = torch.compile(model) if args.compile else model

    generator = torch.Generator().manual_seed(rank)
    data = torch.randint(min(vocab, 256), (1 << 20,), generator=generator)

    def report(**line):
        if rank == 0:
            print(json.dumps(line, separators=(",", ":")), flush=True)

    report(kind="start", version=torch.__version__)
    start = time.perf_counter()
    for step in range(1, args.steps + 1):
        first = torch.randint(len(data) - context - 1, (args.batch,), generator=generator).tolist()
        x = torch.stack([data[i : i + context] for i in first])
        y = torch.stack([data[i + 1 : i + 1 + context] for i in first])
        x, y = x.to(args.device), y.to(args.device)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.bf16):
            loss = step_model(x, y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step == 1:
            report(kind="first", time=time.time())
        if step % args.every == 0:
            if args.device == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            report(kind="train", step=step, loss=loss.item(), step_ms=1000 * (now - start) / args.every)
            start = now

    peak = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, device=args.device)
    if size > 1:
        torch.distributed.all_reduce(peak, op=torch.distributed.ReduceOp.MAX)
    report(kind="end", peak_bytes=peak.item())
    if size > 1:
        torch.distributed.barrier()
    os._exit(0)  # as in torch_step.py


if __name__ == "__main__":
    main()

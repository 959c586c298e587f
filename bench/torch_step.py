# SPDX-License-Identifier: Apache-2.0
"""One case of bench/compare in PyTorch: the same net, batch, precision, optimizer, processes and threads as dpt's.

Started by mpirun like dpt-train, one process a rank. Rank 0 writes what dpt writes into its metrics.jsonl: lines of
kind train with the mean time of the steps since the last line, one of kind end with the peak memory of the largest
process. Everything that PyTorch offers for speed without changing the task is used: fused SGD, gradients as views of
the communication buckets, the data already in memory as fp32.
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


def rank_and_size():
    """From the launcher: Open MPI, or MPICH and other PMI launchers."""
    for rank, size in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):
        if size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 3616), nn.ReLU(), nn.Linear(3616, 3616), nn.ReLU(),
                         nn.Linear(3616, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, 10))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 convolution in the shortcut where the shape changes."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet20():
    layers = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    cin = 16
    for cout, stride in ((16, 1), (32, 2), (64, 2)):
        for i in range(3):
            layers.append(Block(cin, cout, stride if i == 0 else 1))
            cin = cout
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut, of resnet-50."""

    def __init__(self, cin, mid, cout, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU(),
            nn.Conv2d(mid, mid, 3, stride, 1, bias=False), nn.BatchNorm2d(mid), nn.ReLU(),
            nn.Conv2d(mid, cout, 1, bias=False), nn.BatchNorm2d(cout))
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        return F.relu(self.body(x) + (x if self.downsample is None else self.downsample(x)))


def resnet50():
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    cin = 64
    for blocks, mid, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for i in range(blocks):
            layers.append(Bottleneck(cin, mid, 4 * mid, stride if i == 0 else 1))
            cin = 4 * mid
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 1000)]
    return nn.Sequential(*layers)


CASES = {"mlp": mlp, "wide": wide, "cnn": cnn, "resnet20": resnet20, "resnet50": resnet50}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("--batch", type=int, default=128, help="samples a rank")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--every", type=int, default=5, help="steps a line")
    parser.add_argument("--channels-last", action="store_true")
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
    model = CASES[args.case]()
    order = torch.channels_last if args.channels_last else torch.contiguous_format
    model = model.to(args.device, memory_format=order)
    if size > 1:
        torch.distributed.init_process_group(
            "nccl" if args.device == "cuda" else "gloo", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=120),
            init_method="file://" + os.environ["DPT_BENCH_RENDEZVOUS"])
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    generator = torch.Generator().manual_seed(rank)
    count = (4 if args.case == "resnet50" else 16) * args.batch
    shape, classes = ((3, 224, 224), 1000) if args.case == "resnet50" else ((1, 28, 28), 10)
    data = torch.randn(count, *shape, generator=generator).contiguous(memory_format=order).to(args.device)
    label = torch.randint(classes, (count,), generator=generator).to(args.device)
    step_model = torch.compile(model) if args.compile else model

    def report(**line):
        if rank == 0:
            print(json.dumps(line, separators=(",", ":")), flush=True)

    report(kind="start", version=torch.__version__)
    start = time.perf_counter()
    for step in range(1, args.steps + 1):
        pick = torch.randint(count, (args.batch,), generator=generator).to(args.device)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.bf16):
            loss = F.cross_entropy(step_model(data[pick].contiguous(memory_format=order)), label[pick])
        optimizer.zero_grad()
        loss.backward()
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
    # Without the interpreter's end: threads of gloo that are still there would now and then abort the process.
    os._exit(0)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""One case of bench/compare in PyTorch: the same net, batch, precision, optimizer, processes and threads as dpt's.

Started by mpirun like dpt-train, one process a rank. Prints one JSON line on rank 0: ms of every timed step, peak
memory of the largest process, and the time of the first step's end on the wall clock. Everything that PyTorch
offers for speed without changing the task is used: one thread, fused SGD, gradients as views of the buckets, the data
already in memory as fp32.
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
    """From the launcher: Open MPI, then MPICH and other PMI launchers."""
    for rank, size in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):
        if size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 256), nn.ReLU(), nn.Linear(256, 10))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: He et al. 2015, section 4.2, with a 1x1 convolution where the size changes."""

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["mlp", "cnn", "resnet20"])
    parser.add_argument("--batch", type=int, default=128, help="samples a rank")
    parser.add_argument("--warmup", type=int, default=5, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()

    rank, size = rank_and_size()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = {"mlp": mlp, "cnn": cnn, "resnet20": resnet20}[args.case]()
    order = torch.channels_last if args.channels_last else torch.contiguous_format
    model = model.to(memory_format=order)
    if size > 1:
        torch.distributed.init_process_group(
            "gloo", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=120),
            init_method="file://" + os.environ["DPT_BENCH_RENDEZVOUS"])
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    generator = torch.Generator().manual_seed(rank)
    count = 16 * args.batch
    data = torch.randn(count, 1, 28, 28, generator=generator).contiguous(memory_format=order)
    label = torch.randint(10, (count,), generator=generator)

    first = None
    ms = []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        pick = torch.randint(count, (args.batch,), generator=generator)
        loss = F.cross_entropy(model(data[pick].contiguous(memory_format=order)), label[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        if first is None:
            first = time.time()
        if step >= args.warmup:
            ms.append(1000 * (time.perf_counter() - start))

    peak = torch.tensor(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    if size > 1:
        torch.distributed.all_reduce(peak, op=torch.distributed.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps({"version": torch.__version__, "first": first, "step_ms": ms, "peak_bytes": peak.item()}))
    if size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints tests/model/torchvision.txt: names, shapes and sizes of torchvision's resnets.

Needs torch, torchvision and pillow:

    tests/reference/torchvision_names.py > tests/model/torchvision.txt
"""
import torchvision

print("# SPDX-License-Identifier: Apache-2.0")
print(f"# From torchvision {torchvision.__version__.split('+')[0]} by tests/reference/torchvision_names.py.")
for depth in (18, 34, 50, 101, 152):
    model = getattr(torchvision.models, f"resnet{depth}")()
    print(depth, "parameters", sum(p.numel() for p in model.parameters()))
for depth in (18, 50):
    model = getattr(torchvision.models, f"resnet{depth}")()
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            print(depth, name, *tensor.shape)

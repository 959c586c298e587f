#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/reference/tiny.safetensors with the reference package, for tests/ckpt/test_safetensors.c.

Needs: pip install numpy safetensors. Run it again only when the test wants other tensors.
"""
import pathlib

import numpy
from safetensors.numpy import save_file

tensors = {
    "layer.weight": (numpy.arange(6, dtype=numpy.float32) * 0.5 - 1).reshape(2, 3),
    "layer.bias": numpy.array([1 / 3, -2.5e300], dtype=numpy.float64),
    "count": numpy.array(-(2**40), dtype=numpy.int64),
    "index": numpy.array([7, -8], dtype=numpy.int32),
    "mask": numpy.array([0, 1, 255], dtype=numpy.uint8),
    "empty": numpy.zeros((0, 2), dtype=numpy.float32),
}
save_file(tensors, pathlib.Path(__file__).with_name("tiny.safetensors"), metadata={"format": "pt", "made": "by hand"})

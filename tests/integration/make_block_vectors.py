#!/usr/bin/env python3
"""Writes tests/unit/runtime/numerics/block_vectors.inc: what gguf-py makes of random blocks.

Usage: make_block_vectors.py > tests/unit/runtime/numerics/block_vectors.inc
Needs the packages `gguf` and `numpy`.

A line for each block format: SHA-256 over the fp32 values (little-endian, a NaN as 7fc00000) of
blocks whose bytes are the outputs of splitmix64, little-endian, from the seed 1000 + the ggml
number of the type. Every byte is drawn, so scales are NaN, infinite and subnormal too.
"""
import hashlib

import gguf
import numpy as np

BLOCKS = 2048
TYPES = ["Q4_0", "Q4_1", "Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
         "IQ4_XS"]


def splitmix64(seed, size):
    """`size` bytes."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, (size + 7) // 8 + 1, dtype=np.uint64)
        z = np.uint64(seed) + steps * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z.astype("<u8").view(np.uint8)[:size].copy()


def main():
    print(f"// Written by tests/integration/make_block_vectors.py; {BLOCKS} blocks a format.")
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        columns, size = gguf.GGML_QUANT_SIZES[kind]
        data = splitmix64(1000 + int(kind), BLOCKS * size).reshape(BLOCKS, size)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(data, kind).reshape(BLOCKS, columns)
        bits = values.astype("<f4").view(np.uint32).copy()
        bits[np.isnan(values)] = 0x7FC00000
        digest = hashlib.sha256(bits.tobytes()).hexdigest()
        print(f'{{BlockFormat::{name.lower()}, {1000 + int(kind)},\n "{digest}"}},')


if __name__ == "__main__":
    main()

"""Tiles of the cache's codecs for check_kv_codecs.py: the program that codes them, and numbers in
the types of R."""
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRECISIONS = ("fp16", "bf16", "fp32", "fp64")


def real_of(r):
    return np.float64 if r == "fp64" else np.float32


def bytes_of(r):
    return {"fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}[r]


def in_r(x, r):
    """Rounded to R, to nearest even; the result's type is fp16, fp32 or fp64. Finite input."""
    if r != "bf16":
        return x.astype({"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}[r])
    u = x.astype(np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def unsigned(size):
    return {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[size]


def same_bits(a, b):
    kind = unsigned(a.dtype.itemsize)
    return np.ascontiguousarray(a).view(kind) == np.ascontiguousarray(b).view(kind)


def stored_of(tiles, first, count, r):
    """Numbers of R's type that lie in the tiles from byte `first` on, as integers."""
    size = bytes_of(r)
    return np.ascontiguousarray(tiles[:, first:first + count * size]).view(unsigned(size))


def stored_bytes(x, r):
    """x, exact in R, as the integers that R stores."""
    if r == "bf16":
        return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    kind = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}[r]
    return np.ascontiguousarray(x.astype(kind)).view(unsigned(bytes_of(r)))


def unpack(packed, bits):
    """Codes, the low bits of a byte first, across the ends of bytes."""
    if 8 % bits == 0:
        each = (packed[:, :, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & (2**bits - 1)
        return each.reshape(len(packed), -1).astype(int)
    stream = np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little")
    count = stream.shape[1] // bits
    each = stream[:, :count * bits].reshape(len(packed), count, bits)
    return each @ (1 << np.arange(bits))


class Tiles:
    """The program tests/conformance/oracle/kv_tiles.cc."""

    def __init__(self, folder):
        self.program = f"{folder}/kv_tiles"
        subprocess.run(["c++", "-std=c++20", "-O2", "-march=native", "-ffp-contract=off",
                        f"-I{ROOT}", "-o", self.program,
                        f"{ROOT}/tests/conformance/oracle/kv_tiles.cc"], check=True)

    def run(self, words, x):
        return subprocess.run([self.program, *words], input=x.tobytes(), check=True,
                              capture_output=True).stdout

    def coded(self, words, x, size, step=()):
        """(bytes of each tile, its values); a row of x is a tile of `size` values and what the step
        needs besides. words: kind, R and numbers."""
        real = real_of(words[1])
        rows = np.frombuffer(self.run([*step, *words], np.ascontiguousarray(x, real)), np.uint8)
        rows = rows.reshape(len(x), -1)
        split = rows.shape[1] - size * np.dtype(real).itemsize
        return rows[:, :split], np.ascontiguousarray(rows[:, split:]).view(real)

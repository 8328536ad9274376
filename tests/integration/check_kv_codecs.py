#!/usr/bin/env python3
"""Holds the cache's codecs against other people's, and against restatements.

By hand; needs gguf and numpy, and a C++ compiler for tests/conformance/oracle/kv_tiles.cc.

  check_kv_codecs.py [--tiles N]       N tiles of each kind of data (default 30000)

q8_0: bytes and values equal gguf-py's, the original's own package. kivi: codes, scales, minima and
values equal a NumPy fp16 text of KIVI's published quantiser (restated: it has no package), and a
restatement of the page's formula in the other types of R. Prints a line for each comparison, kept
in tests/bench/kv-conformance.txt. Exit: 0 all equal, 1 some differ.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
R_TYPES = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}


def to_bf16(x):
    """Rounded to bf16, to nearest even; finite input."""
    u = x.astype(np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def make_data(count, rng):
    """Groups of 32 doubles by kind; every value fits fp16."""
    normal = rng.standard_normal((count, 32))
    outliers = normal * np.where(rng.random((count, 32)) < 0.02, 300.0, 1.0)
    grid = rng.integers(-127, 128, (count, 32)) / 2.0
    ties = np.where(np.arange(32) == 0, 127.0, grid)  # q8_0: a scale of 1; kivi: halves of its step
    constants = np.repeat(rng.standard_normal((count, 1)), 32, 1)
    constants[::4], constants[1::4] = 0.0, -0.0
    subnormal = normal * np.exp2(rng.integers(-24, -12, (count, 1)))
    zeros = np.where(rng.random((count, 32)) < 0.5, np.copysign(0.0, normal), normal)
    return {"random": normal, "outliers": outliers, "ties": ties, "constants": constants,
            "subnormals": subnormal, "signed zeros": zeros}


def tiles(program, kind, r, x):
    """(bytes of each tile, its values) that the codec gives."""
    real = np.float64 if r == "fp64" else np.float32
    out = subprocess.run([program, kind, r], input=x.astype(real).tobytes(), check=True,
                         capture_output=True).stdout
    size = len(out) // len(x)
    rows = np.frombuffer(out, np.uint8).reshape(len(x), size)
    split = size - 32 * np.dtype(real).itemsize
    return rows[:, :split], np.ascontiguousarray(rows[:, split:]).view(real)


def same_bits(a, b):
    kind = {2: np.uint16, 4: np.uint32, 8: np.uint64}[a.dtype.itemsize]
    return np.ascontiguousarray(a).view(kind) == np.ascontiguousarray(b).view(kind)


def unpack(packed, bits):
    """Codes, the low bits of a byte first."""
    shifts = np.arange(0, 8, bits)
    return ((packed[:, :, None] >> shifts) & (2**bits - 1)).reshape(len(packed), -1)


def kivi_fp16(x, bits):
    """KIVI's quantiser (quant/new_pack.py) as NumPy does fp16: every operation rounds to half."""
    x = x.astype(np.float16)
    mn, mx = x.min(1, keepdims=True), x.max(1, keepdims=True)
    scale = (mx - mn) / np.float16(2**bits - 1)
    y = (x - mn) / np.where(scale == 0, np.float16(1), scale)  # the original divides by zero
    return np.rint(np.clip(y, 0, 2**bits - 1)).astype(int), scale, mn


def kivi_formula(x, bits, rounded):
    """The formula of NUMERICS.md with another R."""
    x = rounded(x)
    mn, mx = x.min(1, keepdims=True), x.max(1, keepdims=True)
    levels = x.dtype.type(2**bits - 1)
    scale = rounded(rounded(mx - mn) / levels)
    y = rounded(rounded(x - mn) / np.where(scale == 0, x.dtype.type(1), scale))
    return np.rint(np.clip(y, 0, levels)).astype(int), scale, mn


def check_q8_0(program, name, x, report):
    x = x.astype(np.float32)
    for r in ("fp32", "bf16", "fp16"):  # of x: bf16 and fp16 values are fp32 numbers
        values = {"fp32": x, "bf16": to_bf16(x), "fp16": x.astype(np.float16).astype(np.float32)}[r]
        got, decoded = tiles(program, "q8_0", r, values)
        want = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        back = gguf.quants.dequantize(want, gguf.GGMLQuantizationType.Q8_0)
        wrong = ((got != want).any(1) | ~same_bits(decoded, back).all(1)).sum()
        report("q8_0", f"gguf {gguf_version()}", r, name, len(x), wrong)


def check_kivi(program, name, x, report):
    for bits in (2, 4):
        for side in ("tokens", "channels"):
            for r in ("fp16", "bf16", "fp32", "fp64"):
                if r == "fp16":
                    values = x.astype(np.float16)
                    codes, scale, mn = kivi_fp16(values, bits)
                elif r == "bf16":
                    values = to_bf16(x)
                    codes, scale, mn = kivi_formula(values, bits, to_bf16)
                else:
                    values = x.astype(R_TYPES[r])
                    codes, scale, mn = kivi_formula(values, bits, lambda v: v)
                got, decoded = tiles(program, f"kivi{bits}_{side}", r, values)
                wrong = differing(got, decoded, codes, scale, mn + mn.dtype.type(0), bits, r)
                report(f"kivi:{bits} {side}", "restated", r, name, len(x), wrong)


def differing(got, decoded, codes, scale, mn, bits, r):
    """Tiles whose scale, minimum, codes or values are not the expected ones."""
    field = np.dtype(np.uint16 if r in ("fp16", "bf16") else R_TYPES[r]).itemsize
    kind = {2: np.uint16, 4: np.uint32, 8: np.uint64}[field]
    stored = np.ascontiguousarray(got[:, :2 * field]).view(kind)
    expected = np.concatenate([scale, mn], 1)
    if r == "bf16":
        expected = expected.astype(np.float32).view(np.uint32) >> 16
    else:
        expected = np.ascontiguousarray(expected.astype(R_TYPES[r])).view(kind)
    bad = (stored != expected).any(1) | (unpack(got[:, 2 * field:], bits) != codes).any(1)
    # One rounding of code * scale + minimum: exact in fp64 for the 16-bit types.
    if field == 2:
        exact = codes * scale.astype(np.float64) + mn.astype(np.float64)
        bad |= ~same_bits(decoded, exact.astype(np.float32)).all(1)
    return int(bad.sum())


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, default=30000)
    options = parser.parse_args()
    data = make_data(options.tiles, np.random.default_rng(14))
    total = {}

    def report(codec, against, r, name, count, wrong):
        print(f"{codec:16} {r:5} {name:13} {count:7} tiles, {wrong} differ   ({against})")
        seen, bad = total.get((codec, against), (0, 0))
        total[codec, against] = seen + count, bad + int(wrong)

    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/kv_tiles"
        subprocess.run(["c++", "-std=c++20", "-O2", "-march=native", "-ffp-contract=off",
                        f"-I{ROOT}", "-o", program,
                        f"{ROOT}/tests/conformance/oracle/kv_tiles.cc"], check=True)
        for name, x in data.items():
            check_q8_0(program, name, x, report)
            check_kivi(program, name, x, report)
    for (codec, against), (seen, bad) in total.items():
        print(f"{codec:16} {seen} tiles against {against}: {bad} differ")
    return 1 if any(bad for _, bad in total.values()) else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())

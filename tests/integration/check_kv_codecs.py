#!/usr/bin/env python3
"""Holds the cache's codecs against other people's, and against restatements.

By hand; needs gguf, numpy and torch, a C++ compiler for tests/conformance/oracle/kv_tiles.cc, and
the originals that have no package, by options:

  check_kv_codecs.py [--tiles N] [--ggml FOLDER] [--kivi FILE] [--kvarn FOLDER] [only ...]
    --tiles   of each of the six kinds of data (default 20000; of kvarn a third for each precision)
    --ggml    sources of ggml: its reference quantisers are built from src/ggml-quants.c
    --kivi    KIVI's quant/new_pack.py
    --kvarn   a source tree of vLLM with KVarN's sinkhorn.py and kvarn_store.py
    only      codecs to check: ggml, kivi, rtn, kvarn (default: all)

ggml's types: bytes equal those of gguf-py and of ggml's C, values those of gguf-py. kivi: codes,
scales and minima equal those of KIVI's functions, values those of the page's formula; without the
file, all is a NumPy text of them ("restated"). rtn: codes, scales and minima equal a restatement,
and KVarN's own rounding of rows. kvarn: given the original's scales, codes and numbers equal those
of its functions (check_kvarn.py has the rest). Prints a line for each codec, opponent and
precision, kept in tests/bench/kv-conformance.txt. Exit: 0 all as said, 1 some differ.
"""
import argparse
import ctypes
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

import check_kvarn
from kv_tiles import (PRECISIONS, Tiles, bytes_of, in_r, real_of, same_bits, stored_bytes,
                      stored_of, unpack)

GGML = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1", "q5_0": "Q5_0", "q5_1": "Q5_1",
        "iq4_nl": "IQ4_NL"}


def make_data(count, rng):
    """Groups of 32 doubles by kind; every value fits fp16."""
    normal = rng.standard_normal((count, 32))
    outliers = normal * np.where(rng.random((count, 32)) < 0.02, 300.0, 1.0)
    grid = rng.integers(-127, 128, (count, 32)) / 2.0
    ties = np.where(np.arange(32) == 0, 127.0, grid)  # q8_0: a scale of 1; others: halves of steps
    ties[::2] = np.where(np.arange(32) == 1, 7.5, rng.integers(-15, 16, (count, 32)) / 2.0)[::2]
    constants = np.repeat(rng.standard_normal((count, 1)), 32, 1)
    constants[::4], constants[1::4] = 0.0, -0.0
    subnormal = normal * np.exp2(rng.integers(-24, -12, (count, 1)))
    zeros = np.where(rng.random((count, 32)) < 0.5, np.copysign(0.0, normal), normal)
    return {"random": normal, "outliers": outliers, "ties": ties, "constants": constants,
            "subnormals": subnormal, "signed zeros": zeros}


class Report:
    """Counts by codec, opponent and precision."""

    def __init__(self):
        self.lines = {}

    def __call__(self, codec, against, r, tiles, wrong, note=""):
        seen, bad, notes = self.lines.get((codec, against, r), (0, 0, ""))
        self.lines[codec, against, r] = (seen + tiles, bad + int(wrong), note or notes)

    def show(self):
        """Precisions with the same counts on one line."""
        alike = {}
        for (codec, against, r), counts in self.lines.items():
            alike.setdefault((codec, against, counts), []).append(r)
        for (codec, against, (seen, bad, note)), precisions in alike.items():
            each = " each" if len(precisions) > 1 else ""
            print(f"{codec}  {' '.join(precisions)}: {seen} tiles{each}, {bad} differ "
                  f"({against}){note}")
        return any(bad for _, bad, _ in self.lines.values())


def build_ggml(folder, into):
    """ggml's reference quantisers as a library: fp32 in the order of the text, no contraction."""
    source = pathlib.Path(folder)
    library = f"{into}/libggml_quants.so"
    subprocess.run(["cc", "-O2", "-ffp-contract=off", "-fPIC", "-shared", f"-I{source}/include",
                    f"-I{source}/src", "-o", library, f"{source}/src/ggml-quants.c", "-lm"],
                   check=True)
    return ctypes.CDLL(library, mode=1)  # RTLD_LAZY: what the quantisers do not call stays unbound


def quantised_by_c(library, name, x, size):
    out = np.zeros((len(x), size), np.uint8)
    x = np.ascontiguousarray(x, np.float32)
    getattr(library, f"quantize_row_{name}_ref")(
        x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(x.size))
    return out


def check_ggml(tiles, data, report, library):
    version = importlib.metadata.version("gguf")
    for name, upper in GGML.items():
        kind = gguf.GGMLQuantizationType[upper]
        for r in ("fp32", "bf16", "fp16"):  # of x: bf16 and fp16 values are fp32 numbers
            for x in data.values():
                x = in_r(x, r).astype(np.float32)
                got, values = tiles.coded([name, r], x, 32)
                back = gguf.quants.dequantize(got, kind)
                same_values = same_bits(values, back).all(1)
                if name != "iq4_nl":
                    want = gguf.quants.quantize(x, kind)
                    # NumPy's minimum and largest of -0 and +0 may be either; C takes the first.
                    at = slice(2, 4) if name in ("q4_1", "q5_1") else slice(0, 2)
                    equal = got == want
                    field = np.ascontiguousarray(want[:, at]).view(np.uint16)
                    equal[:, at] |= (field & 0x7fff) == 0
                    report(name, f"gguf {version}", r, len(x), (~equal.all(1) | ~same_values).sum())
                if library is None:
                    continue
                want = quantised_by_c(library, name, x, got.shape[1])
                # A zero block of iq4_nl has the codes of the block before it; ours are 8.
                stale = (np.abs(x).max(1) < 1e-15) if name == "iq4_nl" else np.zeros(len(x), bool)
                want[stale, 2:] = 0x88
                report(name, "ggml C", r, len(x), ((got != want).any(1) | ~same_values).sum())


def kivi_restated(x, bits, r):
    """The page's formula; in fp16 and bf16 every operation rounds."""
    def rounded(y):
        return in_r(y, r)
    mn, mx = x.min(1, keepdims=True), x.max(1, keepdims=True)
    levels = x.dtype.type(2**bits - 1)
    scale = rounded(rounded(mx - mn) / levels)
    y = rounded(rounded(x - mn) / np.where(scale == 0, x.dtype.type(1), scale))
    return np.rint(np.clip(y, 0, levels)).astype(int), scale, mn


def kivi_by_torch(module, x, bits, side, r):
    """KIVI's functions on groups of 32 tokens of a channel each, or of 32 channels of a token."""
    import torch
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32,
            "fp64": torch.float64}[r]
    groups = torch.from_numpy(np.ascontiguousarray(x)).to(kind)
    if side == "tokens":
        code, scale, mn = module.quant_and_pack_kcache(groups.T.contiguous()[None, None], 32, bits)
        code = code[0, 0].T
    else:
        code, scale, mn = module.quant_and_pack_vcache(groups[None, None], 32, bits)
        code = code[0, 0]
    packed = np.ascontiguousarray(code.numpy()).view(np.uint8)
    # 0 / 0 where a group has no range: the original's codes are undefined, ours 0.
    no_range = (scale.reshape(-1) == 0).numpy()
    codes = np.where(no_range[:, None], 0, unpack(packed.reshape(len(x), -1), bits))
    return codes, *(v.reshape(-1, 1).double().numpy() for v in (scale, mn))


def check_kivi(tiles, data, report, module):
    for bits in (2, 4):
        for side in ("tokens", "channels"):
            for r in PRECISIONS:
                for x in data.values():
                    x = in_r(x, r)
                    got = tiles.coded([f"kivi{bits}_{side}", r], x, 32)
                    want = (kivi_restated(x, bits, r) if module is None
                            else kivi_by_torch(module, x, bits, side, r))
                    report(f"kivi:{bits} {side}", "restated" if module is None else "KIVI's torch",
                           r, len(x), differing(*got, *want, bits, r))


def differing(got, values, codes, scale, mn, bits, r):
    """Tiles whose scale, minimum, codes or values are not the expected ones."""
    expected = np.concatenate([scale, mn], 1) + 0.0  # -0 is stored as +0
    bad = (stored_of(got, 0, 2, r) != stored_bytes(expected, r)).any(1)
    bad |= (unpack(got[:, 2 * bytes_of(r):], bits)[:, :codes.shape[1]] != codes).any(1)
    if r in ("fp16", "bf16"):  # one rounding of code * scale + minimum, exact in fp64
        bad |= ~same_bits(values, (codes * scale + expected[:, 1:]).astype(np.float32)).all(1)
    return int(bad.sum())


def rtn_restated(x, bits):
    lo, hi = x.min(1, keepdims=True), x.max(1, keepdims=True)
    step = np.maximum((hi - lo) / x.dtype.type(2**bits - 1), x.dtype.type(1e-10))
    return np.rint(np.clip((x - lo) / step, 0, 2**bits - 1)).astype(int), step, lo


def check_rtn(tiles, data, report, original):
    for bits in (1, 2, 3, 4, 5, 8):
        for side in ("tokens", "channels"):
            for r in PRECISIONS:
                for x in data.values():
                    x = in_r(x, r).astype(real_of(r))
                    got = tiles.coded([f"rtn_{side}", r, str(bits), "32"], x, 32)
                    texts = {"restated": rtn_restated(x, bits)}
                    if original is not None:
                        texts["KVarN's torch"] = original.rtn(x, bits)
                    for against, (codes, step, lo) in texts.items():
                        scale, mn = (in_r(v, r).astype(np.float64) for v in (step, lo))
                        report(f"rtn:{bits} {side}", against, r, len(x),
                               differing(*got, codes, scale, mn, bits, r))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=int, default=20000)
    parser.add_argument("--ggml")
    parser.add_argument("--kivi")
    parser.add_argument("--kvarn")
    parser.add_argument("only", nargs="*", default=[])
    options = parser.parse_args()
    wanted = options.only or ["ggml", "kivi", "rtn", "kvarn"]
    data = make_data(options.tiles, np.random.default_rng(14))
    original = check_kvarn.Original(options.kvarn) if options.kvarn else None
    kivi = None
    if options.kivi:
        spec = importlib.util.spec_from_file_location("new_pack", options.kivi)
        kivi = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kivi)
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        tiles = Tiles(folder)
        if "ggml" in wanted:
            library = build_ggml(options.ggml, folder) if options.ggml else None
            check_ggml(tiles, data, report, library)
        if "kivi" in wanted:
            check_kivi(tiles, data, report, kivi)
        if "rtn" in wanted:
            check_rtn(tiles, data, report, original)
        if "kvarn" in wanted and original is not None:
            check_kvarn.check(tiles, original, options.tiles // 3 + 1, report)
    return 1 if report.show() else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())

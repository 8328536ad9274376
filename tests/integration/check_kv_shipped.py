#!/usr/bin/env python3
"""Holds the caches as shipped (quanto, hqq) against transformers' own QuantizedCache layers.

By hand; needs transformers, optimum-quanto, hqq and a C++ compiler for
tests/conformance/oracle/kv_shipped.cc, which it builds.

  check_kv_shipped.py [--groups N] [--only quanto|hqq] [--axis N] [--program FILE]
                       at least N group quantisations of each mode (100000); FILE: built already

quanto: codes, scales and shifts of tensors equal, and the keys and values that a layer returns
equal bit for bit through prompts, chunks and decoding steps with several quantisations. hqq: with
the original's scales and zeros, round by round, every code is equal and every next zero is within
zero_bound(); end to end, scales are equal, and each code that differs lies next to a boundary. What
the packages do on a CPU is the original; torch uses one thread.
Prints a line for each comparison, kept in tests/bench/kv-shipped.txt. Exit: 0 as said, 1 not.
"""
import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from hqq.core import optimize
from hqq.core.quantize import Quantizer
from optimum.quanto import MaxOptimizer, qint2, qint4, quantize_weight
from transformers.cache_utils import HQQQuantizedLayer, QuantoQuantizedLayer

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16,
         "fp16": torch.float16}
ALONG = {("quanto", 0): "neighbours", ("quanto", -1): "channel", ("hqq", 0): "strided",
         ("hqq", 1): "neighbours"}


def build(folder):
    program = folder / "kv_shipped"
    sources = ["tests/conformance/oracle/kv_shipped.cc", "runtime/base/text.cc",
               "runtime/base/words.cc"]
    sources += sorted(str(path.relative_to(ROOT)) for pattern in ("policy*.cc", "policies/*.cc")
                      for path in (ROOT / "runtime/cache").glob(pattern))
    subprocess.run(["c++", "-std=c++20", "-O2", "-march=haswell", "-ffp-contract=off", "-I.", "-o",
                    program, *sources], cwd=ROOT, check=True)
    return program


class Child:
    """The driver in one mode."""

    def __init__(self, *words):
        self.process = subprocess.Popen([str(word) for word in words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def send(self, count, *arrays):
        self.process.stdin.write(struct.pack("<q", count))
        for array in arrays:
            self.process.stdin.write(np.ascontiguousarray(array).tobytes())
        self.process.stdin.flush()

    def read(self, dtype, count):
        size = np.dtype(dtype).itemsize * count
        data = self.process.stdout.read(size)
        if len(data) != size:
            sys.exit(f"the driver ended: {self.process.stderr.read().decode()}")
        return np.frombuffer(data, dtype)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def make_tensor(kind, shape, dtype, rng):
    """(batch, heads, tokens, head_dim) of one kind of data."""
    x = rng.standard_normal(shape)
    if kind == "outliers":
        x *= np.where(rng.random(shape) < 0.02, 300.0, 1.0)
    elif kind == "ties":  # halves of the steps of both numbers of bits
        x = rng.integers(0, 31, shape) / 2.0
        x[..., 0], x[..., -1] = 0.0, 15.0
    elif kind == "constants":
        x[:] = rng.standard_normal(shape[:3] + (1,))
        x[..., ::4, :] = 0.0
    elif kind == "subnormals":
        x *= 2.0 ** rng.integers(-30, -12, shape[:3] + (1,))
        if dtype is torch.bfloat16 or dtype is torch.float32:
            x *= 2.0 ** -112
    return torch.from_numpy(x).to(dtype)


def bits(x):
    """A tensor's bits; zeros without a sign where `x` has them either way in the original."""
    return x.contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def rows(x):
    """(heads, tokens, head_dim) as (tokens, heads * head_dim) doubles."""
    return x.transpose(0, 1).reshape(x.shape[1], -1).to(torch.float64).numpy()


KINDS = ("random", "outliers", "ties", "constants", "subnormals")
# Rows of each update: a prompt, a chunk, decoding far enough for several quantisations.
SCHEDULES = ([96] + [1] * 260, [64, 32, 17, 150] + [1] * 130, [1] * 130)


def check_updates(program, backend, nbits, axis, name, groups_wanted):
    """Keys and values that a layer returns, and counts of groups and of updates that differ."""
    rng = np.random.default_rng(7)
    groups = differing = updates = 0
    zero_signs = 0
    while groups < groups_wanted:
        for schedule in SCHEDULES:
            for kind in KINDS:
                # Along channels optimum-quanto takes a length only where 64 divides the rows.
                batch, heads, d = (2, 32, 8) if axis == -1 else (2, 2, 64)
                result = one_layer(program, backend, nbits, axis, name, kind, schedule,
                                   (batch, heads, d), rng)
                groups += result[0]
                updates += len(schedule)
                differing += result[1]
                zero_signs += result[2]
    line = f"{backend}:{nbits} axis {axis:2} {name}: {groups} groups in {updates} updates, "
    print(f"{line}{differing} differ, {zero_signs} only in the sign of a zero", flush=True)
    return differing


def one_layer(program, backend, nbits, axis, name, kind, schedule, shape, rng):
    dtype = TYPES[name]
    batch, heads, d = shape
    layer_class = QuantoQuantizedLayer if backend == "quanto" else HQQQuantizedLayer
    layer = layer_class(nbits=nbits, axis_key=axis, axis_value=axis)
    text = f"{backend}:{nbits}" + (f"+axis:{axis}" if axis != 0 else "")
    child = Child(program, "updates", text, name, batch, heads, d)
    past = quantised = differing = zero_signs = 0
    for tokens in schedule:
        k, v = (make_tensor(kind, (batch, heads, tokens, d), dtype, rng) for _ in range(2))
        empty = layer.keys.shape[-2] if layer.is_initialized and layer.keys.dim() == 4 else 0
        if past == 0 or empty + tokens >= layer.residual_length:
            quantised += 2 * batch * heads * (past + tokens) * d // 64
        want = layer.update(k, v)
        child.send(tokens, *[rows(x[b]) for b in range(batch) for x in (k, v)])
        for b in range(batch):
            for side in want:
                got = child.read(np.float64, past * heads * d).reshape(past, heads, d)
                got = torch.from_numpy(got.copy()).transpose(0, 1).to(dtype)
                wrong = bits(got) != bits(side[b][:, :past])
                if wrong.any():
                    zeros = (got == 0) & (side[b][:, :past] == 0)
                    differing += int((wrong & ~zeros).any())
                    zero_signs += int((wrong & ~zeros).sum() == 0)
        past += tokens
    child.end()
    return quantised, differing, zero_signs


def check_quanto_codes(program, nbits, axis, name, groups_wanted):
    """Codes, scales and shifts of whole tensors."""
    rng = np.random.default_rng(11)
    child = Child(program, "quanto", nbits, ALONG["quanto", axis], name, 64, 64)
    qtype = qint2 if nbits == 2 else qint4
    groups = 0
    wrong = {"codes": 0, "scales": 0, "shifts": 0, "signs of zero": 0}
    while groups < groups_wanted:
        for kind in KINDS:
            x = make_tensor(kind, (3, 4, 48, 64), TYPES[name], rng)
            scale, shift = MaxOptimizer()(x, qtype, axis, 64)
            codes = quantize_weight(x, qtype, axis, scale, shift, 64)._data.unpack()
            codes = codes if axis == 0 else codes.T
            n, count = x.numel(), scale.numel()
            child.send(n, x.to(torch.float64).numpy())
            got = child.read(np.uint8, n)
            read = [torch.from_numpy(child.read(np.float64, count).copy()).to(x.dtype)
                    for _ in range(2)]
            wrong["codes"] += int((got.reshape(count, 64) != codes.numpy()).any(1).sum())
            for what, mine, theirs in zip(("scales", "shifts"), read, (scale, shift)):
                off = bits(mine) != bits(theirs.reshape(-1))
                signs = off & (mine == 0) & (theirs.reshape(-1) == 0)
                wrong[what] += int((off & ~signs).sum())
                wrong["signs of zero"] += int(signs.sum())
            groups += count
    child.end()
    parts = ", ".join(f"{count} {what}" for what, count in wrong.items())
    print(f"quanto:{nbits} axis {axis:2} {name}: {groups} groups, differing: {parts}", flush=True)
    return wrong["codes"] + wrong["scales"] + wrong["shifts"]


class HqqWatch:
    """The original's own values while it quantises: scales, zeros, codes, errors."""

    def __init__(self):
        self.step = optimize.optimize_weights_proximal_legacy_step
        self.whole = Quantizer.optimize_weights
        optimize.optimize_weights_proximal_legacy_step = self.watch_step
        Quantizer.optimize_weights = self.watch_whole

    def watch_step(self, x, scale, zero, *more):
        seen = self.step(x, scale, zero, *more)
        error = torch.abs(x - seen[0]).mean().float()
        self.rounds.append((zero.clone(), seen[1].clone(), seen[2].clone(), error.item()))
        return seen

    def watch_whole(self, **words):
        self.rounds = []
        seen = self.whole(**words)
        self.codes, self.scale, self.zero = seen
        return seen


U = 2.0**-24  # half a unit in the last place of 1 in fp32


def zero_bound(x, codes, zero, scale, axis):
    """How far the next zero may be from ours: |x|^-0.3 within 1 ulp, then each operation rounded
    once on either side, and the original's sum of a group in any order of fp32 additions."""
    x, codes, zero, scale = (t.double() for t in (x, codes, zero, scale))
    error = (x - (codes - zero) / scale).abs()
    power = torch.where(error > 0, error.clamp_min(1e-30) ** -0.3, torch.zeros_like(error))
    kept = (error - 0.1 * power).clamp_min(0)
    shrunk = torch.where(kept > 0, 8 * U * (0.1 * power + error + x.abs() + 1 / scale), 0 * x)
    term = (codes - (x - kept) * scale).abs() + scale * (x.abs() + kept)
    size = x.shape[axis]
    return (scale * shrunk + (size + 8) * U * term).mean(axis, keepdim=True) + U


def check_hqq(program, nbits, axis, name, groups_wanted):
    """A whole tensor: given the original's scales and zeros, round by round; and end to end."""
    rng = np.random.default_rng(13)
    watch = HqqWatch()
    words = (nbits, ALONG["hqq", axis], name, 64, 64)
    whole, given = Child(program, "hqq", *words), Child(program, "hqq_given", *words)
    n = {"groups": 0, "tensors": 0, "codes given": 0, "zeros out of bound": 0, "scales": 0,
         "rounds": 0, "codes": 0, "far codes": 0}
    worst_tie = worst_zero = 0.0
    kinds = 0
    while n["groups"] < groups_wanted:
        kind = KINDS[kinds % len(KINDS)]
        kinds += 1
        x = make_tensor(kind, (1, 2, 144, 64), TYPES[name], rng)
        Quantizer.quantize(x, nbits=nbits, axis=axis, group_size=64, device="cpu",
                           compute_dtype=x.dtype)
        flat = x.float().reshape(64, -1) if axis == 0 else x.float().reshape(-1, 64)
        by_group = (lambda t: t.T) if axis == 0 else (lambda t: t)
        count, values = watch.scale.numel(), x.to(torch.float64).numpy()
        errors = []
        for zero, codes, later, error in watch.rounds + [(watch.zero, watch.codes, None, None)]:
            given.send(x.numel(), values, watch.scale.numpy(), zero.numpy())
            mine = given.read(np.uint8, x.numel()).reshape(count, 64)
            next_zero = torch.from_numpy(given.read(np.float32, count).copy())
            errors.append((given.read(np.float32, 1)[0], error))
            n["codes given"] += int((mine != by_group(codes).numpy()).any(1).sum())
            if later is None:
                continue
            bound = zero_bound(flat, codes, zero, watch.scale, axis).reshape(-1)
            gap = (next_zero.double() - later.reshape(-1).double()).abs()
            n["zeros out of bound"] += int((gap > bound).sum())
            worst_zero = max(worst_zero, float((gap / bound).max()))
        whole.send(x.numel(), values)
        rounds = int(whole.read(np.int64, 1)[0])
        codes = whole.read(np.uint8, x.numel()).reshape(count, 64)
        scale, zero = (torch.from_numpy(whole.read(np.float32, count).copy()) for _ in range(2))
        n["scales"] += int((bits(scale) != bits(watch.scale.reshape(-1))).sum())
        theirs = by_group(watch.codes).numpy()
        off = codes != theirs
        n["codes"] += int(off.sum())
        if rounds != len(watch.rounds):
            n["rounds"] += 1
            at = min(rounds, len(watch.rounds)) - 1  # a tie of two errors that only rounding parts
            last = [watch.rounds[max(at + d, 0)][3] for d in (-1, 0)]
            worst_tie = max(worst_tie, abs(last[1] - last[0]) / last[0])
        place = by_group(flat).double() * scale.double()[:, None] + zero.double()[:, None]
        reach = (zero.double() - watch.zero.reshape(-1).double()).abs()[:, None]
        reach = reach + 4 * U * (place.abs() + zero.double().abs()[:, None] + 1)
        edge = ((place - 0.5) - torch.round(place - 0.5)).abs()
        n["far codes"] += int((torch.from_numpy(off) & (edge > reach)).sum())
        n["groups"] += count
        n["tensors"] += 1
    whole.end(), given.end()
    optimize.optimize_weights_proximal_legacy_step = watch.step
    Quantizer.optimize_weights = watch.whole
    print(f"hqq:{nbits} axis {axis} {name}: {n['groups']} groups in {n['tensors']} tensors; given "
          f"the original's scales and zeros in each round: {n['codes given']} groups of codes "
          f"differ, {n['zeros out of bound']} next zeros out of bound (largest {worst_zero:.2f} of "
          f"it); end to end: {n['scales']} scales differ, {n['rounds']} tensors stop at another "
          f"round (errors apart by at most {worst_tie:.1e}), {n['codes']} codes differ, "
          f"{n['far codes']} not next to a boundary", flush=True)
    return n["codes given"] + n["zeros out of bound"] + n["scales"] + n["far codes"]


def axes(options, both):
    return [axis for axis in both if options.axis in (None, axis)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=100000)
    parser.add_argument("--only", choices=("quanto", "hqq"))
    parser.add_argument("--program", type=pathlib.Path)
    parser.add_argument("--axis", type=int, choices=(-1, 0, 1), help="this one only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        program = options.program or build(pathlib.Path(folder))
        bad, share = 0, options.groups // 4  # of each of four types, or three and a layer
        for nbits in (2, 4) if options.only != "hqq" else ():
            for axis in axes(options, (0, -1)):
                for name in TYPES:
                    bad += check_quanto_codes(program, nbits, axis, name, share)
                    bad += check_updates(program, "quanto", nbits, axis, name, share)
        for nbits in (2, 4) if options.only != "quanto" else ():
            for axis in axes(options, (0, 1)):
                for name in ("fp32", "bf16", "fp16"):
                    bad += check_hqq(program, nbits, axis, name, options.groups // 3 + 1)
                check_updates(program, "hqq", nbits, axis, "bf16", share)  # counted only
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

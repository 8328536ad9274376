"""kvarn's tiles against the published functions, for check_kv_codecs.py.

Given the original's scales, codes and numbers must be equal. End to end the original takes other
logarithms, exponentials and sums, so that scales differ in their last bits: then a code may differ
by one, where the value lies within a bound of the boundary between two codes. Tiles for which the
original keeps the scales of another iteration are counted apart; there the imbalances of both must
agree within a bound, or be noise: deviations that are rounding errors of the values.

The bound of a code, in codes: 4 e m / step + 2^-20 (2^bits - 1), with e the largest relative
difference of two scales of the tile plus 2^-22, m the row's largest magnitude.
"""
import importlib.util
import pathlib
import sys
import types

import numpy as np

from kv_tiles import bytes_of, in_r, same_bits, unpack

SCALES_CLOSE = 1e-3   # relative: the same iteration's
IMBALANCE_CLOSE = 1e-3
NOISE = 2.0**-18      # of a tile's largest value: a deviation below it is no deviation
AT_ONCE = 4096        # tiles


class Original:
    """KVarN's functions out of a source tree of vLLM, without importing vLLM."""

    def __init__(self, folder):
        for name in ("vllm", "vllm.model_executor", "vllm.model_executor.layers",
                     "vllm.model_executor.layers.quantization",
                     "vllm.model_executor.layers.quantization.kvarn"):
            sys.modules.setdefault(name, types.ModuleType(name))
        base = pathlib.Path(folder) / "vllm"
        self.sinkhorn = self.load(base / "model_executor/layers/quantization/kvarn/sinkhorn.py",
                                  "vllm.model_executor.layers.quantization.kvarn.sinkhorn")
        self.store = self.load(base / "v1/attention/ops/kvarn_store.py", "kvarn_store")

    @staticmethod
    def load(path, name):
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def rtn(self, x, bits):
        """(codes, step, minimum) of each row."""
        import torch
        found = self.store._asymmetric_rtn_per_row(torch.from_numpy(np.ascontiguousarray(x)), bits)
        return [v.numpy() for v in found]

    def scales(self, tiles, iterations):
        """(row scales, column scales) of tiles (n, rows, columns), fp32."""
        import torch
        _, columns, rows = self.sinkhorn.variance_normalize_batched(torch.from_numpy(tiles),
                                                                    iterations)
        return rows.numpy()[:, :, 0], columns.numpy()[:, 0]

    def coded(self, keys, balanced, rows, columns, bits):
        """(codes, A, Z, s): numbers as fp16."""
        import torch
        given = [torch.from_numpy(v) for v in (balanced, columns, rows)]
        if keys:
            found = self.store.kvarn_store_tile_k_batch_from_sinkhorn(*given, bits)
            names = ("s_col_K", "zp_K", "s_row_K")
        else:
            found = self.store.kvarn_store_tile_v_batch_from_sinkhorn(*given, bits)
            names = ("s_row_V", "zp_V", "s_col_V")
        packed = found["q_packed_uint8"].numpy().reshape(len(balanced), -1)
        return unpack(packed, bits), *(found[name].numpy() for name in names)


def make_data(count, group, d, rng):
    """Tiles (count, tokens, channels) of doubles by kind; every value fits fp16."""
    normal = rng.standard_normal((count, group, d))
    channels = np.where(rng.random((count, 1, d)) < 0.05, 30.0, 1.0)
    tokens = np.exp2(rng.standard_normal((count, group, 1)))
    grid = rng.integers(-15, 16, (count, group, d)) / 2.0
    grid[:, 0], grid[:, 1], grid[:, :, 0], grid[:, :, 1] = 7.5, -7.5, 7.5, -7.5
    constants = np.broadcast_to(rng.standard_normal((count, group, 1)), normal.shape)
    tiny = normal * np.exp2(rng.integers(-24, -12, (count, 1, 1)))
    zeros = np.where(rng.random(normal.shape) < 0.5, np.copysign(0.0, normal), normal)
    return {"random": normal, "outliers": normal * channels * tokens, "ties": grid,
            "constants": constants, "subnormals": tiny, "signed zeros": zeros}


def parts(got, keys, rows, columns, bits, r):
    """A tile's (codes, A, Z, s): numbers as fp16, as the original stores them."""
    size = bytes_of(r)
    kind = np.float16 if size == 2 else np.float32
    end = rows * columns * bits // 8
    numbers = np.ascontiguousarray(got[:, end:]).view(kind).astype(np.float16)
    order = (rows, rows, columns) if keys else (columns, rows, rows)
    first, second, third = np.split(numbers, np.cumsum(order)[:2], axis=1)
    a, z, s = (first, second, third) if keys else (second, third, first)
    return unpack(got[:, :end], bits), a, z, s


def same_parts(ours, theirs):
    """Of each tile; -0 and +0 are one zero: which of them a minimum is the original leaves open."""
    equal = (ours[0] == theirs[0]).all(1)
    for a, b in zip(ours[1:], theirs[1:]):
        equal &= (same_bits(a, b) | ((a == 0) & (b == 0))).all(1)
    return equal


def imbalance(balanced):
    across, down = balanced.std(1, ddof=1), balanced.std(2, ddof=1)
    return sum(v.max(1) / np.maximum(v.min(1), 1e-8) for v in (across, down))


class Ends:
    """What differs end to end."""

    def __init__(self):
        self.same = self.codes = self.tiles = self.past = self.other = self.noise = self.far = 0

    def add(self, x, ours, theirs, codes, bits):
        """x: (n, rows, columns); ours, theirs: (row scales, column scales); codes: of both."""
        balanced = [(x / s[1][:, None] / s[0][:, :, None]).astype(np.float64)
                    for s in (ours, theirs)]
        apart = np.maximum(*(np.abs(a.astype(np.float64) / b - 1).max(1)
                             for a, b in zip(ours, theirs)))
        other = apart > SCALES_CLOSE
        low, high = balanced[1].min(2, keepdims=True), balanced[1].max(2, keepdims=True)
        step = np.maximum((high - low) / (2**bits - 1), 1e-10)
        y = (balanced[1] - low) / step
        most = np.maximum(np.abs(low), np.abs(high))
        bound = (4 * (apart[:, None, None] + 2.0**-22) * most / step
                 + 2.0**-20 * (2**bits - 1))
        mine, their = (c.reshape(x.shape) for c in codes)
        differ = (mine != their) & ~other[:, None, None]
        past = differ & (np.abs(y - (mine + their) / 2) > bound)
        self.same += int((~differ.any((1, 2)) & ~other).sum())
        self.tiles += int(differ.any((1, 2)).sum())
        self.codes += int(differ.sum())
        self.past += int(past.any((1, 2)).sum())
        # Another iteration's scales.
        gap = np.abs(imbalance(balanced[0]) / imbalance(balanced[1]) - 1)
        least = np.minimum(x.std(1, ddof=1).min(1), x.std(2, ddof=1).min(1))
        noise = least <= NOISE * np.abs(x).max((1, 2))
        self.other += int((other & ~noise & (gap <= IMBALANCE_CLOSE)).sum())
        self.noise += int((other & noise).sum())
        self.far += int((other & ~noise & (gap > IMBALANCE_CLOSE)).sum())

    def note(self):
        return (f": {self.same} with the same codes, {self.tiles} with {self.codes} other codes at "
                f"a boundary, {self.other} of another iteration, {self.noise} of noise")


def check_tiles(tiles, original, x, keys, r, shape, report, ends):
    """x: (n, tokens, channels) of one kind, exact in R."""
    group, d, iterations = shape
    side = "keys" if keys else "values"
    rows, columns = (d, group) if keys else (group, d)
    flat = x.reshape(len(x), -1)
    tile = np.ascontiguousarray(x.transpose(0, 2, 1) if keys else x)
    words = [f"kvarn_{side}", r, "4", str(group), str(d), str(iterations)]
    found = np.frombuffer(tiles.run(["scales", *words], flat), np.float32).reshape(len(x), -1)
    ours = np.split(found, [rows], axis=1)
    theirs = original.scales(tile, iterations)
    balanced = tile / theirs[1][:, None] / theirs[0][:, :, None]
    for bits in (4, 2):
        words[2] = str(bits)
        def coded(scales):
            both = np.concatenate([flat, *scales], axis=1)
            return parts(tiles.coded(words, both, flat.shape[1], ["given"])[0], keys, rows, columns,
                         bits, r)
        want = original.coded(keys, balanced, *theirs, bits)
        given, whole = coded(theirs), coded(ours)
        report(f"kvarn {side} {bits} bits", "KVarN's torch, scales given", r, len(x),
               (~same_parts(given, want)).sum())
        some = slice(0, len(x), 16)  # encode() is its two steps
        at_once = parts(tiles.coded(words, flat[some], flat.shape[1])[0], keys, rows, columns, bits,
                        r)
        split = tuple(v[some] for v in whole)
        report(f"kvarn {side} {bits} bits", "its own two steps", r, len(split[0]),
               (~same_parts(at_once, split)).sum())
        end = ends.setdefault((side, bits, r), Ends())
        before = end.past + end.far
        end.add(tile, ours, theirs, (whole[0], want[0]), bits)
        report(f"kvarn {side} {bits} bits", "KVarN's torch, end to end", r, len(x),
               end.past + end.far - before, end.note())


def check(tiles, original, count, report):
    """`count` tiles of 32 x 32 of each kind, and a few of the usual size."""
    ends, rng = {}, np.random.default_rng(15)
    for shape, some in (((32, 32, 8), count), ((128, 128, 8), max(count // 256, 1))):
        for begin in range(0, some, AT_ONCE):
            data = make_data(min(AT_ONCE, some - begin), *shape[:2], rng)
            for x in data.values():
                for r in ("fp16", "bf16", "fp32"):
                    values = in_r(x, r).astype(np.float32)
                    for keys in (True, False):
                        check_tiles(tiles, original, values, keys, r, shape, report, ends)

"""The cache policies of runtime/numerics/NUMERICS.md, "Lossy caches", written from that page alone.

A policy gives view(): the keys and values that a query sees and which of them are kept, always
made anew from the exact ones; and is told of a row afterwards. Used by second_implementation.py.
"""
import numpy as np

from exact_fma import F32, fma
from frozen_functions import canonical, exp


class Exact:
    """What the policies share: everything is kept, exactly."""

    in_cache = False  # positions are counted in the cache

    def sees(self, positions, count):
        """Which of `count` positions queries see by position, (positions, count)."""
        return np.ones((len(positions), count), bool)

    def view(self, layer, keys, values, prompt, position, rounded):
        """keys, values [positions, heads, dim] of a layer; position: of the call's last query."""
        return keys, values, np.ones(len(keys), bool)

    def rows(self, layer, rows, seen, scale, prompt):
        """rows: positions, queries before RoPE (plain) and after (q), M (top) and L (total) of a
        call's rows; seen: what view() gave."""

    def after(self, layer, row, seen, scale):
        """row: the queries, M and L of a row's heads, from the prompt's last row on."""


class Q80(Exact):
    def view(self, layer, keys, values, prompt, position, rounded):
        return self.coded(keys), self.coded(values), np.ones(len(keys), bool)

    @staticmethod
    def coded(x):
        blocks = x.reshape(*x.shape[:-1], -1, 32).astype(F32)
        d = np.abs(blocks).max(-1, keepdims=True) / F32(127)
        inverse = np.where(d == 0, F32(0), F32(1) / d)
        inverse = np.where(np.isinf(inverse), F32(0), inverse)
        y = blocks * inverse
        whole = np.trunc(np.abs(y))
        codes = np.copysign(whole + (np.abs(y) - whole >= 0.5), y) + F32(0)
        finite = np.isfinite(d)
        codes = np.where(finite, codes, 0).astype(np.int8)
        d = np.where(finite, d, F32(np.nan)).astype(np.float16).astype(F32)
        return (d * codes.astype(F32)).astype(x.dtype).reshape(x.shape)


class Kivi(Exact):
    def __init__(self, bits):
        self.levels = 2**bits - 1

    def view(self, layer, keys, values, prompt, position, rounded):
        keys, values = keys.copy(), values.copy()
        if position >= prompt:
            k_end, v_end = position // 32 * 32, max(0, position - 32)
            groups = keys[:k_end].reshape(-1, 32, *keys.shape[1:])
            keys[:k_end] = self.coded(groups, 1, rounded).reshape(keys[:k_end].shape)
            groups = values[:v_end].reshape(v_end, values.shape[1], -1, 32)
            values[:v_end] = self.coded(groups, 3, rounded).reshape(values[:v_end].shape)
        return keys, values, np.ones(len(keys), bool)

    def coded(self, x, axis, rounded):
        real = x.dtype.type
        low = x.min(axis, keepdims=True) + real(0)
        high = x.max(axis, keepdims=True) + real(0)
        scale = rounded(rounded(high - low) / real(self.levels))
        bad = ~np.isfinite(scale)
        scale, low = np.where(bad, real(np.nan), scale), np.where(bad, real(np.nan), low)
        y = np.minimum(rounded(rounded(x - low) / scale), real(self.levels))
        codes = np.where(bad | (scale == 0), real(0), np.rint(y)).astype(x.dtype)
        return fma(codes, np.broadcast_to(scale, x.shape), np.broadcast_to(low, x.shape))


class Tova(Exact):
    def __init__(self, budget):
        self.budget, self.kept = budget, {}

    def view(self, layer, keys, values, prompt, position, rounded):
        kept = self.kept.get(layer, np.zeros(0, bool))
        return keys, values, np.concatenate([kept, np.ones(len(keys) - len(kept), bool)])

    def after(self, layer, row, seen, scale):
        (q, top, total), (keys, _, kept) = row, seen
        self.kept[layer] = kept
        if kept.sum() <= self.budget:
            return
        real = q.dtype.type
        shared = np.arange(len(q)) * keys.shape[1] // len(q)
        score = np.zeros((len(q), len(keys)), q.dtype)
        for i in range(q.shape[1]):
            score = fma(q[:, i, None], keys[:, shared, i].T, score)
        weight = exp(score * scale - top[:, None]) * (real(1) / total)[:, None]
        weight = np.where(kept, canonical(weight), real(0))
        total = np.zeros(len(keys), q.dtype)
        for head in weight:
            total = total + head
        total = np.where(np.isnan(total), real(-1), total)
        order = sorted(np.nonzero(kept)[0], key=lambda j: (-total[j], j))
        self.kept[layer] = np.isin(np.arange(len(keys)), order[:self.budget])


def policy_named(name):
    """For example q8_0, kivi:2, tova:64."""
    kind, *number = name.split(":")
    return {"q8_0": Q80, "kivi": Kivi, "tova": Tova}[kind](*map(int, number))

"""Attention in key blocks, of runtime/numerics/NUMERICS.md ("Emulated schedules"), over arrays.

Written from that page alone. Used by second_implementation.py.
"""
import re
from fractions import Fraction

import numpy as np

from attention import kv_head_of, lane_tree, scores
from exact_fma import F64, fma
from formats_and_draws import narrow
from frozen_functions import exp, log

FORMATS = {"fp32": "-", "bf16": "bf16", "fp16": "fp16"}


class Flash:
    """A schedule by its text: "flash:64+p:bf16+splits:2+stabilise:(beta:7)"."""

    def __init__(self, text):
        inner = re.search(r"stabilise:\((.*)\)", text)
        plain = re.sub(r"\+stabilise:\(.*\)", "", text)
        options = dict(pair.split(":") for pair in plain.split("+"))
        mitigation = dict(pair.split(":") for pair in inner[1].split("+")) if inner else {}
        self.block, self.p = int(options["flash"]), FORMATS[options.get("p", "fp32")]
        self.splits = options.get("splits", "1")
        self.loose = mitigation.get("form") == "repository"
        self.beta = float(mitigation["beta"]) if inner else None

    def attention(self, q, keys, values, positions, stored):
        """One sequence, every key visible: q [rows, heads, dim], keys, values [count, kv_heads,
        dim]."""
        shared = kv_head_of(q.shape[1], keys.shape[1])
        keys, values = keys[:, shared], values[:, shared]
        of_call = self.blocks_of_call(len(q), q.shape[1], int(positions.max()) + 1)
        out = np.empty_like(q)
        for row, position in enumerate(positions):
            count = int(position) + 1
            blocks = -(-count // self.block)
            own = of_call or -(-blocks // int(self.splits))
            step = own * self.block
            parts = [self.split(q[row:row + 1], keys, values, begin, min(begin + step, count))
                     for begin in range(0, count, step)]
            out[row] = combined(parts)
        return narrow(out + q.dtype.type(0), stored)

    def blocks_of_call(self, rows, heads, longest):
        if self.splits != "by_length":
            return 0
        tasks, blocks, places = heads * -(-rows // 64), -(-longest // self.block), 264
        if 10 * tasks >= 8 * places:
            return blocks
        def full(n):
            return Fraction(n * tasks, places * -(-n * tasks // places))
        def length(n):
            return -(-blocks // n)
        eligible = [n for n in range(1, min(64, blocks) + 1) if n == 1 or length(n) < length(n - 1)]
        best = max(full(n) for n in eligible)
        return length(next(n for n in eligible if full(n) >= Fraction(17, 20) * best))

    def raised(self, score):
        """The maximum that a block brings: score [1, heads, keys]."""
        real = score.dtype.type
        r = score.max(2)
        if self.beta is None:
            return r
        least = r - real(1e-3) if self.loose else r
        many = (score >= least[..., None]).sum(2) > 1
        return np.where(many & (r > 0), real(self.beta) * r, np.where(many & (r < 0), real(0), r))

    def split(self, q, keys, values, begin, end):
        """Output and log-sum-exp of positions [begin, end): [heads, dim], [heads]."""
        real = q.dtype.type
        top = total = None
        out = np.zeros_like(q)
        for start in range(begin, end, self.block):
            stop = min(start + self.block, end)
            score = scores(q, keys[start:stop])
            m = self.raised(score)
            if top is not None:
                m = np.maximum(top, m)
                a = exp(top - m)
                out = out * a[..., None]
            p = exp(score - m[..., None])
            lanes = np.zeros(q.shape[:2] + (32,), real)
            for j in range(start, stop):
                lanes[..., j % 32] = lanes[..., j % 32] + p[..., j - start]
            l = lane_tree(lanes)
            if self.loose and self.beta is not None:
                l = np.maximum(l, real(1e-10))
            total = l if top is None else fma(total, a, l)
            p, top = narrow(p, self.p), m
            for j in range(start, stop):
                out = fma(p[..., j - start, None], values[None, j], out)
        lse = (top.astype(F64) + log(total.astype(F64))).astype(real)
        return (out * (real(1) / total)[..., None])[0], lse[0]


def combined(parts):
    if len(parts) == 1:
        return parts[0][0]
    real = parts[0][1].dtype.type
    m = np.max([lse for _, lse in parts], axis=0)
    total = np.zeros_like(m)
    for _, lse in parts:
        total = total + exp(lse - m)
    whole = (m.astype(F64) + log(total.astype(F64))).astype(real)
    out = np.zeros_like(parts[0][0])
    for o, lse in parts:
        out = fma(exp(lse - whole)[:, None], o, out)
    return out

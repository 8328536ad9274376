"""Attention and RoPE of runtime/numerics/NUMERICS.md ("Attention"), over arrays.

Written from that page alone, as the rest of second_implementation.py, which uses it.
"""
import numpy as np

from exact_fma import F64, fma
from formats_and_draws import narrow
from frozen_functions import canonical, exp, log, sin_cos

BASE = 10000.0  # of the worked example's RoPE


def lane_tree(lanes):
    """Over the last axis."""
    while lanes.shape[-1] > 1:
        h = lanes.shape[-1] // 2
        lanes = lanes[..., :h] + lanes[..., h:]
    return lanes[..., 0]


def rope_angles(positions, head_dim):
    """Plain RoPE: no frequency factor, no scaling (the worked example has neither). Gives sines
    and cosines in fp64, [positions, head_dim / 2]."""
    i = np.arange(head_dim // 2, dtype=F64)
    inv = exp(-(2 * i / head_dim) * log(np.array([BASE])))
    return sin_cos(positions.astype(F64)[:, None] * inv)


def rope(x, positions, stored):
    """x [rows, heads, head_dim]."""
    half = x.shape[2] // 2
    s, c = (v.astype(x.dtype)[:, None, :] for v in rope_angles(positions, x.shape[2]))
    low, high = x[..., :half], x[..., half:]
    return narrow(np.concatenate([fma(low, c, -(high * s)), fma(high, c, low * s)], 2), stored)


def kv_head_of(heads, kv_heads):
    return np.arange(heads) * kv_heads // heads


def scores(q, keys):
    """q [rows, heads, dim], keys [positions, heads, dim] -> [rows, heads, positions]."""
    score = np.zeros((*q.shape[:2], keys.shape[0]), q.dtype)
    for i in range(q.shape[2]):
        score = fma(q[:, :, i, None], keys[:, :, i].T[None], score)
    return score * q.dtype.type(1.0 / np.sqrt(F64(q.shape[2])))


def attention(q, keys, values, visible, stored):
    """q [rows, heads, dim]; keys, values [positions, kv_heads, dim]; visible [rows, kv_heads,
    positions]. Gives the result and each row's and head's M and L."""
    real = q.dtype.type
    shared = kv_head_of(q.shape[1], keys.shape[1])
    state = None
    for start in range(0, keys.shape[0], 256):
        j = slice(start, start + 256)
        seen = visible[:, shared, j]
        exists = seen.any(2)
        if exists.any():
            new = split(q, keys[j][:, shared], values[j][:, shared], seen)
            state = (new, exists) if state is None else merge(*state, new, exists)
    (top, total, out), _ = state
    return narrow(out * (real(1) / total)[..., None] + real(0), stored), top, total


def split(q, k, v, visible):
    """The state (m, l, o) of one split of at most 256 keys; visible [rows, heads, keys]."""
    real = q.dtype.type
    score = scores(q, k)
    m = np.where(visible, score, real(-np.inf)).max(2)
    p = np.where(visible, exp(np.where(visible, score - m[..., None], real(0))), real(0))
    lanes = np.zeros(q.shape[:2] + (32,), real)
    for j in range(0, k.shape[0], 32):
        part, seen = p[..., j:j + 32], visible[..., j:j + 32]
        width = part.shape[2]
        lanes[..., :width] = np.where(seen, lanes[..., :width] + part, lanes[..., :width])
    o = np.zeros_like(q)
    for j in np.nonzero(visible.any((0, 1)))[0]:
        o = np.where(visible[:, :, j, None], fma(p[..., j, None], v[None, j], o), o)
    return m, lane_tree(lanes), o


def merge(old, had, new, exists):
    """The next split's state joins the rows and heads for which that split exists; it starts the
    state of those that had none."""
    (m1, l1, o1), (m2, l2, o2) = old, new
    m = np.maximum(m1, m2)
    a, b = exp(m1 - m), exp(m2 - m)
    o = fma(o1, a[..., None], o2 * b[..., None])
    both = had & exists
    joined = []
    for merged, first, second in zip((m, fma(l1, a, l2 * b), o), old, new):
        wide = (..., None) if merged.ndim == 3 else ...
        joined.append(np.where(both[wide], merged, np.where(had[wide], first, second)))
    return joined, had | exists


def weights(q, keys, visible, top, total):
    """exp(score - M) * (1 / L) of every key, +0 where it is not visible: [rows, heads, keys]."""
    real = q.dtype.type
    shared = kv_head_of(q.shape[1], keys.shape[1])
    score = scores(q, keys[:, shared])
    weight = canonical(exp(score - top[..., None]) * (real(1) / total)[..., None])
    return np.where(visible[:, shared], weight, real(0))

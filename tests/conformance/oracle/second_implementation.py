#!/usr/bin/env python3
"""A second implementation of runtime/numerics/NUMERICS.md, written from that page alone.

Reproduces the page's worked example (digests and tokens of every precision and cache policy), the
Philox vector and the draw; the expected values are parsed from the page. Shares nothing with the
C++ code: exact_fma.py holds fma, frozen_functions.py exp, log, sin and cos, lossy_caches.py and
evictions.py the policies.

    second_implementation.py [--page PATH] [ROW ...]      (default: every row of the tables)

A row is named as the page names it: fp32, or "q8_0, fp32".

Exit code: 0 all match, 1 something differs, 2 bad arguments. Needs numpy >= 2 and xxhash;
the whole table takes under a minute on one core.
"""
import argparse
import pathlib
import re
import sys
import time

import numpy as np
import xxhash

from exact_fma import F32, F64, check_fma, fma
from frozen_functions import X, canonical, exp, log, silu, sin_cos
from evictions import policy_named

U64 = np.uint64


# ---- Notation: segments and trees ---------------------------------------------------------------

def segment(n, s, count):
    return slice(n * s // count, n * (s + 1) // count)


def neighbour_tree(values):
    """Over the last axis."""
    while values.shape[-1] > 1:
        values = values[..., 0::2] + values[..., 1::2]
    return values[..., 0]


def lane_tree(lanes):
    """Over the last axis."""
    while lanes.shape[-1] > 1:
        h = lanes.shape[-1] // 2
        lanes = lanes[..., :h] + lanes[..., h:]
    return lanes[..., 0]


# ---- Formats: name -> fraction bits, lowest exponent, largest finite, saturates -----------------

FORMATS = {"bf16": (7, -126, X("0x1.fep127"), False), "fp16": (10, -14, 65504.0, False),
           "e4m3": (3, -6, 448.0, True), "e5m2": (2, -14, 57344.0, True)}


def narrow(x, name):
    """Rounded to the format and widened again; "-" keeps the Real."""
    x = canonical(x)
    if name == "-":
        return x
    if name == "tf32":
        u = x.view(np.uint32)
        return ((u + np.uint32(0xFFF) + ((u >> 13) & 1)) & np.uint32(0xFFFFE000)).view(F32)
    fraction_bits, lowest, largest, saturates = FORMATS[name]
    wide = x.astype(F64)
    step = np.ldexp(1.0, np.maximum(np.frexp(wide)[1] - 1, lowest) - fraction_bits)
    q = np.rint(wide / step) * step
    q = np.where(np.abs(q) > largest, np.copysign(largest if saturates else np.inf, q), q)
    return canonical(q.astype(F32))


# ---- Reductions --------------------------------------------------------------------------------

def dot_product(a, b, segments=8):
    """a [rows, K], b [outputs, K] -> the tree's value [rows, outputs], before "+ 0"."""
    k_count = a.shape[1]
    count = segments if k_count >= 64 else 1
    sums = np.zeros((a.shape[0], b.shape[0], count), a.dtype)
    for s in range(count):
        acc = sums[..., s].copy()
        for k in range(k_count)[segment(k_count, s, count)]:
            acc = fma(a[:, k, None], b[None, :, k], acc)
        sums[..., s] = acc
    return neighbour_tree(sums)


def sum_of_squares(x):
    lanes = np.zeros((x.shape[0], 256), x.dtype)
    for start in range(0, x.shape[1], 256):
        part = x[:, start:start + 256]
        lanes[:, :part.shape[1]] = fma(part, part, lanes[:, :part.shape[1]])
    return lane_tree(lanes)


def rms_norm(x, w, eps, stored):
    real = x.dtype.type
    r = real(1) / np.sqrt(sum_of_squares(x) / real(x.shape[1]) + real(eps))
    return narrow((x * r[:, None]) * w, stored)


# ---- Attention ---------------------------------------------------------------------------------

def rope_angles(positions, head_dim, base):
    """Plain RoPE: no frequency factor, no scaling (the worked example has neither)."""
    i = np.arange(head_dim // 2, dtype=F64)
    inv = exp(-(2 * i / head_dim) * log(np.array([base])))
    return sin_cos(positions.astype(F64)[:, None] * inv)


def rope(x, positions, base, stored):
    """x [rows, heads, head_dim]."""
    half = x.shape[2] // 2
    s, c = (v.astype(x.dtype)[:, None, :] for v in rope_angles(positions, x.shape[2], base))
    low, high = x[..., :half], x[..., half:]
    return narrow(np.concatenate([fma(low, c, -(high * s)), fma(high, c, low * s)], 2), stored)


def attention_scale(q):
    return q.dtype.type(1.0 / np.sqrt(F64(q.shape[-1])))


def attention(q, keys, values, positions, stored, kept=None):
    """q [rows, heads, dim]; keys, values [positions so far, kv_heads, dim]; no window. kept: which
    of the positions are not evicted, (positions) or (rows, positions). Gives the result and each row's and head's M and L."""
    real = q.dtype.type
    kept = np.ones(keys.shape[0], bool) if kept is None else kept
    kept = np.broadcast_to(kept, (len(q), len(keys)))
    shared = np.arange(q.shape[1]) * keys.shape[1] // q.shape[1]
    scale = attention_scale(q)
    state = None
    for start in range(0, keys.shape[0], 256):
        j = np.arange(start, min(start + 256, keys.shape[0]))
        visible = ((j <= positions[:, None]) & kept[:, j])[:, None, :]
        if not visible.any():
            continue
        new = split(q, keys[j][:, shared], values[j][:, shared], visible, scale)
        state = new if state is None else merge(state, new, visible.any(2))
    top, total, out = state
    return narrow(out * (real(1) / total)[..., None] + real(0), stored), top, total


def split(q, k, v, visible, scale):
    """The state (m, l, o) of one split of at most 256 keys; visible [rows, 1, keys]."""
    real = q.dtype.type
    score = np.zeros((q.shape[0], q.shape[1], k.shape[0]), real)
    for i in range(q.shape[2]):
        score = fma(q[:, :, i, None], k[:, :, i].T[None], score)
    score = score * scale
    m = np.where(visible, score, real(-np.inf)).max(2)
    p = np.where(visible, exp(np.where(visible, score - m[..., None], real(0))), real(0))
    lanes = np.zeros(q.shape[:2] + (32,), real)
    for j in range(0, k.shape[0], 32):
        part, seen = p[..., j:j + 32], visible[..., j:j + 32]
        width = part.shape[2]
        lanes[..., :width] = np.where(seen, lanes[..., :width] + part, lanes[..., :width])
    o = np.zeros_like(q)
    for j in range(k.shape[0]):
        o = np.where(visible[:, :, j, None], fma(p[..., j, None], v[None, j], o), o)
    return [m, lane_tree(lanes), o]


def merge(old, new, exists):
    """The next split's state joins the rows for which that split exists."""
    (m1, l1, o1), (m2, l2, o2) = old, new
    m = np.maximum(m1, m2)
    a, b = exp(m1 - m), exp(m2 - m)
    o = fma(o1, a[..., None], o2 * b[..., None])
    return [np.where(exists, m, m1), np.where(exists, fma(l1, a, l2 * b), l1),
            np.where(exists[..., None], o, o1)]


# ---- Precisions: weights, matrix, lm_head matrix, input, lm_head input, R ------------------------

PRECISIONS = {"fp64": "- - - - - -", "fp32": "- - - - - -", "tf32": "- tf32 tf32 tf32 tf32 -",
              "bf16": "bf16 bf16 bf16 bf16 bf16 bf16", "fp16": "fp16 fp16 fp16 fp16 fp16 fp16",
              "fp8-e4m3": "bf16 e4m3 bf16 e4m3 bf16 bf16",
              "fp8-e5m2": "bf16 e5m2 bf16 e5m2 bf16 bf16",
              "layercast-bf16": "bf16 bf16 bf16 - - -", "layercast-fp16": "fp16 fp16 fp16 - - -"}


def scaled(x, name):
    """(8-bit values, scale of each row) of x [rows, K]; other formats have no scale."""
    if name not in ("e4m3", "e5m2"):
        return narrow(x, name), None
    amax = np.abs(x).max(1).astype(F64)
    steps = np.ldexp(1.0, np.arange(-60, 61))
    fits = amax[:, None] / steps <= FORMATS[name][2]
    scale = np.where(fits.any(1), steps[fits.argmax(1)], 2.0**60)
    scale = np.where(amax == 0, 1.0, scale).astype(F32)[:, None]
    return np.where(np.isfinite(amax)[:, None], narrow(x / scale, name), F32(np.nan)), scale


def linear(x, matrix, input_format, stored):
    (w, sw), (a, sa) = matrix, scaled(x, input_format)
    tree = dot_product(a, w)
    y = (tree if sw is None else tree * (sa * sw.T)) + x.dtype.type(0)
    return narrow(y, stored)


# ---- Sampling, digest ----------------------------------------------------------------------------

def philox4x32(counter, key, rounds=10):
    """counter: four uint64 arrays of 32-bit words; key: two integers."""
    c, (k0, k1), mask = list(counter), key, U64(0xFFFFFFFF)
    for _ in range(rounds):
        p0, p1 = c[0] * U64(0xD2511F53), c[2] * U64(0xCD9E8D57)
        c = [(p1 >> U64(32)) ^ c[1] ^ U64(k0), p1 & mask,
             (p0 >> U64(32)) ^ c[3] ^ U64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def draw(seed, prompt_hash, positions, stream):
    words = [prompt_hash & 0xFFFFFFFF, prompt_hash >> 32, positions, stream]
    counter = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, U64)) for v in words))
    first = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))[0]
    return U64(2) * (first >> U64(9)) + U64(1)


def hash_of_prompt(tokens):
    return xxhash.xxh3_64_intdigest(np.array(tokens, "<i4").tobytes())


def digest(row):
    row = canonical(row)
    parts = (row[segment(row.size, s, 8)].tobytes() for s in range(8))
    return xxhash.xxh3_128_hexdigest(b"".join(xxhash.xxh3_128_digest(p) for p in parts))


# ---- Worked example ------------------------------------------------------------------------------

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 100, 64, 2, 4, 2, 16, 100
EPS, BASE = X("0x1.4f8b588e368f1p-17"), 10000.0
LAYER_SHAPES = [(HIDDEN,), (HEADS * HEAD_DIM, HIDDEN), (KV_HEADS * HEAD_DIM, HIDDEN),
                (KV_HEADS * HEAD_DIM, HIDDEN), (HIDDEN, HEADS * HEAD_DIM), (HIDDEN,),
                (INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]


def tensor(number, shape):
    """A matrix is [outputs, inputs], row-major; the embedding [tokens, hidden]."""
    n = draw(2026, number, np.arange(np.prod(shape)), 7)
    x = (n.astype(F64) * 2.0**-24 - 0.5).astype(F32).reshape(shape)
    if number == 0:
        return x * F32(4)
    return x * F32(0.5) if len(shape) == 2 else F32(1) + x * F32(0.5)


class Model:
    def __init__(self, precision, policy=None, head_dim=HEAD_DIM):
        self.policy, self.head_dim, self.prompt = policy, head_dim, None
        self.real = F64 if precision == "fp64" else F32
        formats = PRECISIONS[precision].split()
        self.weights, self.matrix, lm_matrix, self.input, self.lm_input, self.stored = formats
        embedding = tensor(0, (VOCABULARY, HIDDEN))
        self.embedding = narrow(embedding, self.weights).astype(self.real)
        self.lm_head = self.prepared(embedding, lm_matrix)
        self.layers = [[self.prepared(tensor(1 + 9 * l + i, shape), self.matrix)
                        for i, shape in enumerate(LAYER_SHAPES)] for l in range(LAYERS)]
        self.final_norm = self.prepared(tensor(1 + 9 * LAYERS, (HIDDEN,)), "")
        empty = np.zeros((0, KV_HEADS * HEAD_DIM // head_dim, head_dim), self.real)
        self.cache = [(empty, empty)] * LAYERS

    def prepared(self, values, matrix_format):
        if values.ndim == 1:
            return narrow(values, self.weights).astype(self.real)
        values, scale = scaled(values, matrix_format)
        return values.astype(self.real), scale

    def forward(self, tokens):
        """Appends the tokens; returns the logits of the last one."""
        start = self.cache[0][0].shape[0]
        self.prompt = self.prompt or len(tokens)
        positions = np.arange(start, start + len(tokens))
        h = self.embedding[tokens]
        for index, layer in enumerate(self.layers):
            norm1, wq, wk, wv, wo, norm2, gate, up, down = layer
            x = rms_norm(h, norm1, EPS, self.stored)
            q, k, v = (self.linear(x, w).reshape(len(tokens), -1, self.head_dim)
                       for w in (wq, wk, wv))
            plain = q
            if not (self.policy and self.policy.in_cache):
                q, k = (rope(y, positions, BASE, self.stored) for y in (q, k))
            k, v = (np.concatenate(pair) for pair in zip(self.cache[index], (k, v)))
            self.cache[index] = k, v
            mixed = self.attend(index, q, k, v, positions, plain).reshape(len(tokens), -1)
            h = narrow(h + self.linear(mixed, wo), self.stored)
            x = rms_norm(h, norm2, EPS, self.stored)
            act = narrow(silu(self.linear(x, gate)) * self.linear(x, up), self.stored)
            h = narrow(h + self.linear(act, down), self.stored)
        last = rms_norm(h[-1:], self.final_norm, EPS, self.stored)
        return linear(last, self.lm_head, self.lm_input, "-")[0]

    def attend(self, index, q, k, v, positions, plain):
        """Rows of one call have one view: the whole prompt, or one row after it."""
        if self.policy is None:
            return attention(q, k, v, positions, self.stored)[0]
        by_position = self.policy.sees(positions, len(k))
        if self.policy.in_cache:
            return self.attend_in_cache(q, k, v, positions, by_position)
        seen = self.policy.view(index, k, v, self.prompt, int(positions[-1]),
                                lambda x: narrow(x, self.stored))
        mixed, top, total = attention(q, *seen[:2], positions, self.stored,
                                      seen[2] & by_position)
        rows = {"positions": positions, "plain": plain, "q": q, "top": top, "total": total}
        self.policy.rows(index, rows, seen, attention_scale(q), self.prompt)
        if positions[-1] + 1 >= self.prompt:
            row = q[-1], top[-1], total[-1]
            self.policy.after(index, row, seen, attention_scale(q))
        return mixed

    def attend_in_cache(self, q, k, v, positions, by_position):
        """q and k before RoPE; each row turns those that it sees by their numbers."""
        mixed = []
        for row, position, sees in zip(q, positions, by_position):
            seen = np.nonzero(sees[:position + 1])[0]
            numbers = np.arange(len(seen))
            turned = rope(k[seen], numbers, BASE, self.stored)
            mine = rope(row[None], numbers[-1:], BASE, self.stored)
            mixed.append(attention(mine, turned, v[seen], numbers[-1:], self.stored)[0])
        return np.concatenate(mixed)

    def linear(self, x, matrix):
        return linear(x, matrix, self.input, self.stored)


def worked_example(row):
    """row: a precision, or a cache policy and a precision, which has heads of 32 channels."""
    name, _, precision = row.rpartition(", ")
    model = Model(precision, policy_named(name), 32) if name else Model(precision)
    rows = []
    tokens = [(37 * i + 11) % 100 for i in range(300)]
    for _ in range(3):
        logits = model.forward(tokens)
        tokens = [int(np.argmax(logits))]
        rows.append((digest(logits), tokens[0]))
    return rows


# ---- Checks --------------------------------------------------------------------------------------

def check_draws(page):
    zero = [np.zeros(1, U64)] * 4
    words = " ".join(f"{int(w[0]):08x}" for w in philox4x32(zero, (0, 0)))
    yield f"counter 0 0 0 0, key 0: `{words}`" in page, f"Philox4x32-10 of zeros: {words}"
    prompt_hash = hash_of_prompt([1, 2, 3])
    line = f"hash {prompt_hash:016x}, n = {int(draw(42, prompt_hash, 3, 0)[0])}"
    yield line in page, f"draw: {line}"


def main():
    parser = argparse.ArgumentParser(description="second implementation of NUMERICS.md")
    root = pathlib.Path(__file__).resolve().parents[3]
    parser.add_argument("--page", type=pathlib.Path, default=root / "runtime/numerics/NUMERICS.md")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    page = options.page.read_text(encoding="utf-8")
    table = {}
    for line in page.splitlines():
        cells = re.findall(r"`([0-9a-f]{32})` (\d+)", line)
        if len(cells) == 3:
            table[line.split("|")[1].strip()] = [(d, int(t)) for d, t in cells]
    unknown = [r for r in options.rows or PRECISIONS if r not in table]
    if unknown:
        parser.error(f"not in the page's table: {', '.join(unknown)}; it has {', '.join(table)}")
    results = [check_fma(), *check_draws(page)]
    for good, text in results:
        print("PASS" if good else "FAIL", text)
    passed = [good for good, _ in results]
    for row in options.rows or table:
        begin = time.time()
        rows = worked_example(row)
        passed.append(rows == table[row])
        print(f"| {row} | " + " | ".join(f"`{d}` {t}" for d, t in rows) + " |",
              "PASS" if passed[-1] else "FAIL", f"({time.time() - begin:.1f} s)", flush=True)
    print(f"{sum(passed)} of {len(passed)} pass")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    np.seterr(all="ignore")  # overflow, NaN and 0 * inf are values here, not accidents
    sys.exit(main())

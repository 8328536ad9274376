#!/usr/bin/env python3
"""A second implementation of runtime/numerics/NUMERICS.md, written from that page alone.

Reproduces the page's worked example (digests and tokens of every precision and cache policy), the
Philox vector and the draw; the expected values are parsed from the page. Shares nothing with the
C++ code: exact_fma.py holds fma, frozen_functions.py exp, log, sin and cos, formats_and_draws.py
and attention.py the sections of those names, flash.py the attention of emulated schedules,
lossy_caches.py the policies.

    second_implementation.py [--page PATH] [--new] [ROW ...]   (default: every row of the tables)

A row is named as the page names it: fp32, or "q8_0, fp32". With --new the lines of rows that the
page does not have are printed too, to be put there.

Exit code: 0 all match, 1 something differs, 2 bad arguments. Needs numpy >= 2 and xxhash;
the whole table takes about two minutes of one core.
"""
import argparse
import pathlib
import re
import sys
import time

import numpy as np
import xxhash

from attention import attention, lane_tree, rope
from exact_fma import F32, F64, check_fma, fma
from flash import Flash
from formats_and_draws import FORMATS, U64, draw, narrow, philox4x32
from frozen_functions import X, canonical, silu
from lossy_caches import policy_named
from lossy_codecs import turned
from lossy_evictions import Rows


# ---- Notation: segments and trees ---------------------------------------------------------------

def segment(n, s, count):
    return slice(n * s // count, n * (s + 1) // count)


def neighbour_tree(values):
    """Over the last axis."""
    while values.shape[-1] > 1:
        values = values[..., 0::2] + values[..., 1::2]
    return values[..., 0]


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


def scheduled_product(a, b, schedule):
    """a [rows, K], b [outputs, K] in the order of a schedule, before "+ 0"."""
    k_count, split = a.shape[1], int(schedule["split_k"])
    multiple = int(schedule.get("slice", 8))
    length = -(-(-(-k_count // split)) // multiple) * multiple
    sums = []
    for start in range(0, k_count, length):
        acc = np.zeros((a.shape[0], b.shape[0]), a.dtype)
        for k in range(start, min(start + length, k_count)):
            acc = fma(a[:, k, None], b[None, :, k], acc)
        sums.append(acc)
    while len(sums) > 1:
        if schedule.get("combine", "ascending") == "ascending":
            sums[:2] = [sums[0] + sums[1]]
        else:
            sums = [x + y for x, y in zip(sums[0::2], sums[1::2])] + sums[len(sums) // 2 * 2:]
    return narrow(sums[0], schedule.get("out", "-").replace("fp32", "-"))


def schedule_named(text):
    """"split_k:3+slice:16", or "by_rows:(1:(split_k:4)+2:(split_k:1))" -> rows -> schedule."""
    pairs = lambda part: dict(pair.split(":") for pair in part.split("+"))
    if not text.startswith("by_rows"):
        return lambda rows: pairs(text)
    table = [(int(start), pairs(part)) for start, part in re.findall(r"(\d+):\(([^()]*)\)", text)]
    return lambda rows: [part for start, part in table if start <= rows][-1]


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


# ---- Precisions: weights, matrix, lm_head matrix, input, lm_head input, R ------------------------

PRECISIONS = {"fp64": "- - - - - -", "fp32": "- - - - - -", "tf32": "- tf32 tf32 tf32 tf32 -",
              "bf16": "bf16 bf16 bf16 bf16 bf16 bf16", "fp16": "fp16 fp16 fp16 fp16 fp16 fp16",
              "fp8-e4m3": "bf16 e4m3 bf16 e4m3 bf16 bf16",
              "fp8-e5m2": "bf16 e5m2 bf16 e5m2 bf16 bf16",
              "layercast-bf16": "bf16 bf16 bf16 - - -", "layercast-fp16": "fp16 fp16 fp16 - - -",
              "layercast-bf16-paper": "- bf16 - - - -", "layercast-fp16-paper": "- fp16 - - - -"}


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


def linear(x, matrix, input_format, stored, schedule=None):
    (w, sw), (a, sa) = matrix, scaled(x, input_format)
    tree = scheduled_product(a, w, schedule(len(a))) if schedule else dot_product(a, w)
    y = (tree if sw is None else tree * (sa * sw.T)) + x.dtype.type(0)
    return narrow(y, stored)


# ---- Digest -------------------------------------------------------------------------------------

def hash_of_prompt(tokens):
    return xxhash.xxh3_64_intdigest(np.array(tokens, "<i4").tobytes())


def digest(row):
    row = canonical(row)
    parts = (row[segment(row.size, s, 8)].tobytes() for s in range(8))
    return xxhash.xxh3_128_hexdigest(b"".join(xxhash.xxh3_128_digest(p) for p in parts))


# ---- Worked example ------------------------------------------------------------------------------

VOCABULARY, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 100, 64, 2, 4, 2, 16, 100
EPS = X("0x1.4f8b588e368f1p-17")
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
    def __init__(self, precision, policy="exact", head_dim=HEAD_DIM, schedule=None, flash=None):
        self.schedule = schedule_named(schedule) if schedule else None
        self.policy, self.head_dim, self.prompt = policy_named(policy), head_dim, None
        self.flash = flash
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
        self.cache = [(empty, empty, empty)] * LAYERS  # K before RoPE, K, V of all positions

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
            mixed = self.attend(index, q, k, v, positions).reshape(len(tokens), -1)
            h = narrow(h + self.linear(mixed, wo), self.stored)
            x = rms_norm(h, norm2, EPS, self.stored)
            act = narrow(silu(self.linear(x, gate)) * self.linear(x, up), self.stored)
            h = narrow(h + self.linear(act, down), self.stored)
        last = rms_norm(h[-1:], self.final_norm, EPS, self.stored)
        return linear(last, self.lm_head, self.lm_input, "-", self.schedule)[0]

    def attend(self, index, q, k, v, positions):
        """q, k, v [rows, heads, head_dim] of new rows, before RoPE -> their attention."""
        codec, stored = self.policy.codec, self.stored
        k = codec.before_rope(index, k, positions, stored)
        written = (k, codec.written(index, "k", rope(k, positions, stored), positions, stored),
                   codec.written(index, "v", v, positions, stored))
        self.cache[index] = tuple(np.concatenate(pair) for pair in zip(self.cache[index], written))
        states = [codec.state(int(p), self.prompt) for p in positions]
        changes = [i for i in range(len(states)) if i == 0 or states[i] != states[i - 1]]
        parts = [slice(a, b) for a, b in zip(changes, changes[1:] + [len(states)])]
        if self.flash is not None:
            keys, values = self.cache[index][1:]
            return self.flash.attention(rope(q, positions, stored), keys, values, positions, stored)
        if self.policy.eviction.in_cache:
            return np.concatenate([self.attend_in_cache(index, q[r:r + 1], positions[r])
                                   for r in range(len(q))])
        return np.concatenate([self.attend_alike(index, q[part], positions[part],
                                                 states[part.start]) for part in parts])

    def attend_alike(self, index, q, positions, state):
        """Rows whose view of coded and exact is the same."""
        codec, eviction, stored = self.policy.codec, self.policy.eviction, self.stored
        turns = k_turn, v_turn = codec.turns(state, self.head_dim)
        keys, values = codec.seen(*self.cache[index][1:], state, stored)
        count, kv_heads = keys.shape[:2]
        visible = eviction.visible(index, positions, count, kv_heads)
        visible = visible & (np.arange(count) <= positions[:, None])[:, None]
        turned_q = turned(rope(q, positions, stored), k_turn)
        mixed, top, total = attention(turned_q, keys, values, visible, stored)
        eviction.after(Rows(index, self.prompt, positions, turned_q, q, keys, values, visible,
                            top, total, turns))
        return narrow(turned(mixed, v_turn), stored) if v_turn else mixed

    def attend_in_cache(self, index, q, position):
        """One row whose keys turn by their numbers among those that it sees."""
        (keys, _, values), stored = self.cache[index], self.stored
        seen = self.policy.eviction.visible(index, np.array([position]), len(keys), 1)[0, 0]
        seen = np.nonzero(seen[:position + 1])[0]
        numbers = np.arange(len(seen))
        keys, values = rope(keys[seen], numbers, stored), values[seen]
        visible = np.ones((1, keys.shape[1], len(seen)), bool)
        return attention(rope(q, numbers[-1:], stored), keys, values, visible, stored)[0]

    def linear(self, x, matrix):
        return linear(x, matrix, self.input, self.stored, self.schedule)


def worked_example(row):
    """row: a precision, or a policy or schedule and one; policies have heads of 32 channels."""
    name, _, precision = row.rpartition(", ")
    if name.startswith(("split_k", "by_rows")):
        model = Model(precision, schedule=name)
    elif name.startswith("flash:"):
        model = Model(precision, flash=Flash(name))
    else:
        model = Model(precision, name, 32) if name else Model(precision)
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


def table_of(page):
    table = {}
    for line in page.splitlines():
        cells = re.findall(r"`([0-9a-f]{32})` (\d+)", line)
        if len(cells) == 3:
            table[line.split("|")[1].strip()] = [(d, int(t)) for d, t in cells]
    return table


def main():
    parser = argparse.ArgumentParser(description="second implementation of NUMERICS.md")
    root = pathlib.Path(__file__).resolve().parents[3]
    parser.add_argument("--page", type=pathlib.Path, default=root / "runtime/numerics/NUMERICS.md")
    parser.add_argument("--new", action="store_true", help="also rows that the page does not have")
    parser.add_argument("rows", nargs="*", metavar="ROW")
    options = parser.parse_args()
    page = options.page.read_text(encoding="utf-8")
    table = table_of(page)
    unknown = [r for r in options.rows or PRECISIONS if r not in table]
    if unknown and not options.new:
        parser.error(f"not in the page's table: {', '.join(unknown)}; it has {', '.join(table)}")
    results = [check_fma(), *check_draws(page)]
    for good, text in results:
        print("PASS" if good else "FAIL", text)
    passed = [good for good, _ in results]
    for row in options.rows or table:
        begin = time.time()
        rows = worked_example(row)
        verdict = "NEW"
        if row in table:
            passed.append(rows == table[row])
            verdict = "PASS" if passed[-1] else "FAIL"
        print(f"| {row} | " + " | ".join(f"`{d}` {t}" for d, t in rows) + " |", verdict,
              f"({time.time() - begin:.1f} s)", flush=True)
    print(f"{sum(passed)} of {len(passed)} pass")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    np.seterr(all="ignore")  # overflow, NaN and 0 * inf are values here, not accidents
    sys.exit(main())

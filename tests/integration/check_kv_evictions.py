#!/usr/bin/env python3
"""Holds the choices of the cache's evictions against kvpress, and against restatements.

By hand; needs kvpress, transformers, torch and numpy, and a C++ compiler for
tests/conformance/oracle/kv_selections.cc.

  check_kv_evictions.py [--cases N]     N sequences of each kind of data and type (default 5000)

chosen: given the original's own scores, its positions and ours; where they differ, the positions
that only one keeps must have the score of the threshold (torch.topk promises no order among equals:
"ties"). end to end: from the same K, V and Q, in fp32 and in fp64; where the choices differ, every
position that only one keeps must lie within a rounding bound of the threshold, by scores computed
in fp64 by NumPy (`reference`). The bound is on the relative error of both sides, worked out for
each sequence from the sums of magnitudes (`*_bound`). Kept in tests/bench/kv-conformance.txt.
Exit: 0 nothing else differs, 1 something does.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import types
import zlib

import numpy as np
import torch
from importlib.metadata import version
from kvpress import (ExpectedAttentionPress, KnormPress, ObservedAttentionPress, SnapKVPress,
                     StreamingLLMPress, TOVAPress)
from kvpress.utils import compute_n_kept
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, rotate_half

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADS, KV_HEADS, LENGTH, DIM, WINDOW, KERNEL = 4, 2, 64, 16, 8, 5
BUDGET = compute_n_kept(LENGTH, 0.5)
# Unit roundoff and least number of each type.
TYPES = {"fp32": (torch.float32, np.float32, 2.0**-24, 2.0**-149),
         "fp64": (torch.float64, np.float64, 2.0**-53, 2.0**-1074)}
BATCH = 500


def build(folder):
    program = folder / "kv_selections"
    sources = ["tests/conformance/oracle/kv_selections.cc", "runtime/cache/policy.cc",
               "runtime/base/option_text.cc", "runtime/model/rope.cc", "runtime/base/words.cc",
               "runtime/base/text.cc",
               *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("runtime/cache/policies/*.cc"))]
    subprocess.run(["g++", "-std=c++20", "-O2", "-march=haswell", "-ffp-contract=off", "-I.", "-o",
                    program, *sources], cwd=ROOT, check=True)
    return program


def driver(program, words, data):
    return subprocess.run([program, *map(str, words)], input=data, check=True,
                          capture_output=True).stdout


def make_data(kind, count, rng, least):
    """Queries (count, LENGTH, HEADS, DIM), keys and values (count, KV_HEADS, LENGTH, DIM).
    least: the smallest normal number of the type."""
    shapes = (LENGTH, HEADS, DIM), (KV_HEADS, LENGTH, DIM), (KV_HEADS, LENGTH, DIM)
    out = [rng.standard_normal((count, *shape)) for shape in shapes]
    if kind == "outliers":
        out = [x * np.where(rng.random(x.shape) < 0.01, 8.0, 1.0) for x in out]
    if kind == "ties":
        out = [np.rint(x) for x in out]
    if kind == "constants":
        out[0] = np.broadcast_to(out[0][:, :1], out[0].shape)
    if kind == "subnormals":
        out = [x * least / 64 for x in out]
    return out


class Inputs:
    """One batch in one type: what the original's hooks get, and what the driver reads."""

    def __init__(self, kind, name, count, rng):
        self.type, self.real, self.eps, self.tiny = TYPES[name]
        query, key, value = (torch.tensor(np.ascontiguousarray(x), dtype=self.type)
                             for x in make_data(kind, count, rng, np.finfo(self.real).tiny))
        config = LlamaConfig(hidden_size=HEADS * DIM, num_attention_heads=HEADS, head_dim=DIM,
                             num_key_value_heads=KV_HEADS, max_position_embeddings=4096)
        rotary = LlamaRotaryEmbedding(config)
        self.hidden = query.reshape(count, LENGTH, HEADS * DIM)
        self.module = types.SimpleNamespace(config=config, head_dim=DIM, q_proj=lambda x: x,
                                            rotary_emb=rotary)
        cos, sin = rotary(query, torch.arange(LENGTH)[None].expand(count, -1))
        self.embeddings = cos, sin
        self.keys = key * cos[:, None] + rotate_half(key) * sin[:, None]
        run = {"ties": 4, "constants": LENGTH}.get(kind, 1)  # of positions with equal K and V
        self.keys, self.values = (x[:, :, ::run].repeat_interleave(run, 2)
                                  for x in (self.keys, value))
        across = query.transpose(1, 2)
        turned = across * cos[:, None] + rotate_half(across) * sin[:, None]
        self.turned = turned  # (count, HEADS, LENGTH, DIM)
        parts = [query, turned.transpose(1, 2), self.keys, self.values]
        self.bytes = b"".join(
            np.concatenate([p[i].numpy().ravel() for p in parts]).astype(self.real).tobytes()
            for i in range(count))
        self.count, self.plain = count, query.double().numpy()

    def attentions(self):
        """Eager attention weights in the type, for the press that asks for them."""
        keys = self.keys.repeat_interleave(HEADS // KV_HEADS, 1)
        scores = self.turned @ keys.transpose(2, 3) / DIM**0.5
        mask = torch.full((LENGTH, LENGTH), float("-inf"), dtype=self.type).triu(1)
        return torch.softmax(scores + mask, -1)

    def score(self, press, attentions=None):
        kwargs = {"position_embeddings": self.embeddings}
        return press.score(self.module, self.hidden, self.keys, self.values, attentions, kwargs)

    # The reference: fp64, and the sums of magnitudes that bounds are made of.

    def wide(self):
        shared = np.arange(HEADS) * KV_HEADS // HEADS
        k, v = self.keys.double().numpy(), self.values.double().numpy()
        return self.turned.double().numpy(), k[:, shared], v[:, shared]

    def reference_weights(self):
        """(count, HEADS, LENGTH, LENGTH), and the relative error of the type's weights by head."""
        q, k, _ = self.wide()
        scores = q @ k.transpose(0, 1, 3, 2) / DIM**0.5
        spread = (np.abs(q) @ np.abs(k).transpose(0, 1, 3, 2)).max((2, 3)) / DIM**0.5
        scores = np.where(np.tri(LENGTH, dtype=bool), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        error = np.expm1(2 * (DIM + 4) * self.eps * spread) + (LENGTH + 16) * self.eps
        return e / e.sum(-1, keepdims=True), error


def by_group(x):
    return x.reshape(x.shape[0], KV_HEADS, HEADS // KV_HEADS, *x.shape[2:])


# Each mode: the original's scores (count, KV heads, LENGTH), the reference scores, and a bound on
# the relative error of either side's scores (count, KV heads, 1).

def snapkv(inputs):
    press = SnapKVPress(0.5, WINDOW, KERNEL)
    weights, error = inputs.reference_weights()
    before = LENGTH - WINDOW
    mean = weights[:, :, before:, :before].mean(2)
    padded = np.pad(mean, ((0, 0), (0, 0), (KERNEL // 2, KERNEL // 2)))
    pooled = sum(padded[..., i:i + before] for i in range(KERNEL)) / KERNEL
    scores = np.pad(by_group(pooled).mean(2), ((0, 0), (0, 0), (0, WINDOW)), constant_values=np.inf)
    bound = by_group(error).max(2)[..., None] + (WINDOW + KERNEL + 8) * inputs.eps
    return inputs.score(press), scores, bound


def tova(inputs):
    weights, error = inputs.reference_weights()
    scores = np.repeat(weights[:, :, -1].mean(1)[:, None], KV_HEADS, 1)
    bound = np.repeat(error.max(1)[:, None, None], KV_HEADS, 1) + (HEADS + 8) * inputs.eps
    return inputs.score(TOVAPress(0.5)), scores, bound


def observed(inputs):
    """H2O's sums, which this press divides by the number of queries that see a key."""
    scores = inputs.score(ObservedAttentionPress(0.5), inputs.attentions())
    sums = scores * torch.arange(LENGTH, 0, -1).to(inputs.type)
    sums[..., LENGTH - BUDGET // 2:] = torch.inf  # the recent half stays
    weights, error = inputs.reference_weights()
    reference = by_group(weights.sum(2)).mean(2)
    reference[..., LENGTH - BUDGET // 2:] = np.inf
    return sums, reference, by_group(error).max(2)[..., None] + (LENGTH + 16) * inputs.eps


def knorm(inputs):
    keys = inputs.keys.double().numpy()
    bound = np.full((inputs.count, KV_HEADS, 1), (DIM + 8) * inputs.eps)
    return inputs.score(KnormPress(0.5)), -np.linalg.norm(keys, axis=-1), bound


def rotations(inputs, first, count):
    """Mean of the rotations of positions, (DIM, DIM), in fp64 from exact angles."""
    angles = np.arange(first, first + count)[:, None] * 10000.0 ** (-np.arange(0, DIM, 2) / DIM)
    c, s = np.diag(np.cos(angles).mean(0)), np.diag(np.sin(angles).mean(0))
    return np.block([[c, -s], [s, c]])


def expected(inputs):
    press = ExpectedAttentionPress(0.5)
    q, (_, k, v) = inputs.plain[:, 4:].transpose(0, 2, 1, 3), inputs.wide()
    k, v = k[:, :, 4:], v[:, :, 4:]
    rows = q.shape[2]
    mean = q.mean(2, keepdims=True)
    covariance = (q - mean).transpose(0, 1, 3, 2) @ (q - mean) / rows
    turn = rotations(inputs, LENGTH, press.n_future_positions)
    mean, covariance = mean @ turn.T, turn @ covariance @ turn.T
    x = (k * mean).sum(-1) / DIM**0.5 + (k @ covariance * k).sum(-1) / (2 * DIM)
    e = np.exp(x - x.max(-1, keepdims=True))
    norm = np.linalg.norm(v, axis=-1)
    scores = by_group(e / e.sum(-1, keepdims=True) * norm).mean(2)
    # Magnitudes of the moments of turned queries, and how far rounding moves them: that of the sums
    # and that of the angles, which the rotary module computes in fp32 in every type.
    frequency = np.tile(10000.0 ** (-np.arange(0, DIM, 2) / DIM), 2)
    angle = 3 * (LENGTH + press.n_future_positions) * 2.0**-24 * frequency + 2.0**-22
    turns = np.kron(np.ones((2, 2)), np.eye(DIM // 2))
    q, k = np.abs(q), np.abs(k)
    m = q.mean(2, keepdims=True) @ turns
    c = turns @ (q.transpose(0, 1, 3, 2) @ q / rows) @ turns * 2
    part = (rows + 4 * DIM + 16) * inputs.eps + angle
    linear = (k * m * part).sum(-1) / DIM**0.5
    square = 2 * ((k * part) @ c * k).sum(-1) / (2 * DIM)
    delta = (linear + square).max(-1)
    error = np.expm1(2 * delta) + (LENGTH + DIM + 24) * inputs.eps
    pad = ((0, 0), (0, 0), (4, 0))
    return (inputs.score(press), np.pad(scores, pad, constant_values=np.inf),
            by_group(error).max(2)[..., None])


MODES = {
    "snapkv": (snapkv, f"snapkv:{BUDGET}+window:{WINDOW}+kernel:{KERNEL}+pool:avg"),
    "tova": (tova, f"tova:{BUDGET}"),
    "h2o": (observed, f"h2o:{BUDGET}"),
    "knorm": (knorm, f"knorm:{BUDGET}"),
    "expected_attention": (expected, f"expected_attention:{BUDGET}"),
}


# Whose scores have a factor made of squares: these underflow, in the original's type.
NORMS = {"knorm", "expected_attention"}


def kept_by_topk(scores):
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    return kept.scatter_(-1, scores.topk(BUDGET, dim=-1).indices, True).numpy()


def compare(mine, theirs, scores, slack):
    """(steps that differ, those of them in which some position is further than slack from the
    threshold). slack: (steps, LENGTH), or 0 for ties."""
    other = mine != theirs
    ranked = -np.sort(-scores, -1)
    # A position that should stay is at most slack above the first that goes, and one that should go
    # at most slack below the last that stays.
    goes, stays = ranked[..., BUDGET, None], ranked[..., BUDGET - 1, None]
    near = (scores <= goes + slack) & (scores >= stays - slack)
    return other.any(-1), (other & ~near).any(-1)


class Report:
    def __init__(self):
        self.bad, self.totals = 0, {}

    def line(self, mode, against, what, r, kind, differ, wrong, note):
        steps = differ.size
        total = self.totals.setdefault((mode, what, against), [0, 0, 0])
        for i, n in enumerate((steps, int(differ.sum()), int(wrong.sum()))):
            total[i] += n
        self.bad += int(wrong.sum())
        print(f"{mode:19}{what:12}{r:6}{kind:12}{steps:7} steps, {differ.sum():6} differ, "
              f"{wrong.sum():3} {note}", flush=True)


def masks_of(data, count):
    return np.frombuffer(data, np.uint8).reshape(count, -1, LENGTH).astype(bool)


def check_scores(program, mode, kind, r, cases, rng, report):
    source, policy = MODES[mode]
    found = {"chosen": [], "end to end": []}
    dropped = 0
    bounds = []
    for begin in range(0, cases, BATCH):
        inputs = Inputs(kind, r, min(BATCH, cases - begin), rng)
        original, reference, bound = source(inputs)
        theirs = kept_by_topk(original)
        given = original.double().numpy()
        # A layer's mask serves every KV head; one head's scores of tova's stand for all.
        heads = 1 if mode == "tova" else KV_HEADS
        rows = np.ascontiguousarray(given[:, :heads])
        words = ["choose", policy, heads, heads, LENGTH]
        mine = masks_of(driver(program, words, rows.tobytes()), inputs.count)
        mine = np.broadcast_to(mine, theirs.shape)
        found["chosen"].append(compare(mine, theirs, given, 0.0))

        out = driver(program, ["score", policy, HEADS, KV_HEADS, LENGTH, DIM, r], inputs.bytes)
        size = HEADS * LENGTH * 8
        each = np.frombuffer(out, np.uint8).reshape(inputs.count, size + heads * LENGTH)
        mine = np.broadcast_to(masks_of(each[:, size:].tobytes(), inputs.count), theirs.shape)
        if mode == "tova":
            last = ~mine[:, 0, -1]
            dropped += int(last.sum())
            theirs = np.where(last[:, None, None], kept_by_topk_without_pin(inputs), theirs)
        finite = np.where(np.isinf(reference), 0.0, np.abs(reference))
        floor = np.sqrt(DIM * inputs.tiny) if mode in NORMS else LENGTH * inputs.tiny
        bounds.append(bound.ravel())
        found["end to end"].append(compare(mine, theirs, reference, 2 * bound * finite + floor))
    against = "restated choice" if mode == "h2o" else "kvpress"
    for what, parts in found.items():
        differ, wrong = (np.concatenate([p[i].ravel() for p in parts]) for i in (0, 1))
        median = f"beyond the bound (median {np.median(bounds):.0e})"
        note = "not a tie" if what == "chosen" else median
        if dropped and what == "end to end":
            note += f"; {dropped * KV_HEADS} drop the last token"
        report.line(mode, against, what, r, kind, differ, wrong, note)


def kept_by_topk_without_pin(inputs):
    """What TOVA's own rule keeps, from the same weights in the type: a restatement."""
    weights = inputs.attentions()[:, :, -1].mean(1)
    return kept_by_topk(weights[:, None].repeat(1, KV_HEADS, 1))


def check_streaming(program, report):
    """StreamingLLM: what the press keeps of a prompt against what the next query sees of it. B of
    the press counts the keys before the query, ours its own key too."""
    differ, most = [], 460
    for kept in range(5, most - 1):
        out = driver(program, ["sees", f"streaming:{kept + 1}", most], b"")
        seen = np.frombuffer(out, np.uint8).reshape(most, most).astype(bool)
        for length in range(kept + 1, most):
            ratio = 1 - (kept + 0.5) / length
            keys = torch.zeros(1, 1, length, 1)
            scores = StreamingLLMPress(ratio).score(None, None, keys, keys, None, {})[0, 0]
            assert int(length * (1 - ratio)) == kept
            differ.append(not np.array_equal(scores.bool().numpy(), seen[length, :length]))
    differ = np.array(differ)
    report.line("streaming", "kvpress", "chosen", "-", "lengths", differ, differ, "differ")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--program", help="kv_selections, built already")
    parser.add_argument("--modes", nargs="*", default=list(MODES))
    options = parser.parse_args()
    torch.manual_seed(0)
    report = Report()
    print(f"kvpress {version('kvpress')}, torch {version('torch')}, "
          f"transformers {version('transformers')}; {HEADS} heads, {KV_HEADS} KV heads, "
          f"{LENGTH} positions, {DIM} channels, {BUDGET} kept")
    with tempfile.TemporaryDirectory() as folder:
        program = options.program or build(pathlib.Path(folder))
        for mode in options.modes:
            for r in TYPES:
                for kind in ("random", "outliers", "ties", "constants", "subnormals"):
                    rng = np.random.default_rng(zlib.crc32(f"{mode} {r} {kind}".encode()))
                    check_scores(program, mode, kind, r, options.cases, rng, report)
        check_streaming(program, report)
    for (mode, what, against), (steps, differ, wrong) in report.totals.items():
        print(f"{mode:19}{what:12}{steps:8} steps against {against}: {differ} differ, "
              f"{wrong} wrong")
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main())

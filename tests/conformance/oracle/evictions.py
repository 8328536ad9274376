"""The evictions of runtime/numerics/NUMERICS.md, "Lossy caches", written from that page alone.

Used by second_implementation.py. The worked example has one KV head, which
all query heads share.
"""
import numpy as np

from exact_fma import F64, fma
from frozen_functions import canonical, exp, log, sin_cos
from lossy_caches import Exact, policy_named as other_policy


class Window(Exact):
    def __init__(self, budget, sinks=0, in_cache=False):
        self.budget, self.sinks, self.in_cache = budget, sinks, in_cache

    def sees(self, positions, count):
        j = np.arange(count)
        return (j < self.sinks) | (j > positions[:, None] - (self.budget - self.sinks))


def streaming(budget, positions=""):
    return Window(budget, 4, positions == "in_cache")


def weights_of(q, top, total, keys, visible, scale):
    """What rows give to keys: [rows, heads, keys], fp64; q, top, total of the rows' heads."""
    real = q.dtype.type
    score = np.zeros((*q.shape[:2], len(keys)), q.dtype)
    for i in range(q.shape[2]):
        score = fma(q[:, :, i, None], keys[None, None, :, 0, i], score)
    weight = exp(score * scale - top[..., None]) * (real(1) / total)[..., None]
    return np.where(visible[:, None], canonical(weight), real(0)).astype(F64)


def ascending(terms):
    """The sum over the first axis, one after the other."""
    return np.add.accumulate(terms, 0)[-1] + 0.0


def dot(a, b):
    """Fused over the last axis, from +0."""
    a, b = np.broadcast_arrays(a, b)
    total = np.zeros(a.shape[:-1], F64)
    for i in range(a.shape[-1]):
        total = fma(a[..., i], b[..., i], total)
    return total


class Chosen(Exact):
    """Keeps by the scores of the KV head, the sum of its query heads' ones."""

    def __init__(self, budget):
        self.budget, self.kept, self.state = budget, {}, {}

    def view(self, layer, keys, values, prompt, position, rounded):
        kept = self.kept.get(layer, np.zeros(0, bool))
        return keys, values, np.concatenate([kept, np.ones(len(keys) - len(kept), bool)])

    def rows(self, layer, rows, seen, scale, prompt):
        keys, values, kept = seen
        assert keys.shape[1] == 1
        self.observe(layer, rows, seen, scale, prompt)
        last = int(rows["positions"][-1])
        if self.chooses(last, prompt):
            scores = self.scores(layer, keys[:, 0].astype(F64), values[:, 0].astype(F64), prompt)
            self.kept[layer] = self.choose(scores, kept)

    def observe(self, layer, rows, seen, scale, prompt):
        pass

    def chooses(self, last, prompt):
        return last + 1 == prompt and prompt > self.budget

    def best(self, scores, kept, begin, end, count):
        """kept, of [begin, end) only the best."""
        scores = np.where(np.isnan(scores), -np.inf, scores)  # no score of the example is -inf
        order = sorted(np.nonzero(kept[begin:end])[0] + begin, key=lambda j: (-scores[j], j))
        kept = kept.copy()
        kept[order[count:]] = False
        return kept

    def add_weights(self, layer, rows, seen, scale, wanted):
        keys, _, kept = seen
        visible = (np.arange(len(keys)) <= rows["positions"][:, None]) & kept
        weights = weights_of(rows["q"], rows["top"], rows["total"], keys, visible, scale)
        sums = np.zeros(weights.shape[1:], F64)
        before = self.state.get(layer, sums[:, :0])
        sums[:, :before.shape[1]] = before
        for position, weight in zip(rows["positions"], weights):
            if wanted(position):
                sums = sums + weight
        self.state[layer] = sums


class H2o(Chosen):
    def observe(self, layer, rows, seen, scale, prompt):
        self.add_weights(layer, rows, seen, scale, lambda position: True)

    def chooses(self, last, prompt):
        return last + 1 >= prompt

    def scores(self, layer, keys, values, prompt):
        return ascending(self.state[layer])

    def choose(self, scores, kept):
        recent = self.budget // 2
        return self.best(scores, kept, 0, max(0, len(kept) - recent), self.budget - recent)


class SnapKv(Chosen):
    window, kernel = 32, 7

    def observe(self, layer, rows, seen, scale, prompt):
        if rows["positions"][0] < prompt:
            in_window = lambda position: prompt - self.window <= position < prompt
            self.add_weights(layer, rows, seen, scale, in_window)

    def scores(self, layer, keys, values, prompt):
        before, half = prompt - self.window, self.kernel // 2
        padded = np.pad(self.state[layer][:, :before], ((0, 0), (half, half)),
                        constant_values=-np.inf)
        pooled = np.max([padded[:, i:i + before] for i in range(self.kernel)], 0)
        return ascending(pooled)

    def choose(self, scores, kept):
        return self.best(scores, kept, 0, len(scores), self.budget - self.window)


class Knorm(Chosen):
    def scores(self, layer, keys, values, prompt):
        return -np.sqrt(dot(keys, keys))

    def choose(self, scores, kept):
        return self.best(scores, kept, 0, len(kept), self.budget)


class ExpectedAttention(Chosen):
    sinks, future, base = 4, 512, 10000.0

    def observe(self, layer, rows, seen, scale, prompt):
        if rows["positions"][0] >= prompt:
            return
        plain = rows["plain"].astype(F64)
        heads, d = plain.shape[1:]
        first, second = np.zeros((heads, d)), np.zeros((heads, d, d))
        for row in plain[self.sinks:]:
            first = first + row
            second = fma(*np.broadcast_arrays(row[:, :, None], row[:, None], second))
        self.state[layer] = first, second

    def moments(self, layer, prompt):
        first, second = self.state[layer]
        count = F64(prompt - self.sinks)
        mean = first / count
        c = fma(*np.broadcast_arrays(-mean[:, :, None], mean[:, None], second / count))
        upper = np.triu(np.ones(c.shape[1:], bool))
        c = np.where(upper, c, c.transpose(0, 2, 1))
        d = mean.shape[1]
        half = d // 2
        inv = exp(-(2 * np.arange(half, dtype=F64) / d) * log(np.array([self.base])))
        angles = np.arange(prompt, prompt + self.future, dtype=F64)[:, None] * inv
        s, co = (ascending(x) / F64(self.future) for x in sin_cos(angles))
        for i in range(half):
            mean[:, i], mean[:, i + half] = turned(mean[:, i], mean[:, i + half], co[i], s[i])
            c[:, i], c[:, i + half] = turned(c[:, i].copy(), c[:, i + half].copy(), co[i], s[i])
            c[:, :, i], c[:, :, i + half] = turned(c[:, :, i].copy(), c[:, :, i + half].copy(),
                                                   co[i], s[i])
        return mean, c

    def scores(self, layer, keys, values, prompt):
        mean, c = self.moments(layer, prompt)
        d, heads = keys.shape[1], []
        judged, norm = keys[self.sinks:], np.sqrt(dot(values, values))[self.sinks:]
        for m, covariance in zip(mean, c):
            u = np.zeros_like(judged)
            for i in range(d):
                u = fma(*np.broadcast_arrays(judged[:, i, None], covariance[i], u))
            x = dot(judged, m) / np.sqrt(F64(d)) + dot(judged, u) / F64(2 * d)
            e = exp(x - x.max())
            heads.append(e / ascending(e) * norm)
        return np.concatenate([np.zeros(self.sinks), ascending(np.array(heads))])

    def choose(self, scores, kept):
        return self.best(scores, kept, self.sinks, len(kept), self.budget - self.sinks)


def turned(a, b, c, s):
    return c * a - s * b, c * b + s * a


EVICTIONS = {"window": Window, "streaming": streaming, "h2o": H2o, "snapkv": SnapKv,
             "knorm": Knorm, "expected_attention": ExpectedAttention}


def policy_named(name):
    """For example q8_0, window:64, streaming:64+positions:in_cache."""
    main, *options = name.split("+")
    kind, *budget = main.split(":")
    if kind not in EVICTIONS:
        return other_policy(name)
    return EVICTIONS[kind](*map(int, budget), **dict(option.split(":") for option in options))

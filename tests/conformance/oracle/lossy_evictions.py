"""The evictions of runtime/numerics/NUMERICS.md, "Lossy caches": which keys a query sees.

Written from that page alone. An eviction is asked for visible() before the attention of a call's
rows and told of them after() it. Used by lossy_caches.py.
"""
import dataclasses

import numpy as np

from attention import kv_head_of, rope_angles, weights
from exact_fma import F64, fma
from frozen_functions import exp
from lossy_codecs import turned


@dataclasses.dataclass
class Rows:
    """Consecutive rows that share a view, of one layer, after their attention."""
    layer: int
    prompt: int
    positions: np.ndarray
    q: np.ndarray            # (rows, heads, head_dim), as they attended
    q_before_rope: np.ndarray
    keys: np.ndarray         # (positions so far, kv_heads, head_dim), as the rows see them
    values: np.ndarray
    visible: np.ndarray      # (rows, kv_heads, positions so far)
    top: np.ndarray          # M, (rows, heads)
    total: np.ndarray        # L
    turns: tuple             # channels of K and of V that turned together, 0 where none did

    def weights(self):
        return weights(self.q, self.keys, self.visible, self.top, self.total)

    def turned_back(self):
        """Keys and values without the rotation, not rounded by R."""
        return [turned(x, n) for x, n in zip((self.keys, self.values), self.turns)]


class Everything:
    """What the evictions share: nothing is evicted."""
    in_cache = False

    def visible(self, layer, positions, count, kv_heads):
        """(rows, kv_heads, count) of bool, besides causality."""
        return np.ones((len(positions), kv_heads, count), bool)

    def after(self, rows):
        pass


# ---- By position ---------------------------------------------------------------------------------

class Streaming(Everything):
    def __init__(self, budget, sinks=4, positions="original"):
        self.recent, self.sinks = int(budget) - int(sinks), int(sinks)
        self.in_cache = positions == "in_cache"

    def visible(self, layer, positions, count, kv_heads):
        j = np.arange(count)
        seen = (j < self.sinks) | (j > positions[:, None] - self.recent)
        return np.repeat(seen[:, None], kv_heads, 1)


class Window(Streaming):
    def __init__(self, budget):
        super().__init__(budget, 0)


# ---- By choice -----------------------------------------------------------------------------------

class Chosen(Everything):
    """Keeps what score() likes best, KV head by KV head: after the prompt's last row."""

    def __init__(self, budget):
        self.budget, self.kept = int(budget), {}

    def visible(self, layer, positions, count, kv_heads):
        kept = self.kept.get(layer, np.zeros((kv_heads, 0), bool))
        later = np.ones((kv_heads, count - kept.shape[1]), bool)
        return np.repeat(np.concatenate([kept, later], 1)[None], len(positions), 0)

    def after(self, rows):
        self.learn(rows)
        last = rows.positions[-1]
        if self.acts(last, rows.prompt):
            candidates = rows.visible[-1]
            if self.only_when_more(candidates, rows.prompt):
                self.kept[rows.layer] = self.choose(rows, candidates)

    def learn(self, rows):
        pass

    def acts(self, last, prompt):
        return last == prompt - 1

    def only_when_more(self, candidates, prompt):
        return prompt > self.budget

    def choose(self, rows, candidates):
        """always(): positions kept without being scored; the best of the others fill the budget."""
        pinned = np.broadcast_to(self.always(candidates.shape[1], rows.prompt), candidates.shape)
        score = self.score(rows)
        kept = candidates & pinned
        for head, free in enumerate(candidates & ~pinned):
            room = self.budget - pinned[head].sum()
            order = sorted(np.nonzero(free)[0], key=lambda j: rank(score[head, j], j))
            kept[head, order[:room]] = True
        return kept

    def always(self, count, prompt):
        return np.zeros(count, bool)


def rank(score, position):
    """Sorts the best first: the largest score, the lower position among equals, NaN last."""
    return np.isnan(score), 0 if np.isnan(score) else -score, position


def of_kv_heads(score, kv_heads):
    """(heads, positions) -> (kv_heads, positions): query heads added in ascending order."""
    total = np.zeros((kv_heads, score.shape[1]), score.dtype)
    for head, own in enumerate(score):
        total[kv_head_of(len(score), kv_heads)[head]] += own
    return total


class Tova(Chosen):
    """One choice for the whole layer, in Real."""

    def acts(self, last, prompt):
        return last >= prompt - 1

    def only_when_more(self, candidates, prompt):
        return candidates[0].sum() > self.budget

    def score(self, rows):
        weight = rows.weights()[-1]
        total = np.zeros(weight.shape[1], weight.dtype)
        for head in weight:
            total = total + head
        return np.repeat(total[None], rows.visible.shape[1], 0)


class H2o(Chosen):
    def __init__(self, budget):
        super().__init__(budget)
        self.sums = {}

    def learn(self, rows):
        weight = rows.weights().astype(F64)
        sums = np.zeros(weight.shape[1:], F64)
        old = self.sums.get(rows.layer, np.zeros((sums.shape[0], 0), F64))
        sums[:, :old.shape[1]] = old
        for row in weight:
            sums = sums + row
        self.sums[rows.layer] = sums

    def acts(self, last, prompt):
        return last >= prompt - 1

    def only_when_more(self, candidates, prompt):
        return candidates[0].sum() > self.budget

    def always(self, count, prompt):
        return np.arange(count) >= count - self.budget // 2

    def score(self, rows):
        return of_kv_heads(self.sums[rows.layer], rows.visible.shape[1])


class SnapKv(Chosen):
    def __init__(self, budget, window=32, kernel=7, pool="max"):
        super().__init__(budget)
        self.window, self.reach, self.pool = int(window), int(kernel) // 2, pool
        self.sums = {}

    def learn(self, rows):
        start = rows.prompt - self.window
        for position, weight in zip(rows.positions, rows.weights().astype(F64)):
            if start <= position < rows.prompt:
                old = self.sums.get(rows.layer, np.zeros((len(weight), 0)))
                sums = np.zeros_like(weight)
                sums[:, :old.shape[1]] = old
                self.sums[rows.layer] = sums + weight

    def always(self, count, prompt):
        return np.arange(count) >= prompt - self.window

    def score(self, rows):
        end = rows.prompt - self.window
        sums = self.sums[rows.layer][:, :end]
        pooled = np.zeros_like(self.sums[rows.layer])
        for j in range(end):
            near = sums[:, max(0, j - self.reach):j + self.reach + 1]
            if self.pool == "max":
                pooled[:, j] = near.max(1)
                continue
            for column in near.T:
                pooled[:, j] += column
            pooled[:, j] /= 2 * self.reach + 1
        return of_kv_heads(pooled, rows.visible.shape[1])


def fused_sum(a, b):
    """Of a * b over the first axis, ascending from +0."""
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), F64)
    for x, y in zip(a, b):
        total = fma(np.asarray(x, F64), np.asarray(y, F64), total)
    return total


def norms(x):
    """x [positions, heads, channels] -> [heads, positions]."""
    channels = np.moveaxis(x.astype(F64), 2, 0)
    return np.sqrt(fused_sum(channels, channels)).T


class Knorm(Chosen):
    def score(self, rows):
        return -norms(rows.turned_back()[0])


class ExpectedAttention(Chosen):
    SINKS, FUTURE = 4, 512

    def __init__(self, budget):
        super().__init__(budget)
        self.queries = {}

    def learn(self, rows):
        prompt_rows = (rows.positions >= self.SINKS) & (rows.positions < rows.prompt)
        new = rows.q_before_rope[prompt_rows].astype(F64)
        old = self.queries.get(rows.layer, new[:0])
        self.queries[rows.layer] = np.concatenate([old, new])

    def always(self, count, prompt):
        return np.arange(count) < self.SINKS

    def score(self, rows):
        queries = self.queries[rows.layer]
        keys, values = (x.astype(F64) for x in rows.turned_back())
        heads, kv_heads, prompt = queries.shape[1], keys.shape[1], rows.prompt
        expected = np.zeros((heads, prompt), F64)
        for head, kv_head in enumerate(kv_head_of(heads, kv_heads)):
            mean, spread = self.statistics(queries[:, head])
            self.turn(mean, spread, prompt)
            channels = keys[self.SINKS:prompt, kv_head].T  # (channels, positions)
            u = fused_sum(channels[:, None, :], spread[:, :, None])
            x = fused_sum(channels, np.repeat(mean[:, None], channels.shape[1], 1))
            x = x / np.sqrt(F64(len(mean))) + fused_sum(channels, u) / F64(2 * len(mean))
            e = exp(x - x.max())
            total = F64(0)
            for one in e:
                total = total + one
            expected[head, self.SINKS:] = (e / total) * norms(values)[kv_head, self.SINKS:prompt]
        return of_kv_heads(expected, kv_heads)

    @staticmethod
    def statistics(queries):
        """queries [positions, channels] of one head: their mean and covariance."""
        count, dim = F64(len(queries)), queries.shape[1]
        total, products = np.zeros(dim), np.zeros((dim, dim))
        for q in queries:
            total = total + q
            products = fma(q[:, None], q[None, :], products)
        mean = total / count
        upper = fma(-mean[:, None], mean[None, :], products / count)
        return mean, np.triu(upper) + np.triu(upper, 1).T

    def turn(self, mean, spread, prompt):
        """In place, by the mean rotation of the positions that follow the prompt."""
        sines, cosines = rope_angles(np.arange(prompt, prompt + self.FUTURE), len(mean))
        s, c = np.zeros(sines.shape[1]), np.zeros(sines.shape[1])
        for sine, cosine in zip(sines, cosines):
            s, c = s + sine, c + cosine
        s, c = s / F64(self.FUTURE), c / F64(self.FUTURE)
        half = len(mean) // 2
        for i in range(half):
            for pairs in (mean, spread, spread.T):
                a, b = pairs[i].copy(), pairs[i + half].copy()
                pairs[i], pairs[i + half] = c[i] * a - s[i] * b, c[i] * b + s[i] * a


EVICTIONS = {"window": Window, "streaming": Streaming, "tova": Tova, "h2o": H2o,
             "snapkv": SnapKv, "knorm": Knorm, "expected_attention": ExpectedAttention}

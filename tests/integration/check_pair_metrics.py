#!/usr/bin/env python3
"""The metrics of pairs by NumPy in fp64, from formulas and not from the program (it needs numpy).

    python3 tests/integration/check_pair_metrics.py            compares with the stored digits
    python3 tests/integration/check_pair_metrics.py --write    writes them

The unit test tests/unit/harness/judge/pair_metrics_test.cc makes the same arrays and must print
the lines of tests/unit/harness/judge/data/pair_metrics.txt. Exit: 0 equal, 1 not.
"""
import pathlib
import sys

import numpy as np

STORED = pathlib.Path(__file__).parents[1] / "unit/harness/judge/data/pair_metrics.txt"
MASK = (1 << 64) - 1


def draw(n):
    """24 bits of splitmix64(n), as a number in [0, 1)."""
    z = (n + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return ((z ^ z >> 31) >> 40) / 2.0**24


def row(number, size, noise):
    """A row and its copy with noise, both float32."""
    a = np.array([draw(1000 * number + i) * 16 - 8 for i in range(size)], dtype=np.float32)
    b = np.array([(draw(500000 + 1000 * number + i) - 0.5) * noise for i in range(size)],
                 dtype=np.float32)
    return a, a + b


def log_softmax(x):
    x = x.astype(np.float64)
    with np.errstate(divide="ignore"):
        return x - np.max(x) - np.log(np.sum(np.exp(x - np.max(x))))


def divergence(p, log_p, log_q):
    there = p > 0
    return np.sum(p[there] * (log_p[there] - log_q[there]))


def ulps(a, b):
    def place(x):
        bits = x.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)
    return np.max(np.abs(place(a) - place(b)))


def distances(a, b):
    log_p, log_q = log_softmax(a), log_softmax(b)
    p, q = np.exp(log_p), np.exp(log_q)
    with np.errstate(divide="ignore"):
        log_m = np.log((p + q) / 2)
    with np.errstate(invalid="ignore"):
        far = np.abs(a.astype(np.float64) - b.astype(np.float64))
    far[a == b] = 0
    best = np.sort(a.astype(np.float64))[::-1]
    return {"kl": divergence(p, log_p, log_q),
            "js": (divergence(p, log_p, log_m) + divergence(q, log_q, log_m)) / 2,
            "total_variation": np.sum(np.abs(p - q)) / 2, "max_abs": np.max(far),
            "mean_abs": np.mean(far), "max_ulp": ulps(a, b), "margin": best[0] - best[1],
            "flip": np.argmax(a) != np.argmax(b)}


def jackknife(metric, prompts):
    if len(prompts) < 2:
        return None
    parts = np.array([metric([p for p in prompts if p != out]) for out in prompts])
    n = len(prompts)
    return np.sqrt((n - 1) / n * np.sum((parts - np.mean(parts)) ** 2))


def row_metrics(rows):
    """rows: (prompt, a, b)."""
    found = [(prompt, distances(a, b)) for prompt, a, b in rows]
    prompts = sorted({prompt for prompt, _ in found})

    def over(prompts, of):
        return np.mean([of(d) for prompt, d in found if prompt in prompts])

    means = {name: (lambda d, name=name: d[name])
             for name in ("kl", "js", "total_variation", "mean_abs")}
    means["margin_law"] = lambda d: 100.0 * (d["margin"] > 2 * d["max_abs"])
    out = {name: (over(prompts, of), jackknife(lambda some: over(some, of), prompts))
           for name, of in means.items()}
    kl = [d["kl"] for _, d in found]
    out["kl_median"] = np.median(kl), None
    out["kl_p99"] = np.percentile(kl, 99), None
    out["kl_max"] = np.max(kl), None
    for name in ("max_abs", "max_ulp"):
        out[name] = np.max([d[name] for _, d in found]), None
    out["flips"] = float(sum(d["flip"] for _, d in found)), None
    return out


def special(name):
    if name == "random":
        return [(p, *row(10 * p + t, 33, 0.125)) for p in range(3) for t in range(5 - p)]
    if name == "far":
        return [(p, *row(100 + 10 * p + t, 40, 24)) for p in range(2) for t in range(6)]
    if name == "one_row":
        return [(0, *row(200, 2, 0.5))]
    rows = []
    for p in range(2):
        for t in range(3):
            a, b = row(300 + 10 * p + t, 24, 0.5)
            if name == "ties":
                a, b = np.round(a), np.round(b)
            if name == "zeros":
                a[5:9], b[5:9] = 0.0, -0.0
            if name == "masked":
                a[3:7], b[3:7] = -np.inf, -np.inf
            if name == "shifted":
                b = a + np.where(np.arange(24) % 3 == 0, np.float32(0.0625), np.float32(0))
            rows.append((p, a, b))
    return rows


IDS = [([3, 4, 2, 8], [3, 4, 2, 8]), ([5, 6, 7, 8], [5, 9, 7, 8]), ([1], [2]),
       ([9, 9, 4], [9, 9])]


def token_metrics():
    def parts(a, b):
        for t, (x, y) in enumerate(zip(a, b)):
            if x != y:
                return t + 1
        return len(a) + 1 if len(a) == len(b) else min(len(a), len(b)) + 1

    def equal(a, b):
        return sum(x == y for x, y in zip(a, b))

    metrics = {
        "token_divergence": lambda some: 100 * np.mean([IDS[p][0] != IDS[p][1] for p in some]),
        "first_divergence": lambda some: np.mean([parts(*IDS[p]) for p in some]),
        "token_match": lambda some: 100 * sum(equal(*IDS[p]) for p in some)
        / sum(len(IDS[p][0]) for p in some)}
    prompts = list(range(len(IDS)))
    return {name: (of(prompts), jackknife(of, prompts)) for name, of in metrics.items()}


def layer_metrics():
    """Three layers of h2, rows of 16; keys of two heads of 8, one of them evicted at one place."""
    out = {}
    for layer in range(3):
        a, b = zip(*(row(400 + 10 * layer + t, 16, 0.25 * (layer + 1)) for t in range(4)))
        a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
        norm, far = np.linalg.norm(a, axis=1), np.linalg.norm(a - b, axis=1)
        out[f"distance_{layer}"] = np.mean(far), None
        out[f"largest_{layer}"] = np.max(np.abs(a - b)), None
    out["layer_drift"] = np.mean(far) / np.mean(norm), None
    vectors = []
    for t in range(25):
        a, b = row(500 + t, 16, 4.0 if t == 7 else 0.5)
        for head in range(2):
            if t == 3 and head == 1:
                continue
            vectors.append((a[8 * head:8 * head + 8].astype(np.float64),
                            b[8 * head:8 * head + 8].astype(np.float64)))
    errors = np.array([np.sum((a - b) ** 2) for a, b in vectors])
    norms = np.array([[np.linalg.norm(a), np.linalg.norm(b)] for a, b in vectors])
    cosine = np.array([a @ b for a, b in vectors]) / norms.prod(axis=1)
    magnitude = np.sum((norms[:, 0] - norms[:, 1]) ** 2)
    direction = np.sum(2 * norms.prod(axis=1) * (1 - cosine))
    out["k_error"] = np.sum(errors) / np.sum(norms[:, 0] ** 2), None
    out["magnitude"], out["direction"] = (magnitude, None), (direction, None)
    out["magnitude_share"] = magnitude / np.sum(errors), None
    most = -(-len(errors) // 20)
    out["largest_5_percent_share"] = np.sort(errors)[::-1][:most].sum() / np.sum(errors), None
    return out


def recovery_metrics():
    """KL of donor against patched and recipient: 3 prompts of 4 rows, two rows in one alone."""
    patched = {(p, t): draw(7000 + 10 * p + t) * 0.25 for p in range(3) for t in range(4)}
    recipient = {(p, t): draw(8000 + 10 * p + t) for p in range(3) for t in range(1, 5)}

    def of(some):
        both = [key for key in patched if key in recipient and key[0] in some]
        return 1 - np.mean([patched[k] for k in both]) / np.mean([recipient[k] for k in both])

    return {"recovery": (of([0, 1, 2]), jackknife(of, [0, 1, 2]))}


def digits(value):
    return "none" if value is None else f"{value:.9g}"


def lines():
    cases = {name: row_metrics(special(name))
             for name in ("random", "far", "one_row", "ties", "zeros", "masked", "shifted")}
    cases |= {"tokens": token_metrics(), "layers": layer_metrics(), "patch": recovery_metrics()}
    return "".join(f"{case} {metric} {digits(value)} {digits(error)}\n"
                   for case, metrics in cases.items()
                   for metric, (value, error) in sorted(metrics.items()))


def main():
    if sys.argv[1:] == ["--write"]:
        STORED.write_text(lines())
        return 0
    same = lines() == STORED.read_text()
    print("equal" if same else "DIFFERENT:\n" + lines())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())

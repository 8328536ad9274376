#!/usr/bin/env python3
"""The metrics of nondeterminism against NumPy in fp64, by hand (it needs numpy).

    python3 tests/integration/check_metrics.py                      values of the unit test's arrays
    ISOBIT=... python3 tests/integration/check_metrics.py DB RUN    a run against its own traces

The second recomputes every measured group of a run from what `show --json` tells of its cells, and
compares with `report --json` to the digits that the terminal prints: six of a value, two of an
error (a spread of 1e-7 of probabilities has ten at most). Exit: 0 equal, 1 not, 2 nothing compared.
"""
import json
import os
import re
import subprocess
import sys

import numpy as np


def std(values):
    """Sample standard deviation of the distances from the first value: equal values give 0."""
    values = np.asarray(values, dtype=np.float64)
    return np.std(values - values[0], ddof=1)


def divergence(outputs):
    """The first index at which not all have the same token, -1: none."""
    shortest = min(map(len, outputs))
    for t in range(shortest):
        if len({ids[t] for ids in outputs}) > 1:
            return t
    return -1 if len(set(map(len, outputs))) == 1 else shortest


def jitter(ids, top, log_sum):
    """Mean over positions 0 .. Div_Index of the std of the top token's probability."""
    at, shortest = divergence(ids), min(map(len, ids))
    end = shortest if at < 0 else min(shortest, at + 1)
    return np.mean([std([np.exp(np.float64(a[t]) - b[t]) for a, b in zip(top, log_sum)])
                    for t in range(end)])


class Outputs:
    """trace[c][s][p]: ids, top, log_sum (lists), answer, correct (None: not scored)."""

    def __init__(self, trace):
        self.trace = trace
        self.prompts = range(len(trace[0][0]))

    def of(self, s, p, key):
        return [configuration[s][p][key] for configuration in self.trace]

    def scored(self):
        return [p for p in self.prompts if self.trace[0][0][p]["correct"] is not None]

    def metric(self, name, prompts):
        samples = range(len(self.trace[0]))
        each = [(s, p) for p in prompts for s in samples]
        if name.endswith("accuracy") or name.endswith("pass_at_1"):
            scored = [(s, p) for s, p in each if p in self.scored()]
            if not scored:
                return None
            shares = [100 * sum(c[s][p]["correct"] for s, p in scored) / len(scored)
                      for c in self.trace]
            return std(shares) if name.startswith("std") else np.mean(shares)
        lengths = [[len(ids) for ids in self.of(s, p, "ids")] for s, p in each]
        if name == "output_length":
            return np.mean([np.mean(of_one) for of_one in lengths])
        if name == "std_output_length":
            return np.mean([std(of_one) for of_one in lengths])
        if name == "std_top1_prob":
            return np.mean([jitter(*(self.of(s, p, key) for key in ("ids", "top", "log_sum")))
                            for s, p in each])
        parts = [divergence(self.of(s, p, "ids")) for s, p in each]
        if name == "div_percent":
            return 100 * np.mean([at >= 0 for at in parts])
        found = [at for at in parts if at >= 0]
        return np.mean(found) if found else None

    def value(self, name):
        """Value and standard error: the jackknife over the prompts that it rests on."""
        pass_or_accuracy = name.endswith("accuracy") or name.endswith("pass_at_1")
        used = self.scored() if pass_or_accuracy else list(self.prompts)
        value = self.metric(name, used)
        without = [self.metric(name, [q for q in used if q != p]) for p in used]
        if value is None or len(used) < 2 or any(x is None for x in without):
            return value, None
        n, spread = len(used), np.asarray(without) - np.mean(without)
        return value, np.sqrt((n - 1) / n * np.sum(spread * spread))


def digits(value, count=12):
    return "none" if value is None else f"{value:.{count}g}"


def unit_test():
    ids = [[[3, 4, 2], [5, 6, 7, 8], [1], [9, 9]], [[3, 4, 2], [5, 6, 7, 8], [2], [9, 9]],
           [[3, 4, 2], [5, 9], [1], [9, 9, 4]]]
    correct = [[1, 1, None, 0], [1, 0, None, 0], [0, 0, None, 1]]

    def cell(c):
        return [{"ids": row, "correct": correct[c][p],
                 "top": [np.float32(8 + p + 0.25 * t) for t in range(len(row))],
                 "log_sum": [8.5 + p + 0.25 * t + 0.001 * c * c + 0.0001 * t * c
                             for t in range(len(row))]} for p, row in enumerate(ids[c])]

    cells = [cell(c) for c in range(3)]
    one, two = Outputs([[c] for c in cells]), Outputs([[cells[0], cells[1]], [cells[2], cells[1]]])
    for name in ("accuracy", "std_accuracy", "output_length", "std_output_length", "div_index",
                 "div_percent", "std_top1_prob"):
        print(name, *map(digits, one.value(name)))
    print("two configurations of two samples:")
    for name in ("pass_at_1", "std_pass_at_1", "std_output_length", "div_percent"):
        print(name, *map(digits, two.value(name)))


def isobit(*words):
    done = subprocess.run([os.environ["ISOBIT"], *words], capture_output=True, text=True)
    return json.loads(done.stdout)


def last_number(text):
    """The answer of GSM8K's kind that a reply gives (harness/judge/score.cc)."""
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    return found[-1].replace(",", "") if found else ""


def is_right(prompt):
    reply = prompt["text"].split("<|")[0]
    reply = reply[reply.rfind("#### ") + 5:] if "#### " in reply else reply
    return reply.strip(" \n\t") == prompt["answer"] or last_number(reply) == prompt["answer"]


def told(prompt):
    tokens = prompt["tokens"]
    return {"ids": [t["id"] for t in tokens], "top": [t["top"][0][1] for t in tokens],
            "log_sum": [t.get("log_sum", np.nan) for t in tokens],
            "correct": int(is_right(prompt)) if prompt["answer"] else None}


def main(database, run):
    report = isobit("report", run, "--json", "--db", database)
    axes = {cell["hash"][:8]: cell["axes"] for cell in report["cells"]}
    shown = isobit("show", run, "--json", "--db", database)["cells"]
    traces = {cell["hash"][:8]: [told(prompt) for prompt in cell["prompts"]] for cell in shown}
    compared = wrong = 0
    for group in report["measured"]:
        if group["lost"] or group["left_out"]:
            print("left out: a configuration or a prompt is missing in", group["key"])
            continue
        across = re.match(r"measure across (.*?)(?: over | where |$)", group["rule"]).group(1)
        configurations = {}
        for name in group["cells"]:
            cell = name.rsplit("/", 1)[1]
            key = tuple(axes[cell][axis] for axis in across.split(", "))
            configurations.setdefault(key, []).append(traces[cell])
        outputs = Outputs(list(configurations.values()))
        for value in group["values"]:
            numpy = outputs.value(value["metric"])
            want = [digits(numpy[0], 6), digits(numpy[1], 2)]
            have = [digits(value["value"], 6), digits(value["standard_error"], 2)]
            compared += 1
            wrong += want != have
            print("equal" if want == have else f"DIFFERENT, NumPy: {want}", group["key"],
                  value["metric"], *have)
    print(f"{compared} values, {wrong} different")
    return 1 if wrong else 0 if compared else 2


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]) if len(sys.argv) == 3 else unit_test())

"""Task vectors against NumPy, and what their stores cost in accuracy. By hand: needs NumPy, torch,
safetensors, tokenizers, and the models that scenarios/models/train/finetune.py writes.

    check_task_vectors.py --isobit PROGRAM --tuned FOLDER [--scale 0.4] [--only bits|table]

Three parts, printed. Bits: the merged model of every store, made here from NUMERICS.md alone, and
`isobit model digest` of the same; each tensor's digest must be equal. Error: of each store against
the differences, root mean square over all weights, and the largest share of the proved bound.
Accuracy: of the merged models on scenarios/prompts/longer.jsonl, 100 prompts a task, greedy, fp32
in torch on the weights of the first part. Without --scale it is the one of 0.4, 0.5 … 1.2 with the
highest mean accuracy of the unstored merge on 40 other held-back questions a task.
"""
import argparse
import hashlib
import json
import math
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import torch
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "scenarios/models"
sys.path[:0] = [str(MODELS / "train"), str(ROOT / "scenarios/prompts")]
import evaluate  # noqa: E402
import longer  # noqa: E402
import model as llama  # noqa: E402
import tokens  # noqa: E402

TASKS = list(longer.TASKS)
STORES = [None, {"rtn": 8}, {"rtn": 4}, {"tvq": 4}, {"tvq": 3}, {"tvq": 2}, {"rtvq": [3, 2]},
          {"rtvq": [3, 1]}, {"rtvq": [6, 1]}]
SCALES = [x / 10 for x in range(4, 13)]


# --- NUMERICS.md, "Task vectors" ----------------------------------------------------------------

class Grid:
    """x is fp32. Quotients and products in fp64, ties to even, step and values rounded to fp32."""

    def __init__(self, x, bits):
        low, high = np.float64(x.min()), np.float64(x.max())
        self.step = np.float32((high - low) / (2**bits - 1))
        self.low = np.float32(low)
        if self.step == 0:
            self.values = np.full_like(x, self.low)
            return
        step = np.float64(self.step)
        offset = -np.rint(low / step)
        codes = np.clip(np.rint(x.astype(np.float64) / step) + offset, 0, 2**bits - 1)
        self.values = (step * (codes - offset)).astype(np.float32)


def stored(store, pre, tuned):
    """[vector of each task]: fp64 differences without a store, else fp32 values of one."""
    if store is None:
        return [t.astype(np.float64) - pre.astype(np.float64) for t in tuned]
    (kind, bits), = store.items()
    if kind == "tvq":
        return [Grid(t - pre, bits).values for t in tuned]
    if kind == "rtn":
        return [Grid(t, bits).values - pre for t in tuned]
    total = np.zeros(pre.shape, np.float64)
    for t in tuned:
        total += t
    base = Grid((total / len(tuned) - pre).astype(np.float32), bits[0]).values
    return [base + Grid(t - (pre + base), bits[1]).values for t in tuned]


def merged(pre, vectors, scale):
    total = np.zeros(pre.shape, np.float64)
    for v in vectors:
        total += v
    return (pre + scale * total).astype(np.float32)


# --- the parts ----------------------------------------------------------------------------------

def digest(x):
    """As content_digest.h says of one tensor."""
    rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)
    return hashlib.sha256(b"".join(hashlib.sha256(r.tobytes()).digest() for r in rows)).hexdigest()


def text_of(store, scale, folder, tasks=TASKS):
    out = {"base": "default-7m", "tasks": [f"{folder}/{t}.safetensors" for t in tasks],
           "merge": {"arithmetic": scale}}
    return json.dumps(out | ({"store": store} if store else {}))


def check_bits(arguments, base, tuned, scale):
    print(f"bits: digests of {len(base)} tensors, scale {scale}")
    for store in STORES:
        done = subprocess.run(
            [arguments.isobit, "model", "digest", "--json", text_of(store, scale, arguments.tuned)],
            capture_output=True, text=True, env=os.environ | {"ISOBIT_MODELS": str(MODELS)})
        if done.returncode:
            sys.exit(done.stderr)
        theirs = json.loads(done.stdout)["tensors"]
        different = [name for name, pre in base.items()
                     if digest(merged(pre, stored(store, pre, [t[name] for t in tuned]), scale))
                     != theirs[name]]
        print(f"  {name_of(store):9} {len(theirs)} tensors, {len(different)} differ")
        if different or len(theirs) != len(base):
            sys.exit(f"different: {different[:3]}")


def name_of(store):
    if store is None:
        return "none"
    (kind, bits), = store.items()
    return f"{kind} {bits[0]}+{bits[1]}" if isinstance(bits, list) else f"{kind} {bits}"


def bits_of(store):
    """(of codes, with 64 bits a grid) by value and task."""
    if store is None:
        return 32.0, 32.0
    (_, bits), = store.items()
    base, own = bits if isinstance(bits, list) else (0, bits)
    return own + base / len(TASKS), (1 + (1 / len(TASKS) if base else 0)) * 64


def errors(base, tuned):
    print("error of a stored vector, all tasks and tensors (rms of the differences themselves: "
          f"{rms([t[n] - p for n, p in base.items() for t in tuned]):.3e})")
    for store in STORES[1:]:
        apart = [v - (t[name].astype(np.float64) - pre) for name, pre in base.items()
                 for t, v in zip(tuned, stored(store, pre, [t[name] for t in tuned]))]
        codes, grids = bits_of(store)
        grids *= len(base) / sum(p.size for p in base.values())
        print(f"  {name_of(store):9} {codes:6.3f} bits a value and task, {codes + grids:.4f} with "
              f"grids; rms error {rms(apart):.4e}, "
              f"largest {max(np.abs(a).max() for a in apart):.4e}")
    worst = 0.0
    for bits in (1, 2, 3, 4, 8):
        for name, pre in base.items():
            for t in tuned:
                x = t[name] - pre
                g = Grid(x, bits)
                slack = (2**bits - 1) * 2.0**-24 * g.step
                bound = g.step / 2 + slack + np.abs(g.values) * 2.0**-24 + np.abs(x) * 2.0**-52
                if g.step:
                    worst = max(worst, (np.abs(x.astype(np.float64) - g.values) / bound).max())
    print(f"  largest error of 1, 2, 3, 4, 8 bits over its proved bound: {worst:.6f}")


def rms(arrays):
    return math.sqrt(sum(float(np.square(a.astype(np.float64)).sum()) for a in arrays)
                     / sum(a.size for a in arrays))


class Judge:
    def __init__(self):
        self.tokenizer = tokens.load_tokenizer(MODELS / "default-7m/tokenizer.json")
        self.model = llama.Model(llama.CONFIGS["default-7m"], torch.float32)

    def right(self, weights, prompts):
        """Which of the prompts the model of these weights answers exactly."""
        self.model.load_state_dict(
            {n.removeprefix("model.").replace("embed_tokens.weight", "embed_tokens"):
             torch.from_numpy(w) for n, w in weights.items()})
        ids = [evaluate.prompt_ids(self.tokenizer, p) for p in prompts]
        replies, _ = evaluate.generate(self.model, ids, 48)
        return [evaluate.right(self.tokenizer.decode(r), p["answer"])
                for r, p in zip(replies, prompts)]

    def by_task(self, weights, prompts):
        return {t: self.right(weights, [p for p in prompts if p["id"].startswith(t + "-")])
                for t in TASKS}


def interval(hits):
    """Half of Wilson's 95 % interval, in points."""
    n, p, z = len(hits), sum(hits) / len(hits), 1.96
    return 100 * z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)


def other_prompts(test, count=40):
    """Held-back questions that are none of the test prompts, to choose the scale with."""
    rng, taken, out = random.Random("choose/1"), {json.dumps(p["messages"]) for p in test}, []
    for task in TASKS:
        for i in range(count):
            while True:
                s = longer.sample(task, rng, "test")
                messages = [{"role": r, "content": c} for r, c in s.messages[:-1]]
                if json.dumps(messages) not in taken:
                    break
            taken.add(json.dumps(messages))
            out.append({"id": f"{task}-{i:03d}", "messages": messages, "answer": s.answer})
    return out


def merge_all(base, tuned, store, scale, only=None):
    return {n: merged(p, [v for i, v in enumerate(stored(store, p, [t[n] for t in tuned]))
                          if only is None or i == only], scale) for n, p in base.items()}


def choose(judge, base, tuned, prompts):
    means = {}
    for scale in SCALES:
        hits = judge.by_task(merge_all(base, tuned, None, scale), prompts)
        means[scale] = sum(sum(h) / len(h) for h in hits.values()) / len(hits)
        print(f"  scale {scale}: " + ", ".join(f"{t} {sum(h)}/{len(h)}" for t, h in hits.items()),
              flush=True)
    return max(means, key=lambda s: (means[s], -s))


def row(name, hits, against=None):
    cells = [f"{100 * sum(h) / len(h):5.1f} ±{interval(h):4.1f}" for h in hits.values()]
    flat = [x for h in hits.values() for x in h]
    text = f"  {name:30} " + "  ".join(cells) + f"  {100 * sum(flat) / len(flat):5.1f}"
    if against is not None:
        gained = sum(x and not y for x, y in zip(flat, against))
        lost = sum(y and not x for x, y in zip(flat, against))
        text += f"  {gained:+4d} -{lost}"
    print(text, flush=True)
    return flat


def table(base, tuned, scale):
    torch.set_num_threads(1)
    judge, test = Judge(), evaluate.read_prompts("longer")
    if scale is None:
        print("choice of the scale, 40 other held-back questions a task, no store")
        scale = choose(judge, base, tuned, other_prompts(test))
    print(f"accuracy in %, ± half of Wilson's 95 % interval, scale {scale}: {', '.join(TASKS)}, "
          "all; then answers gained and lost against the unstored merge")
    row("base", judge.by_task(base, test))
    for i, task in enumerate(TASKS):
        row(f"fine-tuned on {task}", judge.by_task(tuned[i], test))
    whole = row("merged, no store", judge.by_task(merge_all(base, tuned, None, scale), test))
    for store in STORES[1:]:
        row(f"merged, {name_of(store)}", judge.by_task(merge_all(base, tuned, store, scale), test),
            whole)
    kept = {n: (p if "embed" in n else m) for (n, p), m in
            zip(base.items(), merge_all(base, tuned, {"rtn": 8}, scale).values())}
    row("merged, rtn 8, base's embedding", judge.by_task(kept, test), whole)
    for store in (None, {"tvq": 2}, {"rtvq": [3, 2]}):
        for i, task in enumerate(TASKS):
            row(f"{task} alone, scale 1, {name_of(store)}",
                judge.by_task(merge_all(base, tuned, store, 1.0, i), test))
    return scale


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", default=os.environ.get("ISOBIT", "isobit"))
    parser.add_argument("--tuned", type=pathlib.Path, required=True)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--only", choices=("bits", "table"))
    arguments = parser.parse_args()
    arguments.tuned = arguments.tuned.resolve()
    arguments.isobit = str(pathlib.Path(arguments.isobit).resolve())
    def read(path):
        return {n: v.float().numpy() for n, v in load_file(str(path)).items()}
    base = read(MODELS / "default-7m/model.safetensors")
    tuned = [read(arguments.tuned / f"{task}.safetensors") for task in TASKS]
    scale = arguments.scale
    if arguments.only != "bits":
        errors(base, tuned)
        scale = table(base, tuned, scale)
    if arguments.only != "table":
        check_bits(arguments, base, tuned, scale or 0.5)


if __name__ == "__main__":
    main()

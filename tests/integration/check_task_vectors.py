"""Task vectors against NumPy, and what their stores cost in accuracy. By hand: needs NumPy,
safetensors, and the models that scenarios/models/train/finetune.py writes.

    check_task_vectors.py --isobit PROGRAM --tuned FOLDER [--scale 0.8] [--only bits|error|table]

Three parts, printed. Bits: the merged model of every store, made here from NUMERICS.md alone, and
`isobit model digest` of the same; each tensor's digest must be equal. Error: of each store against
the differences, root mean square over all weights, and the largest share of the proved bound.
Accuracy: of the merged models on scenarios/prompts/longer.jsonl, 100 prompts a task, greedy, by the
program's own runs of each store. Without --scale it is the one of 0.4, 0.5 … 1.2 with the
highest mean accuracy of the unstored merge on 40 other held-back questions a task.
"""
import argparse
import hashlib
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "scenarios/models"
sys.path.insert(0, str(MODELS / "train"))
import longer  # noqa: E402

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


def read(path):
    """{name: fp32 array}; F32 and BF16, which NumPy does not know."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, what in header.items():
        begin, end = (8 + size + offset for offset in what["data_offsets"])
        if what["dtype"] == "BF16":
            values = np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16
            out[name] = values.view(np.float32).reshape(what["shape"])
        else:
            out[name] = np.frombuffer(data[begin:end], "<f4").reshape(what["shape"])
    return out


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
        words = ["model", "digest", "--json", text_of(store, scale, arguments.tuned)]
        theirs = json.loads(run(arguments.isobit, ROOT, words))["tensors"]
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
        apart, in_sum = [], []
        for name, pre in base.items():
            vectors = stored(store, pre, [t[name] for t in tuned])
            own = [v - (t[name].astype(np.float64) - pre) for t, v in zip(tuned, vectors)]
            apart += own
            in_sum.append(sum(own))
        codes, grids = bits_of(store)
        grids *= len(base) / sum(p.size for p in base.values())
        print(f"  {name_of(store):9} {codes:6.3f} bits a value and task, {codes + grids:.4f} with "
              f"grids; rms error {rms(apart):.3e}, largest "
              f"{max(np.abs(a).max() for a in apart):.3e}, rms of the sum's {rms(in_sum):.3e}")
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


SCENARIO = """version: 1
name: judge
model: {model}
prompts: prompts.jsonl
decode: {{max_new_tokens: 48}}
axes: {{precision: {precisions}, batch: [8]}}
golden: none
min_tokens: 1
expect: [{{measure: {{across: [precision]}}}}]
"""


class Judge:
    """Which prompts a model answers exactly, by the program's own greedy runs."""

    def __init__(self, program, prompts):
        self.program, self.prompts = program, prompts
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-tasks-"))
        (self.folder / "prompts.jsonl").write_text(
            "".join(json.dumps(p) + "\n" for p in prompts))

    def by_task(self, model, precisions=("fp32",)):
        """{precision: {task: [whether right]}}. model: a name or the JSON of a merged model."""
        names = json.dumps(list(precisions))
        (self.folder / "s.yaml").write_text(
            SCENARIO.format(model=f"'{model}'", precisions=names))
        # One cell has nothing to be compared with, which the exit code says.
        run(self.program, self.folder, ["run", "s.yaml", "-q", "--update", "none"], (0, 7))
        told = json.loads(run(self.program, self.folder, ["show", "last", "--json"]))
        out = {}
        for cell in told["cells"]:
            precision = cell["name"].split("precision=")[1].split()[0].split(",")[0]
            text = {p["prompt"]: p["text"] for p in cell["prompts"]}
            out[precision] = {t: [right(text[p["id"]], p["answer"]) for p in self.prompts
                                  if p["id"].startswith(t + "-")] for t in TASKS}
        return out


def run(program, folder, words, codes=(0,)):
    done = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"ISOBIT_MODELS": str(MODELS)})
    if done.returncode not in codes:
        sys.exit(f"{words}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def right(text, answer):
    """A reply ends at the end token or where another turn begins (scenarios/prompts/README.md)."""
    return text.split("<|")[0].strip() == answer


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


def choose(program, folder, prompts):
    judge, means = Judge(program, prompts), {}
    for scale in SCALES:
        hits = judge.by_task(text_of(None, scale, folder))["fp32"]
        means[scale] = sum(sum(h) / len(h) for h in hits.values()) / len(hits)
        print(f"  scale {scale}: " + ", ".join(f"{t} {sum(h)}/{len(h)}" for t, h in hits.items()),
              flush=True)
    return max(means, key=lambda s: (means[s], -s))


def row(name, found, against=None):
    hits = found["fp32"]
    cells = [f"{100 * sum(h) / len(h):5.1f} ±{interval(h):4.1f}" for h in hits.values()]
    flat = [x for h in hits.values() for x in h]
    in_bf16 = [x for h in found.get("bf16", {}).values() for x in h]
    text = f"  {name:31} " + "  ".join(cells) + f"  {100 * sum(flat) / len(flat):5.1f}"
    text += f"  {100 * sum(in_bf16) / len(in_bf16):5.1f}" if in_bf16 else "      -"
    if against is not None:
        gained = sum(x and not y for x, y in zip(flat, against))
        lost = sum(y and not x for x, y in zip(flat, against))
        text += f"  +{gained} -{lost}"
    print(text, flush=True)
    return flat


def with_own_embedding(base, tuned, store, judge):
    """f(scale): the merge of what the store makes of all but the embedding, written as one model,
    which is then the only task, at scale 1."""
    def make(scale):
        path = judge.folder / "written.safetensors"
        save_file({n: merged(p, [t[n].astype(np.float64) - p for t in tuned] if "embed" in n else
                             stored(store, p, [t[n] for t in tuned]), scale)
                   for n, p in base.items()}, str(path))
        return json.dumps({"base": "default-7m", "tasks": [str(path)],
                           "merge": {"arithmetic": 1.0}})
    return make


def table(program, folder, base, tuned, scale, only):
    with open(ROOT / "scenarios/prompts/longer.jsonl", encoding="utf-8") as file:
        test = [json.loads(line) for line in file]
    if scale is None:
        print("choice of the scale, 40 other held-back questions a task, no store")
        scale = choose(program, folder, other_prompts(test))
    print(f"accuracy in %, ± half of Wilson's 95 % interval, scale {scale}: {', '.join(TASKS)} in "
          "fp32, all in fp32, all in bf16;\nthen answers in fp32 gained and lost against the "
          "unstored merge")
    judge, whole = Judge(program, test), None

    def show(name, model, precisions=("fp32", "bf16")):
        if not re.search(only, name):
            return None
        return row(name, judge.by_task(model, precisions), whole)

    show("base", "default-7m")
    for task in TASKS:
        show(f"fine-tuned on {task}", text_of(None, 1.0, folder, [task]))
    whole = row("merged, no store", judge.by_task(text_of(None, scale, folder)))
    for store in STORES[1:]:
        show(f"merged, {name_of(store)}", text_of(store, scale, folder))
    for bits in (8, 4):
        make = with_own_embedding(base, tuned, {"rtn": bits}, judge)
        show(f"merged, rtn {bits}, embedding exact", make(scale), ["fp32"])
    whole = None
    for store in ({"tvq": 4}, {"tvq": 3}, {"tvq": 2}):
        for task in TASKS:
            show(f"{task} alone, scale 1, {name_of(store)}",
                 text_of(store, 1.0, folder, [task]), ["fp32"])
    return scale


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", default=os.environ.get("ISOBIT", "isobit"))
    parser.add_argument("--tuned", type=pathlib.Path, required=True)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--rows", default="", help="of the table: those whose name has this regex")
    parser.add_argument("--only", choices=("bits", "error", "table"))
    arguments = parser.parse_args()
    arguments.tuned = arguments.tuned.resolve()
    arguments.isobit = str(pathlib.Path(arguments.isobit).resolve())
    base = read(MODELS / "default-7m/model.safetensors")
    tuned = [read(arguments.tuned / f"{task}.safetensors") for task in TASKS]
    scale = arguments.scale
    if arguments.only in (None, "error"):
        errors(base, tuned)
    if arguments.only in (None, "table"):
        scale = table(arguments.isobit, arguments.tuned, base, tuned, scale, arguments.rows)
    if arguments.only in (None, "bits"):
        check_bits(arguments, base, tuned, scale or 0.5)


if __name__ == "__main__":
    main()

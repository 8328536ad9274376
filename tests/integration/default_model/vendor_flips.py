#!/usr/bin/env python3
"""Token flips of a model under a real vendor library, through Isobit. Standard library only.

  vendor_flips.py --isobit build/isobit --model scenarios/models/default-7m --out numbers.json

Greedy prose in bf16, products by OpenBLAS, batch 1 against 8. Free-running: the index of the first
different token of each prompt, and their median (prompts that never part count as infinite).
Teacher-forced on one cell's tokens: the share of steps whose token differs. The reference engine
runs beside it and must show none. accept.py --isobit reads the file.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]

SCENARIO = """version: 1
name: vendor-flips
model: {model}
prompts: {{file: {prompts}, take: {take}}}
decode: {{strategy: greedy, max_new_tokens: {new}, ignore_eos: true, teacher_forced: {teacher}}}
time_limit: 3600
axes:
  engine: [reference, {{openblas: {core}}}]
  precision: [bf16]
  batch: [1, 8]
"""


def cells(arguments, teacher, folder):
    """{(engine, batch): [[(id, digest)] by prompt]}."""
    folder = folder / ("taught" if teacher else "free")
    folder.mkdir()
    scenario = folder / "scenario.yaml"
    scenario.write_text(SCENARIO.format(
        model=arguments.model.resolve(), prompts=arguments.prompts.resolve(), new=arguments.max_new,
        take=arguments.take, teacher="true" if teacher else "false", core=arguments.core))
    database = ["--db", str(folder / "isobit.db")]
    run = subprocess.run([str(arguments.isobit), "run", str(scenario), *database,
                          "--update", "none"], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1, 4, 5, 7):
        raise RuntimeError(run.stderr)
    shown = subprocess.run([str(arguments.isobit), "show", "1", *database, "--json"],
                           capture_output=True, text=True, check=True)
    result = {}
    for cell in json.loads(shown.stdout)["cells"]:
        axes = dict(p.split("=", 1) for p in cell["name"].split()[0].split("%")[1].split(","))
        key = ("openblas" if "openblas" in axes["engine"] else "reference", axes["batch"])
        result[key] = [[(t["id"], t["digest"]) for t in p["tokens"]] for p in cell["prompts"]]
    if len(result) != 4:
        raise RuntimeError(f"not all cells ran: {sorted(result)}\n{run.stdout}")
    return result


def first_divergences(a, b):
    """Index of the first different token by prompt, or None."""
    return [next((i for i, (x, y) in enumerate(zip(p, q)) if x[0] != y[0]), None)
            for p, q in zip(a, b)]


def flip_share(a, b):
    """(share of steps with another token, share with other bits, steps)."""
    pairs = [(x, y) for p, q in zip(a, b) for x, y in zip(p, q)]
    return (sum(x[0] != y[0] for x, y in pairs) / len(pairs),
            sum(x[1] != y[1] for x, y in pairs) / len(pairs), len(pairs))


def median(values):
    """Of indices; None counts as infinite."""
    known = sorted(v if v is not None else float("inf") for v in values)
    middle = known[len(known) // 2]
    return None if middle == float("inf") else middle


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", type=pathlib.Path, default=ROOT / "build" / "isobit")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--prompts", type=pathlib.Path,
                        default=ROOT / "scenarios" / "prompts" / "prose.jsonl")
    parser.add_argument("--take", type=int, default=64)
    parser.add_argument("--max-new", type=int, default=304)
    parser.add_argument("--core", default="SkylakeX", help="OpenBLAS core type")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        free = cells(arguments, False, pathlib.Path(folder))
        taught = cells(arguments, True, pathlib.Path(folder))
    first = first_divergences(free["openblas", "1"], free["openblas", "8"])
    flips, bits, steps = flip_share(taught["openblas", "1"], taught["openblas", "8"])
    against = flip_share(taught["reference", "1"], taught["openblas", "1"])
    own = flip_share(taught["reference", "1"], taught["reference", "8"])
    numbers = {"engine": f"OpenBLAS {arguments.core}", "precision": "bf16",
               "max_new": arguments.max_new, "prompts": len(first), "steps": steps,
               "flip_rate": flips, "rows_differing": bits,
               "median_divergence": median(first), "never_parting": first.count(None),
               "flip_rate_against_reference": against[0], "rows_against_reference": against[1],
               "flip_rate_reference": own[0], "rows_reference": own[1]}
    arguments.out.write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How far the logits of a run's cells are from those of one cell: a table, one line a cell.

Usage: distances.py RUN BASE [--isobit PROGRAM] [--db PATH] [--allow-external]
RUN is a run of the database, BASE the hash (or the start of it) of the cell that the others are
held against, fp64 for instance. Executes the run's cells once more for their values (`isobit show
--logits`). Columns: the greatest distance of a logit and the root of the mean square, relative to
the standard deviation of BASE's logits; the mean and the greatest KL divergence from BASE, nats;
rows whose largest logit is another token's. Needs NumPy.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


def rows_of(folder):
    """{file name without its ending: row in fp64}"""
    kinds = {".f32": "<f4", ".f64": "<f8"}
    return {path.stem: np.fromfile(path, kinds[path.suffix]).astype(np.float64)
            for path in sorted(folder.iterdir()) if path.suffix in kinds}


def log_softmax(row):
    shifted = row - row.max()
    return shifted - np.log(np.exp(shifted).sum())


def distances(base, other):
    common = sorted(base.keys() & other.keys())
    if not common:
        return None
    greatest = squares = count = flips = 0
    kls = []
    for name in common:
        a, b = base[name], other[name]
        difference = np.abs(a - b)
        greatest = max(greatest, difference.max() / a.std())
        squares += ((difference / a.std()) ** 2).sum()
        count += a.size
        p, q = log_softmax(a), log_softmax(b)
        kls.append(float((np.exp(p) * (p - q)).sum()))
        flips += int(a.argmax() != b.argmax())
    return len(common), greatest, (squares / count) ** 0.5, np.mean(kls), max(kls), flips


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("base")
    parser.add_argument("--isobit", default="isobit")
    parser.add_argument("--db", default=".isobit/isobit.db")
    parser.add_argument("--allow-external", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [asked.isobit, "show", asked.run, "--db", asked.db, "--json", "--logits", folder]
        done = subprocess.run(command + ["--allow-external"] * asked.allow_external,
                              stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return done.returncode
        cells = json.loads(done.stdout)["cells"]
        rows = {cell["hash"]: rows_of(pathlib.Path(folder) / cell["hash"]) for cell in cells}
    bases = [cell for cell in cells if cell["hash"].startswith(asked.base.lstrip("/"))]
    if len(bases) != 1:
        print(f"{len(bases)} cells of run {asked.run} begin with {asked.base}", file=sys.stderr)
        return 2
    print("against", bases[0]["name"])
    print(f"{'rows':>5} {'greatest':>9} {'rms':>9} {'mean KL':>9} {'max KL':>9} {'flips':>5}  cell")
    for cell in cells:
        found = distances(rows[bases[0]["hash"]], rows[cell["hash"]])
        if found is None or cell is bases[0]:
            continue
        count, greatest, rms, mean, most, flips = found
        print(f"{count:5} {greatest:9.2e} {rms:9.2e} {mean:9.2e} {most:9.2e} {flips:5}  "
              f"{cell['name']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Processes as ranks: the same bits as the goldens, and errors that end instead of hanging.

Runs isobit-mpi under mpirun on this machine. Skipped where the build has no MPI.
"""
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
PROGRAM = os.environ.get("ISOBIT_WITH_MPI", "")
MPIEXEC = os.environ.get("ISOBIT_MPIEXEC", "mpirun")
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_btl_vader_single_copy_mechanism="none")
failures = []


def expect(good, what):
    print(("ok    " if good else "FAIL  ") + what, flush=True)
    if not good:
        failures.append(what)


def run(processes, *arguments, timeout=300):
    return subprocess.run([MPIEXEC, "-n", str(processes), PROGRAM, *arguments], env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=timeout)


def observed(database):
    rows = sqlite3.connect(database).execute("SELECT name, status, observed FROM cell").fetchall()
    return [(name, status, json.loads(text)) for name, status, text in rows if text]


def same_bits(folder):
    """Cells across 2 and 4 processes judge green by the goldens that in-process ranks made."""
    for processes in (2, 4):
        database = os.path.join(folder, f"{processes}.db")
        done = run(processes, "check", str(ROOT / "scenarios/gpus.yaml"), "--db", database,
                   "--update", "none", "--json", "-q", "-k",
                   f"gpus in (1, {processes}) and precision in (bf16, fp8-e4m3)")
        report = json.loads(done.stdout) if done.stdout.startswith("{") else {"counts": {}}
        expect(done.returncode == 0 and report["counts"].get("PASS", 0) == 8,
               f"{processes} processes: exit {done.returncode}, {report['counts']} {done.stderr}")
        across = [o for _, _, o in observed(database) if o["ranks"] == processes]
        expect(len(across) == 4, f"{len(across)} cells ran across {processes} processes")
        expect(all(o["transport"].startswith("mpi, ") and not o["virtual_ranks"]
                   and f"{processes} processes on 1 host" in o["transport"]
                   and o["collectives"] > 100 and o["bytes_moved"] > 10000 for o in across),
               "observed: " + (across[0]["transport"] if across else "nothing"))


def every_precision(folder):
    """Nine precisions, cache on and off: eight processes give the bits of one rank."""
    path = scenario(os.path.join(folder, "e"), f"""version: 1
name: s
model: nano-300k
prompts: {{file: {ROOT}/scenarios/prompts/gsm-like.jsonl, take: 3}}
decode: {{max_new_tokens: 8, ignore_eos: true}}
axes:
  precision: [fp64, fp32, tf32, bf16, fp16, fp8-e4m3, fp8-e5m2, layercast-bf16, layercast-fp16]
  gpus: [1, 8]
  batch: [3]
  cache: [on, off]
expect: [{{same_bits: {{across: [gpus, cache]}}}}]
""")
    database = os.path.join(folder, "e.db")
    done = run(8, "check", path, "--db", database, "--update", "none", "-q")
    expect(done.returncode == 5, f"8 processes: exit {done.returncode} (5: no goldens)")
    cells = sqlite3.connect(database).execute(
        "SELECT json_extract(axes, '$.precision'), hex(root), json_extract(observed, '$.transport')"
        " FROM cell").fetchall()
    roots = {}
    for precision, root, _ in cells:
        roots.setdefault(precision, set()).add(root)
    across = [cell for cell in cells if (cell[2] or "").startswith("mpi, ")]
    expect(len(cells) == 36 and len(across) == 18, f"{len(across)} of {len(cells)} cells across")
    expect(len(roots) == 9 and all(len(r) == 1 for r in roots.values())
           and len({min(r) for r in roots.values()}) == 9, "one root a precision, nine roots")


def other_numbers(folder):
    """A number of processes that no cell asks for: said, and everything runs in process 0."""
    done = run(3, "check", str(ROOT / "scenarios/gpus.yaml"), "--db",
               os.path.join(folder, "3.db"), "--update", "none", "-q", "-k",
               "precision=bf16 and batch=1 and gpus<3")
    expect(done.returncode == 0 and "none of these cells has gpus: 3" in done.stderr
           and "3 ranks do not divide" in done.stderr,
           f"3 processes: exit {done.returncode} {done.stderr}")


def scenario(folder, text):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "s.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


TEXT = f"""version: 1
name: s
model: nano-300k
prompts: {{file: {ROOT}/scenarios/prompts/lengths.jsonl, pad_to: 500}}
decode: {{max_new_tokens: TOKENS, ignore_eos: true}}
axes: {{gpus: [1, 2]}}
expect: [{{same_bits: {{across: [gpus]}}}}]
"""
# A cell of some seconds, on an idle machine too.
SLOW = TEXT.replace("TOKENS", "400").replace("nano-300k", "default-7m")


def unequal_files(folder):
    """Another scenario file in the place of process 1 is an error, not a hang or a DIFF."""
    places = [os.path.join(folder, "a"), os.path.join(folder, "b")]
    scenario(places[0], TEXT.replace("TOKENS", "8"))
    scenario(places[1], TEXT.replace("TOKENS", "9"))
    one = ["-n", "1", PROGRAM, "check", "s.yaml", "--db", os.path.join(folder, "u.db"), "-q"]
    done = subprocess.run([MPIEXEC, "-wdir", places[0], *one, ":", "-wdir", places[1], *one],
                          env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    expect(done.returncode == 2 and "are not those of process 0" in done.stderr
           and "rank 1 on " in done.stderr, f"unequal files: exit {done.returncode} {done.stderr}")


def time_limit(folder):
    """A cell that takes too long is recorded and ends the run."""
    path = scenario(os.path.join(folder, "t"), SLOW + "time_limit: 1\n")
    database = os.path.join(folder, "t.db")
    start = time.time()
    done = run(2, "check", path, "--db", database, "-q", "-k", "gpus=2")
    expect(done.returncode == 1 and "no result within 1 s" in done.stderr,
           f"time limit: exit {done.returncode} after {time.time() - start:.1f} s {done.stderr}")
    rows = sqlite3.connect(database).execute("SELECT status FROM cell").fetchall()
    expect(("timed_out",) in rows, f"time limit: recorded as {rows}")


def children_of(parent):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return sorted(found)


def killed_process(folder):
    """A process that dies takes the run with it; what was finished is kept."""
    path = scenario(os.path.join(folder, "k"), SLOW)
    database = os.path.join(folder, "k.db")
    process = subprocess.Popen([MPIEXEC, "-n", "2", PROGRAM, "check", path, "--db", database, "-q"],
                               env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    children = []
    deadline = time.time() + 20
    while len(children) < 2 and time.time() < deadline:
        time.sleep(0.2)
        children = children_of(process.pid)
    time.sleep(1)
    if len(children) == 2 and process.poll() is None:
        os.kill(children[1], signal.SIGKILL)
    try:
        code = process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        code = None
    expect(code not in (0, None), f"a killed process: exit {code}")


def main():
    if not PROGRAM:
        print("skipped: this build has no isobit-mpi (libopenmpi-dev, openmpi-bin)")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        tests = (same_bits, every_precision, other_numbers, unequal_files, time_limit,
                 killed_process)
        for test in tests:
            if len(sys.argv) > 1 and test.__name__ not in sys.argv[1:]:
                continue
            start = time.time()
            test(folder)
            print(f"      {test.__name__}: {time.time() - start:.1f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

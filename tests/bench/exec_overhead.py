#!/usr/bin/env python3
"""What the protocol of external engines costs: transformers behind its adapter, a process and two
pipes, against the same loop called in this process. By hand; needs torch, transformers and gguf.

  exec_overhead.py [--steps 64] [--repeats 7] [--threads 2] [MODEL …]

MODEL is a folder or a GGUF file; default: default-7m and, where it is, SmolLM2. Both sides take the
same requests in turn; the fastest of the repeats counts. The direct side throws its rows away, the
other reads every byte. Rows are compared once. Wall time says something on a quiet machine only.
Processor time is told beside it, of both processes together on the side of the protocol; with
--threads 1 nothing in it waits.
"""
import argparse
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/integration"))
import exec_driver  # noqa: E402

sys.path.insert(0, str(exec_driver.ADAPTERS))
import isobit_exec  # noqa: E402,F401

PROMPT, AIM = 32, 1.05


class Rows:
    """Takes rows as isobit_exec.Answer does."""

    def __init__(self, keep):
        self.kept = [] if keep else None

    def row(self, sequence, position, token, *, fed=None, logits=None, logprob=None, top=()):
        if self.kept is not None:
            self.kept.append(bytes(logits))


def request(batch, steps, threads):
    prompts = [[(7 * number + 3 * place) % 900 + 20 for place in range(PROMPT)]
               for number in range(batch)]
    return {"sequences": [{"prompt": prompt} for prompt in prompts], "max_new_tokens": steps,
            "eos": [], "cache": "on", "threads": threads, "batch": batch, "kv": "exact"}


def busy(pid):
    """Processor time of a process in seconds, of all its threads."""
    return sum(int(file.read_text().split()[0])
               for file in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def timed(call, pids):
    """(wall time, processor time of the processes) in seconds."""
    before, begin = sum(map(busy, pids)), time.perf_counter()
    call()
    return time.perf_counter() - begin, sum(map(busy, pids)) - before


def measure(direct, engine, asked, repeats):
    """[(direct, through the protocol)] of wall time and processor time, the least of each."""
    kept = Rows(keep=True)
    direct.generate(asked, kept)
    number = engine.request(**asked)
    if [row["logits"] for row in engine.answers(1)[number].rows] != kept.kept:
        raise SystemExit("the two sides give different rows")

    def through():
        engine.send({"ask": "generate", "id": 0} | asked)
        while engine.receive()["reply"] == "row":
            pass

    here, there = os.getpid(), engine.process.pid
    times = [(timed(lambda: direct.generate(asked, Rows(keep=False)), [here]),
              timed(through, [here, there])) for _ in range(repeats)]
    return [tuple(min(pair[side][kind] for pair in times) for side in (0, 1)) for kind in (0, 1)]


def load_direct():
    """The adapter's class, imported from its file."""
    import importlib.util
    file = exec_driver.ADAPTERS / "transformers.py"
    spec = importlib.util.spec_from_file_location("adapter", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Transformers()


def default_models():
    found = [ROOT / "scenarios/models/default-7m"]
    return found + sorted(pathlib.Path.home().glob(".cache/isobit/models/smollm2-135m/*.gguf"))[:1]


def compare(path, arguments):
    """Prints the lines of one model; the largest ratio of processor time."""
    kind = "gguf" if path.suffix == ".gguf" else "safetensors"
    direct = load_direct()
    version = direct.hello({})["version"]
    model = {"path": str(path), "kind": kind, "context": 1024, "vocab_size": None}
    direct.load({"model": model, "precision": "fp32", "device": "cpu",
                 "threads": arguments.threads})
    vocab = direct.model.config.vocab_size
    print(f"{path.name}: transformers {version}, fp32, {arguments.threads} threads, "
          f"{arguments.steps} rows of {4 * vocab} bytes a sequence, prompts of {PROMPT} tokens")
    worst = 0
    with exec_driver.Engine([sys.executable, exec_driver.ADAPTERS / "transformers.py"],
                            seconds=3600) as engine:
        engine.hello()
        engine.load(path, kind, vocab, threads=arguments.threads)
        for batch in (1, 8):
            asked = request(batch, arguments.steps, arguments.threads)
            told = []
            for name, (alone, through) in zip(("wall", "processor"),
                                              measure(direct, engine, asked, arguments.repeats)):
                told.append(f"{name} {alone * 1e3:.1f} ms direct, {through * 1e3:.1f} ms through "
                            f"the protocol, ratio {through / alone:.3f}")
            worst = max(worst, through / alone)
            print(f"  batch {batch}: {'; '.join(told)}", flush=True)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    worst = max(compare(path, arguments) for path in arguments.models or default_models())
    print(f"largest ratio of processor time {worst:.3f}, aim {AIM}")


if __name__ == "__main__":
    main()

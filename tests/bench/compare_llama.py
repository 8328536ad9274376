#!/usr/bin/env python3
"""Isobit beside llama.cpp on the same weights, the same threads, in one run.

Usage: compare_llama.py --isobit PROGRAM [--work DIR] [--threads 1,2] [--rounds N]
                        [--rows prefill,decode,q4_1,batch,load] [--build DIR]

Builds llama.cpp out of the source archive of the Python package llama-cpp-python (about ten
minutes on one core; --build names an earlier build), and makes F32 and BF16 files of SmolLM2-135M
from the Q4_1 file that `isobit model fetch smollm2-135m` gives, so that both sides have the same
weights. The two sides take turns; the best of the rounds counts on either. llama.cpp runs with
and without flash attention, and the faster counts. Exit: 0, or 1 when a part could not run.
"""
import argparse
import glob
import json
import os
import pathlib
import platform
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "llama-cpp-python==0.3.36"
TARGETS = ["llama-bench", "llama-quantize"]
CMAKE = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
         "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
         "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF"]
DECODE_TOKENS = 64


def run(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, **more)


def text_of(*command):
    return run(*command, capture_output=True, text=True).stdout


class Llama:
    """A build of llama.cpp and what is measured with it."""

    def __init__(self, work, build):
        self.work = work
        self.build = pathlib.Path(build) if build else work / "build"
        sources = self.sources()
        if not (self.build / "bin" / "llama-bench").exists():
            run("cmake", "-S", sources, "-B", self.build, *CMAKE, stdout=sys.stderr)
            run("cmake", "--build", self.build, "-j", "1", "--target", *TARGETS, stdout=sys.stderr)
        self.first = work / "llama_first_token"
        libraries = [self.build / "src/libllama.a"] + [
            self.build / f"ggml/src/lib{name}.a" for name in ("ggml", "ggml-cpu", "ggml-base")]
        run("c++", "-O2", "-std=c++17", f"-I{sources}/include", f"-I{sources}/ggml/include",
            HERE / "llama_first_token.cpp", *libraries, "-fopenmp", "-lpthread", "-ldl", "-lm",
            "-o", self.first)

    def sources(self):
        found = glob.glob(str(self.work / "llama_cpp_python-*" / "vendor" / "llama.cpp"))
        if not found:
            run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:",
                "--dest", self.work, PACKAGE, stdout=sys.stderr)
            archive = glob.glob(str(self.work / "llama_cpp_python-*.tar.gz"))[0]
            with tarfile.open(archive) as tar:
                tar.extractall(self.work)
            found = glob.glob(str(self.work / "llama_cpp_python-*" / "vendor" / "llama.cpp"))
        return pathlib.Path(found[0])

    def convert(self, source, kind):
        path = self.work / f"smollm2-{kind.lower()}.gguf"
        if not path.exists():
            run(self.build / "bin/llama-quantize", "--allow-requantize", source, path, kind,
                stdout=sys.stderr, stderr=subprocess.DEVNULL)
        return path

    def rates(self, model, threads, prompt, tokens):
        """Tokens a second: {"prefill": …, "decode": …}, the better of both attentions."""
        out = {}
        for flash in ("off", "on"):
            told = json.loads(text_of(
                self.build / "bin/llama-bench", "-m", model, "-t", threads, "-p", prompt, "-n",
                tokens, "-r", 1, "-fa", flash, "-o", "json"))
            for row in told:
                what = "prefill" if row["n_gen"] == 0 else "decode"
                out[what] = max(out.get(what, 0), row["avg_ts"])
        return out

    def first_token(self, model, threads):
        return float(text_of(self.first, model, threads).split()[0])


def isobit_row(isobit, model, precision, threads, prompt, tokens, batch=1):
    """The fastest instruction set's row; decoding begins after 8 tokens, as llama-bench's."""
    told = json.loads(text_of(
        isobit, "bench", model, "--precision", precision, "--threads", threads, "--prompt-tokens",
        prompt, "--context", 8, "--new-tokens", tokens, "--batch", batch, "--json"))
    return max(told["rows"], key=lambda row: row.get("decode_tokens_per_second", 0))


class Table:
    def __init__(self):
        self.lines = []

    def add(self, work, threads, ours, theirs, unit, ratio):
        line = (f"{work:44} {threads:>2}  isobit {ours:10.3f}  other {theirs:10.3f} {unit:9} "
                f"ratio {ratio:6.3f}")
        self.lines.append(line)
        print(line, flush=True)


def compare_speed(table, rows, llama, isobit, files, threads, rounds):
    """Prefill 512 and decoding, F32, BF16 and Q4_1."""
    wanted = []
    if "prefill" in rows or "decode" in rows:
        wanted += [("F32", "fp32"), ("BF16", "bf16")]
    if "q4_1" in rows:
        wanted += [("Q4_1", "fp32")]
    for kind, precision in wanted:
        prompt = 512 if "prefill" in rows and kind != "Q4_1" else 16
        best = {"prefill": [0, 0], "decode": [0, 0]}
        for _ in range(rounds):
            theirs = llama.rates(files[kind], threads, prompt, DECODE_TOKENS)
            ours = isobit_row(isobit, files[kind], precision, threads, prompt, DECODE_TOKENS)
            for what, pair in best.items():
                pair[0] = max(pair[0], ours[f"{what}_tokens_per_second"])
                pair[1] = max(pair[1], theirs[what])
        name = f"{kind} against isobit {precision}"
        if prompt == 512:
            table.add(f"prefill 512, {name}", threads, *best["prefill"], "tokens/s",
                      best["prefill"][0] / best["prefill"][1])
        table.add(f"decode, {name}", threads, *best["decode"], "tokens/s",
                  best["decode"][0] / best["decode"][1])


def compare_batch(table, isobit, files, threads, rounds):
    for precision in ("fp32", "bf16"):
        eight = one = 0
        for _ in range(rounds):
            row = isobit_row(isobit, files["F32"], precision, threads, 16, 32, 8)
            eight = max(eight, row["decode_tokens_per_second"])
            row = isobit_row(isobit, files["F32"], precision, threads, 16, 32)
            one = max(one, row["decode_tokens_per_second"])
        table.add(f"decode, batch 8 against our batch 1, {precision}", threads, eight, one,
                  "tokens/s", eight / one)


def compare_load(table, llama, isobit, files, threads, rounds):
    for kind, precision in (("Q4_1", "fp32"), ("Q4_1", "bf16"), ("F32", "fp32"), ("BF16", "bf16")):
        ours = theirs = float("inf")
        for _ in range(rounds):
            theirs = min(theirs, llama.first_token(files[kind], threads))
            row = isobit_row(isobit, files[kind], precision, threads, 16, 8)
            ours = min(ours, row["load_to_first_token_seconds"])
        table.add(f"load to first token, {kind} in {precision}", threads, ours, theirs, "s",
                  ours / theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isobit", required=True)
    parser.add_argument("--work", default="llama-comparison")
    parser.add_argument("--build")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", default="prefill,decode,q4_1,batch,load")
    parser.add_argument("--prepare", action="store_true", help="build and convert, measure nothing")
    options = parser.parse_args()
    work = pathlib.Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    isobit = pathlib.Path(options.isobit).resolve()
    rows = options.rows.split(",")
    llama = Llama(work, options.build)
    fetched = text_of(isobit, "model", "fetch", "smollm2-135m").split()[-1]
    files = {"Q4_1": fetched, "F32": llama.convert(fetched, "F32"),
             "BF16": llama.convert(fetched, "BF16")}
    if options.prepare:
        return 0
    print(f"# {PACKAGE} (llama.cpp inside), {platform.machine()}, {os.cpu_count()} processors; "
          f"best of {options.rounds} rounds, sides alternating")
    print("# tokens/s: ratio is isobit/other, more is better; s: less is better", flush=True)
    table = Table()
    for threads in options.threads.split(","):
        compare_speed(table, rows, llama, isobit, files, threads, options.rounds)
        if "batch" in rows:
            compare_batch(table, isobit, files, threads, options.rounds)
        if "load" in rows:
            compare_load(table, llama, isobit, files, threads, options.rounds)
    return 0 if table.lines else 1


if __name__ == "__main__":
    sys.exit(main())

"""Checks that includes go one way, and that one outside package has one .cc.

Usage: arrows.py [--list]     --list prints every arrow between parts that exists.
The parts and arrows are those of the architecture: scenario -> matrix -> executor -> runtime, and
only trace.h goes back up. Exit: 0 clean, 1 a wrong arrow, or nothing was looked at.
"""
import fnmatch
import sys

import sources

# Parts, the first match wins. A part may include itself, and what ARROWS says.
PARTS = [
    ("base", "runtime/base/*"),
    ("trace", "runtime/trace.h"),
    ("backend", "runtime/backend.h"),
    ("backend", "runtime/device_memory.h"),
    ("plugin_abi", "runtime/backends/plugin_abi.h"),
    ("numerics", "runtime/numerics/*"),
    ("policy", "runtime/cache/mode.*"),
    ("policy", "runtime/cache/policy.*"),
    ("policy", "runtime/cache/policies/*"),
    ("kv_cache", "runtime/cache/*"),
    ("schedule", "runtime/schedule/*"),
    ("parallel", "runtime/parallel/*"),
    ("model", "runtime/checkpoint/*"),
    ("model", "runtime/tokenizer/*"),
    ("model", "runtime/model/*"),
    ("backends", "runtime/backends/*"),
    ("runtime", "runtime/*"),
    ("golden", "golden/*"),
    ("verdict", "harness/verdict.*"),
    ("compare", "harness/judge/compare.h"),
    ("reports", "reports/*"),
    ("harness", "harness/*"),
    ("tests", "tests/*"),
]
BASE = {"base"}
ARROWS = {
    "base": set(),
    "plugin_abi": set(),
    "numerics": BASE,
    "trace": BASE | {"numerics"},
    "backend": BASE | {"numerics", "trace"},
    "parallel": BASE | {"numerics", "trace", "backend"},
    "policy": BASE | {"numerics"},
    "kv_cache": BASE | {"numerics", "backend", "policy"},
    "model": BASE | {"numerics", "trace", "backend", "kv_cache", "parallel"},
    "schedule": BASE | {"numerics", "trace", "backend", "kv_cache", "model"},
    "backends": BASE | {"numerics", "backend", "plugin_abi", "trace"},
    "runtime": BASE | {"numerics", "trace", "backend", "kv_cache", "schedule", "parallel", "model",
                       "backends"},
    "golden": BASE | {"numerics", "trace"},
    "verdict": BASE,
    "compare": BASE | {"numerics", "trace", "golden", "verdict"},
    "reports": BASE | {"numerics", "trace", "verdict", "compare"},
    "harness": {"*"},
    "tests": {"*"},
}

# Outside packages: a pattern of the included name, and the files that may include it.
PACKAGES = [
    ("yaml-cpp/*", ["harness/scenario*.cc"]),
    ("sqlite3.h", ["harness/store*.cc"]),
    ("boost/program_options*", ["harness/cli*.cc"]),
    ("openssl/*", ["runtime/base/sha256.cc"]),
    ("xxhash.h", ["runtime/numerics/digest.cc"]),
    ("nlohmann/*", ["harness/*", "golden/*", "reports/*", "runtime/model/*", "runtime/checkpoint/*",
                   "runtime/tokenizer/*", "runtime/backends/*"]),
    ("cublas*", ["runtime/backends/cuda/vendor/*"]),
    ("nccl.h", ["runtime/parallel/nccl*"]),
    ("mpi.h", ["runtime/parallel/mpi*", "harness/partition*"]),
    ("cuda*", ["runtime/backends/cuda/*", "runtime/parallel/nccl*", "runtime/numerics/*.cuh"]),
    ("dlfcn.h", ["runtime/*.cc", "harness/environment*.cc"]),
    ("boost/*", ["harness/cli*.cc"]),
]
TESTS_MAY = {"sqlite3.h", "nlohmann/*", "xxhash.h", "openssl/*", "dlfcn.h", "cuda*",
             "cublas*"}


def part_of(path):
    return next((name for name, glob in PARTS if fnmatch.fnmatch(path, glob)), None)


def wrong_package(path, name):
    for glob, allowed in PACKAGES:
        if fnmatch.fnmatch(name, glob):
            if path.startswith("tests/"):
                return glob not in TESTS_MAY and "tests do not use it themselves"
            if any(fnmatch.fnmatch(path, place) for place in allowed):
                return None
            return "only in " + ", ".join(allowed)
    return None


def main():
    wrong, seen, arrows = [], 0, {}
    own_tops = ("harness/", "runtime/", "golden/", "reports/", "tests/")
    for path in sources.files(".h", ".cc", ".cu", ".cuh", ".inc", tops=own_tops):
        here = part_of(path)
        for line, _, name in sources.includes(path):
            seen += 1
            reason = wrong_package(path, name)
            if reason:
                wrong.append(f"{path}:{line}: <{name}>: {reason}")
            if not name.startswith(own_tops):
                continue
            there = part_of(name)
            arrows.setdefault((here, there), f"{path}:{line}")
            if there == "tests" and here != "tests":
                wrong.append(f"{path}:{line}: {name}: the product never includes a test")
            elif here != there and not ARROWS[here] & {there, "*"}:
                wrong.append(f"{path}:{line}: {name}: {here} may not include {there}")
    if "--list" in sys.argv:
        for (here, there), place in sorted(arrows.items()):
            print(f"{here:10} -> {there:10} {place}")
    print("\n".join(wrong + [f"arrows: {seen} includes, {len(arrows)} arrows, {len(wrong)} wrong"]))
    return 1 if wrong or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

"""Checks that includes go one way, folder against folder, and that a package stays in its file.

Usage: arrows.py [--list]     --list prints every arrow between rooms that exists.
A room is a folder with all below it, unless a room is named below it, or a file beside the folders
(without its extension). Each names what it may include, besides itself. Exit: 0 clean, 1 a wrong
arrow, a file in no room, a room or a rule that nothing uses, or nothing was looked at.
"""
import fnmatch
import os
import sys

import sources

OWN = ("harness/", "runtime/", "golden/", "reports/", "tests/")
# Public to everyone above: what a value is, and what a run leaves.
BASE = {"runtime/base"}
NUMERICS = BASE | {"runtime/numerics"}
TRACE = NUMERICS | {"runtime/trace"}
# What a backend implements: operations, the memory it hands out, the layout of its KV pages.
BACKEND = NUMERICS | {"runtime/trace", "runtime/backend", "runtime/kv_layout"}
# The tables of families drive loading as well as the forward pass: these two know each other.
CHECKPOINT = NUMERICS | {"runtime/backend", "runtime/device_memory", "runtime/model"}
MODEL = BACKEND | {"runtime/device_memory", "runtime/checkpoint", "runtime/cache",
                   "runtime/parallel"}
RUN = MODEL | {"runtime/model", "runtime/schedule", "runtime/backends", "runtime/backends/cpu",
               "runtime/backends/cuda"}

# The floors of the harness, from the ground up.
SCENARIO = BASE | {"runtime/trace", "harness/axes", "harness/metric", "harness/merged",
                   "harness/score"}
STORE = TRACE | {"harness/verdict"}
MATRIX = SCENARIO | {"harness/scenario"}
JUDGE = TRACE | {"golden", "harness/verdict", "harness/metric", "harness/score",
                 "harness/matrix"}
EXECUTE = MATRIX | JUDGE | STORE | {"harness/environment", "harness/models", "harness/store",
                                    "harness/judge", "runtime/run", "runtime/model",
                                    "runtime/parallel", "runtime/tokenizer"}
EXPLAIN = EXECUTE | {"harness/execute"}
RECIPE = EXPLAIN | {"harness/explain", "harness/import", "reports"}
TOP = RECIPE | RUN | {"harness/run", "harness/bless"}

ROOMS = {
    "runtime/base": set(),
    "runtime/numerics": BASE,
    "runtime/trace": NUMERICS,
    "runtime/backend": TRACE,
    "runtime/device_memory": BASE | {"runtime/backend"},
    "runtime/kv_layout": set(),
    # Schemes and their arithmetic: a policy does not know how its cache is stored, or where.
    "runtime/cache/policy": NUMERICS | {"runtime/cache/mode", "runtime/cache/residual",
                                        "runtime/cache/policies", "runtime/cache/shipped"},
    "runtime/cache/policies": NUMERICS | {"runtime/cache/policy", "runtime/cache/residual",
                                          "runtime/cache/shipped"},
    "runtime/cache/residual": BASE | {"runtime/cache/mode"},
    "runtime/cache/shipped": NUMERICS | {"runtime/cache/policy"},
    "runtime/cache/mode": BASE,
    "runtime/cache": BACKEND - {"runtime/trace"} | {"runtime/device_memory", "runtime/cache/mode",
                                                    "runtime/cache/policy",
                                                    "runtime/cache/shipped"},
    "runtime/parallel": BACKEND,
    "runtime/checkpoint": CHECKPOINT,
    "runtime/tokenizer": BASE | {"runtime/checkpoint"},
    "runtime/model": MODEL,
    "runtime/schedule": MODEL | {"runtime/model"},
    "runtime/backends/cpu": BACKEND,
    "runtime/backends/cuda": BACKEND | {"runtime/backends"},
    "runtime/backends/plugin": BACKEND | {"runtime/backends", "runtime/device_memory"},
    # An engine in another process computes whole cells; the table has a row for it.
    "runtime/backends/exec": RUN | {"runtime/run"},
    # A twin says what of a request its original would not compute.
    "runtime/backends/twin": BACKEND | {"runtime/backends", "runtime/backends/cpu", "runtime/run"},
    "runtime/backends": BACKEND | {"runtime/backends/cpu", "runtime/backends/cuda",
                                   "runtime/backends/exec", "runtime/backends/plugin",
                                   "runtime/backends/twin"},
    "runtime/run": RUN,
    "golden": TRACE,
    "reports": BASE | {"harness/store", "harness/verdict", "harness/metric", "harness/score"},
    "harness/verdict": BASE,
    "harness/metric": BASE,
    "harness/merged": BASE,
    # Replies and records to numbers; text is read with the tokenizer's tables of Unicode.
    "harness/score": TRACE | {"harness/verdict", "runtime/tokenizer"},
    "harness/axes": NUMERICS | {"harness/merged", "runtime/run"},
    "harness/environment": TRACE | {"runtime/run", "runtime/backends/cuda"},
    "harness/scenario": SCENARIO,
    "harness/store": STORE,
    "harness/matrix": MATRIX | {"runtime/run"},  # a cell is a request
    "harness/models": TRACE | {"harness/merged", "runtime/checkpoint", "runtime/model",
                              "runtime/tokenizer"},
    "harness/judge": JUDGE,
    "harness/execute": EXECUTE,
    "harness/explain": EXPLAIN,
    "harness/import": EXPLAIN | {"runtime/backend", "runtime/checkpoint"},
    "harness/run": RECIPE | {"harness/pending"},
    "harness/pending": RECIPE | {"harness/run"},
    "harness/bless": RECIPE | {"harness/run", "harness/pending"},
    # Its fake engines are the reference behind the protocol.
    # Products of drawn operands on any backend, and the search for their schedules.
    "harness/probe": BACKEND | {"runtime/backends", "runtime/device_memory"},
    "harness/selftest": TOP | {"runtime/backends/exec"},
    # It finds the script that captures on a GPU, among the adapters.
    "harness/cli": TOP | {"harness/selftest", "harness/probe", "runtime/backends/exec"},
    "harness/main": TOP | {"harness/cli"},
    "tests": {"*"},
}

# Outside packages: a pattern of the included name, and the files that may include it.
PACKAGES = [
    ("yaml-cpp/*", ["harness/scenario/scenario.cc"]),
    ("sqlite3.h", ["harness/store/sqlite.cc"]),
    ("boost/*", ["harness/cli/parse.cc"]),
    ("openssl/*", ["runtime/base/sha256.cc"]),
    ("xxhash.h", ["runtime/numerics/digest.cc"]),
    ("nlohmann/*", ["harness/cli/*", "harness/environment/*", "harness/import/*",
                    "harness/merged.cc", "harness/models/*", "harness/run.cc",
                    "harness/scenario/json_line.*", "harness/scenario/prompt_line.*",
                    "harness/scenario/prompts.cc", "harness/score/ifeval_checks.cc",
                    "harness/selftest/selftest.cc", "harness/store/*", "reports/*",
                    "runtime/checkpoint/*", "runtime/tokenizer/*",
                    "runtime/backends/cuda/device/probe.cc",
                    "runtime/backends/exec/*"]),
    ("cublas*", ["runtime/backends/cuda/vendor/cublas_header_check.cc"]),
    ("nccl.h", ["runtime/parallel/nccl_check.cc"]),
    ("mpi.h", ["runtime/parallel/mpi_world.cc"]),
    ("cuda*", ["runtime/backends/cuda/*", "runtime/parallel/nccl.cc"]),
    ("dlfcn.h", ["runtime/backends/openblas.cc", "runtime/backends/plugin/library.cc",
                 "runtime/backends/cuda/*",
                 "runtime/parallel/nccl.cc", "runtime/run/energy.cc"]),
]
TESTS_MAY = {"sqlite3.h", "nlohmann/*", "xxhash.h", "openssl/*", "dlfcn.h", "cuda*",
             "cublas*"}


def room_of(path):
    """The longest room that holds a path; None: the path is in no room."""
    stem = os.path.splitext(path)[0]
    holds = [room for room in ROOMS if stem == room or stem.startswith(room + "/")]
    return max(holds, key=len, default=None)


def wrong_package(path, name, used):
    for glob, allowed in PACKAGES:
        if fnmatch.fnmatch(name, glob):
            if path.startswith("tests/"):
                return glob not in TESTS_MAY and "tests do not use it themselves"
            places = [place for place in allowed if fnmatch.fnmatch(path, place)]
            used.update((glob, place) for place in places)
            return None if places else "only in " + ", ".join(allowed)
    return None


def wrong_arrow(here, there, path, name):
    if here is None or there is None:
        return f"{path if here is None else name} is in no room"
    if there == "tests" and here != "tests":
        return f"{name}: the product never includes a test"
    if here != there and not ROOMS[here] & {there, "*"}:
        return f"{name}: {here} may not include {there}"
    return None


def unused(rooms, packages):
    """Rooms that hold no file, and files that no longer include their package."""
    for room in sorted(ROOMS.keys() - rooms):
        yield f"arrows.py: room {room} holds no file"
    for glob, allowed in PACKAGES:
        for place in allowed:
            if (glob, place) not in packages:
                yield f"arrows.py: {place} includes no <{glob}>"


def main():
    wrong, seen, arrows, rooms, packages = [], 0, {}, set(), set()
    for path in sources.files(".h", ".cc", ".cu", ".cuh", ".inc", tops=[top[:-1] for top in OWN]):
        here = room_of(path)
        rooms.add(here)
        for line, _, name in sources.includes(path):
            seen += 1
            reason = wrong_package(path, name, packages)
            if reason:
                wrong.append(f"{path}:{line}: <{name}>: {reason}")
            if name.startswith(OWN):
                there = room_of(name)
                arrows.setdefault((str(here), str(there)), f"{path}:{line}")
                reason = wrong_arrow(here, there, path, name)
                if reason:
                    wrong.append(f"{path}:{line}: {reason}")
    if os.path.exists(os.path.join(sources.ROOT, "CMakeLists.txt")):  # the whole tree
        wrong += unused(rooms, packages)
    if "--list" in sys.argv:
        for (here, there), place in sorted(arrows.items()):
            print(f"{here:24} -> {there:24} {place}")
    print("\n".join(wrong + [f"arrows: {seen} includes, {len(arrows)} arrows, {len(wrong)} wrong"]))
    return 1 if wrong or seen == 0 else 0


if __name__ == "__main__":
    sys.exit(main())

"""The changes of weights of runtime/numerics/NUMERICS.md, "Changed weights", written from that page
alone; shares nothing with the C++ code but the page.

    python3 tests/conformance/oracle/changed_weights.py [NUMERICS.md]

Changes the page's matrix in every way of its table and compares the digests. Prints them with
--print. Exit code: 0 all match, 1 something differs. Needs numpy >= 2 and xxhash.
"""
import pathlib
import re
import sys

import numpy as np
import xxhash

from formats_and_draws import F32, F64, U64, draw, drawn_words, odd_24_bits
from frozen_functions import log, sin_cos

PAGE = pathlib.Path(__file__).resolve().parents[3] / "runtime" / "numerics" / "NUMERICS.md"
NAME = "model.layers.0.mlp.up_proj.weight"
ROWS, COLUMNS = 24, 37


def example():
    """The page's matrix: draws of stream 9 in [-0.125, 0.125), row 3 zero."""
    w = np.empty((ROWS, COLUMNS), F32)
    for row in range(ROWS):
        n = draw(2026, row, np.arange(COLUMNS, dtype=U64), 9)
        w[row] = (n.astype(F32) * F32(2.0 ** -24) - F32(0.5)) * F32(0.25)
    w[3] = 0
    return w


def words(name, shape, seed, shared):
    """[rows, columns, 4] output words; `shared` neighbouring columns have one block."""
    h = xxhash.xxh3_64_intdigest(name.encode())
    rows = np.arange(shape[0], dtype=U64)[:, None]
    blocks = np.arange(shape[1], dtype=U64)[None, :] // U64(shared)
    out = drawn_words(seed, [h & 0xFFFFFFFF, h >> 32, rows, blocks])
    return np.stack(out, axis=-1)


def pick(block_words, which):
    return np.take_along_axis(block_words, which[None, :, None] + np.zeros_like(
        block_words[:, :, :1], dtype=np.int64), axis=-1)[..., 0]


def on_grid(w, bits, whole, code_of):
    most = (1 << (bits - 1)) - 1
    amax = np.abs(w).max() if whole else np.abs(w).max(axis=1, keepdims=True)
    step = np.broadcast_to((amax / F32(most)).astype(F32), w.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        u = w.astype(F64) / step.astype(F64)
    live = step > 0
    codes = np.clip(code_of(np.where(live, u, 0)), -most, most) + 0.0
    return np.where(live, (codes.astype(F32) * step).astype(F32), w)


def rtn(w, bits, whole):
    return on_grid(w, bits, whole, np.rint)


def bsr(w, bits, seed, whole, name=NAME):
    column = np.arange(w.shape[1])
    word = pick(words(name, w.shape, seed, 4), column % 4)
    drawn = (word.astype(F64) + 0.5) * 2.0 ** -32
    return on_grid(w, bits, whole, lambda u: np.floor(u) + (drawn < u - np.floor(u)))


def gaussian(w, sigma, seed, whole, name=NAME):
    block = words(name, w.shape, seed, 2)
    column = np.arange(w.shape[1])
    u = odd_24_bits(pick(block, 2 * (column % 2))).astype(F64) * 2.0 ** -24
    v = odd_24_bits(pick(block, 2 * (column % 2) + 1)).astype(F64) * 2.0 ** -24
    z = np.sqrt(-2 * log(u)) * sin_cos(F64(2 * np.pi) * v)[1]
    squares = w.astype(F64) ** 2
    ordered = squares.reshape(1, -1) if whole else squares
    total = np.zeros((ordered.shape[0], 1))
    for i in range(ordered.shape[1]):  # ascending, each sum rounded
        total[:, 0] += ordered[:, i]
    scale = np.sqrt(total / ordered.shape[1])
    scale = np.broadcast_to(scale, w.shape)
    made = (w.astype(F64) + (sigma * scale) * z).astype(F32)
    return np.where(scale == 0, w, made)


def changed(w, text, name=NAME):
    pairs = dict(part.split(":") for part in text.split("+"))
    whole, seed = pairs.get("granularity") == "tensor", int(pairs.get("seed", 0))
    if "rtn" in pairs:
        return rtn(w, int(pairs["rtn"]), whole)
    if "bsr" in pairs:
        return bsr(w, int(pairs["bsr"]), seed, whole, name)
    return gaussian(w, float(pairs["gaussian"]), seed, whole, name)


def digest(w):
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(w, "<f4").tobytes())


CHANGES = ["rtn:4", "rtn:4+granularity:tensor", "bsr:2", "bsr:5", "bsr:5+seed:1",
           "bsr:5+granularity:tensor+seed:3", "bsr:16+seed:9223372036854775807", "gaussian:0.1",
           "gaussian:0.1+granularity:tensor+seed:5"]


def main(arguments):
    w = example()
    if arguments == ["--print"]:
        print(f"`stored` | `{digest(w)}`")
        for text in CHANGES:
            print(f"`{text}` | `{digest(changed(w, text))}`")
        return 0
    page = pathlib.Path(arguments[0] if arguments else PAGE).read_text(encoding="utf-8")
    section = page[page.index("## Changed weights"):].split("\n## ")[0]
    rows = re.findall(r"\| `([a-z0-9:+.]+)` \| `([0-9a-f]{32})` \|", section)
    wrong = 0
    for text, expected in rows:
        found = digest(w if text == "stored" else changed(w, text))
        wrong += found != expected
        print(f"{'same' if found == expected else 'DIFFERS'}  {text}  {found}")
    print(f"{len(rows)} changes, {wrong} differ")
    return 1 if wrong or len(rows) < len(CHANGES) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

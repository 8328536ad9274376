#!/usr/bin/env python3
"""Gradients of causal attention by PyTorch autograd in fp64, as the table of a C++ test.

    check_attention_backward.py [TEST]

TEST is tests/unit/runtime/numerics/attention_backward_test.cc unless it is given. Prints the rows
of kTorch, and whether the test's file holds them. Run by hand: it needs torch. The inputs are
exact sixty-fourths, made by the same formula in the test.
Exit code: 0 the file holds these values, 1 it does not.
"""
import pathlib
import sys

import torch

ROWS, DIM, SCALE = 6, 4, 0.5


def numbers(which):
    values = [((which * 31 + 17 * i * (i + which)) % 127 - 63) / 64 for i in range(ROWS * DIM)]
    return torch.tensor(values, dtype=torch.float64).reshape(ROWS, DIM)


def main():
    q, k, v = (numbers(w).requires_grad_() for w in (1, 2, 3))
    scores = (q @ k.T) * SCALE
    seen = torch.tril(torch.ones(ROWS, ROWS, dtype=torch.bool))
    p = torch.softmax(scores.masked_fill(~seen, float("-inf")), dim=-1)
    (p @ v).backward(numbers(4))
    lines = [f"// torch {torch.__version__.split('+')[0]}, fp64"]
    for name, gradient in (("q", q.grad), ("k", k.grad), ("v", v.grad)):
        for row in gradient:
            lines.append("    " + ", ".join(float(x).hex() for x in row) + ",  // d" + name)
    print("\n".join(lines))
    root = pathlib.Path(__file__).resolve().parents[2]
    test = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                        root / "tests/unit/runtime/numerics/attention_backward_test.cc")
    words = test.read_text(encoding="utf-8").replace(",", " ").split() if test.exists() else []
    wanted = [w for line in lines[1:] for w in line.split("//")[0].replace(",", " ").split()]
    held = bool(wanted) and all(word in words for word in wanted)
    print(f"{len(wanted)} values; {test.name} {'holds' if held else 'does not hold'} them")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

"""One operation as a scenario: from a file of shapes to a report, without a model."""
import json
import os
import pathlib
import re
import unittest

import tiny_project

SOURCE = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", ".")).resolve()
SHAPES = {
    "gemm": [{"id": "even", "n": 24, "k": 128}, {"id": "odd", "n": 7, "k": 61, "bias": True}],
    "attention": [
        {"id": "decode", "heads": 4, "kv_heads": 2, "head_dim": 16, "keys": 40, "phase": "decode"},
        {"id": "prefill", "heads": 2, "kv_heads": 1, "head_dim": 8, "keys": 30,
         "phase": "prefill"}],
    "rms_norm": [{"id": "hidden", "width": 60}],
    "softmax": [{"id": "row", "width": 33}],
}
SCENARIO = """version: 1
name: {op}
question: Is a row of {op} itself in every launch?
model: {{op: {op}, shapes: {op}.jsonl}}
axes:
  precision: [fp32, bf16]
  rows: [1, 17]
  place: [first]
  neighbours: [random]
  align: [0]
include:
  - {{precision: fp32, rows: 17, place: [middle, last, scattered]}}
  - {{precision: fp32, rows: 17, neighbours: [zeros, huge, nan]}}
  - {{precision: fp32, rows: 17, align: [1, 3]}}
expect:
  - same_bits: {{across: [rows, place, neighbours, align]}}
"""
# A schedule that follows the number of rows: what a library does that splits K for few rows.
BY_ROWS = """version: 1
name: by-rows
model: {op: gemm, shapes: gemm.jsonl}
axes:
  gemm: [{by_rows: {1: {split_k: 4}, 17: {split_k: 1}}}]
  rows: [1, 2, 16, 17, 40]
golden: none
expect:
  - same_bits: {across: [rows]}
"""


class OperationTest(tiny_project.Case):
    def setUp(self):
        super().setUp()
        for op, shapes in SHAPES.items():
            self.write(f"{op}.jsonl", "".join(json.dumps(s) + "\n" for s in shapes))
            self.write(f"{op}.yaml", SCENARIO.format(op=op))
        self.write("by-rows.yaml", BY_ROWS)

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def test_every_operation_is_blessed_and_then_green(self):
        for op, shapes in SHAPES.items():
            with self.subTest(op=op):
                valid = self.isobit("validate", f"{op}.yaml")
                self.assertIn(f"{len(shapes)} shapes", valid.stdout)
                self.isobit("check", f"{op}.yaml", code=5)  # no golden yet
                self.isobit("bless", f"{op}.yaml", "--reason", "first", "--by", "a test")
                report = json.loads(self.isobit("check", f"{op}.yaml", "--json").stdout)
                self.assertEqual(report["counts"]["PASS"], len(report["cells"]))
                # Four of the product, and each value of an entry of `include` is one more.
                self.assertEqual(len(report["cells"]), 4 + 3 + 3 + 2)
                golden = (self.folder / "golden" / f"{op}.golden").read_text()
                # One class a precision: launches are dropped.
                self.assertEqual(golden.count("\nblock "), 2 * len(shapes))
                self.assertIn(f"recipe model=operation {op}\n", golden)
                self.assertNotIn("recipe decode", golden)

    def test_the_schemas_example_has_the_cells_that_it_names(self):
        text = (SOURCE / "scenarios/SCHEMA.md").read_text(encoding="utf-8")
        example = re.search(r"## One operation\n\n```yaml\n(.*?)```", text, re.S).group(1)
        self.write("schema.yaml", example.replace("shapes/gemm-smollm2.jsonl", "gemm.jsonl"))
        cells = [line for line in self.isobit("list", "schema.yaml").stdout.splitlines()
                 if "my-kernel%" in line]
        self.assertEqual(len(cells), 20 + 12 + 6 + 8)
        for axis, count in (("place=middle", 4), ("place=last", 4), ("place=scattered", 4),
                            ("neighbours=zeros", 2), ("neighbours=huge", 2),
                            ("neighbours=nan", 2), ("align=1", 4), ("align=3", 4)):
            self.assertEqual(sum(axis + "," in line for line in cells), count, axis)

    def test_a_run_is_told_again(self):
        run = self.isobit("check", "by-rows.yaml", code=1)
        self.assertIn("rows 16 → 17: ", run.stdout)
        self.assertIn("of 8 rows of shape even", run.stdout)
        self.assertIn("at shape even, row 0", run.stdout)
        self.assertIn("rows 16 → 17: ", self.isobit("report", "1", code=1).stdout)
        self.assertIn("operation gemm", self.isobit("show", "1").stdout)
        self.assertIn("rows=17", self.isobit("list", "by-rows.yaml").stdout)
        cells = json.loads(self.isobit("report", "1", "--json", code=1).stdout)["cells"]
        word = "/" + cells[-1]["hash"]
        self.assertIn("DIFF", self.isobit("history", word).stdout)
        # Values are computed again: the row's own, not those of a model.
        told = self.isobit("diff", f"1:/{cells[0]['hash']}", f"1:{word}", code=1)
        self.assertIn("max ULP", told.stdout)
        self.isobit("repro", "by-rows.yaml", "--cell", word, code=1)

    def test_bad_shapes_are_refused_with_their_line(self):
        self.write("gemm.jsonl", '{"id": "a", "n": 4, "k": 4}\n{"id": "b", "n": 4}\n')
        run = self.isobit("check", "gemm.yaml", code=2)
        self.assertIn("gemm.jsonl:2: k must be a whole number from 1", run.stderr)
        self.write("gemm.yaml", SCENARIO.format(op="gemm").replace("gemm.jsonl", "none.jsonl"))
        run = self.isobit("validate", "gemm.yaml", code=2)
        self.assertIn("none.jsonl", run.stderr)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()

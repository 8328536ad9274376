"""What imported rows are without a model's own: where they end, whether they are finite, and what
rules make of digests alone."""
import array
import json
import math
import os
import pathlib
import struct
import sys
import unittest

import tiny_project

SOURCE = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", "."))
sys.path.insert(0, str(SOURCE / "harness/import"))
import isobit_trace  # noqa: E402

LONGEST = 4
EOS = tiny_project.CONFIG["eos_token_id"]
SCENARIO = f"""version: 1
name: ends
model: model
min_tokens: 2
golden: none
prompts: one.jsonl
decode: {{max_new_tokens: {LONGEST}, ignore_eos: IGNORE, teacher_forced: TAUGHT}}
axes: {{precision: [fp32], batch: [1, 3]}}
expect: [{{same_bits: {{across: [batch]}}}}]
"""
PROMPT = [1, 5, 9]
DIGEST = "00112233445566778899aabbccddeeff"


class ImportEnds(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "one.jsonl").write_text(
            json.dumps({"id": "p", "tokens": PROMPT}) + "\n")
        for name, ignore, taught in (("free", "true", "false"), ("taught", "false", "true"),
                                     ("deaf", "true", "true")):
            (cls.folder / f"{name}.yaml").write_text(
                SCENARIO.replace("IGNORE", ignore).replace("TAUGHT", taught))

    def record(self, each, name="t.jsonl", batch=1, rows=None):
        """A trace of one prompt; of each row the words of TraceWriter.row() but the prompt."""
        with isobit_trace.TraceWriter(self.folder / name, engine="other",
                                      axes={"batch": batch}) as trace:
            trace.prompt("p", PROMPT, rows=rows)
            for row in each:
                trace.row("p", **({"token": 33, "digest": DIGEST} | row))
        return name

    def both(self, each, rows=None):
        """The same rows for the two cells of a scenario."""
        return [self.record(each, f"{batch}.jsonl", batch, rows) for batch in (1, 3)]

    def refuse(self, scenario, part, each, rows=None):
        done = self.isobit("import", scenario, self.record(each, rows=rows), code=2)
        self.assertTrue(done.stderr.rstrip().endswith(part), done.stderr)
        self.assertFalse((self.folder / ".isobit").exists())

    def test_a_taught_prompt_has_all_its_rows(self):
        whole = [{"fed": 7}] * (LONGEST - 1) + [{}]  # nothing is fed after the last row
        for scenario in ("taught.yaml", "deaf.yaml"):
            out = self.isobit("import", scenario, *self.both(whole), code=0).stdout
            self.assertIn("2 PASS", out)
        self.setUp()
        short = (f't.jsonl:4: prompt "p" ends after 2 rows; max_new_tokens is {LONGEST}, and what '
                 "was fed last ends no sequence")
        for last in ({}, {"fed": 7}, {"token": EOS}, {"token": EOS, "fed": 7}):
            self.refuse("taught.yaml", short, [{"fed": 7}, last])
        self.refuse("deaf.yaml", short, [{"fed": 7}, {"fed": EOS}])
        self.refuse("taught.yaml", "t.jsonl:3: a taught cell's row needs fed", [{}, {"fed": EOS}])
        out = self.isobit("import", "taught.yaml", *self.both([{"fed": 7}, {"fed": EOS}])).stdout
        self.assertIn("2 PASS", out)

    def fails(self, words, position):
        out = self.isobit("import", "free.yaml", *words, code=1).stdout
        self.assertIn("2 FAIL", out)
        self.assertIn(f"prompt p, position {position}: non-finite logit", out)

    def test_a_row_that_is_not_finite_fails(self):
        whole = [{}] * (LONGEST - 1)
        row = [0.0] * tiny_project.VOCAB
        row[33] = 2.0
        good = [{"logits": array.array("f", row), "digest": None}] * LONGEST
        self.assertIn("2 PASS", self.isobit("import", "free.yaml", *self.both(good)).stdout)
        self.assertNotIn('"finite"', (self.folder / "1.jsonl").read_text())
        for kind in ("f", "d"):
            for bad in (math.nan, math.inf, -math.inf):
                row[40] = bad
                rows = [*whole, {"logits": array.array(kind, row), "digest": None}]
                names = self.both(rows)
                last = json.loads((self.folder / names[0]).read_text().splitlines()[-1])
                self.assertIs(last["finite"], False)
                self.assertEqual(last["digest"], isobit_trace.digest_row(array.array(kind, row)))
                self.fails(names, 5)
        self.fails(self.both([*whole, {"finite": False}]), 5)
        self.fails(self.both([*whole, {"top": [(33, 1.0), (7, -math.inf)]}]), 5)
        # An execution ends there too, so the rows may; or an engine goes on.
        self.fails(self.both([{}, {"finite": False}]), 3)
        self.fails(self.both([{}, {"finite": False}, {}, {"finite": False}]), 3)
        self.fails(self.both([{"finite": False}, {}]), 2)
        taught = self.both([{"fed": 7, "finite": False}] + [{"fed": 7}] * (LONGEST - 2))
        self.assertIn("2 FAIL", self.isobit("import", "taught.yaml", *taught, code=1).stdout)

    def test_within_has_nothing_but_digests(self):
        (self.folder / "near.yaml").write_text(
            (self.folder / "free.yaml").read_text().replace("name: ends", "name: near").replace(
                "same_bits: {across: [batch]}", "within: {across: [batch], max_abs: 1.0}"))
        one, three = self.both([{}] * LONGEST)
        self.assertIn("2 PASS", self.isobit("import", "near.yaml", one, three).stdout)
        self.record([{}] * (LONGEST - 1) + [{"digest": DIGEST[::-1]}], three, 3)
        out = self.isobit("import", "near.yaml", one, three, code=7).stdout
        self.assertIn("no values to compare", out)

    def test_rows_by_value_are_seen_to_be_not_finite(self):
        row = array.array("f", [0.0] * tiny_project.VOCAB)
        row[33] = 2.0
        bad = row[:]
        bad[1] = math.nan
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({LONGEST}, {len(row)}), }}\n"
        blob = b"".join((bad if place == 1 else row).tobytes() for place in range(LONGEST))
        (self.folder / "r.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(shape)) +
                                            shape.encode() + blob)
        plain, said = [{"digest": None}] * LONGEST, {"digest": None, "finite": False}
        self.refuse("free.yaml", "t.jsonl:3: finite is false, and the row (row 0 of the file) is "
                    "finite", [said, *plain[1:]], rows="r.npy")
        self.fails(self.both(plain, rows="r.npy"), 3)
        self.fails(self.both([plain[0], said, *plain[2:]], rows="r.npy"), 3)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()

"""Where the rows of an imported prompt end: at the wanted length, at what was fed, or at a number
that is not finite."""
import json
import os
import pathlib
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

    def record(self, rows, name="t.jsonl", batch=1):
        """A trace of one prompt; of each row the words of TraceWriter.row() but the prompt."""
        with isobit_trace.TraceWriter(self.folder / name, engine="other",
                                      axes={"batch": batch}) as trace:
            trace.prompt("p", PROMPT)
            for row in rows:
                trace.row("p", **({"token": 33, "digest": DIGEST} | row))
        return name

    def both(self, rows):
        """The same rows for the two cells of a scenario."""
        return [self.record(rows, f"{batch}.jsonl", batch) for batch in (1, 3)]

    def refuse(self, scenario, part, rows):
        done = self.isobit("import", scenario, self.record(rows), code=2)
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


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()

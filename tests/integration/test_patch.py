"""Axis patch from outside: what it refuses and where it says so, the identities that must hold bit
for bit, and what a report and the database tell of rows that were put in."""
import json
import sqlite3
import unittest

import tiny_project

HEAD = """version: 1
name: patched
question: What does a donor's row change?
model: model
prompts: prompts.jsonl
decode: {max_new_tokens: NEW, teacher_forced: TAUGHT, ignore_eos: true}
axes:
  patch: [none, PATCH]
AXES
min_tokens: 1
golden: none
expect: [{measure: {across: [patch]}}]
"""
PROMPTS = [("a", 9), ("b", 9), ("c", 12)]


class Patch(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(cls.folder / "prompts.jsonl", "w", encoding="utf-8") as out:
            for number, (name, length) in enumerate(PROMPTS):
                tokens = [1] + [3 + (7 * number + 5 * i) % 60 for i in range(length - 1)]
                out.write(json.dumps({"id": name, "tokens": tokens}) + "\n")

    def write(self, patch, taught="true", new=4, axes="", take=3):
        text = HEAD.replace("PATCH", patch).replace("TAUGHT", taught).replace("NEW", str(new))
        text = text.replace("AXES\n", f"  {axes}\n" if axes else "")
        text = text.replace("prompts: prompts.jsonl",
                            f"prompts: {{file: prompts.jsonl, take: {take}}}")
        (self.folder / "patched.yaml").write_text(text)

    def refusal(self, patch, **how):
        self.write(patch, **how)
        ran = self.isobit("validate", "patched.yaml", code=2)
        self.assertIn("patched.yaml:8:", ran.stderr)
        self.isobit("check", "patched.yaml", "--dry-run", code=2)
        return ran.stderr

    def observed(self, patch, **how):
        """Observed fields of the patched cell, and its digests by prompt beside the plain one's."""
        self.write(patch, **how)
        report = json.loads(self.isobit("run", "patched.yaml", "--fresh", "--json", "-q").stdout)
        with sqlite3.connect(self.folder / ".isobit/isobit.db") as db:
            cells = db.execute("SELECT name, root, observed FROM cell WHERE run = "
                               "(SELECT max(id) FROM run) ORDER BY id").fetchall()
        plain, patched = cells[0], cells[1]
        return json.loads(patched[2]), plain[1] == patched[1], report

    def test_refused(self):
        off = "from: {cache: off}"
        for patch, says, how in [
            (f"{{residual: 3, {off}}}", "there is no layer 3; the model has 2 layers", {}),
            (f"{{kv: 2, {off}}}", "there is no layer 2; the model has 2 layers, 0 to 1", {}),
            (f"{{residul: 1, {off}}}", 'did you mean "residual"?', {}),
            (f"{{residual: 1, at: 15, {off}}}", "position 15 is computed for no prompt", {}),
            (f"{{residual: 1, {off}}}", "may draw other tokens", {"taught": "false"}),
            ("{residual: 1, from: {cach: off}}", 'did you mean "cache"?', {}),
            ("{residual: 1, from: {seed: 1}}", "cannot differ by seed", {}),
            ("{residual: 1, from: {prompt: z}}", "there is no such prompt", {}),
            ("{residual: 1, at: all, from: {prompt: c}}",
             "it has 12 tokens, prompt a has 9 tokens", {}),
            ("{residual: 1, at: [2, 9], from: {prompt: c}}", "position 9 is not in both", {}),
            (f"{{k: 0, {off}}}", "beside it", {"axes": "kv: [{normal: [0, 1]}]"}),
            (f"{{attn: 0, {off}}}", "a drafted row", {"axes": "cache: [{speculative: 2}]"}),
            ("{attn: 0, from: {cache: {speculative: 2}}}", "of the donor", {}),
            ("{attn: 0, from: {kv: {tova: 4}, cache: {speculative: 2}}}", "donor", {}),
        ]:
            with self.subTest(patch):
                self.assertIn(says, self.refusal(patch, **how))

    def test_identities(self):
        for patch, how in [
            ("{residual: all, kv: all, attn: all, at: all, from: {cache: off}}", {}),
            ("{v: all, from: {gpus: 2, cache: {chunked: 4}}}", {"axes": "batch: [3]"}),
            ("{residual: 1, from: {prompt: a}}", {"take": 1, "taught": "false"}),
            ("{k: 1, from: {cache: off}}", {"taught": "false", "new": 1}),
        ]:
            with self.subTest(patch):
                observed, same, report = self.observed(patch, **how)
                self.assertTrue(same)
                self.assertTrue(observed["patch_identity"])
                self.assertGreater(observed["patch_rows"], 0)
                self.assertEqual(observed["patch_changed"], 0)
                self.assertTrue(any("is an identity" in note for note in report["notes"]))

    def test_rows_that_change(self):
        observed, same, report = self.observed(
            "{residual: 1, kv: 0, at: 3-4, from: {precision: fp64}}")
        self.assertFalse(same)
        self.assertEqual(observed["patch"], "residual:1+kv:0+at:3-4+from:(precision:fp64)")
        self.assertEqual(observed["patch_rows"], 3 * 2 * 3)
        self.assertRegex(observed["patch_sites"], r"^residual: 6 rows, \d changed, "
                                                  r"k: 6 rows, \d changed, v: 6 rows, \d changed$")
        self.assertFalse(any("identity" in note for note in report["notes"]))

    def test_another_prompt_is_free_to_go_on(self):
        observed, same, _ = self.observed("{residual: all, from: {prompt: c}}", taught="false")
        self.assertFalse(same)
        self.assertEqual(observed["patch_rows"], 3 * 3)
        self.assertEqual(observed["patch_changed"], 2 * 3)

    def test_a_narrow_donor_of_another_kind_fails_with_the_place(self):
        self.write("{residual: 1, from: {precision: fp16}}", axes="precision: [bf16]")
        ran = self.isobit("run", "patched.yaml", code=1)
        self.assertIn("row of layer 1 for prompt a, position 8, has values that bf16 cannot hold",
                      ran.stdout)


if __name__ == "__main__":
    unittest.main()

"""Axes model and decode through the program: several models and strategies in one matrix, from
check to blessing, report, list and repro; what is refused names its place."""
import json
import unittest

import tiny_project

BOTH = """version: 1
name: both
prompts: prompts.jsonl
decode: {max_new_tokens: 8, ignore_eos: true}
axes:
  model: [model, other/second]
  decode: [greedy, {top_k: 5}, {top_p: 0.9, temperature: 0.7, seed: 3}]
  batch: [1, 3]
  cache: [on, {chunked: 5}]
expect:
  - same_bits: {across: [batch, cache]}
"""
ALONE = BOTH.replace("axes:\n  model: [model, other/second]", "model: MODEL\naxes:")


def cells_of(report):
    return {cell["hash"]: cell for cell in report["cells"]}


class ModelsAxis(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        tiny_project.write_model(cls.folder / "other" / "second", seed=8)

    def write(self, text, name="both.yaml"):
        (self.folder / name).write_text(text)

    def report(self, *words, code=0):
        return json.loads(self.isobit(*words, "--json", code=code).stdout)

    def refused(self, text, *words):
        self.write(text)
        return self.isobit(*(words or ("check", "both.yaml")), code=2).stderr

    def test_from_check_to_report(self):
        self.write(BOTH)
        first = self.report("check", "both.yaml", "-j", "2", code=5)
        self.assertEqual(len(first["cells"]), 24)
        self.assertEqual(len(first["groups"]), 6)
        self.assertEqual({g["verdict"] for g in first["groups"]}, {"PASS"})
        self.isobit("bless", "both.yaml", "--reason", "first")
        checked = self.report("check", "both.yaml", "--fresh", "-j", "2")
        self.assertEqual({c["verdict"] for c in checked["cells"]}, {"PASS"})
        again = self.report("report", str(checked["run"]))
        self.assertEqual(cells_of(again), cells_of(checked))
        environment = self.isobit("env", "both.yaml").stdout
        self.assertIn("model.other/second", environment)
        self.assertIn("model.model", environment)

    def test_a_cell_is_that_of_its_model_alone(self):
        self.write(BOTH)
        self.isobit("bless", "both.yaml", "--reason", "both")
        for model in ("model", "other/second"):
            self.write(ALONE.replace("MODEL", model), "alone.yaml")
            # By the goldens of both: those of the other model are OBSOLETE here.
            alone = self.report("check", "alone.yaml", "--fresh", code=5)
            self.assertEqual(len(alone["cells"]), 12)
            self.assertEqual({c["verdict"] for c in alone["cells"]}, {"PASS"})
            self.assertEqual(alone["groups"][0]["verdict"], "PASS")

    def test_a_selection_needs_its_models_alone(self):
        self.write(BOTH.replace("other/second", "other/third"))
        report = self.report("check", "both.yaml", "-k", "model=model and decode=top_k", code=5)
        self.assertEqual({c["axes"]["model"] for c in report["cells"]}, {"model"})
        self.assertEqual({c["axes"]["decode"] for c in report["cells"]}, {"top_k:5"})
        listed = self.report("list", "both.yaml", "-k", "model=model")
        self.assertEqual(len(listed["scenarios"][0]["cells"]), 12)
        error = self.isobit("check", "both.yaml", code=2).stderr
        self.assertIn("both.yaml:6:18: other/third: no such model file or folder", error)

    def test_a_cell_is_repeated_and_shown_with_its_model(self):
        self.write(BOTH)
        report = self.report("check", "both.yaml", code=5)
        wanted = next(c for c in report["cells"]
                      if c["axes"]["model"] == "second" and c["axes"]["decode"] == "top_k:5")
        cell = "/" + wanted["hash"]
        repeated = self.report("repro", cell, code=5)
        self.assertEqual({c["axes"]["model"] for c in repeated["cells"]}, {"second"})
        shown = self.report("show", cell, "--logits", "rows")
        self.assertEqual(shown["cells"][0]["observed"]["decode"], "top_k:5")
        self.assertTrue(list((self.folder / "rows").rglob("*.f32")))

    def test_two_cells_of_two_models_can_be_looked_at(self):
        self.write(BOTH)
        report = self.report("check", "both.yaml", code=5)
        first = {c["axes"]["model"]: "/" + c["hash"] for c in reversed(report["cells"])}
        done = self.isobit("diff", first["model"], first["second"], code=1)
        self.assertIn("model", done.stdout)

    def test_stored_cells_are_reused_and_failed_ones_chosen(self):
        self.write(BOTH)
        self.isobit("check", "both.yaml", code=5)
        again = self.report("check", "both.yaml", code=5)
        self.assertTrue(all(c["cached"] for c in again["cells"]))

    def test_wrong_words_have_a_place_and_a_suggestion(self):
        error = self.refused(BOTH.replace("[model, other/second]", "[model, defalt-7m]"))
        self.assertIn("defalt-7m", error)
        self.assertIn("default-7m", error)
        self.assertIn("did you mean \"greedy\"",
                      self.refused(BOTH.replace("[greedy,", "[gredy,")))
        self.assertIn("both.yaml:6:3: unknown axis \"modle\"; did you mean \"model\"?",
                      self.refused(BOTH.replace("  model: [", "  modle: [")))
        self.assertIn("both.yaml:11:26: axis model cannot be in across",
                      self.refused(BOTH.replace("[batch, cache]}", "[model, batch]}")))
        self.assertIn("--set model=x, column 7: model is an axis already",
                      self.refused(BOTH, "check", "both.yaml", "--set", "model=x"))
        self.write(BOTH)
        self.assertIn("both.yaml: valid, 24 cells", self.isobit("validate", "both.yaml").stdout)


if __name__ == "__main__":
    unittest.main()

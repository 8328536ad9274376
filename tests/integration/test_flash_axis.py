"""Axis attention and `isobit study`: spellings, what is wrong with a value and where, what cannot
stand beside it, what its classes share, and a study that repeats itself."""
import json
import unittest

import tiny_project

SCENARIO = """version: 1
name: flash
model: model
prompts: long.jsonl
decode: {{strategy: greedy, max_new_tokens: 8, ignore_eos: true}}
golden: none
axes:
  attention:
    - {value}
  {more}
expect: [{{same_bits: {{across: [{across}]}}}}]
"""

# Canonical text, and spellings of it in YAML.
FORMS = [
    ("flash:64", "{flash: 64}", "{p: fp32, splits: 1, flash: 64}"),
    ("flash:16+p:bf16+splits:2", "{flash: 16, splits: 2, p: bf16}", "flash:16+splits:2+p:bf16"),
    ("flash:64+splits:by_length", "{flash: 64, splits: by_length}",
     "{splits: by_length, flash: 64}"),
    ("flash:64+p:bf16+stabilise:(beta:7)", "{flash: 64, p: bf16, stabilise: {beta: 7}}",
     "{stabilise: {form: paper}, p: bf16, flash: 64}"),
    ("flash:64+stabilise:(beta:2+form:repository)",
     "{flash: 64, stabilise: {form: repository}}",
     "{stabilise: {form: repository, beta: 2.0}, flash: 64}"),
]

# A value, and what the error of line 9 says.
WRONG = [
    ("{flash: 48}", "a power of two from 16 to 256"),
    ("{flash: 64, splits: 65}", "from 1 to 64, or by_length"),
    ("{flash: 64, p: fp8}", 'cannot be "fp8"'),
    ("{flash: 64, stabilise: {beta: 0.5}}", "below 1 the maximum falls under the scores"),
    ("{flash: 64, stabilise: {beta: 100}}", "becomes 0"),
    ("{flash: 64, stabilise: {bta: 7}}", 'did you mean "beta"?'),
    ("{flash: 64, spilts: 2}", 'did you mean "splits"?'),
    ("flsh", 'did you mean "flash"?'),
    ("flash", "needs the keys of a block"),
]

# Values that are right by themselves.
UNFIT = [
    ("kv: [q8_0]", "not codes"),
    ("kv: [{h2o: 9}]", "no weights for a policy"),
    ("kv: [{quanto: 4}]", "an attention of its own"),
    ("precision: [fp64]", "not rounded to 16 bits"),
]


class Flash(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)
        lines = [{"id": f"p{n}", "tokens": [1] + [(i * 7 + n) % 40 + 3 for i in range(60 + n)]}
                 for n in range(2)]
        (self.folder / "long.jsonl").write_text("".join(json.dumps(p) + "\n" for p in lines))

    def scenario(self, value, more="batch: [1, 2]", across="batch"):
        text = SCENARIO.format(value=value, more=more, across=across)
        (self.folder / "flash.yaml").write_text(text)
        return "flash.yaml"

    def test_spellings(self):
        for text, *spellings in FORMS:
            for value in spellings:
                told = self.isobit("list", self.scenario(value), "--json").stdout
                self.assertIn(f"attention={text},", told, value)

    def test_wrong_values_have_their_place(self):
        for value, says in WRONG:
            error = self.isobit("validate", self.scenario(value), code=2).stderr
            self.assertIn("flash.yaml:9:", error, value)
            self.assertIn(says, error, value)

    def test_what_cannot_stand_beside_it(self):
        for more, says in UNFIT:
            more += "\n  batch: [1, 2]"
            name = self.scenario("{flash: 16, p: bf16}", more)
            error = self.isobit("validate", name, code=2).stderr
            self.assertIn("flash.yaml:9:", error, more)
            self.assertIn(says, error, more)

    def test_classes_and_what_is_mistrusted(self):
        more = "batch: [1, 2]\n  cache: ['on', 'off', {chunked: 17}]\n  gpus: [1, 2]"
        name = self.scenario("{flash: 16, p: bf16, splits: 3}", more, "batch, cache, gpus")
        self.isobit("run", name)
        told = self.isobit("run", self.scenario("{flash: 128}"), code=7).stdout
        self.assertIn("no context was longer than one block of 128", told)
        told = self.isobit("run", self.scenario("{flash: 16, stabilise: {beta: 7}}"), code=7).stdout
        self.assertIn("the mitigation never acted", told)

    def test_the_study(self):
        first = self.isobit("study", "flash-bias", "--rows", 3, "--seed", 5, "--json").stdout
        self.assertEqual(first, self.isobit("study", "flash-bias", "--rows", 3, "--seed", 5,
                                            "--json").stdout)
        self.assertEqual(len(json.loads(first)["lines"]), 432)
        recorded = json.loads(self.isobit("study", "flash-bias", "--model", "model", "--prompts",
                                          "long.jsonl", "--json").stdout)
        self.assertEqual(recorded["model"], "model")
        self.assertGreater(sum(line["rows"] for line in recorded["lines"]), 0)
        for words, says in [
                (["flash-bais"], 'did you mean "flash-bias"?'),
                (["flash-bias", "--rows", 1], "--rows"),
                (["flash-bias", "--model", "model"], "--prompts FILE"),
                (["flash-bias", "--prompts", "long.jsonl"], "--model MODEL"),
                (["flash-bias", "--model", "model", "--prompts", "long.jsonl", "--seed", 2],
                 "not drawn"),
                (["flash-bias", "--model", "model", "--prompts", "prompts.jsonl", "--precision",
                  "bf61"], 'did you mean "bf16"?'),
                (["flash-bias", "--model", "modle", "--prompts", "long.jsonl"], "modle")]:
            self.assertIn(says, self.isobit("study", *words, code=2).stderr, words)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()

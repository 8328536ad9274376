"""What cells took, from the worker through the database into every report, and replicas as an axis
of the program."""
import json
import unittest

import tiny_project

COSTS = """version: 1
name: costs
question: What does it take?
model: model
prompts: answered.jsonl
decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}
axes: {precision: [fp32, bf16], batch: [2]}
zip: [{gpus: [1, 2, 1], replicas: [1, 1, 2]}]
expect: [{same_bits: {across: [gpus, replicas]}}]
golden: none
cost: true
"""
# Elements of the tiny model: two layers of four 64 x 64 and three 64 x 128 matrices, a head of
# 64 x 64 (panels of 32 outputs: no padding), and as Reals the embedding and five norms.
MATRICES, REALS = 2 * (4 * 64 * 64 + 3 * 64 * 128) + 64 * 64, 64 * 64 + 5 * 64


class Cost(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        prompts = [{"id": f"p{i}", "tokens": [1, 5 + i, 9], "answer": "no"} for i in range(4)]
        text = "".join(json.dumps(p) + "\n" for p in prompts)
        (self.folder / "answered.jsonl").write_text(text)
        (self.folder / "costs.yaml").write_text(COSTS)

    def cells(self, *words, code=0):
        report = json.loads(self.isobit(*words, "--json", code=code).stdout)
        return {(c["axes"]["precision"], c["axes"]["gpus"], c["axes"]["replicas"]): c
                for c in report["cells"]}

    def test_every_execution_is_there_and_a_reused_cell_keeps_its_own(self):
        first = self.cells("check", "costs.yaml", "--repeat", "3", "-j", "1")
        self.assertEqual(len(first), 6)
        for (precision, gpus, replicas), cell in first.items():
            cost = cell["cost"]
            self.assertEqual(len(cost["executions"]), 3)
            for one in cost["executions"]:
                self.assertEqual((one["prompt_tokens"], one["tokens"]), (12, 40))
                self.assertGreater(one["seconds"], 0)
                self.assertTrue(one["peak_bytes"] is None or one["peak_bytes"] > 1 << 20)
            copies = int(replicas)
            norms = 5 * 64 * 4 * (int(gpus) - 1)  # every rank has them
            element = 4 if precision == "fp32" else 2
            self.assertEqual(cost["weight_bytes"],
                             copies * (MATRICES * element + REALS * 4) + norms)
            # Two sequences are live in each replica: 12 positions of K and V, all heads.
            self.assertEqual(cost["cache_bytes"], 2 * copies * 12 * 2 * 2 * 64 * element)
            self.assertEqual(cost["moved_bytes"] > 0, gpus == "2")
            self.assertEqual(cost["memory_of"], "process")
        stored = self.cells("report", "last")
        self.assertEqual({k: c["cost"] for k, c in stored.items()},
                         {k: c["cost"] for k, c in first.items()})
        again = self.cells("check", "costs.yaml")
        for key, cell in again.items():
            self.assertTrue(cell["cached"])
            self.assertEqual(len(cell["cost"]["executions"]), 1)
            self.assertIn(cell["cost"]["executions"][0], first[key]["cost"]["executions"])
            self.assertEqual(cell["cost"]["weight_bytes"], first[key]["cost"]["weight_bytes"])

    def test_the_table_is_in_terminal_and_markdown_and_only_when_asked_for(self):
        told = self.isobit("check", "costs.yaml", "--report", "md=out.md").stdout
        self.assertRegex(told, r"(?m)^    2 +bf16 +1 +0 of 4 +[0-9.,]+ +[0-9.,]+ +1 .* KiB ")
        page = (self.folder / "out.md").read_text()
        self.assertIn("| gpus | precision | replicas | correct | tokens/s |", page)
        self.assertIn("tokens/s: generated tokens", page)
        quiet = self.isobit("check", "costs.yaml", "--set", "cost=false")
        self.assertNotIn("tokens/s", quiet.stdout)
        for cell in self.cells("report", "last").values():
            self.assertIsNone(cell["cost"])

    def test_replicas_without_a_prompt_are_mistrusted_and_with_ranks_skipped(self):
        out = self.isobit("check", "costs.yaml", "--set", "prompts.take=1", code=7).stdout
        self.assertIn("2 replicas were asked, 1 had a prompt", out)
        both = self.isobit("check", "costs.yaml", "--set", "zip=[{gpus: [1, 2], replicas: [1, 2]}]",
                           code=7).stdout
        self.assertIn("replicas: 2 and gpus: 2: a replica has one rank", both)

    def test_bad_values_name_their_place(self):
        for key, value, want in [
                ("axes.replicas", "[0]", "a whole number from 1 to 64"),
                ("axes.replicas", "[{n: 2}]", "a whole number from 1 to 64"),
                ("axes.replica", "[2]", "did you mean \"replicas\"?"),
                ("cost", "much", "cost"), ("costs", "true", "did you mean \"cost\"?")]:
            done = self.isobit("check", "costs.yaml", "--set", f"{key}={value}", "--set",
                               "zip=[{gpus: [1, 2]}]", code=2)
            self.assertIn(want, done.stderr)


if __name__ == "__main__":
    unittest.main()

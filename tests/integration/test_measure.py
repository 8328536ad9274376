#!/usr/bin/env python3
"""`measure` from the scenario to every output: metrics recomputed from `show --json`, the same from
the store, reuse of stored cells, samples of seeds, and bad input. Standard library only; against
NumPy it is check_metrics.py."""
import json
import math
import statistics
import unittest

import tiny_project

HEAD = "version: 1\nname: {name}\nmodel: model\nprompts: prompts.jsonl\n"
GREEDY = HEAD + """decode: {{strategy: greedy, max_new_tokens: 12, ignore_eos: true}}
axes: {{precision: [fp32, bf16, fp16, tf32, fp8-e4m3, fp8-e5m2]}}
expect:
  - measure: {{across: [precision]}}
"""
MEASURE = """measure:
  - metrics: [output_length, std_output_length, div_index, div_percent, std_top1_prob, accuracy]
    across: [precision]
"""
SAMPLED = HEAD + """decode: {{strategy: sample, max_new_tokens: 8, ignore_eos: true}}
axes: {{precision: [fp32, bf16], seed: [0, 1, 2]}}
expect:
  - differ_all: {{across: [seed]}}
  - measure: {{across: [precision]}}
measure:
  - {{metrics: [pass_at_1, std_pass_at_1, div_percent], across: [precision], over: seed}}
"""


def spread(values):
    """The exact sample standard deviation, rounded once."""
    return statistics.stdev(values) if len(set(values)) > 1 else 0.0


def divergence(outputs):
    for t in range(min(map(len, outputs))):
        if len({ids[t] for ids in outputs}) > 1:
            return t
    return -1


def digits(value):
    return f"{value:.12g}"


class Measure(tiny_project.Case):
    def write(self, name, text):
        (self.folder / f"{name}.yaml").write_text(text.format(name=name))
        return f"{name}.yaml"

    def json_of(self, *words, code=0):
        return json.loads(self.isobit(*words, "--json", code=code).stdout)

    def test_values_are_those_of_the_stored_rows_in_every_output(self):
        path = self.write("greedy", GREEDY + MEASURE)
        told = self.isobit("run", path, "--update", "none", "--report", "md=a.md", code=5).stdout
        self.assertEqual(self.isobit("report", "1", code=5).stdout, told)
        report = self.json_of("report", "1", code=5)
        self.assertEqual([g["key"] for g in report["measured"]], [""])
        group = report["measured"][0]
        self.assertEqual((group["configurations"], group["prompts"]), (6, 2))
        values = {v["metric"]: v for v in group["values"]}
        cells = self.json_of("show", "1")["cells"]
        tokens = [[cell["prompts"][p]["tokens"] for cell in cells] for p in range(2)]
        parts, jitter = [], []
        for outputs in tokens:
            at = divergence([[t["id"] for t in one] for one in outputs])
            parts.append(at)
            end = len(outputs[0]) if at < 0 else at + 1
            jitter.append(math.fsum(
                spread([math.exp(one[t]["top"][0][1] - one[t]["log_sum"]) for one in outputs])
                for t in range(end)) / end)
        found = [at for at in parts if at >= 0]
        self.assertTrue(found, "the precisions never part: nothing is tested")
        self.assertEqual(digits(values["div_index"]["value"]), digits(sum(found) / len(found)))
        self.assertEqual(values["div_percent"]["value"], 50 * len(found))
        self.assertGreater(jitter[0], 0)
        self.assertEqual(digits(values["std_top1_prob"]["value"]), digits(sum(jitter) / 2))
        self.assertEqual(values["output_length"]["value"], 12)
        self.assertEqual(values["std_output_length"]["value"], 0)
        self.assertIsNone(values["accuracy"]["value"])
        self.assertEqual(values["accuracy"]["reason"], "no prompt has an answer")
        for text in (told, (self.folder / "a.md").read_text()):
            self.assertIn("div_percent", text)
            self.assertIn("Avg_Std@top1_prob", text)
            self.assertIn("none: no prompt has an answer", text)

    def test_a_cell_without_log_sums_does_not_serve_a_measure_that_needs_them(self):
        self.isobit("run", self.write("plain", GREEDY), "--update", "none", code=5)
        path = self.write("plain", GREEDY + MEASURE)
        first = self.json_of("run", path, "--update", "none", code=5)
        again = self.json_of("run", path, "--update", "none", code=5)
        self.assertEqual((first["cells_executed"], first["cells_cached"]), (6, 0))
        self.assertEqual((again["cells_executed"], again["cells_cached"]), (0, 6))
        self.assertEqual(again["measured"], first["measured"])
        plain, asked = self.json_of("show", "1")["cells"], self.json_of("show", "2")["cells"]
        self.assertNotIn("log_sum", plain[0]["prompts"][0]["tokens"][0])
        self.assertEqual([c["root"] for c in plain], [c["root"] for c in asked])

    def test_a_measure_decides_nothing(self):
        exits = [self.isobit("run", self.write("same", text), "--update", "none", code=5)
                 for text in (GREEDY, GREEDY + MEASURE)]
        self.assertNotIn("measured", exits[0].stderr + exits[1].stderr)
        cut = self.json_of("run", "same.yaml", "--update", "none", "-k", "precision=bf16", code=7)
        group = cut["measured"][0]
        self.assertEqual((group["configurations"], group["unselected_cells"]), (1, 5))
        self.assertEqual(group["values"][1]["reason"], "one configuration has no spread")

    def test_seeds_are_samples(self):
        path = self.write("sampled", SAMPLED)
        self.isobit("validate", path)
        report = self.json_of("run", path, "--update", "none", code=5)
        (group,) = report["measured"]
        self.assertEqual((group["key"], group["configurations"], group["samples"],
                          len(group["cells"])), ("", 2, 3, 6))
        cells = self.json_of("show", "1")["cells"]
        self.assertEqual(len({c["root"] for c in cells}), 6)
        by_seed = {}
        for cell in cells:
            seed = cell["name"].split("seed=")[1].split(" ")[0]
            by_seed.setdefault(seed, []).append(cell["prompts"])
        parts = [divergence([[t["id"] for t in prompts[p]["tokens"]] for prompts in pair])
                 for pair in by_seed.values() for p in range(2)]
        self.assertEqual(digits(group["values"][2]["value"]),
                         digits(100 * sum(at >= 0 for at in parts) / len(parts)))
        # A seed of decode is the same sample as the axis's.
        one = SAMPLED.replace("strategy: sample", "strategy: sample, seed: 2")
        one = one.replace(", seed: [0, 1, 2]", "").split("expect")[0]
        self.isobit("run", self.write("one", one), "--update", "none", code=5)
        roots = {c["name"].split("precision=")[1].split(" ")[0]: c["root"]
                 for c in self.json_of("show", "2")["cells"]}
        for cell in cells:
            precision = cell["name"].split("precision=")[1].split(",")[0].split(" ")[0]
            if "seed=2" in cell["name"]:
                self.assertEqual(cell["root"], roots[precision])

    def test_bad_input_is_refused_with_its_place(self):
        for measure, place, words in (
                ("[{metrics: [std_acc], across: [precision]}]", ":9:22", "unknown metric"),
                ("[{metrics: [div_index], across: [colour]}]", ":9:43", "unknown axis"),
                ("[{metrics: [pass_at_1], across: [precision]}]", ":9:22", "over: seed")):
            path = self.write("bad", GREEDY)
            with open(self.folder / path, "a") as file:
                file.write(f"measure: {measure}\n")
            error = self.isobit("run", path, code=2).stderr
            self.assertIn("bad.yaml" + place, error)
            self.assertIn(words, error)
        path = self.write("bad", GREEDY + "measure: [{{metrics: [div_index], across: [batch]}}]\n")
        self.assertIn("no axis of across varies", self.isobit("validate", path, code=2).stderr)
        path = self.write("bad", SAMPLED.replace("strategy: sample", "strategy: greedy"))
        self.assertIn("axis seed has no meaning", self.isobit("run", path, code=2).stderr)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
